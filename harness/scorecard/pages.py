"""The scorecard as one HTML page, and as a picture for slides: made of scorecard.py's JSON."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple
from xml.sax.saxutils import escape as escape_xml

from harness.grading import html_report
from harness.grading.html_report import escape
from harness.properties.verdict import STAGES

Json = Dict[str, Any]

# What each stage's properties are about.
LAYERS = {"01": "process", "02": "root directory", "03": "userspace", "04": "namespaces",
          "05": "user namespace", "06": "pivot_root, /dev, /proc", "07": "cgroups",
          "08a": "layers", "08b": "capabilities, seccomp", "08c": "network",
          "09": "security module", "10": "shortcut"}

# Not isolation: what `docker run` and our stages report by an exit status, and other tools in other
# ways.
CONVENTIONS = ("exit_status_is_the_commands", "killed_is_128_plus_signal", "not_found_is_127",
               "not_executable_is_126", "wrong_option_is_125", "errors_are_told")
MANNERS = "exit status"

MARKS = {"holds": ("good", "✓"), "violated": ("bad", "✗"), "n/a": ("none", "n/a"),
         "undecided": ("odd", "?")}


def group_of(row: Json) -> str:
    return MANNERS if row["name"] in CONVENTIONS else row["since"]


def groups(told: Json) -> List[Tuple[str, str, List[Json]]]:
    """(number, title, rows): one for each layer, in the order of the stages, and at the end the
    conventions."""
    found = [(stage, LAYERS.get(stage, stage), [row for row in told["rows"]
                                                if group_of(row) == stage])
             for stage in (*STAGES, MANNERS)]
    return [("" if number == MANNERS else number, title, rows)
            for number, title, rows in found if rows]


def share(rows: Sequence[Json], column: str) -> Tuple[int, int]:
    """How many of the rows hold, and how many were decided."""
    verdicts = [row["cells"][column]["verdict"] for row in rows]
    return verdicts.count("holds"), verdicts.count("holds") + verdicts.count("violated")


# --- The page -------------------------------------------------------------------------------------

STYLE = """<style>
body { max-width: 92rem; } td.mark { min-width: 2.4rem; white-space: nowrap; }
th { vertical-align: bottom; } tbody th { font-weight: 400; position: sticky; left: 0;
  background: var(--card); } .card.wide { padding: 0 1.2rem; } p { max-width: 50rem; }
tr.group th { font-weight: 700; padding-top: 1.2rem; } td, th { font-size: .95rem; }
table.few td.mark { font-variant-numeric: tabular-nums; }
dl.seen { grid-template-columns: minmax(12rem, 20rem) 1fr; }
@media (max-width: 40rem) { tbody th { min-width: 8.5rem; max-width: 8.5rem;
  overflow-wrap: anywhere; }
  .card.wide { padding: 0 .5rem; } dl.seen { grid-template-columns: 1fr; } }
