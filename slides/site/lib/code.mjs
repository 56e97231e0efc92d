// Code, coloured at build time.

import hljs from 'highlight.js/lib/common'
import { posix } from 'node:path'
import { escapeHtml } from '../../blocks.mjs'
import { relative } from './repository.mjs'

const LANGUAGES = { cc: 'cpp', h: 'cpp', c: 'c', py: 'python', bzl: 'python', sh: 'bash', json: 'json' }

export const languageOf = (path) => LANGUAGES[posix.extname(path).slice(1)] ?? 'plaintext'

export function highlight(text, language) {
  return hljs.getLanguage(language)
    ? hljs.highlight(text, { language, ignoreIllegals: true }).value
    : escapeHtml(text)
}

// Lines of highlighted text. A comment of several lines is one <span>: each line gets its own.
export function linesOf(html) {
  let open = []
  return html.split('\n').map((line) => {
    const before = open.join('')
    for (const [tag] of line.matchAll(/<span[^>]*>|<\/span>/g)) {
      if (tag === '</span>') open.pop()
      else open.push(tag)
    }
    return before + line + '</span>'.repeat(open.length)
  })
}

// A whole source, with an anchor for each line, and with each #include that leads to its page.
export function listing(repository, path) {
  const here = repository.address(path)
  const text = repository.text(path).trimEnd()
  return linesOf(highlight(text, languageOf(path))).map((line, index) => {
    const linked = !line.includes('include') ? line : line.replace(/&quot;([\w./-]+)&quot;/, (all, name) => {
      const address = repository.address(name)
      return address ? `<a href="${relative(here, address)}">${all}</a>` : all
    })
    return `<span class="line" id="L${index + 1}">${linked}</span>`
  }).join('\n')
}

// What the comment at the head of a source says of it: its first sentence.
export function about(text) {
  const head = text.match(/^(?:#!.*\n)?((?:(?:\/\/|#(?= )).*\n)+)/)?.[1].replace(/^(?:\/\/|#) ?/gm, '') ??
    text.match(/^"""([^]*?)"""/)?.[1] ?? ''
  const paragraph = head.split(/\n\s*\n/)[0].replace(/\s+/g, ' ').trim()
  return paragraph.match(/^.*?[.:](?= [A-Z]|$)/)?.[0].replace(/:$/, '.') ?? paragraph
}

// What is said in a source: for the search.
export const comments = (text) =>
  [...text.matchAll(/^\s*(?:\/\/|#) (.*)$|^\s*"""(.+?)(?:"""|$)/gm)].map(([, said, docstring]) => said ?? docstring).join(' ')
