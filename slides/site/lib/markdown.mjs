// Markdown as GitHub shows it, with what this repository's pages have on top: living snippets,
// transcripts, pictures that follow the page's colours, and links that lead to the site's pages.

import MarkdownIt from 'markdown-it'
import anchor from 'markdown-it-anchor'
import alerts from 'markdown-it-github-alerts'
import { posix } from 'node:path'
import { consoleLines, diffLines, escapeHtml, picture } from '../../blocks.mjs'
import { highlight } from './code.mjs'
import { relative } from './repository.mjs'

const COMMENT = /^\s*<!--.*?-->\s*$/s
const QUOTED = /<!-- (snippet|diff): *(\S+) ?(\S*)/
const ELSEWHERE = /^[a-z]+:/i

// As GitHub makes it of a heading.
export const slugify = (heading) =>
  heading.trim().toLowerCase().replace(/[^\p{L}\p{M}\p{N}\p{Pc}\- ]/gu, '').replace(/ /g, '-')

export const plainText = (token) =>
  token.children.filter(({ type }) => type !== 'html_inline')
    .map(({ type, content }) => (type.endsWith('break') ? ' ' : content)).join('')

// `env.path` is the page's path in the repository, `env.address` where its text is shown.
export function createMarkdown(repository) {
  const md = new MarkdownIt({ html: true }).use(alerts).use(anchor, {
    slugify,
    level: [2, 3, 4],
    permalink: anchor.permalink.linkInsideHeader({ symbol: '#', ariaHidden: true, class: 'anchor' }),
  })

  function resolve(link, env) {
    if (ELSEWHERE.test(link)) return link
    const [path, hash] = link.split('#')
    const target = path === '' ? env.path
      : posix.join(posix.dirname(env.path), decodeURI(path)).replace(/^\.$|\/$/, '')
    const address = repository.address(target)
    if (address === undefined) {
      throw new Error(`${env.path}: a link leads to ${link}, which the site does not have: see slides/site/BUILD.bazel`)
    }
    const way = address === env.address && hash !== undefined ? '' : relative(env.address, address)
    return hash === undefined ? way : `${way}#${hash}`
  }

  // `id_map.cc` in a sentence, or `stages/05_userns/id_map.cc`.
  function sourceNamed(text, env) {
    if (!/^[\w./]+\.(cc|h|c|py|sh|json|md)$/.test(text)) return undefined
    return [posix.join(posix.dirname(env.path), text), text].find((path) => repository.has(path))
  }

  function rewriteInline(inline, env) {
    let links = 0
    inline.children = inline.children.flatMap((token) => {
      if (token.type === 'link_open') {
        links++
        if (!token.attrGet('class')) token.attrSet('href', resolve(token.attrGet('href'), env))
      } else if (token.type === 'link_close') {
        links--
      } else if (token.type === 'html_inline') {
        if (COMMENT.test(token.content)) return []
        token.content = rewriteHtml(token.content, env)
      } else if (token.type === 'code_inline' && links === 0) {
        const source = sourceNamed(token.content, env)
        token.meta = source && source !== env.path && { href: relative(env.address, repository.address(source)) }
      }
      return [token]
    })
  }

  const rewriteHtml = (html, env) => html.replace(/\b(href|src)="([^"]+)"/g,
    (_, attribute, link) => `${attribute}="${resolve(link, env)}"`)

  md.core.ruler.push('site', ({ tokens, env }) => {
    let quoted
    const kept = tokens.filter((token) => {
      if (token.type === 'inline') rewriteInline(token, env)
      if (token.type === 'fence') token.meta = quoted
      const comment = token.type === 'html_block' && COMMENT.test(token.content)
      if (token.type === 'html_block' && !comment) token.content = rewriteHtml(token.content, env)
      quoted = comment ? token.content.match(QUOTED) : undefined
      return !comment
    })
    tokens.splice(0, tokens.length, ...kept)
  })

  // Above a quotation: where it is from.
  function caption(quoted, text, env) {
    if (!quoted) return ''
    const [, kind, first, second] = quoted
    if (kind === 'diff') {
      const after = repository.stages.find(({ number }) => number === second)
      const label = `main.cc, ${first} → ${second}`
      return after ? `<figcaption><a href="${relative(env.address, `diff/${after.name}.html`)}">${label}</a></figcaption>` : ''
    }
    if (!repository.has(first)) return `<figcaption>${escapeHtml(first)}</figcaption>`
    const begin = text.split('\n').find((line) => line.trim().length > 2) ?? ''
    const line = repository.text(first).split('\n').findIndex((one) => one.trim() === begin.trim()) + 1
    const hash = line > 0 ? `#L${line}` : ''
    return `<figcaption><a href="${relative(env.address, repository.address(first))}${hash}">${escapeHtml(first)}</a></figcaption>`
  }

  md.renderer.rules.fence = (tokens, index, options, env) => {
    const { content, info, meta } = tokens[index]
    const text = content.replace(/\n$/, '')
    const language = info.trim().split(/\s+/)[0]
    const body = { console: consoleLines, diff: diffLines }[language]?.(text) ??
      highlight(text, { sh: 'bash', 'c++': 'cpp' }[language] ?? language)
    const kind = { console: 'terminal', diff: 'code diff' }[language] ?? 'code'
    const bar = language === 'console' ? '<figcaption aria-hidden="true"><i></i><i></i><i></i></figcaption>' : ''
    return `<figure class="${kind}">${bar}${caption(meta, text, env)}` +
      `<pre tabindex="0"><code>${body}</code></pre></figure>\n`
  }

  md.renderer.rules.code_inline = (tokens, index) => {
    const { content, meta } = tokens[index]
    // A browser breaks a line after each hyphen, and so between -- and the name of an option, but not
    // within the longest names.
    const words = escapeHtml(content).split(' ').map((word) =>
      (word.length > 24 ? word.replace(/[_/](?=\w)/g, '$&<wbr>')
        : word.includes('-') ? `<span class="word">${word}</span>` : word))
    const code = `<code>${words.join(' ')}</code>`
    return meta ? `<a class="file" href="${meta.href}">${code}</a>` : code
  }

  md.renderer.rules.image = (tokens, index, options, env) => {
    const source = posix.join(posix.dirname(env.path), tokens[index].attrGet('src'))
    if (!repository.has(source)) throw new Error(`${env.path}: there is no picture ${source}`)
    const name = posix.basename(source).replace(/\.\w+$/, '')
    const title = tokens[index].content
    return source.endsWith('.svg') ? `<span class="picture">${picture(repository.text(source), name, title)}</span>`
      : `<img src="${relative(env.address, source)}" alt="${escapeHtml(title)}">`
  }

  md.renderer.rules.table_open = () => '<div class="table" tabindex="0"><table>\n'
  md.renderer.rules.table_close = () => '</table></div>\n'
  return md
}

