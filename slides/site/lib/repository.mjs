// The files of the repository that the site shows, and where in the site each of them is.

import { readFileSync } from 'node:fs'
import { posix } from 'node:path'

const PICTURE = /\.(svg|png)$/
const STAGE = /^stages\/(\d\w*)\/README\.md$/
const DECK = /^slides\/deck(?:\.(\w+))?\.md$/

export class Repository {
  #onDisk = new Map()
  #texts = new Map()

  // A manifest has a line for each file: its path in the repository, a tab, its path from here.
  constructor(manifest) {
    for (const line of readFileSync(manifest, 'utf8').trim().split('\n').sort()) {
      this.#onDisk.set(...line.split('\t'))
    }
    this.stages = this.files(STAGE).map((page) => {
      const folder = posix.dirname(page)
      const name = posix.basename(folder)
      const [number, ...words] = name.split('_')
      return { folder, name, number, words: words.join('_') }
    })
    this.folders = new Set([...this.#onDisk.keys()].flatMap(ancestors))
    this.pages = this.files(/\.md$/).filter((path) => !DECK.test(path))
    this.pictures = this.files(PICTURE)
    this.sources = this.files(/\.(apparmor|cc|cil|h|c|py|sh|json|bzl)$|\/[A-Z]?\w+$/)
      .filter((path) => !path.startsWith('slides/measured/'))
    this.decks = this.files(DECK).map((path) => {
      const [, language] = path.match(DECK)
      const built = language ? `slides/slides.${language}.html` : 'slides/slides.html'
      return { path, language: language ?? 'en', built, address: `deck/${language ?? 'en'}.html` }
    }).filter((deck) => this.has(deck.built))
  }

  files(pattern = /^/) {
    return [...this.#onDisk.keys()].filter((path) => pattern.test(path))
  }

  has(path) {
    return this.#onDisk.has(path)
  }

  onDisk(path) {
    return this.#onDisk.get(path)
  }

  text(path) {
    if (!this.#texts.has(path)) this.#texts.set(path, readFileSync(this.onDisk(path), 'utf8'))
    return this.#texts.get(path)
  }

  // The address of a file or folder in the site; nothing if the site does not have it.
  address(path) {
    if (DECK.test(path)) return 'deck/index.html'
    if (path === '' || this.folders.has(path)) return posix.join(path, 'index.html')
    if (!this.has(path)) return undefined
    if (posix.basename(path) === 'README.md') return posix.join(posix.dirname(path), 'index.html')
    if (path.endsWith('.md')) return path.replace(/md$/, 'html')
    return PICTURE.test(path) ? path : `${path}.html`
  }

  stageOf(path) {
    return this.stages.find(({ folder }) => path.startsWith(`${folder}/`))
  }
}

// The folders that a path is in, the innermost first.
export function ancestors(path) {
  const folder = posix.dirname(path)
  return folder === '.' ? [] : [folder, ...ancestors(folder)]
}

// From the page at one address to another address.
export function relative(from, to) {
  return posix.relative(posix.dirname(`/${from}`), `/${to}`)
}
