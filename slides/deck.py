"""Reads a deck: its slides, how long each takes, and in which tracks it is shown.

  <!-- track: 90 -->                            shown in the track of 90 minutes and in longer ones
  <!-- track: 90, late: skip -->                … and skipped there if the room is late
  <!-- exercise: 90 180, 10 min, 05_userns -->  after this slide, in these tracks, of its page
  <!-- break: 180, 10 min -->
"""

from __future__ import annotations

import dataclasses
import re
from typing import List, Tuple

TRACKS = (45, 90, 180)

CLASS = re.compile(r"^<!-- stage: (?P<stage>\S+) -->$", re.MULTILINE)
TITLE = re.compile(r"^#{1,2} (?P<title>.*)$", re.MULTILINE)
NOTE = re.compile(r"<!--\n(?P<minutes>[\d.]+) (?:min|мин)\. (?P<text>.*?)\n-->", re.DOTALL)
TRACK = re.compile(r"^<!-- track: (?P<track>\d+)(?P<late>, late: skip)? -->$", re.MULTILINE)
PAUSE = re.compile(r"^<!-- (?P<kind>exercise|break): (?P<tracks>\d+(?: \d+)*), (?P<minutes>\d+) min"
                   r"(?:, (?P<stage>\w+))? -->$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Pause:
    """What the room does after a slide: an exercise of a stage's page, or a break."""

    kind: str  # "exercise" or "break"
    tracks: Tuple[int, ...]
    minutes: int
    stage: str  # whose exercises; "" for a break


@dataclasses.dataclass(frozen=True)
class Slide:
    """One slide, as its source has it."""

    number: int  # from 1
    title: str  # without Markdown's code marks
    stage: str  # such as "05_userns"; "" before the first and after the last
    text: str  # all of it
    minutes: float
    note: str
    track: int  # the shortest track that shows it
    late: bool  # skipped if the room is late
    pauses: Tuple[Pause, ...]  # after it

    def is_in(self, track: int) -> bool:
        return track >= self.track


def parts(deck: str) -> List[str]:
    """The slides' source, without the front matter."""
    return re.split(r"^---$", deck, flags=re.MULTILINE)[2:]


def slides(deck: str) -> List[Slide]:
    """All of them. Raises ValueError for one that lacks its title, time or track."""
    found, stage = [], ""
    for number, text in enumerate(parts(deck), 1):
        if marked := CLASS.search(text):
            stage = "" if marked["stage"] == "none" else marked["stage"]
        found.append(slide(number, stage, text))
    return found


def slide(number: int, stage: str, text: str) -> Slide:
    title, notes, tracks = TITLE.search(text), list(NOTE.finditer(text)), list(TRACK.finditer(text))
    name = title["title"].replace("`", "") if title else "without a title"
    if title is None or len(notes) != 1 or len(tracks) != 1:
        raise ValueError(f"slide {number}, {name}: it needs a title, one note that begins with its "
                         f"minutes, and one track; it has {len(notes)} notes, {len(tracks)} tracks")
    pauses = tuple(Pause(one["kind"], tuple(int(track) for track in one["tracks"].split()),
                         int(one["minutes"]), one["stage"] or "") for one in PAUSE.finditer(text))
    return Slide(number, name, stage, text, float(notes[0]["minutes"]), notes[0]["text"],
                 int(tracks[0]["track"]), bool(tracks[0]["late"]), pauses)


def minutes_of(deck: List[Slide], track: int, skip: bool = False) -> Tuple[float, int]:
    """How long a track's slides take (those to skip left out, if `skip`), and its pauses."""
    return (sum(one.minutes for one in deck if one.is_in(track) and not (skip and one.late)),
            sum(pause.minutes for one in deck for pause in one.pauses if track in pause.tracks))
