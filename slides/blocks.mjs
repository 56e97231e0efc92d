// What the deck and the site (slides/site) show in the same way: transcripts, differences, pictures.

export const escapeHtml = (text) =>
  text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;')

// A transcript: the prompt, what is typed, what is printed.
export function consoleLines(text) {
  return text.split('\n').map((line) => {
    const [, prompt, typed] = line.match(/^((?:host|cont|\d\w+):\S*[$#] ?)(.*)$/s) ?? []
    if (prompt) {
      return `<span class="${prompt.startsWith('host:') ? 'host' : 'cont'}">${escapeHtml(prompt)}</span>` +
        `<span class="typed">${escapeHtml(typed)}</span>`
    }
    if (line.startsWith('> ')) {
      return `<span class="said">&gt; </span><span class="typed">${escapeHtml(line.slice(2))}</span>`
    }
    return `<span class="said">${escapeHtml(line)}</span>`
  }).join('\n')
}

export function diffLines(text) {
  const kinds = { '+': 'added', '-': 'removed', '@': 'place' }
  return text.split('\n').map((line) =>
    `<span class="${kinds[line[0]] ?? 'kept'}">${escapeHtml(line) || ' '}</span>`).join('')
}

// The tip of every arrow, in the arrow's colour.
const head = (name) => `<marker id="${name}-head" viewBox="0 0 10 10" refX="8.5" refY="5" ` +
  'markerWidth="5.5" markerHeight="5.5" orient="auto-start-reverse">' +
  '<path d="M 0 1 L 9 5 L 0 9 z" fill="context-stroke" style="fill: context-stroke; stroke: none"/></marker>'

// `svg` as part of a page, called `name` in it, so that it follows the page's colours.
export function picture(svg, name, title) {
  // What a drawing wears elsewhere (slides/living.py), the theme gives it here.
  const drawing = svg.replace(/<style class="worn">.*?<\/style>\s*<defs>.*?<\/defs>/s, '')
    .replace(/<\?xml.*?\?>|<!--.*?-->|<title>.*?<\/title>/gs, '')
    .replace(/\bid="/g, `id="${name}-`)
    .replace(/url\(#/g, `url(#${name}-`)
    .replace(/href="#/g, `href="#${name}-`)
    .trim()
  return drawing.replace(/class="arrow/g, `marker-end="url(#${name}-head)" class="arrow`)
    .replace(/<svg(.*?)>/s, (_, rest) => '<svg' +
      rest.replace(/ (role|aria-label)="[^"]*"/g, '') +
      ` role="img" aria-label="${escapeHtml(title)}" data-picture="${name}">${head(name)}`)
    .replace(/\n\s*/g, '\n')
}

// `svg` with its words in another language; what `words` has not stays.
export const translated = (svg, words) =>
  svg.replace(/(<text[^>]*>)(.*?)(<\/text>)/gs, (_, begin, text, end) => begin + (words[text] ?? text) + end)
