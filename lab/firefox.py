"""Drives Firefox by WebDriver BiDi: https://w3c.github.io/webdriver-bidi/.

As far as the lab's tests need them, it has the methods of slides/site/browser.py, for Chromium.
"""

from __future__ import annotations

import base64
import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import time
from typing import Any, Dict, Iterator, List

import websocket

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
PATIENCE = 120  # s
PREFERENCES = {
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
}
ENTER = "\ue007"  # https://www.w3.org/TR/webdriver2/#keyboard-actions


class Firefox:
    """One tab. `asked` has the addresses that were asked for, `errors` what the console shows."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(
            f"{address}/session", timeout=PATIENCE, suppress_origin=True,
            http_no_proxy=["127.0.0.1"])
        self._number = 0
        self.asked: List[str] = []
        self.errors: List[str] = []
        self.call("session.new", capabilities={})
        self._tab = self.call("browsingContext.getTree")["contexts"][0]["context"]
        self.call("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])

    def call(self, method: str, **parameters: Any) -> Dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps(
            {"id": self._number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._socket.recv())
            if said.get("id") == self._number:
                assert said["type"] == "success", f"{method}: {said}"
                return said["result"]
            self._note(said)

    def _note(self, event: Dict[str, Any]) -> None:
        what = event.get("params", {})
        if event.get("method") == "network.beforeRequestSent":
            self.asked.append(what["request"]["url"])
        elif event.get("method") == "log.entryAdded" and what["level"] in ("error", "warn"):
            self.errors.append(what["text"])

    def open(self, address: str) -> None:
        """Returns when the page and what it is made of have been loaded."""
        self.call("browsingContext.navigate", context=self._tab, url=address, wait="complete")

    def run(self, script: str) -> Any:
        """The value of an expression in the page, which may be a promise."""
        said = self.call("script.evaluate", target={"context": self._tab}, awaitPromise=True,
                         expression=f"(async () => JSON.stringify(await ({script})))()")
        assert said["type"] == "success", said
        return json.loads(said["result"].get("value", "null"))

    def resize(self, width: int, height: int) -> None:
        self.call("browsingContext.setViewport", context=self._tab,
                  viewport={"width": width, "height": height})

    def type(self, text: str) -> None:
        """By the keyboard."""
        keys: List[Dict[str, str]] = []
        for character in text:
            key = ENTER if character == "\n" else character
            keys += [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self.call("input.performActions", context=self._tab,
                  actions=[{"type": "key", "id": "keyboard", "actions": keys}])

    def picture(self, path: pathlib.Path) -> None:
        data = self.call("browsingContext.captureScreenshot", context=self._tab)["data"]
        path.write_bytes(base64.b64decode(data))


def address_of(log: pathlib.Path) -> str:
    """Where it listens, which it says when it has started."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if said := re.search(r"WebDriver BiDi listening on (ws://\S+)", log.read_text()):
            return said[1]
        time.sleep(0.05)
    raise TimeoutError(f"Firefox has not said where it listens:\n{log.read_text()}")


@contextlib.contextmanager
def firefox(program: str, scratch: pathlib.Path) -> Iterator[Firefox]:
    profile = scratch / "profile"
    profile.mkdir()
    (profile / "user.js").write_text("".join(
        f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
        for name, value in PREFERENCES.items()))
    log = scratch / "log"
    with log.open("wb") as file, subprocess.Popen(
            [program, "--headless", "--no-remote", "--profile", str(profile),
             "--remote-debugging-port", "0", "about:blank"],
            env={"HOME": str(scratch), "PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL,
            stdout=file, stderr=subprocess.STDOUT) as process:
        try:
            yield Firefox(address_of(log))
        finally:
            process.terminate()
