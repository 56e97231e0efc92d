// How Marp makes slides of deck.md: pictures become part of the page, so that they follow its
// colours; the fonts do, so that it looks the same everywhere; and what tells slides/living.py
// where a living part comes from is shown above it, and not to the speaker.

import { readFileSync } from 'node:fs'
import { Marp } from '@marp-team/marp-core'
import { consoleLines, diffLines, escapeHtml, picture, translated } from './blocks.mjs'

const read = (path, encoding = 'utf8') => readFileSync(`slides/${path}`, encoding)

function theme() {
  return read('theme.css').replace(/url\("node_modules\/(.+?)"\)/g, (_, path) => {
    const font = readFileSync(new URL(`node_modules/${path}`, import.meta.url), 'base64')
    return `url("data:font/woff2;base64,${font}")`
  })
}

// "<!-- snippet: stages/05_userns/id_map.cc write_id_maps -->"
const MEASURED = /^\*((?:Measured|Измерено) .*)\*$/gm
const LIVING = /^<!-- (snippet|diff|table|plot|before|not run): *(.*?) *-->$/gms

const STAGE = /^<!-- stage: (\d\S+) -->$/gm

// What slides/deck.py reads is for the speaker: it goes below the note.
const TRACK = /^<!-- track: (\d+)(, late: skip)? -->\n/m
const PAUSE = /^<!-- (exercise|break): ([\d ]+), (\d+) min(?:, (\w+))? -->\n/gm
const TRACKS = [45, 90, 180]
const SAID = {
  en: { track: 'Tracks', skip: 'if you are late, skip', exercise: 'then an exercise of', break: 'then a break', min: 'min' },
  ru: { track: 'Варианты', skip: 'если опаздываете, пропустите', exercise: 'затем упражнение из', break: 'затем перерыв', min: 'мин' },
}

function tracks(slide, lang) {
  const [, shortest, late] = slide.match(TRACK) ?? []
  if (!shortest) return slide
  const said = SAID[lang]
  const pauses = [...slide.matchAll(PAUSE)].map(([, kind, of, minutes, stage]) =>
    `${of.replaceAll(' ', ', ')}: ${said[kind]}${stage ? ` ${stage}` : ''}, ${minutes} ${said.min}`)
  const lines = [`${said.track}: ${TRACKS.filter((track) => track >= shortest).join(', ')}` +
    (late ? `; ${said.skip}` : ''), ...pauses]
  return slide.replace(TRACK, '').replace(PAUSE, '').replace(/\n-->\s*$/, `\n[${lines.join('. ')}.]$&`)
}

function sources(markdown) {
  return markdown.replace(LIVING, (_, kind, words) => {
    const [first, second] = words.split(/\s+/)
    const says = { snippet: first, diff: `main.cc, ${first} → ${second}` }[kind]
    return says ? `<p class="source">${escapeHtml(says)}</p>\n` : ''
  }).replace(MEASURED, (_, says) => `<p class="source">${escapeHtml(says.replace(/`/g, '').replace(/-/g, '-\u2060'))}</p>`)
}

// As large as a block's widest line allows, and its number of lines.
function sizeOf(text) {
  const lines = text.trimEnd().split('\n')
  const widest = Math.max(...lines.map((line) => line.replace(/\t/g, ' '.repeat(8)).length))
  const size = Math.min(26, 1080 / 0.6 / widest, 430 / 1.4 / lines.length)
  return Math.max(18, Math.floor(size * 2) / 2)
}

// The stages of the deck, with the present one marked.
function rail(stages, present) {
  return stages.map((stage) => {
    const [number, ...words] = stage.split('_')
    return stage === present ? `<b>${number} ${words.join('_')}</b>` : `<i>${number}</i>`
  }).join('')
}

class Deck extends Marp {
  constructor(options) {
    super({ ...options, html: true, math: false, emoji: { unicode: false, shortcode: false } })
    this.themeSet.default = this.themeSet.add(theme())
    this.customDirectives.local.stage = (stage) =>
      ({ header: this.stages.includes(stage) ? rail(this.stages, stage) : '' })
    this.markdown.renderer.rules.image = (tokens, index, options_, env, self) => {
      const path = tokens[index].attrGet('src')
      return path.endsWith('.svg')
        ? picture(translated(read(path), this.words), path.replace(/^pictures\/|\.svg$/g, ''), tokens[index].content)
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
    const [, lang] = markdown.match(/^lang: (\w+)$/m)
    this.stages = [...markdown.matchAll(STAGE)].map(([, stage]) => stage)
    this.words = lang === 'en' ? {} : JSON.parse(read(`words.${lang}.json`))
    const slides = markdown.split(/^---$/m).map((slide) => tracks(slide, lang)).join('---')
    return super.render(sources(slides), environment)
  }
}

export default { engine: Deck, options: { title: 'Containers under the hood' } }