</style>"""


def page(told: Json) -> str:
    """One page that needs nothing else."""
    names = [column["name"] for column in told["columns"]]
    body = [STYLE, "<header><div><h1>Which isolation do they give?</h1>",
            f"<p>{len(told['rows'])} properties, each seen to hold or seen violated, on"
            f" {escape(told['place'])}; started by an ordinary user, where that user can see it."
            " Each tool is called as people call it: by the script below. The properties are"
            " those that our stages are built to have: others promise less, and some of it"
            " otherwise.</p></div></header>",
            "<h2>Layer by layer</h2>", "<p>How many of a layer's properties hold, of those that the"
            " program has the options for.</p>",
            '<div class="card wide"><table class="few">', head(names), "<tbody>"]
    for number, title, rows in groups(told):
        cells = "".join(share_cell(*share(rows, name)) for name in names)
        body.append(f"<tr><th>{number} {escape(title)}</th>{cells}</tr>")
    body += ["</tbody></table></div>", "<h2>All properties</h2>",
             "<p>✓ holds, ✗ was seen violated, n/a: it has no such option, ?: neither was seen."
             "</p>", '<div class="card wide"><table>', head(names), "<tbody>"]
    for number, title, rows in groups(told):
        body.append(f'<tr class="group"><th colspan="{len(names) + 1}">{number} {escape(title)}'
                    "</th></tr>")
        body += [property_row(row, names) for row in rows]
    body += ["</tbody></table></div>", "<h2>What was seen</h2>",
             *(seen(column, told["rows"]) for column in told["columns"])]
    return html_report.page("Which isolation do they give?", body)


def head(names: Sequence[str]) -> str:
    cells = "".join(f'<th style="text-align: center" title="{escape(name)}">'
                    f'{escape(short(name))}</th>' for name in names)
    return f"<thead><tr><th></th>{cells}</tr></thead>"


def short(name: str) -> str:
    """Of a stage its number."""
    return name.split("_")[0]


def kind_of(good: int, of: int) -> str:
    return "none" if of == 0 else "good" if good == of else "bad" if good == 0 else "odd"


def share_cell(good: int, of: int) -> str:
    return f'<td class="mark {kind_of(good, of)}">{f"{good}/{of}" if of else "n/a"}</td>'


def property_row(row: Json, names: Sequence[str]) -> str:
    cells = []
    for name in names:
        kind, mark = MARKS[row["cells"][name]["verdict"]]
        cells.append(f'<td class="mark {kind}" title="{escape(row["cells"][name]["got"])}">{mark}'
                     "</td>")
    return (f'<tr><th title="{escape(row["holds"])}">{escape(row["name"])}</th>'
            f"{''.join(cells)}</tr>")


def seen(column: Json, rows: Sequence[Json]) -> str:
    """Why each property that does not hold does not, and how the tool was called."""
    lines = []
    for row in rows:
        cell = row["cells"][column["name"]]
        if cell["verdict"] in ("violated", "undecided"):
            remark = f"<br><strong>{escape(cell['remark'])}</strong>" if "remark" in cell else ""
            lines.append(f"<dt>{escape(row['name'])}</dt><dd>{escape(cell['got'])}{remark}</dd>")
    script = (f"<details><summary>how it is called</summary><pre>{escape(column['adapter'])}</pre>"
              "</details>" if column["adapter"] else "")
    return (f'<div class="card"><h3>{escape(column["version"] or column["name"])}</h3>{script}'
            f"<details><summary>{len(lines)} do not hold</summary>"
            f'<dl class="seen">{"".join(lines)}</dl></details></div>')


# --- The picture ----------------------------------------------------------------------------------

PICTURE_STYLE = """
.scorecard { --good: #dcf2e4; --odd: #fcefcf; --bad: #fbe1e4; --none: #eeece6;
  --good-part: #2f9a5f; --odd-part: #c98a1b; --bad-part: #c63a50;
  --text: var(--ink, #1a1d23); --dim: var(--soft, #5c6470); }
@media (prefers-color-scheme: dark) {
  .scorecard { --good: #17352a; --odd: #3d3014; --bad: #46202a; --none: #232934;
    --good-part: #5cc68a; --odd-part: #e0ac4a; --bad-part: #ff8492;
    --text: var(--ink, #eceae4); --dim: var(--soft, #a5adba); } }
.scorecard text { font: 26px Inter, system-ui, sans-serif; fill: var(--text); }
.scorecard .dim { fill: var(--dim); } .scorecard .middle { text-anchor: middle; }
.scorecard .head { font-weight: 400; }
.scorecard .good { fill: var(--good); } .scorecard .odd { fill: var(--odd); }
.scorecard .bad { fill: var(--bad); } .scorecard .none { fill: var(--none); }
.scorecard .part.good { fill: var(--good-part); } .scorecard .part.odd { fill: var(--odd-part); }
.scorecard .part.bad { fill: var(--bad-part); }"""
LEFT, TOP, WIDE, HIGH, GAP = 345, 46, 95, 46, 6


def picture(told: Json) -> str:
    """Layers down, programs across: how many of a layer's properties hold."""
    names = [column["name"] for column in told["columns"]]
    layers = groups(told)
    width, height = LEFT + len(names) * WIDE, TOP + len(layers) * HIGH
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
             f' width="{width}" height="{height}" class="plot scorecard" role="img">',
             "<title>How many of each layer's isolation properties hold</title>",
             f"<style>{PICTURE_STYLE}</style>"]

    def text(x: int, y: int, kind: str, what: str) -> None:
        lines.append(f'<text x="{x}" y="{y}" class="{kind}">{escape_xml(what)}</text>')

    for number, name in enumerate(names):
        text(LEFT + number * WIDE + WIDE // 2, 30, "middle head", short(name))
    for line, (number, title, rows) in enumerate(layers):
        y = TOP + line * HIGH
        text(0, y + 28, "dim", number)
        text(60, y + 28, "", title)
        for column, name in enumerate(names):
            good, of = share(rows, name)
            x, kind, wide = LEFT + column * WIDE, kind_of(good, of), WIDE - GAP
            lines.append(f'<rect x="{x}" y="{y}" width="{wide}" height="{HIGH - GAP}" rx="5"'
                         f' class="{kind}"/>')
            if good:
                lines.append(f'<rect x="{x}" y="{y + HIGH - GAP - 5}" width="{wide * good // of}"'
                             f' height="5" class="part {kind}"/>')
            told_share = f"{good}/{of}" if of else "n/a"
            text(x + wide // 2, y + 27, "middle" if of else "middle dim", told_share)
    return "\n".join([*lines, "</svg>", ""])
