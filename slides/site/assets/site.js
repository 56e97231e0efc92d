// The search, the switch between light and dark, and what copies commands.
'use strict'

const root = document.currentScript.dataset.root
const input = document.querySelector('search input')
const found = document.getElementById('found')
const MOST = 12

// ---- Light and dark

document.querySelector('button.theme').addEventListener('click', () => {
  const html = document.documentElement
  const dark = getComputedStyle(html).colorScheme === 'dark' ||
    (getComputedStyle(html).colorScheme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches)
  html.dataset.theme = dark ? 'light' : 'dark'
  try {
    localStorage.setItem('theme', html.dataset.theme)
  } catch {
    // Some browsers keep nothing for a file: the choice then lasts for this page.
  }
})

// ---- Search

let index

// By <script>, because a page that was opened as a file may not fetch.
function load(name) {
  return new Promise((done, failed) => {
    const script = document.createElement('script')
    script.src = (root ? `${root}/` : '') + name
    script.onload = done
    script.onerror = failed
    document.head.append(script)
  })
}

async function prepare() {
  await Promise.all([load('minisearch.js'), load('search.js')])
  const made = new MiniSearch({
    fields: ['title', 'where', 'text'],
    searchOptions: {
      boost: { title: 4, where: 1.5 },
      prefix: true,
      fuzzy: (term) => (term.length > 4 ? 0.15 : 0),
      combineWith: 'AND',
      // What is explained comes before what is shown, and that before what is a comment.
      boostDocument: (id) => window.searched[id].weight,
    },
    // pivot_root as a whole, and by its parts.
    tokenize: (text) => text.split(/[^\p{L}\p{N}_]+/u).filter(Boolean)
      .flatMap((word) => (/._./.test(word) ? [word, ...word.split('_').filter(Boolean)] : [word])),
  })
  made.addAll(window.searched)
  return made
}

const escaped = (text) => text.replace(/[&<>"]/g, (one) => `&#${one.charCodeAt(0)};`)

// The words around the first that was found, with all that were found marked.
function excerpt(text, words) {
  const pattern = new RegExp(words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|'), 'giu')
  const first = Math.max(0, text.search(pattern))
  const begin = first < 50 ? 0 : text.indexOf(' ', first - 50) + 1
  const piece = text.slice(begin, begin + 170 < text.length ? text.lastIndexOf(' ', begin + 170) : undefined)
  const parts = []
  let last = 0
  for (const match of piece.matchAll(pattern)) {
    parts.push(escaped(piece.slice(last, match.index)), `<mark>${escaped(match[0])}</mark>`)
    last = match.index + match[0].length
  }
  return (begin ? '… ' : '') + parts.join('') + escaped(piece.slice(last)) + (begin + piece.length < text.length ? ' …' : '')
}

function showFound(html) {
  found.innerHTML = html
  found.hidden = !html
  input.setAttribute('aria-expanded', String(Boolean(html)))
  input.removeAttribute('aria-activedescendant')
}

async function search() {
  const query = input.value.trim()
  if (query.length < 2) return showFound('')
  index ??= prepare()
  const engine = await index
  if (query !== input.value.trim()) return
  let results = engine.search(query)
  if (!results.length) results = engine.search(query, { combineWith: 'OR' })
  showFound(results.slice(0, MOST).map((result, number) => {
    const { title, where, address, text } = window.searched[result.id]
    return `<a role="option" id="found-${number}" href="${escaped((root ? `${root}/` : '') + address)}">` +
      `<b>${escaped(title)}</b><small>${escaped(where)}</small><span>${excerpt(text, result.terms)}</span></a>`
  }).join('') || '<p>Nothing found.</p>')
}

function move(by) {
  const all = [...found.querySelectorAll('a')]
  if (!all.length) return
  const now = all.findIndex((one) => one.classList.contains('chosen'))
  all[now]?.classList.remove('chosen')
  const next = all[(now + by + all.length + (now < 0 && by < 0 ? 1 : 0)) % all.length]
  next.classList.add('chosen')
  next.scrollIntoView({ block: 'nearest' })
  input.setAttribute('aria-activedescendant', next.id)
}

input.addEventListener('focus', () => { index ??= prepare() }, { once: true })
input.addEventListener('input', search)
input.addEventListener('focus', search)
input.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') {
    showFound('')
    input.blur()
  } else if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
    event.preventDefault()
    move(event.key === 'ArrowDown' ? 1 : -1)
  } else if (event.key === 'Enter') {
    (found.querySelector('a.chosen') ?? found.querySelector('a'))?.click()
  }
})
found.addEventListener('click', (event) => {
  if (event.target.closest('a')) showFound('')
})
document.addEventListener('click', (event) => {
  if (!event.target.closest('search')) showFound('')
})
document.addEventListener('keydown', (event) => {
  const typing = event.target.closest('input, textarea, [contenteditable]')
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault()
    input.focus()
  }
})

// ---- Copies what is typed in a transcript, or a whole block.

if (navigator.clipboard) {
  for (const block of document.querySelectorAll('figure.terminal, figure.code:not(.listing, .diff)')) {
    const button = document.createElement('button')
    button.className = 'copy'
    button.textContent = 'Copy'
    button.title = block.matches('.terminal') ? 'Copies the commands' : 'Copies the code'
    button.addEventListener('click', async () => {
      const typed = [...block.querySelectorAll('.typed')].map(({ textContent }) => textContent)
      await navigator.clipboard.writeText(block.matches('.terminal') ? typed.join('\n') : block.querySelector('code').textContent)
      button.textContent = 'Copied'
      setTimeout(() => { button.textContent = 'Copy' }, 1500)
    })
    block.append(button)
  }
}

// ---- Answers

const answers = [...document.querySelectorAll('main details:not(.slides)')]
const fold = document.querySelector('button.fold')
if (fold && answers.length) {
  fold.hidden = false
  fold.addEventListener('click', () => {
    const open = answers.some((one) => !one.open)
    for (const one of answers) one.open = open
    fold.textContent = open ? 'Fold all answers' : 'Open all answers'
  })
}

// An address may lead into an answer that is folded.
function unfold() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)))
  const folded = target && target.closest('details:not([open])')
  if (folded) {
    folded.open = true
    target.scrollIntoView()
  }
}
addEventListener('hashchange', unfold)
unfold()

// ---- Which heading is being read

const links = new Map([...document.querySelectorAll('aside a[href^="#"]')].map((link) => [link.hash.slice(1), link]))
if (links.size) {
  const headings = [...links.keys()].map((id) => document.getElementById(decodeURIComponent(id))).filter(Boolean)
  const mark = () => {
    const read = headings.findLast((heading) => heading.getBoundingClientRect().top < 140) ?? headings[0]
    for (const [id, link] of links) link.classList.toggle('read', decodeURIComponent(id) === read.id)
  }
  addEventListener('scroll', mark, { passive: true })
  mark()
  // On a phone the list would push the text down.
  if (matchMedia('(max-width: 1199px)').matches) document.querySelector('aside details').open = false
}
