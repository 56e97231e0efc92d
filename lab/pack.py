"""Puts the lab's page together, as one file and as a folder for a web server.

  pack.py LAB.html FOLDER NODE_MODULES STATE.zst LESSONS.json PAGE_FOLDER OPTIONS.mjs

The one file has all in it, because a page that is opened from a disk may not fetch anything.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import pathlib
import re
import sys

LARGEST = 25_000_000  # bytes of the one file

# The emulator is compressed by gzip, which a browser can undo; the state by zstd, which v86 can.
ONE_FILE = """
const text = document.getElementById(name).textContent;
const packed = await (await fetch("data:application/octet-stream;base64," + text)).blob();
const stream = packed.stream();
const bytes = name === "wasm" ? stream.pipeThrough(new DecompressionStream("gzip")) : stream;
return new Uint8Array(await new Response(bytes).arrayBuffer());
"""
FOLDER = """
const answer = await fetch({wasm: "v86.wasm", state: "state.zst"}[name]);
if (!answer.ok) throw new Error(answer.url + ": " + answer.status);
return new Uint8Array(await answer.arrayBuffer());
"""


def script(text: str) -> str:
    """As the content of <script>: neither an end of it nor a source map that is not there."""
    return re.sub(r"//# sourceMappingURL=\S*", "", text).replace("</script", "<\\/script")


def main(out: str, folder: str, modules: str, state: str, lessons: str, page: str,
         options: str) -> None:
    installed, pages = pathlib.Path(modules), pathlib.Path(page)
    compressed = pathlib.Path(state).read_bytes()
    wasm = (installed / "v86/build/v86.wasm").read_bytes()
    build = hashlib.sha256(compressed + wasm).hexdigest()[:16]
    shared = (pathlib.Path(options).read_text(encoding="utf-8")
              .replace("export const options = ", "LAB.options = ").replace("export ", ""))

    def lab(bytes_of: str) -> str:
        return f'const LAB = {{ build: "{build}", async bytes(name) {{ {bytes_of} }} }};\n{shared}'

    styles = [(installed / "@xterm/xterm/css/xterm.css").read_text(encoding="utf-8"),
              (pages / "style.css").read_text(encoding="utf-8")]
    scripts = [(installed / name).read_text(encoding="utf-8") for name in (
        "@xterm/xterm/lib/xterm.js", "@xterm/addon-fit/lib/addon-fit.js", "v86/build/libv86.js")]
    own = (pages / "lab.js").read_text(encoding="utf-8")
    told = pathlib.Path(lessons).read_text(encoding="utf-8").replace("</", "<\\/")
    data = f'<script id="lessons" type="application/json">{told}</script>\n'
    template = (pages / "index.html").read_text(encoding="utf-8")

    def filled(style: str, programs: str) -> str:
        return template.replace("<!--styles-->", style).replace("<!--scripts-->", data + programs)

    packed = (("wasm", gzip.compress(wasm, 9, mtime=0)), ("state", compressed))
    one = filled(f"<style>{''.join(styles)}</style>", "".join(
        [f'<script id="{name}" type="text/plain">{base64.b64encode(content).decode()}</script>\n'
         for name, content in packed] +
        [f"<script>{script(text)}</script>\n" for text in [*scripts, lab(ONE_FILE), own]]))
    if len(one.encode()) > LARGEST:
        sys.exit(f"pack.py: the page would have {len(one.encode())} bytes, more than {LARGEST}")
    pathlib.Path(out).write_text(one, encoding="utf-8")

    target = pathlib.Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / "v86.wasm").write_bytes(wasm)
    (target / "state.zst").write_bytes(compressed)
    (target / "lab.css").write_text("".join(styles), encoding="utf-8")
    (target / "lab.js").write_text("\n;\n".join([*scripts, lab(FOLDER), own]),
                                   encoding="utf-8")
    linked = filled('<link rel="stylesheet" href="lab.css">', '<script src="lab.js"></script>')
    (target / "index.html").write_text(linked, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
