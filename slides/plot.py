"""Draws measured data, slides/measured/NAME.json, as an SVG and as a Markdown table.

    {"title", "command", "when", "machine",
     "columns": [...], "rows": [[...], ...],                                       a table
     "x": {"label"}, "y": {"label", "max"?}, "series": [{"name", "points": [[x, y], ...]}],   lines
     "bars": [["name", value], ...], "x": {"label"}}                               bars

Large letters, few lines; the ink follows the page: `--ink` and `--soft` where a page sets them,
otherwise what the reader's system prefers, dark or light.
"""

from __future__ import annotations

import math
import re
from typing import Any, Dict, List, Sequence, Tuple
from xml.sax.saxutils import escape

Data = Dict[str, Any]

WIDTH, HEIGHT = 1120, 560
LEFT, RIGHT, TOP, BOTTOM = 110, 40, 76, 92
TEXT = 26  # pixels of 560: legible from the last row
# People who see no red or green can tell them apart too (Okabe and Ito), on light and on dark.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
DARK_COLOURS = ("#56b4e9", "#ff8c42", "#2fd6a3", "#e6a3cb", "#f5c542")
DASHES = ("", "14 8", "4 7", "20 6 4 6", "9 5")

MEASURED = "Measured {when} on {machine}: `{command}`"
NUMBER = re.compile(r"[-\d][\d.,]*|–")

STYLE = """\
.plot {{ --_ink: var(--ink, #1f2328); --_muted: var(--soft, #6e7781); {light} }}
@media (prefers-color-scheme: dark) {{
  .plot {{ --_ink: var(--ink, #e6edf3); --_muted: var(--soft, #9198a1); {dark} }}
}}
.plot text {{
  font: {size}px system-ui, "Noto Sans", "DejaVu Sans", sans-serif; fill: var(--_ink);
}}
.plot .title {{ font-weight: 600; }}
.plot .grid {{ stroke: var(--_muted); stroke-opacity: 0.35; }}
.plot .axis {{ stroke: var(--_ink); stroke-width: 2; }}
"""


def ticks(largest: float, wanted: int = 5) -> List[float]:
    """Round numbers from 0 to `largest` or just beyond."""
    if largest <= 0:
        return [0.0, 1.0]
    rough = largest / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    return [step * number for number in range(math.ceil(largest / step - 1e-9) + 1)]


def label(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e6 else f"{value / 1e6:g} M"


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{named}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def svg(data: Data) -> str:
    """The drawing. Throws KeyError or ValueError if the data is not as above."""
    if "bars" in data:
        body, height = bars(data)
    else:
        body, height = lines(data), HEIGHT
    style = STYLE.format(size=TEXT, light=palette(COLOURS), dark=palette(DARK_COLOURS))
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" class="plot"'
        f' role="img" aria-label="{escape(data["title"], {chr(34): "&quot;"})}">',
        f"<title>{escape(data['title'])}</title>",
        f"<desc>{escape(provenance(data))}</desc>",
        f"<style>\n{style}</style>",
        text(LEFT if "bars" not in data else 20, 38, data["title"], kind="title"), *body, "</svg>"]
    ) + "\n"


def palette(colours: Sequence[str]) -> str:
    return " ".join(f"--c{number}: {colour};" for number, colour in enumerate(colours))


