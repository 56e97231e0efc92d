"""The site: its links lead somewhere, and it works from a folder, on a phone, in the dark."""

from __future__ import annotations

import functools
import html
import html.parser
import http.server
import os
import pathlib
import re
import threading
import urllib.parse
import zipfile

import pytest

from slides.chromium import CHROMIUM, needs_chromium
from slides.site import pack
from slides.site.browser import browser

SITE = pathlib.Path("slides/site/html").absolute()
ZIP = pathlib.Path("slides/site/site.zip")
AGAIN = pathlib.Path("slides/site/again.zip")
needs_site = pytest.mark.skipif(not SITE.exists(), reason="npm's packages are not installed")
needs_deck = pytest.mark.skipif(not (SITE / "deck/en.html").exists(),
                                reason="without Marp there is no deck")
PHONE = 390  # px
# What a browser asks for on behalf of a page, as opposed to what a reader clicks.
LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src")}


# --- Links ----------------------------------------------------------------------------------------

class Page(html.parser.HTMLParser):
    """The anchors of a page, and the links: tag, attribute, address."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: list[str] = []
        self.links: list[tuple[str, str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.anchors.append(value)
            elif name in ("href", "src") and value is not None and tag not in ("use", "image"):
                self.links.append((tag, name, value))


@functools.lru_cache(maxsize=2)
def pages_of(site: pathlib.Path) -> dict[pathlib.Path, Page]:
    """All but the decks, which are one page with everything in it."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))
            if path.parent.name != "deck" or path.name == "index.html"}


def joined(page: pathlib.Path, link: str) -> pathlib.Path:
    """Where a link leads. By name: in a sandbox each file is a link to another folder."""
    return pathlib.Path(os.path.normpath(page.parent / urllib.parse.unquote(link)))


def dead_links(site: pathlib.Path) -> list[str]:
    pages = pages_of(site)
    found = []
    for path, page in pages.items():
        for tag, name, link in page.links:
            where = f"{path.relative_to(site)}: {link}"
            parts = urllib.parse.urlsplit(link)
            if parts.scheme == "data":
                continue
            if parts.scheme:
                if (tag, name) in LOADED:
                    found.append(f"{where} is loaded from elsewhere")
                continue
            target = joined(path, parts.path) if parts.path else path
            anchor = urllib.parse.unquote(parts.fragment)
            if link.startswith("/"):
                found.append(f"{where} works on a server only")
            elif not target.is_file():
                found.append(f"{where} leads nowhere")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                found.append(f"{where} leads to no place on that page")
    return found


def test_dead_links_are_noticed(tmp_path):
    (tmp_path / "there.html").write_text('<h2 id="a">a</h2>', encoding="utf-8")
    (tmp_path / "index.html").write_text(
        '<a href="there.html#a">good</a><a href="#here" id="here">good</a>'
        '<a href="https://a.b">good</a><a href="gone.html">1</a>'
        '<a href="there.html#b">2</a><a href="/there.html">3</a><a href="sub/">4</a>'
        '<script src="https://a.b/c.js"></script>', encoding="utf-8")
    assert [line.partition(" ")[2] for line in dead_links(tmp_path)] == [
        "gone.html leads nowhere", "there.html#b leads to no place on that page",
        "/there.html works on a server only", "sub/ leads nowhere",
        "https://a.b/c.js is loaded from elsewhere"]


@needs_site
def test_every_link_leads_somewhere():
    found = dead_links(SITE)
    assert not found, "\n".join(found)


@needs_site
def test_anchors_are_unique():
    twice = [f"{path.relative_to(SITE)}: {anchor}" for path, page in pages_of(SITE).items()
             for anchor in set(page.anchors) if page.anchors.count(anchor) > 1]
    assert not twice


@needs_site
def test_every_page_can_be_reached_from_the_first():
    pages = pages_of(SITE)
    seen, todo = set(), [SITE / "index.html"]
    while todo:
        path = todo.pop()
        if path not in seen and path in pages:
            seen.add(path)
            todo += [joined(path, urllib.parse.urlsplit(link).path)
                     for _, _, link in pages[path].links
                     if not urllib.parse.urlsplit(link).scheme]
    assert not sorted(str(path.relative_to(SITE)) for path in set(pages) - seen)


# --- What is there --------------------------------------------------------------------------------

def stages() -> list[str]:
    """Those of the menu, in its order."""
    start = (SITE / "index.html").read_text(encoding="utf-8")
    return re.findall(r'class="stage" href="stages/(\w+)/index.html"', start)


def part(page: str, anchor: str) -> str:
    """What stands on a page below the heading with this anchor."""
    found = re.search(rf'<h2 id="{anchor}".*?</h2>(.*?)(?=<h2 |</section>|</main>)', page,
                      re.DOTALL)
    return found.group(1) if found else ""


