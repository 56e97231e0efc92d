"""Drives Chromium over a pipe, by the DevTools protocol: how a page looks, what it asks for."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import select
import subprocess
from typing import Any, Dict, Iterator, List

SWITCHES = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe"]
PATIENCE = 60  # s
# https://chromedevtools.github.io/devtools-protocol/
WATCHED = ["Page.enable", "Runtime.enable", "Network.enable", "Log.enable"]


class Browser:
    """One tab. `asked` has the addresses that were asked for, `errors` what the console shows."""

    def __init__(self, read: int, write: int) -> None:
        self._from = os.fdopen(read, "rb", buffering=0)
        self._to = os.fdopen(write, "wb", buffering=0)
        self._rest = b""
        self._number = 0
        self._session = ""
        self._loaded = False
        self.asked: List[str] = []
        self.errors: List[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target,
                                  flatten=True)["sessionId"]
        for method in WATCHED:
            self.call(method)

    def _receive(self) -> Dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._from], [], [], PATIENCE)[0]:
                raise TimeoutError(f"Chromium has said nothing for {PATIENCE} s")
            piece = self._from.read(1 << 16)
            if not piece:
                raise EOFError("Chromium has ended")
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: Dict[str, Any]) -> None:
        what = event.get("params", {})
        method = event.get("method")
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.asked.append(what["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(what["exceptionDetails"]))
        elif method == "Log.entryAdded" and what["entry"]["level"] == "error":
            self.errors.append(what["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning"):
            self.errors.append(str(what["args"]))

    def call(self, method: str, **parameters: Any) -> Dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def open(self, address: str) -> None:
        """Returns when the page and what it is made of have been loaded."""
        self._loaded = False
        self.call("Page.navigate", url="about:blank")
        while not self._loaded:
            self._note(self._receive())
        self._loaded = False
        failed = self.call("Page.navigate", url=address).get("errorText")
        assert not failed, f"{address}: {failed}"
        while not self._loaded:
            self._note(self._receive())

    def follow(self, key: str) -> None:
        """Presses a key that leads to another page. Returns when that has been loaded."""
        self._loaded = False
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key)
        while not self._loaded:
            self._note(self._receive())

    def run(self, script: str) -> Any:
        """The value of an expression in the page, which may be a promise."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True,
                           returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def resize(self, width: int, height: int, phone: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=phone)

    def prefer(self, scheme: str) -> None:
        """What the system says that its user likes: "light" or "dark"."""
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": scheme}])

    def type(self, text: str) -> None:
        """By the keyboard."""
        for character in text:
            key = {"\n": "Enter"}.get(character, character)
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key,
                      text="\r" if character == "\n" else character,
                      windowsVirtualKeyCode=13 if character == "\n" else 0)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def press(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def picture(self, path: pathlib.Path) -> None:
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def browser(program: str, scratch: pathlib.Path) -> Iterator[Browser]:
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # It reads from 3 and writes to 4. First out of the way of these two.
    words = f'exec 8<&{theirs_in} 9>&{theirs_out}; exec 3<&8 4>&9 8<&- 9>&-; exec "$@"'
    with subprocess.Popen(
            ["bash", "-c", words, "bash", program, *SWITCHES,
             f"--user-data-dir={scratch}/profile", "about:blank"],
            pass_fds=[theirs_in, theirs_out], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=os.environ | {"HOME": str(scratch)}) as process:
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Browser(ours_in, ours_out)
        finally:
            process.terminate()
