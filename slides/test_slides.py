"""The deck as the room sees it: every slide measured in a browser, and what it is made of."""

from __future__ import annotations

import html
import itertools
import json
import os
import pathlib
import re
import subprocess

import pytest

from slides import deck
from slides.chromium import CHROMIUM, needs_chromium

SLIDES = pathlib.Path("slides")
DECK = (SLIDES / "deck.md").read_text(encoding="utf-8")
THEME = (SLIDES / "theme.css").read_text(encoding="utf-8")
BUILT = {"en": SLIDES / "slides.html", "ru": SLIDES / "slides.ru.html"}
STAGES = ["01_exec", "02_chroot", "03_userspace", "04_namespaces", "05_userns", "06_pivot_root",
          "07_cgroups", "08a_overlayfs", "08b_seccomp", "08c_network", "09_lsm",
          "10_ebpf", "11_oci"]

needs_deck = pytest.mark.skipif(not all(page.exists() for page in BUILT.values()),
                                reason="without Marp there is no deck: ./setup.sh installs it")

FEWEST, MOST = 90, 116
QUESTIONS = 5  # minutes that a track leaves at least, for questions and for typing
SPARE = 5  # minutes that skipping saves in a track which has slides to skip
SMALLEST_CODE, SMALLEST_TEXT, SMALLEST_IN_PICTURE = 18, 16, 20  # px, of a slide of 1280 x 720
CONTRAST = 4.5  # WCAG 2, level AA

LIVING = re.compile(r"<!-- (?:snippet|diff|table|plot|before|not run):.*?-->", re.DOTALL)

# Goes to the end of the page. The slides that must be found faulty prove that it measures.
# What the page asks the network for, or any other file, is refused and reported.
MEASURE = r"""
<style>
  svg[data-marpit-svg] { display: block !important; content-visibility: visible !important; }
  @media screen { .bespoke-marp-slide { position: static !important; } }
</style>
<script>
document.addEventListener('securitypolicyviolation', (event) => asked.push(event.blockedURI))
const asked = []

function addFaultySlides() {
  const slides = document.querySelectorAll('svg[data-marpit-svg]')
  const faulty = (content) => {
    const copy = slides[1].cloneNode(true)
    copy.querySelector('section').innerHTML = content
    slides[slides.length - 1].after(copy)
  }
  faulty('<pre style="--size: 21px"><code>' + 'too wide '.repeat(40) + '</code></pre>')
  faulty('<p>too long</p>'.repeat(40))
  faulty('<p style="font-size: 9px">too small</p>')
  faulty('<p><svg data-picture="x" viewBox="0 0 1152 500"><text x="5" y="50">this lies</text>' +
    '<text x="9" y="55">on that</text><text x="1150" y="90">out of it</text>' +
    '<rect x="300" y="200" width="120" height="50"/><text x="302" y="230">too long for it</text>' +
    '</svg></p>')
  new Image().src = 'https://example.org/picture.png'
}

function measure(slide) {
  const section = slide.querySelector('section')
  const frame = section.getBoundingClientRect()
  const scale = frame.width / 1280
  const box = (element) => {
    const range = document.createRange()
    range.selectNodeContents(element)
    const r = range.getBoundingClientRect()
    return [(r.left - frame.left) / scale, (r.top - frame.top) / scale,
      (r.right - frame.left) / scale, (r.bottom - frame.top) / scale]
  }
  const rects = [...section.querySelectorAll('svg[data-picture] rect')].map((rect) => {
    const r = rect.getBoundingClientRect()
    return [(r.left - frame.left) / scale, (r.top - frame.top) / scale,
      (r.right - frame.left) / scale, (r.bottom - frame.top) / scale]
  })
  // Whether a text is neither in a box nor beside it. A line of text has air above and below.
  const crosses = ([left, top, right, bottom]) => rects.some(([x0, y0, x1, y1]) =>
    Math.min(right, x1) - Math.max(left, x0) > 3 && Math.min(bottom, y1) - Math.max(top, y0) > 12 &&
    !(left >= x0 - 1 && right <= x1 + 1 && top >= y0 - 10 && bottom <= y1 + 10))
  const pieces = []
  for (const element of section.querySelectorAll('h1, h2, h3, p, li, pre, td, th, header, text')) {
    if (!element.textContent.trim() || element.querySelector('svg')) continue
    if (getComputedStyle(element).display === 'none') continue
    const picture = element.closest('svg[data-picture]')
    const zoom = picture ? picture.getScreenCTM().a / slide.getScreenCTM().a : 1
    pieces.push({
      kind: element.localName,
      text: element.textContent.trim().slice(0, 60),
      box: box(element),
      crosses: picture !== null && crosses(box(element)),
      size: parseFloat(getComputedStyle(element).fontSize) * zoom,
      wide: element.scrollWidth > element.clientWidth + 1 && element.localName === 'pre',
    })
  }
  return {
    title: (section.querySelector('h1, h2') ?? section).textContent.trim().slice(0, 60),
    tall: section.scrollHeight - section.clientHeight,
    wide: section.scrollWidth - section.clientWidth,
    pieces,
  }
}

addEventListener('load', async () => {
  addFaultySlides()
  await document.fonts.ready
  await new Promise((done) => setTimeout(done, 300))
  const report = document.createElement('script')
  report.type = 'application/json'
  report.id = 'measured'
  report.textContent = JSON.stringify({
    asked, fonts: [...document.fonts].filter((font) => font.status === 'loaded').length,
    slides: [...document.querySelectorAll('svg[data-marpit-svg]')].map(measure),
  }).replace(/</g, '\\u003c')
  document.body.append(report)
})
</script>
"""
POLICY = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; font-src data:;
 script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:">"""
