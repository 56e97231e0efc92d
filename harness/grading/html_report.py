"""Grades as one HTML page that needs nothing else: no script, no font, no picture."""

from __future__ import annotations

import collections
import html
from typing import Dict, List, Mapping, Optional, Sequence

from harness.properties.model import Grade, Outcome, Result, hints
from harness.properties.verdict import STAGES, stage_number
from harness.grading.report import causes
from harness.grading.writers import name_of, printable, summary

MARKS = {Outcome.PASSED: ("good", "✓"), Outcome.FAILED: ("bad", "✗"), Outcome.ERROR: ("odd", "!"),
         Outcome.SKIPPED: ("none", "–"), Outcome.LACKING: ("bad", "n/a")}
HINT_NAMES = {"look": "Where to look", "concept": "The idea", "read": "What to read"}

STYLE = """
:root { color-scheme: light dark; --back: #fbfaf7; --card: #fff; --text: #1d232b; --dim: #5d6774;
  --line: #dcdfe4; --good: #14784a; --bad: #b3261e; --odd: #8a5a00; --none: #6b7280;
  --good-back: #e2f4ea; --bad-back: #fde7e5; --odd-back: #fcf0d6; --none-back: #eceef1; }
@media (prefers-color-scheme: dark) { :root { --back: #14181d; --card: #1d232b; --text: #e8eaed;
  --dim: #a3adba; --line: #343c47; --good: #7ad7a7; --bad: #ff9d94; --odd: #f2c063;
  --none: #a3adba; --good-back: #173628; --bad-back: #471e1b; --odd-back: #3f3013;
  --none-back: #2a313a; } }
* { box-sizing: border-box; } a { color: inherit; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 68rem; background: var(--back);
  color: var(--text); font: 1.05rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.2rem 0 .7rem; }
h3 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
h3.stage { margin-bottom: .5rem; }
code, pre { font: .92em/1.45 ui-monospace, monospace; }
pre { margin: .3rem 0; padding: .6rem .8rem; background: var(--none-back); border-radius: .4rem;
  overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
header { display: flex; gap: 1.4rem; align-items: center; flex-wrap: wrap; }
header svg { width: 7rem; flex: none; } header p { margin: .3rem 0 0; color: var(--dim); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1rem 1.2rem; margin: .8rem 0; }
.card.bad { border-left: .4rem solid var(--bad); }
.card.odd { border-left: .4rem solid var(--odd); }
dl { display: grid; grid-template-columns: 7rem 1fr; gap: .3rem 1rem; margin: .7rem 0; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--dim); }
.grid { display: grid; gap: .35rem;
  grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
.row { display: flex; gap: .5rem; padding: .2rem .6rem; border-radius: .35rem; font-size: .95rem; }
.row span:last-child { overflow-wrap: anywhere; }
.row span:first-child { white-space: nowrap; }
.good { --ink: var(--good); --paper: var(--good-back); }
.bad { --ink: var(--bad); --paper: var(--bad-back); }
.odd { --ink: var(--odd); --paper: var(--odd-back); }
.none { --ink: var(--none); --paper: var(--none-back); }
.row, td.mark { color: var(--ink); background: var(--paper); }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: left; }
th.number, td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.mark { text-align: center; border: 2px solid var(--card); min-width: 3rem; }
.bar { height: .7rem; border-radius: .35rem; background: var(--none-back); min-width: 8rem; }
.bar i { display: block; height: 100%; border-radius: .35rem; background: var(--bad); }
@media (max-width: 40rem) { body { font-size: 1rem; } dl { grid-template-columns: 1fr; }
  dt { margin-top: .4rem; } }
@media print { details > * { display: block; } }
"""


def escape(text: str) -> str:
    return html.escape(printable(text))


def page(title: str, body: Sequence[str]) -> str:
    return "\n".join([
        "<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", "</head>", "<body>", *body,
        "</body>", "</html>", ""])


def ring(score: int, most: int) -> str:
    """The score as a part of a circle, with its numbers in it."""
    part = 0 if most == 0 else 100 * score / most
    kind = "good" if score == most else "bad"
    return (f'<svg viewBox="0 0 36 36" role="img" aria-label="{score} of {most} points">'
            '<circle cx="18" cy="18" r="15.9" fill="none" stroke="var(--none-back)"'
            ' stroke-width="3.4"/>'
            '<circle cx="18" cy="18" r="15.9" fill="none" stroke-width="3.4" pathLength="100"'
            f' stroke="var(--{kind})" stroke-dasharray="{part:.1f} 100"'
            ' transform="rotate(-90 18 18)"/>'
            '<text x="18" y="19" text-anchor="middle" font-size="8.5" font-weight="700"'
            f' fill="currentColor">{score}</text><text x="18" y="25" text-anchor="middle"'
            f' font-size="4.2" fill="var(--dim)">of {most}</text></svg>')


# --- One submission -------------------------------------------------------------------------------


