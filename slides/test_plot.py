"""Drawings and tables of measured data."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from slides import plot

ABOUT = {"title": "A < B & \"C\"", "command": "bench", "when": "2026-11-22", "machine": "2 cores"}
LINES = {**ABOUT, "x": {"label": "seconds"}, "y": {"label": "% of a CPU", "max": 100},
         "series": [{"name": "free", "points": [[0, 100], [5, 98], [10, 100]]},
                    {"name": "--cpus 0.5", "points": [[0, 50], [10, 50]]}]}
BARS = {**ABOUT, "x": {"label": "ms"}, "bars": [["ours", 1.5], ["QEMU", 900]]}
TABLE = {**ABOUT, "columns": ["what", "ms"], "rows": [["ours | 08c", 1.50], ["QEMU", 900.0]]}


def elements(data, tag):
    root = ElementTree.fromstring(plot.svg(data))
    return root.findall(f".//{{http://www.w3.org/2000/svg}}{tag}")


def texts(data):
    return [element.text for element in elements(data, "text")]


def test_each_series_is_a_line_with_its_name_and_every_point():
    drawn = elements(LINES, "polyline")
    assert [len(line.get("points").split()) for line in drawn] == [3, 2]
    first, last = (float(pair.split(",")[1]) for pair in drawn[1].get("points").split())
    top = float(drawn[0].get("points").split()[0].split(",")[1])
    bottom = plot.HEIGHT - plot.BOTTOM
    assert first == last == pytest.approx((top + bottom) / 2)  # 50 is half of 100
    assert {"free", "--cpus 0.5", "seconds", "% of a CPU", "100",
            ABOUT["title"]} <= set(texts(LINES))


def test_bars_are_as_long_as_their_values():
    ours, theirs = (float(bar.get("width")) for bar in elements(BARS, "rect"))
    assert theirs > ours
    assert {"ours", "1.5", "QEMU", "900", "ms"} <= set(texts(BARS))


def test_nothing_is_drawn_outside_and_the_text_is_large():
    for data in LINES, BARS:
        _, _, width, height = map(float, ElementTree.fromstring(plot.svg(data)).get(
            "viewBox").split())
        for element in elements(data, "text"):
            if element.get("x"):
                assert 0 <= float(element.get("x")) <= width
                assert 0 <= float(element.get("y")) <= height
        assert int(re.search(r"font: (\d+)px", plot.svg(data)).group(1)) * 720 / height >= 24


def test_names_of_lines_that_end_together_do_not_overlap():
    heights = sorted(plot.spread([100, 101, 99, 300]))
    assert all(b - a >= plot.TEXT for a, b in zip(heights, heights[1:]))


def test_colours_follow_the_page_or_the_system():
    drawn = plot.svg(LINES)
    assert "var(--ink, #1f2328)" in drawn and "prefers-color-scheme: dark" in drawn


def test_where_it_comes_from_is_in_it():
    assert "Measured 2026-11-22 on 2 cores: bench" in plot.svg(BARS)
    assert plot.table(TABLE) == [
        "| what | ms |", "| --- | ---: |", "| ours \\| 08c | 1.5 |", "| QEMU | 900 |", "",
        "*Measured 2026-11-22 on 2 cores: `bench`*"]


@pytest.mark.parametrize("data", [
    {**LINES, "series": []}, {**ABOUT, "bars": []}, ABOUT,
    {**LINES, "series": [LINES["series"][0]] * 6},
])
def test_data_that_cannot_be_drawn_is_refused(data):
    with pytest.raises((KeyError, ValueError)):
        plot.svg(data)


def test_a_row_with_a_cell_too_few_is_refused():
    with pytest.raises(ValueError, match="1 cells, not 2"):
        plot.table({**TABLE, "rows": [["x"]]})


@pytest.mark.parametrize("largest, wanted", [
    (100, [0, 20, 40, 60, 80, 100]), (7, [0, 2, 4, 6, 8]), (0.3, [0, 0.1, 0.2, 0.3]), (0, [0, 1]),
])
def test_ticks_are_round(largest, wanted):
    assert plot.ticks(largest) == pytest.approx(wanted)