FAULTY = 4  # slides


def run_chromium(scratch: pathlib.Path, *words: str) -> str:
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--virtual-time-budget=5000", f"--user-data-dir={scratch}/profile",
         *words],
        capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"HOME": str(scratch)})
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module", params=BUILT)
def measured(request, tmp_path_factory):
    """What the browser reports of an edition of the deck: what it `asked` for, its `slides`."""
    scratch = tmp_path_factory.mktemp("chromium")
    page = BUILT[request.param].read_text(encoding="utf-8")
    assert page.count("<head>") == page.count("</body>") == 1
    (scratch / "deck.html").write_text(
        page.replace("<head>", "<head>" + POLICY).replace("</body>", MEASURE + "</body>"),
        encoding="utf-8")
    dom = run_chromium(scratch, "--window-size=1280,800", "--dump-dom",
                       f"file://{scratch}/deck.html")
    report = re.search(r'<script type="application/json" id="measured">(.*?)</script>', dom,
                       re.DOTALL)
    assert report, "the script that measures has not come to its end"
    return json.loads(report.group(1))


def faults_of(slide):
    """Text that nobody could read."""
    for piece in slide["pieces"]:
        left, top, right, bottom = piece["box"]
        what = f"{piece['kind']} “{piece['text']}”"
        lowest = 720 if piece["kind"] == "header" else 690
        if left < -1 or top < -1 or right > 1281 or bottom > lowest:
            yield f"{what} reaches {left:.0f},{top:.0f} to {right:.0f},{bottom:.0f}"
        if piece["crosses"]:
            yield f"{what} crosses the edge of a box"
        if piece["wide"]:
            yield f"{what} is cut off at its right"
        smallest = {"pre": SMALLEST_CODE, "text": SMALLEST_IN_PICTURE}.get(
            piece["kind"], SMALLEST_TEXT)
        if piece["size"] < smallest - 0.1:
            yield f"{what} has {piece['size']:.1f} px, less than {smallest}"
    if slide["tall"] > 1 or slide["wide"] > 1:
        yield f"{slide['wide']} px too wide, {slide['tall']} px too high"
    drawn = [piece for piece in slide["pieces"] if piece["kind"] in ("text", "header", "pre")]
    for one, other in itertools.combinations(drawn, 2):
        a, b = one["box"], other["box"]
        wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        if wide > 2 and high > 8:  # a line of text has some air above and below
            yield f"“{one['text']}” lies on “{other['text']}”"


@needs_deck
@needs_chromium
def test_nothing_overflows_and_all_can_be_read(measured):
    slides, faulty = measured["slides"][:-FAULTY], measured["slides"][-FAULTY:]
    for slide, said in zip(faulty, ["“this lies” lies on “on that”", "has 9.0 px, less than 16",
                                    " px too high", "is cut off at its right"]):
        assert said in " ".join(faults_of(slide))
    assert "“out of it” reaches" in " ".join(faults_of(faulty[0]))
    assert "“too long for it” crosses" in " ".join(faults_of(faulty[0]))
    found = [f"{number} {slide['title']}: {fault}" for number, slide in enumerate(slides, 1)
             for fault in faults_of(slide)]
    assert not found, "\n".join(found)


@needs_deck
@needs_chromium
def test_asks_the_network_for_nothing(measured):
    assert measured["asked"] == ["https://example.org/picture.png"], "that one is the test's own"
    assert measured["fonts"] >= 3, "its fonts are inside"


@needs_deck
@needs_chromium
def test_number_of_slides(measured):
    assert FEWEST <= len(measured["slides"]) - FAULTY <= MOST