def lines(data: Data) -> List[str]:
    series = data["series"]
    points = [(float(x), float(y)) for one in series for x, y in one["points"]]
    if not points:
        raise ValueError("there is no point")
    if len(series) > len(COLOURS):
        raise ValueError(f"more than {len(COLOURS)} lines cannot be told apart")
    xs = ticks(max(x for x, _ in points), 6)
    ys = ticks(data["y"].get("max") or max(y for _, y in points))
    top_x, top_y = max(x for x, _ in points), ys[-1]
    wide = max(len(one["name"]) for one in series) * TEXT * 0.56 + 30
    right = WIDTH - RIGHT - wide

    def place(x: float, y: float) -> Tuple[float, float]:
        return (LEFT + (right - LEFT) * x / (top_x or 1),
                HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * min(y, top_y) / top_y)

    drawn = []
    for y in ys:
        _, at = place(0, y)
        drawn += [line(LEFT, at, right, at, "grid"), text(LEFT - 14, at + 9, label(y), "end")]
    for x in (x for x in xs if x <= top_x * 1.001):
        at, _ = place(x, 0)
        drawn.append(text(at, HEIGHT - BOTTOM + 36, label(x), "middle"))
    drawn += [line(LEFT, HEIGHT - BOTTOM, right, HEIGHT - BOTTOM, "axis"),
              text((LEFT + right) / 2, HEIGHT - 16, data["x"]["label"], "middle"),
              f'<text transform="translate(30 {(HEIGHT - BOTTOM + TOP) / 2:.0f}) rotate(-90)"'
              f' text-anchor="middle">{escape(data["y"]["label"])}</text>']
    names = spread([place(*one["points"][-1])[1] for one in series])
    for number, one in enumerate(series):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in one["points"]))
        dash = f' stroke-dasharray="{DASHES[number]}"' if DASHES[number] else ""
        drawn.append(f'<polyline points="{path}" fill="none" stroke-width="5"'
                     f' stroke-linejoin="round" style="stroke: var(--c{number})"{dash}/>')
        last_x, _ = place(*one["points"][-1])
        drawn.append(f'<text x="{last_x + 14:.0f}" y="{names[number] + 9:.0f}"'
                     f' style="fill: var(--c{number})">{escape(one["name"])}</text>')
    return drawn


def spread(places: Sequence[float]) -> List[float]:
    """The same heights, none nearer to another than a line of text."""
    moved = list(places)
    order = sorted(range(len(moved)), key=lambda number: moved[number])
    for before, after in zip(order, order[1:]):
        moved[after] = max(moved[after], moved[before] + TEXT * 1.2)
    if moved and (over := max(moved) - (HEIGHT - BOTTOM)) > 0:
        moved = [place - over for place in moved]
    return moved


def bars(data: Data) -> Tuple[List[str], int]:
    rows = [(str(name), float(value)) for name, value in data["bars"]]
    if not rows:
        raise ValueError("there is no bar")
    names = max(len(name) for name, _ in rows) * TEXT * 0.56 + 40
    room = WIDTH - names - 150
    largest = max(value for _, value in rows) or 1.0
    drawn, y = [], TOP
    for name, value in rows:
        width = max(2.0, room * value / largest)
        drawn += [text(names - 14, y + 33, name, "end"),
                  f'<rect x="{names:.0f}" y="{y + 6}" width="{width:.1f}" height="36" rx="4"'
                  f' style="fill: var(--c0)"/>',
                  text(names + width + 12, y + 33, label(value))]
        y += 54
    drawn += [line(names, TOP - 4, names, y, "axis"),
              text(names, y + 36, data.get("x", {}).get("label", ""))]
    return drawn, y + 56


def provenance(data: Data) -> str:
    return f"Measured {data['when']} on {data['machine']}: {data['command']}"


def table(data: Data, words: Dict[str, str] = {}) -> List[str]:  # never changed
    """Markdown, in `words`: numbers to the right; below it where they come from."""
    rows = [[words.get(shown := cell(value), shown) for value in row] for row in data["rows"]]
    for row in rows:
        if len(row) != len(data["columns"]):
            raise ValueError(f"a row has {len(row)} cells, not {len(data['columns'])}: {row}")
    marks = []
    for number in range(len(data["columns"])):
        is_number = all(NUMBER.fullmatch(row[number]) for row in rows)
        marks.append("---:" if is_number and rows else "---")
    written = [[words.get(name, name) for name in data["columns"]], marks, *rows]
    measured = words.get(MEASURED, MEASURED).format(**data)
    return ["| " + " | ".join(row) + " |" for row in written] + ["", f"*{measured}*"]


def cell(value: Any) -> str:
    if value is None:
        return "–"
    return (f"{value:g}" if isinstance(value, float) else str(value)).replace("|", "\\|")
