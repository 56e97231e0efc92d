// How Marp makes slides of deck.md: pictures become part of the page, so that they follow its
// colours; the fonts do, so that it looks the same everywhere; and what tells slides/living.py
// where a living part comes from is shown above it, and not to the speaker.

import { readFileSync } from 'node:fs'
import { Marp } from '@marp-team/marp-core'

const STAGES = ['01_exec', '02_chroot', '03_userspace', '04_namespaces', '05_userns',
  '06_pivot_root', '07_cgroups', '08a_overlayfs', '08b_seccomp', '08c_network']

const read = (path, encoding = 'utf8') => readFileSync(`slides/${path}`, encoding)
const escapeHtml = (text) =>
  text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;')

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

// A transcript: who asks, what is typed, what is answered.
function consoleLines(text) {
  return text.split('\n').map((line) => {
    const [, prompt, typed] = line.match(/^((?:host|cont):\S*[$#] )(.*)$/s) ?? []
    if (prompt) {
      return `<span class="${prompt.slice(0, 4)}">${escapeHtml(prompt)}</span>` +
        `<span class="typed">${escapeHtml(typed)}</span>`
    }
    if (line.startsWith('> ')) {
      return `<span class="said">&gt; </span><span class="typed">${escapeHtml(line.slice(2))}</span>`
    }
    return `<span class="said">${escapeHtml(line)}</span>`
  }).join('\n')
}

function diffLines(text) {
  const kinds = { '+': 'added', '-': 'removed', '@': 'place' }
  return text.split('\n').map((line) =>
    `<span class="${kinds[line[0]] ?? 'kept'}">${escapeHtml(line) || ' '}</span>`).join('')
}

// As large as a block's widest line allows, and its number of lines.
function sizeOf(text) {
  const lines = text.trimEnd().split('\n')
  const widest = Math.max(...lines.map((line) => line.replace(/\t/g, ' '.repeat(8)).length))
  const size = Math.min(26, 1080 / 0.6 / widest, 430 / 1.4 / lines.length)
  return Math.max(18, Math.floor(size * 2) / 2)
}

// The tip of every arrow, in the arrow's colour.
const head = (name) => `<marker id="${name}-head" viewBox="0 0 10 10" refX="8.5" refY="5" ` +
  'markerWidth="5.5" markerHeight="5.5" orient="auto-start-reverse">' +
  '<path d="M 0 1 L 9 5 L 0 9 z" fill="context-stroke" style="fill: context-stroke; stroke: none"/></marker>'

function picture(path, title) {
  const name = path.replace(/^pictures\/|\.svg$/g, '')
  // What a drawing wears on other pages (slides/living.py), the theme gives it here.
  const svg = read(path).replace(/<style class="worn">.*?<\/style>\s*<defs>.*?<\/defs>/s, '')
    .replace(/<\?xml.*?\?>|<!--.*?-->|<title>.*?<\/title>/gs, '')
    .replace(/\bid="/g, `id="${name}-`)
    .replace(/url\(#/g, `url(#${name}-`)
    .replace(/href="#/g, `href="#${name}-`)
    .trim()
  return svg.replace(/class="arrow/g, `marker-end="url(#${name}-head)" class="arrow`)
    .replace(/<svg(.*?)>/s, (_, rest) => '<svg' +
      rest.replace(/ (role|aria-label)="[^"]*"/g, '') +
      ` role="img" aria-label="${escapeHtml(title)}" data-picture="${name}">${head(name)}`)
    .replace(/\n\s*/g, '\n')
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
      return path.endsWith('.svg') ? picture(path, tokens[index].content)
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