@needs_deck
@pytest.mark.parametrize("language", BUILT)
def test_notes_are_for_the_speaker_and_nothing_else_is(language):
    page = BUILT[language].read_text(encoding="utf-8")
    notes = [html.unescape(note) for note in
             re.findall(r'<div class="bespoke-marp-note"[^>]*>(.*?)</div>', page, re.DOTALL)]
    assert len(notes) == len(deck.parts(DECK))
    assert not [note for note in notes if not re.match(r"\s*<p>[\d.]+ (min|мин)\. ", note)]
    assert not [note for note in notes if not re.search(r"\[(Tracks|Варианты): .*\]", note)]
    assert not [note for note in notes
                if LIVING.search(note) or "snippet:" in note or "track:" in note]


def test_every_slide_has_its_title_time_and_track():
    assert len(deck.slides(DECK)) == len(deck.parts(DECK))  # slides() refuses the others


@pytest.mark.parametrize("track", deck.TRACKS)
def test_a_track_leaves_time_for_questions_and_can_be_shortened(track):
    slides = deck.slides(DECK)
    minutes, pauses = deck.minutes_of(slides, track)
    assert track * 0.8 <= minutes + pauses <= track - QUESTIONS
    assert all(one.is_in(track) for one in slides if one.track < track)
    if track > deck.TRACKS[0]:
        assert minutes - deck.minutes_of(slides, track, skip=True)[0] >= SPARE
        assert pauses >= 10


def test_a_break_comes_at_the_end_of_a_stage_and_an_exercise_is_of_that_stage():
    for one in deck.slides(DECK):
        for pause in one.pauses:
            assert one.title == "What still leaks", one.title
            assert set(pause.tracks) <= set(deck.TRACKS) and all(map(one.is_in, pause.tracks))
            assert pause.stage == (one.stage if pause.kind == "exercise" else "")


@pytest.mark.parametrize("text", [
    "\n## No note\n<!-- track: 45 -->\n",
    "\n## No track\n<!--\n1 min. Note.\n-->\n",
    "\n<!-- track: 45 -->\nNo title\n<!--\n1 min. Note.\n-->\n",
    "\n## No minutes\n<!-- track: 45 -->\n<!--\nNote.\n-->\n",
])
def test_a_slide_without_title_time_or_track_is_refused(text):
    with pytest.raises(ValueError, match="slide 1, "):
        deck.slides("---\nlang: en\n---\n" + text)


def test_every_picture_is_shown_and_there():
    shown = set(re.findall(r"!\[[^\]]+\]\((pictures/[^)]+)\)", DECK))
    there = {str(path.relative_to(SLIDES)) for path in SLIDES.glob("pictures/*.svg")}
    assert shown == there
    assert len(shown) >= 15


def parts_by_stage():
    """Stage -> the text of its slides."""
    parts, stage = {}, ""
    for slide in deck.parts(DECK):
        if found := re.search(r"<!-- stage: (\S+) -->", slide):
            stage = found.group(1)
        parts[stage] = parts.get(stage, "") + slide
    return parts


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_its_picture_code_run_and_what_leaks(stage):
    text = parts_by_stage()[stage]
    assert re.search(r"\(pictures/\w+\.svg\)", text)
    assert f"<!-- snippet: stages/{stage}/" in text
    assert re.search(rf"^(host|cont):\S*[$#] .*\b{stage}\b", text, re.MULTILINE), "it is run"
    assert text.rstrip().count("<!-- class: leaks -->") == 1


def test_all_stages_are_told():
    assert [stage for stage in parts_by_stage() if stage not in ("", "none")] == STAGES


@needs_deck
@pytest.mark.parametrize("page", BUILT.values(), ids=BUILT)
@pytest.mark.parametrize("stage", STAGES)
def test_the_strip_of_stages_has_all_and_marks_the_present_one(page, stage):
    number, name = stage.split("_", 1)
    strip = "".join(f"<b>{number} {name}</b>" if one == stage else f"<i>{one.split('_')[0]}</i>"
                    for one in STAGES)
    assert f">{strip}</header>" in page.read_text(encoding="utf-8")


def luminance(colour):
    digits = colour.lstrip("#")
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    red, green, blue = (value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4
                        for value in (int(digits[i:i + 2], 16) / 255 for i in (0, 2, 4)))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_black_on_white_has_the_greatest_contrast():
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777", "#777777") == 1


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_can_be_told_from_what_it_is_on(scheme):
    colours = {name: pair[scheme] for name, *pair in
               re.findall(r"--([\w-]+): light-dark\((#\w+), (#\w+)\);", THEME)}
    pairs = [(name, ground) for name in ("ink", "soft", "host", "cont", "kernel", "leak", "good")
             for ground in ("paper", "panel", f"{name}-fill") if ground in colours]
    assert len(pairs) == 7 * 2 + 5
    faint = {pair: contrast(*(colours[name] for name in pair)) for pair in pairs}
    assert not {pair: ratio for pair, ratio in faint.items() if ratio < CONTRAST}