def submission(grade: Grade, level: int = 3) -> str:
    """The page of one submission: its score, what to fix first, each property, each failure."""
    body = ["<header>", ring(grade.score, grade.max_score),
            f"<div><h1>{escape(grade.name)}</h1>",
            f"<p>{escape(summary(grade))}</p></div>", "</header>"]
    if grade.problem:
        body += ['<div class="card odd"><h3>Not graded</h3>', f"<p>{escape(grade.problem)}</p>",
                 f"<pre>{escape(grade.log)}</pre></div>"]
        return page(grade.name, body)
    groups = failures(grade.results)
    if groups:
        body += ["<h2>Mend first</h2>", failure_card(groups[0], level, is_open=True)]
    body.append("<h2>Properties</h2>")
    for stage in STAGES:
        rows: Dict[str, List[Result]] = {}
        for result in grade.results:
            if result.case.property.since == stage:
                rows.setdefault(result.case.property.name, []).append(result)
        if rows:
            body += [f'<div class="card"><h3 class="stage">Stage {stage}</h3><div class="grid">',
                     *map(property_row, rows.values()), "</div></div>"]
    if groups[1:]:
        body += ["<h2>Then</h2>", *(failure_card(group, level) for group in groups[1:])]
    skipped = [result for result in grade.results if result.outcome is Outcome.SKIPPED]
    if skipped:
        reasons = sorted({result.why for result in skipped})
        body += ["<h2>Not tested here</h2>", '<div class="card"><ul>',
                 *(f"<li>{escape(reason)}</li>" for reason in reasons), "</ul></div>"]
    lacking = sorted({result.why for result in grade.results
                      if result.outcome is Outcome.LACKING})
    if lacking:
        body += ["<h2>Not there</h2>", '<div class="card"><ul>',
                 *(f"<li>{escape(why)}</li>" for why in lacking), "</ul></div>"]
    return page(grade.name, body)


def failures(results: Sequence[Result]) -> List[List[Result]]:
    """Groups failures with the same cause, those of the earliest stage first."""
    return sorted(causes(results),
                  key=lambda group: stage_number(group[0].case.property.since))


def property_row(results: Sequence[Result]) -> str:
    """A property; if root and an ordinary user get different results, both."""
    kinds = [MARKS[result.outcome] for result in results]
    kind = min((kind for kind, _ in kinds), key=["bad", "odd", "none", "good"].index)
    mark = kinds[0][1]
    if len({mark for _, mark in kinds}) > 1:
        mark = " ".join(f"{result.case.identity}&nbsp;{mark}"
                        for result, (_, mark) in zip(results, kinds))
    name = escape(results[0].case.property.name)
    return f'<div class="row {kind}"><span>{mark}</span><span>{name}</span></div>'


def failure_card(group: Sequence[Result], level: int, is_open: bool = False) -> str:
    result = group[0]
    kind, _ = MARKS[result.outcome]
    facts = [("Expected", result.expected), ("Got", result.got), ("Verdict", result.why)]
    told = [f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts]
    blocked = [other.case.property.name for other in group[1:]]
    if blocked:
        told.append(f"<dt>So too</dt><dd><details><summary>{len(blocked)} more, blocked by it"
                    f"</summary>{escape(', '.join(blocked))}</details></dd>")
    helps = [f"<details{' open' if is_open and number == 0 else ''}><summary>{HINT_NAMES[name]}"
             f"</summary><pre>{escape(text)}</pre></details>"
             for number, (name, text) in enumerate(hints(result, level))]
    return "\n".join([f'<div class="card {kind}"><h3>{escape(name_of(result))}</h3>',
                      f"<dl>{''.join(told)}</dl>", *helps, "</div>"])


# --- A class --------------------------------------------------------------------------------------


def overview(title: str, grades: Sequence[Grade],
             pages: Optional[Mapping[str, str]] = None) -> str:
    """The page of a class: which stage each submission has reached, and what most have missed.
    `pages` has the address of each submission's own page, by its name."""
    most = max([grade.max_score for grade in grades] + [0])
    average = sum(grade.score for grade in grades) / len(grades) if grades else 0
    body = ["<header>", ring(round(average), most),
            f"<div><h1>{escape(title)}</h1><p>{len(grades)} submissions;"
            f" on average {average:.1f} of {most} points</p></div>", "</header>",
            "<h2>Stages reached</h2>",
            '<div class="card wide"><table><thead><tr><th>Name</th><th class="number">Score</th>']
    stages = [stage for stage in STAGES if any(
        result.case.property.since == stage for grade in grades for result in grade.results)]
    body += [f'<th style="text-align: center">{stage}</th>' for stage in stages]
    body.append("<th>Reason</th></tr></thead><tbody>")
    for grade in grades:
        cells = "".join(stage_cell(grade, stage) for stage in stages)
        name = escape(grade.name)
        if pages:
            name = f'<a href="{escape(pages[grade.name])}">{name}</a>'
        body.append(f"<tr><td>{name}</td>"
                    f'<td class="number">{grade.score} of {grade.max_score}</td>'
                    f"{cells}<td>{escape(grade.problem)}</td></tr>")
    body.append("</tbody></table></div>")
    return page(title, body + most_missed(grades))


def stage_cell(grade: Grade, stage: str) -> str:
    """How many of a stage's properties hold."""
    results = [result for result in grade.results if result.case.property.since == stage]
    if grade.problem or not results:
        return '<td class="mark none">–</td>'
    good = sum(result.outcome is Outcome.PASSED for result in results)
    bad = sum(result.is_bad for result in results)
    kind = "bad" if bad else "good" if good else "none"
    return f'<td class="mark {kind}">{good}/{len(results)}</td>'


def most_missed(grades: Sequence[Grade], limit: int = 10) -> List[str]:
    missed = collections.Counter(name for grade in grades if not grade.problem for name in {
        result.case.property.name for result in grade.results if result.is_bad})
    if not missed:
        return []
    lines = ["<h2>Missed most</h2>", '<div class="card wide"><table><tbody>']
    for name, count in sorted(missed.items(), key=lambda item: (-item[1], item[0]))[:limit]:
        width = 100 * count / len(grades)
        lines.append(f'<tr><td><code>{escape(name)}</code></td><td class="number">{count}</td>'
                     f'<td style="width: 40%"><div class="bar"><i style="width: {width:.0f}%"></i>'
                     "</div></td></tr>")
    return lines + ["</tbody></table></div>"]