// Title, headings, and the text below each, of a page.
export function outline(md, text, env) {
  const tokens = md.parse(text, env)
  const sections = [{ level: 1, title: '', id: '', text: [] }]
  tokens.forEach((token, index) => {
    const above = tokens[index - 1]
    if (token.type === 'inline' && above?.type === 'heading_open') {
      const title = plainText(token).trim()
      const level = Number(above.tag[1])
      if (level === 1 && sections.length === 1 && !sections[0].title) sections[0].title = title
      else sections.push({ level, title, id: above.attrGet('id') ?? '', text: [] })
    } else if (token.type === 'inline') {
      sections.at(-1).text.push(plainText(token))
    } else if (token.type === 'fence') {
      sections.at(-1).text.push(token.content)
    }
  })
  return sections.map((section) => ({ ...section, text: section.text.join(' ').replace(/\s+/g, ' ').trim() }))
}

// What stands below one heading, as HTML.
export function partBelow(md, heading, text, env) {
  const tokens = md.parse(text, env)
  const isHeading = (token) => token.type === 'heading_open' && token.tag === 'h2'
  const begin = tokens.findIndex((token, index) => isHeading(token) && heading.test(tokens[index + 1].content))
  if (begin < 0) return ''
  const length = tokens.slice(begin + 1).findIndex(isHeading)
  const part = tokens.slice(begin + 3, length < 0 ? undefined : begin + 1 + length)
  return md.renderer.render(part, md.options, env)
}
