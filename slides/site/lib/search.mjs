// What the search knows: sections of pages, slides, sources by their comments.

import { posix } from 'node:path'
import { comments } from './code.mjs'

export function documents(repository, outlines, slides) {
  const found = []
  const add = (title, where, address, text, weight) =>
    found.push({ id: found.length, title, where, address, text, weight })
  for (const { address, sections, title } of outlines) {
    for (const section of sections) {
      const hash = section.id && `#${section.id}`
      add(section.title || title, section.id ? title : '', address + hash, section.text, 1)
    }
  }
  for (const { address, language, title, number, text } of slides) {
    add(title, `${language === 'ru' ? 'Слайд' : 'Slide'} ${number}`, `${address}#${number}`, text, 0.5)
  }
  for (const path of repository.sources) {
    const text = repository.text(path)
    add(posix.basename(path), posix.dirname(path), repository.address(path), comments(text), 0.3)
  }
  return found
}

// The slides of a deck: Marp's Markdown, of which `---` parts the slides.
export function slidesOf(repository, md, deck) {
  let stage = ''
  return repository.text(deck.path).split(/^---$/m).slice(2).map((text, index) => {
    const before = stage
    stage = text.match(/<!-- stage: (\S+) -->/)?.[1] ?? stage
    const tokens = md.parse(text.replace(/!\[([^\]]*)\]\([^)]*\)|<!--.*?-->/gs, '$1'), { path: deck.path, address: deck.address })
    const heading = tokens.findIndex(({ type }) => type === 'heading_open')
    const said = (token) => token.children?.filter(({ type }) => type !== 'html_inline')
      .map(({ content }) => content || ' ').join('') ?? token.content
    const all = tokens.filter(({ type }) => type === 'inline' || type === 'fence').map(said).join(' ')
    const title = (heading < 0 ? all.slice(0, 60) : said(tokens[heading + 1])).replace(/\s*#\s*$/, '').trim()
    return { ...deck, number: index + 1, opens: stage !== before, title, text: all.replace(/\s+/g, ' ').trim() }
  })
}
