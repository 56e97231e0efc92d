"""Opens the lab in a headless browser and runs its lessons, as a person would."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import pathlib
import tempfile
import threading
import time
from typing import Any, Dict, Iterator, List, Union

from lab.firefox import FIREFOX, Firefox, firefox
from slides.chromium import CHROMIUM
from slides.site.browser import Browser, browser

PATIENCE = 180  # s, for the machine to be there, and for a step
WINDOW = (1600, 1000)
TERMINALS = ("user", "root", "user2", "root2")
BUSY = 20  # s after which a terminal is thought to run something that does not end
BROWSERS = {"chromium": (browser, CHROMIUM), "firefox": (firefox, FIREFOX)}


@dataclasses.dataclass
class Lab:
    """The page, in a tab."""

    tab: Union[Browser, Firefox]
    name: str  # of the browser

    def wait_for(self, expression: str, seconds: float = PATIENCE) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.tab.run(expression):
                return value
            time.sleep(0.05)
        raise TimeoutError(f"{expression} is never true; root: {self.text('root')[-5:]}, "
                           f"user: {self.text('user')[-5:]}, {self.status()}")

    def status(self) -> str:
        return self.tab.run("document.getElementById('status').textContent + ' '"
                            " + document.getElementById('notice').textContent")

    def text(self, who: str) -> List[str]:
        return self.tab.run(f"window.lab ? lab.text_of('{who}') : []")

    def open(self, address: str) -> float:
        """Returns the seconds until the user's prompt was there."""
        begin = time.monotonic()
        self.tab.open(address)
        self.wait_for("window.lab && lab.running()"
                      " && lab.text_of('user').some((line) => /host:~\\$/.test(line))")
        return time.monotonic() - begin

    def lessons(self) -> List[Dict[str, Any]]:
        return self.tab.run("lab.lessons")

    def show(self, identity: str) -> Dict[str, Any]:
        """Chooses the lesson, and returns it."""
        lessons = self.lessons()
        index = [lesson["id"] for lesson in lessons].index(identity)
        self.tab.run(f"lab.choose({index})")
        return lessons[index]

    def perform(self, identity: str) -> Dict[str, Any]:
        """Presses a step's button. Returns what the page thinks of the output."""
        self.tab.run(f"(window.outcome = undefined, void lab.perform('{identity}')"
                     ".then((outcome) => { window.outcome = outcome; }))")
        return self.wait_for("window.outcome")

    def check(self) -> str:
        """Presses the button of the exercise that is shown, and returns what the page says then."""
        said = "document.querySelector('#exercise .said').textContent"
        self.tab.run("document.querySelector('#exercise button').click()")
        self.wait_for(f"{said} != 'looking …'")
        return self.tab.run(said)

    def type_at(self, prompt: str, command: str) -> None:
        """Into the terminal that shows this prompt: a second one only if the first stays busy."""
        begin = time.monotonic()
        while time.monotonic() < begin + PATIENCE:
            busy = time.monotonic() > begin + BUSY
            for who in TERMINALS if busy else TERMINALS[:2]:
                if [line.rstrip() for line in self.text(who)[-1:]] == [prompt]:
                    self.type(who, command)
                    self.wait_for(f"!lab.text_of('{who}').pop().trimEnd()"
                                  f".endsWith({json.dumps(prompt)})")
                    self.type(who, "\n")
                    return
            time.sleep(0.1)
        raise TimeoutError(f"no terminal shows {prompt}")

    def type(self, who: str, text: str) -> None:
        """By the keyboard, into a terminal."""
        self.tab.run(f"document.querySelector('#{who} textarea').focus()")
        self.tab.type(text)


@contextlib.contextmanager
def lab(which: str = "chromium") -> Iterator[Lab]:
    drive, program = BROWSERS[which]
    if program is None:
        raise SystemExit(f"There is no {which}.\nTry:  ./setup.sh --lab")
    with tempfile.TemporaryDirectory() as scratch, drive(program, pathlib.Path(scratch)) as tab:
        tab.resize(*WINDOW)
        yield Lab(tab, which)


@contextlib.contextmanager
def served(folder: pathlib.Path) -> Iterator[str]:
    """A web server for a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, format: str, *args: Any) -> None:  # pylint: disable=redefined-builtin
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
