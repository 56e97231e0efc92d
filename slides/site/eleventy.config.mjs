// How Eleventy makes one site of what Bazel hands it: the repository's pages, the deck, the sources,
// and what each stage adds. Every address is relative, so that the site works from a folder.

import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { about, highlight, linesOf, listing } from './lib/code.mjs'
import { createMarkdown, outline, partBelow } from './lib/markdown.mjs'
import { ancestors, relative, Repository } from './lib/repository.mjs'
import { documents, slidesOf } from './lib/search.mjs'

const here = (path) => new URL(path, import.meta.url)

// The deck's colours and the style of its pictures.
function theme(css) {
  const colours = css.match(/^ +--[\w-]+: light-dark\(.*$/gm).join('\n')
  const pictures = css.split('/* Pictures. */\n')[1].replace(/^section .*\n/gm, '')
  return `:root {\n${colours}\n}\n${pictures}`
}

// One stage's main.cc beside the next's, each line coloured as part of its whole text.
function sideBySide(repository, step) {
  const side = (which) => linesOf(highlight(step.hunks.flatMap((hunk) => hunk[which]).join('\n'), 'cpp'))
  const before = side('before')
  const after = side('after')
  return {
    ...step,
    hunks: step.hunks.map((hunk) => {
      const old = before.splice(0, hunk.before.length)
      const now = after.splice(0, hunk.after.length)
      const rows = Array.from({ length: Math.max(old.length, now.length) },
        (_, index) => ({ before: old[index], after: now[index] }))
      return { same: hunk.same, reasons: hunk.reasons, rows }
    }),
  }
}

// Folders with what their files say of themselves: x.h, x.cc and x_test.cc in one place.
function folders(repository) {
  const found = new Map()
  for (const path of repository.sources) {
    const folder = dirname(path)
    const name = basename(path)
    const stem = name.replace(/(_for_test|_test)?\.\w+$/, '')
    if (!found.has(folder)) found.set(folder, new Map())
    const groups = found.get(folder)
    if (!groups.has(stem)) groups.set(stem, { about: '', files: [] })
    const group = groups.get(stem)
    group.files.push({ name, address: repository.address(path) })
    if (!group.about || name.endsWith('.h')) group.about = about(repository.text(path)) || group.about
  }
  return [...found].map(([path, groups]) => ({ path, groups: [...groups.values()], address: repository.address(path) }))
}

export default function (eleventy) {
  const repository = new Repository(process.env.SITE_MANIFEST)
  const steps = JSON.parse(readFileSync(process.env.SITE_STEPS, 'utf8'))
  const md = createMarkdown(repository)
  const slides = repository.decks.flatMap((deck) => slidesOf(repository, md, deck))

  const pages = repository.pages.map((path) => {
    const address = repository.address(path)
    const sections = outline(md, repository.text(path), { path, address })
    return { path, address, sections, title: sections[0].title, stage: repository.stageOf(path) }
  })
  const allFolders = folders(repository)
  const inside = (path) => allFolders.filter((folder) => folder.path === path || folder.path.startsWith(`${path}/`))
  const above = (path) => ancestors(path).reverse()
    .map((folder) => ({ name: basename(folder), address: repository.address(folder) }))
  const bareFolders = [...repository.folders]
    .filter((path) => !repository.has(join(path, 'README.md')) && inside(path).length)
  const stages = repository.stages.map((stage, index, all) => ({
    ...stage,
    address: repository.address(stage.folder),
    before: all[index - 1]?.number,
    diff: steps.some(({ after }) => after === stage.name) && `diff/${stage.name}.html`,
    page: pages.find(({ path }) => path === `${stage.folder}/README.md`),
    groups: allFolders.find(({ path }) => path === stage.folder)?.groups ?? [],
    exercises: partBelow(md, /^Exercises/, repository.text(`${stage.folder}/README.md`),
      { path: `${stage.folder}/README.md`, address: 'exercises.html' }),
  }))

  for (const page of pages) {
    eleventy.addTemplate(page.path, repository.text(page.path), {
      layout: 'page.njk',
      permalink: page.address,
      path: page.path,
      address: page.address,
      title: page.title,
      toc: page.sections.filter(({ level, id }) => id && level <= 3),
      stage: page.stage && stages.find(({ name }) => name === page.stage.name),
    })
  }

  eleventy.setLibrary('md', md)
  eleventy.setUseGitIgnore(false)
  eleventy.addFilter('from', (to, from) => relative(from, to))
  eleventy.addFilter('inline', (text) => md.renderInline(text.replace(/\[([^\]]+)\](?:\([^)]*\))?/g, '$1'),
    { path: '', address: '' }))
  eleventy.addFilter('lead', (html) => html.slice(0, html.indexOf('</p>') + 4))
  eleventy.addFilter('afterLead', (html) => html.slice(html.indexOf('</p>') + 4))
  eleventy.addFilter('of', (list, key, value) => list.filter((one) => one[key] === value))
  for (const [name, value] of Object.entries({
    stages,
    pages: pages.filter(({ path, stage }) => !stage && path !== 'README.md'),
    steps: steps.map((step) => sideBySide(repository, step)),
    sources: repository.sources.map((path) => ({ path, address: repository.address(path), above: above(path) })),
    folders: allFolders,
    bareFolders: bareFolders.map((path) => ({
      path,
      address: repository.address(path),
      above: above(path),
      inside: inside(path),
    })),
    decks: repository.decks,
    slides,
    glossary: repository.address('GLOSSARY.md'),
  })) {
    eleventy.addGlobalData(name, value)
  }
  eleventy.addFilter('listing', (path) => listing(repository, path))

  eleventy.on('eleventy.after', ({ dir }) => {
    const out = (path) => {
      mkdirSync(dirname(join(dir.output, path)), { recursive: true })
      return join(dir.output, path)
    }
    for (const path of repository.pictures) copyFileSync(repository.onDisk(path), out(path))
    for (const deck of repository.decks) copyFileSync(repository.onDisk(deck.built), out(deck.address))
    writeFileSync(out('style.css'), theme(repository.text('slides/theme.css')) + readFileSync(here('assets/style.css'), 'utf8'))
    copyFileSync(here('assets/site.js'), out('site.js'))
    copyFileSync(here('node_modules/minisearch/dist/umd/index.js'), out('minisearch.js'))
    const known = documents(repository, pages, slides)
    // A script, because a page of a folder may not fetch anything.
    writeFileSync(out('search.js'), `window.searched = ${JSON.stringify(known)}\n`)
  })

  return {
    dir: { input: 'slides/site/templates', includes: 'layouts', output: process.env.SITE_OUT },
    markdownTemplateEngine: false,
    htmlTemplateEngine: 'njk',
    templateFormats: ['njk', 'md'],
  }
}