@needs_site
def test_every_stage_has_its_page_and_its_step():
    assert len(stages()) >= 10
    assert {path.parent.name for path in SITE.glob("stages/*/main.cc.html")} <= set(stages())
    for before, after in zip(stages(), stages()[1:]):
        page = (SITE / "stages" / before / "index.html").read_text(encoding="utf-8")
        assert f'rel="next" href="../{after}/index.html"' in page
        if (SITE / "stages" / before / "main.cc.html").exists():
            step = (SITE / "diff" / f"{after}.html").read_text(encoding="utf-8")
            assert 'class="new"' in step and 'class="why"' in step


@needs_site
def test_exercises_are_those_of_the_stages():
    all_of_them = (SITE / "exercises.html").read_text(encoding="utf-8")
    counted = 0
    for stage in stages():
        page = (SITE / "stages" / stage / "index.html").read_text(encoding="utf-8")
        here = part(page, "exercises")
        there = part(all_of_them, stage)
        for tag in ("<li>", "<details>"):
            assert here.count(tag) == there.count(tag), stage
        counted += here.count("<li>")
    assert counted >= 30


@needs_site
def test_a_transcript_looks_like_a_terminal_and_code_has_colours():
    page = (SITE / "stages/05_userns/index.html").read_text(encoding="utf-8")
    assert '<figure class="terminal">' in page
    assert '<span class="host">host:~$ </span><span class="typed">id -u</span>' in page
    assert '<span class="cont">05_userns:/# </span><span class="typed">id</span>' in page
    assert '<span class="hljs-type">const</span>' in page
    assert "<!--" not in page
    assert re.search(r'<a href="id_map.cc.html#L\d+">stages/05_userns/id_map.cc</a>', page)


@needs_site
def test_a_source_leads_to_what_it_includes():
    page = (SITE / "stages/05_userns/id_map.cc.html").read_text(encoding="utf-8")
    assert '<a href="../../common/check.h.html">&quot;common/check.h&quot;</a>' in page


@needs_site
def test_the_zip_is_the_folder():
    with zipfile.ZipFile(ZIP) as packed:
        inside = {name: packed.read(name) for name in packed.namelist()}
    outside = {f"{pack.NAME}/{path.relative_to(SITE)}": path.read_bytes()
               for path in SITE.rglob("*") if path.is_file()}
    assert inside == outside


@needs_site
def test_made_again_it_is_the_same():
    """At another hour, and in another place of the world."""
    assert ZIP.read_bytes() == AGAIN.read_bytes()


# --- In a browser, from file:// -------------------------------------------------------------------

