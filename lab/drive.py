"""Opens the lab in headless Chromium and runs its lessons, as a person would."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import pathlib
import tempfile
import threading
import time
from typing import Any, Dict, Iterator, List

from slides.chromium import CHROMIUM
from slides.site.browser import Browser, browser

PATIENCE = 180  # s, for the machine to be there, and for a step
WINDOW = (1600, 1000)


@dataclasses.dataclass
class Lab:
    """The page, in a tab."""

    tab: Browser

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

    def show(self, index: int) -> None:
        self.tab.run(f"lab.choose({index})")

    def perform(self, identity: str) -> Dict[str, Any]:
        """Presses a step's button. Returns what the page thinks of the output."""
        self.tab.run(f"window.outcome = undefined; void lab.perform('{identity}')"
                     ".then((outcome) => { window.outcome = outcome; })")
        return self.wait_for("window.outcome")

    def type(self, who: str, text: str) -> None:
        """By the keyboard, into a terminal."""
        self.tab.run(f"document.querySelector('#{who} textarea').focus()")
        for character in text:
            key = {"\n": "Enter"}.get(character, character)
            self.tab.call("Input.dispatchKeyEvent", type="keyDown", key=key,
                          text="\r" if character == "\n" else character,
                          windowsVirtualKeyCode=13 if character == "\n" else 0)
            self.tab.call("Input.dispatchKeyEvent", type="keyUp", key=key)


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    if CHROMIUM is None:
        raise SystemExit("There is no Chromium.\nTry:  ./setup.sh")
    with tempfile.TemporaryDirectory() as scratch, browser(CHROMIUM, pathlib.Path(scratch)) as tab:
        tab.resize(*WINDOW)
        yield Lab(tab)


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
