// How Marp makes slides of deck.md: pictures become part of the page, so that they follow its
// colours; the fonts do, so that it looks the same everywhere; and what tells slides/living.py
// where a living part comes from is shown above it, and not to the speaker.

import { readFileSync } from 'node:fs'
import { Marp } from '@marp-team/marp-core'
import { consoleLines, diffLines, escapeHtml, picture } from './blocks.mjs'

const STAGES = ['01_exec', '02_chroot', '03_userspace', '04_namespaces', '05_userns',
  '06_pivot_root', '07_cgroups', '08a_overlayfs', '08b_seccomp', '08c_network']

const read = (path, encoding = 'utf8') => readFileSync(`slides/${path}`, encoding)

function theme() {
  return read('theme.css').replace(/url\("node_modules\/(.+?)"\)/g, (_, path) => {
    const font = readFileSync(new URL(`node_modules/${path}`, import.meta.url), 'base64')
    return `url("data:font/woff2;base64,${font}")`
  })
}

// "<!-- snippet: stages/05_userns/id_map.cc write_id_maps -->"
const MEASURED = /^\*(Measured .*)\*$/gm
const LIVING = /^<!-- (snippet|diff|table|plot|before|not run): *(.*?) *-->$/gms

function sources(markdown) {
  return markdown.replace(LIVING, (_, kind, words) => {
    const [first, second] = words.split(/\s+/)
    const says = { snippet: first, diff: `main.cc, ${first} → ${second}` }[kind]
    return says ? `<p class="source">${escapeHtml(says)}</p>\n` : ''
  }).replace(MEASURED, (_, says) => `<p class="source">${escapeHtml(says.replace(/`/g, ''))}</p>`)
}

// As large as a block's widest line allows, and its number of lines.
function sizeOf(text) {
  const lines = text.trimEnd().split('\n')
  const widest = Math.max(...lines.map((line) => line.replace(/\t/g, ' '.repeat(8)).length))
  const size = Math.min(26, 1080 / 0.6 / widest, 430 / 1.4 / lines.length)
  return Math.max(18, Math.floor(size * 2) / 2)
}

// The ten stages, with the present one marked.
function rail(stage) {
  return STAGES.map((name) => {
    const [number, ...words] = name.split('_')
    return name === stage ? `<b>${number} ${words.join('_')}</b>` : `<i>${number}</i>`
  }).join('')
}

function livingDeck({ marpit: marp }) {
  marp.customDirectives.local.stage = (stage) =>
    ({ header: STAGES.includes(stage) ? rail(stage) : '' })
}

class Deck extends Marp {
  constructor(options) {
    super({ ...options, html: true, math: false, emoji: { unicode: false, shortcode: false } })
    this.themeSet.default = this.themeSet.add(theme())
    this.use(({ marpit }) => livingDeck({ marpit }))
    this.markdown.renderer.rules.image = (tokens, index, options_, env, self) => {
      const path = tokens[index].attrGet('src')
      return path.endsWith('.svg')
        ? picture(read(path), path.replace(/^pictures\/|\.svg$/g, ''), tokens[index].content)
        : self.renderToken(tokens, index, options_)
    }
    const fence = this.markdown.renderer.rules.fence
    this.markdown.renderer.rules.fence = (tokens, index, ...rest) =>
      fence(tokens, index, ...rest)
        .replace('<pre', `<pre style="--size: ${sizeOf(tokens[index].content)}px"`)
  }

  highlighter(code, language, ...rest) {
    const text = code.replace(/\n$/, '')
    if (language === 'console') return consoleLines(text)
    if (language === 'diff') return diffLines(text)
    return super.highlighter(text, language, ...rest)
  }

  render(markdown, environment) {
    return super.render(sources(markdown), environment)
  }
}

export default { engine: Deck, options: { title: 'Containers under the hood' } }