def address(path: str) -> str:
    return (SITE / path).as_uri()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(CHROMIUM, tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(name="tab")
def clean_tab(chromium):
    """What a page asks for and complains about is the test's own."""
    chromium.resize(1280, 800)
    chromium.prefer("light")
    chromium.open(address("index.html"))
    chromium.run("localStorage.clear()")
    chromium.asked.clear()
    chromium.errors.clear()
    return chromium


def assert_quiet(tab) -> None:
    assert not tab.errors
    assert not [one for one in tab.asked if not one.startswith(("file://", "data:", "about:"))]


WIDER = """[document.documentElement.scrollWidth, [...document.querySelectorAll('body *')]
  .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
  .filter((one) => !one.closest('pre, .table, svg'))
  .map((one) => one.outerHTML.slice(0, 80)).slice(0, 3)]"""


@needs_site
@needs_chromium
def test_no_page_is_wider_than_a_phone(tab):
    """All pages but the sources, of which a few stand for all."""
    tab.resize(PHONE, 844, phone=True)
    texts = [path.relative_to(SITE) for path in pages_of(SITE)]
    chosen = [str(path) for path in texts if not re.search(r"\.\w+\.html$", path.name)]
    chosen += ["stages/05_userns/id_map.cc.html", "harness/properties/exec.py.html"]
    wide = {}
    for path in chosen:
        tab.open(address(path))
        width, which = tab.run(WIDER)
        if width > PHONE:
            wide[path] = which
    assert not wide
    assert len(chosen) > 30
    assert_quiet(tab)
    tab.run("document.querySelector('main').append(Object.assign(document.createElement('div'),"
            " {style: 'width: 500px; height: 9px'}))")
    assert tab.run(WIDER)[0] > PHONE, "and that is noticed"


@needs_site
@needs_chromium
def test_the_menu_opens_on_a_phone(tab):
    tab.resize(PHONE, 844, phone=True)
    tab.open(address("stages/05_userns/index.html"))
    seen = "document.querySelector('#menu a').checkVisibility()"
    assert tab.run(seen) is False
    tab.run("document.querySelector('button.menu').click()")
    assert tab.run(seen) is True
    tab.resize(1280, 800)
    tab.open(address("stages/05_userns/index.html"))
    assert tab.run(seen) is True, "beside the text"
    assert_quiet(tab)


def search(tab, words: str) -> list[list[str]]:
    """Title, place, address, text of each that was found."""
    tab.run("document.querySelector('search input').value = ''")
    tab.run("document.querySelector('search input').focus()")
    tab.press(words)
    return tab.run("""new Promise((done, failed) => {
      const look = (left) => {
        const found = [...document.querySelectorAll('#found a')]
        if (!found.length && !document.querySelector('#found p')) {
          return left ? setTimeout(look, 20, left - 1) : failed('the search says nothing')
        }
        const text = (one, part) => one.querySelector(part).textContent
        done(found.map((one) => [text(one, 'b'), text(one, 'small'), one.href, text(one, 'span')]))
      }
      setTimeout(look, 100, 1000)
    })""")


@needs_site
@needs_chromium
@pytest.mark.parametrize("page", ["index.html", "stages/05_userns/index.html"])
def test_the_search_finds_words_without_a_server(tab, page):
    tab.open(address(page))
    found = search(tab, "newuidmap")
    assert any(one[2].startswith(f"{address('stages/05_userns/index.html')}#") for one in found)
    assert all("newuidmap" in " ".join(one).lower() for one in found[:3])
    assert search(tab, "xyzzyplugh") == []
    assert_quiet(tab)


@needs_site
@needs_deck
@needs_chromium
def test_the_search_finds_slides(tab):
    contents = (SITE / "deck/index.html").read_text(encoding="utf-8")
    title = html.unescape(re.search(r'<a href="en.html#3">(.*?)</a>', contents).group(1))
    assert [title, "Slide 3"] in [one[:2] for one in search(tab, title)]


@needs_site
@needs_chromium
def test_a_web_server_may_show_it(tab):
    handler = functools.partial(Quiet, directory=SITE.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}/{SITE.name}/"
        tab.open(f"{place}stages/05_userns/index.html")
        found = search(tab, "newuidmap")
        server.shutdown()
    assert found and all(one[2].startswith(place) for one in found)
    assert not tab.errors
    assert not [one for one in tab.asked if not one.startswith((place, "data:", "about:"))]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A plain web server that keeps no log."""

    def log_message(self, *_):
        pass


@needs_site
@needs_chromium
def test_what_was_found_can_be_opened(tab):
    tab.open(address("stages/05_userns/index.html"))
    search(tab, "pivot_root MNT_DETACH")
    tab.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowDown", code="ArrowDown")
    tab.follow("Enter")
    there = tab.run("[location.pathname, document.body.textContent.includes('MNT_DETACH')]")
    assert there[0] != str(SITE / "stages/05_userns/index.html") and there[1]
    assert_quiet(tab)


PAPER = "getComputedStyle(document.documentElement).backgroundColor"


def is_dark(colour: str) -> bool:
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) < 3 * 128


@needs_site
@needs_chromium
def test_light_and_dark_follow_the_system_and_the_switch(tab):
    for scheme in ("light", "dark"):
        tab.prefer(scheme)
        tab.open(address("index.html"))
        assert is_dark(tab.run(PAPER)) == (scheme == "dark")
    tab.run("document.querySelector('button.theme').click()")
    assert not is_dark(tab.run(PAPER)), "the switch wins"
    tab.open(address("stages/05_userns/index.html"))
    assert not is_dark(tab.run(PAPER)), "on the next page, too"
    assert_quiet(tab)


@needs_site
@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_a_step_removes_and_adds_is_marked(tab, scheme):
    tab.prefer(scheme)
    tab.open(address("diff/05_userns.html"))
    colours = [tab.run(f"getComputedStyle(document.querySelector('{which}')).backgroundColor")
               for which in (".row.same code", ".row .old", ".row .new", ".why")]
    assert len(set(colours)) == 4, colours


@needs_site
@needs_chromium
def test_answers_unfold(tab):
    tab.open(address("exercises.html"))
    button = "document.querySelector('button.fold')"
    answers = tab.run("document.querySelectorAll('main details').length")
    assert tab.run(f"{button}.hidden") == (answers == 0)
    if answers:
        assert tab.run("document.querySelectorAll('main details[open]').length") == 0
        tab.run(f"{button}.click()")
        assert tab.run("document.querySelectorAll('main details[open]').length") == answers
    assert_quiet(tab)


@needs_site
@needs_deck
@needs_chromium
def test_the_decks_are_there(tab):
    decks = [path for path in SITE.glob("deck/*.html") if path.name != "index.html"]
    contents = pages_of(SITE)[SITE / "deck/index.html"]
    for deck in decks:
        slides = [link for _, _, link in contents.links if link.startswith(f"{deck.name}#")]
        tab.open(deck.as_uri())
        assert tab.run("document.querySelectorAll('svg[data-marpit-svg]').length") == len(slides)
        tab.open(f"{deck.as_uri()}#3")
        shown = tab.run("document.querySelector('.bespoke-marp-active section')?.textContent")
        assert shown
    assert_quiet(tab)


@needs_site
@needs_chromium
def test_a_request_to_elsewhere_would_be_noticed(tab):
    tab.run("new Promise((done) => { const it = new Image(); it.onerror = done;"
            " it.src = 'https://example.invalid/picture.png' })")
    assert "https://example.invalid/picture.png" in tab.asked
    assert tab.errors
