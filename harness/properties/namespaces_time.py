"""Stage 04: the time namespace and --uptime."""

from __future__ import annotations

from typing import Dict, List

from harness.properties.inside import held_with, inside
from harness.properties.look import Ask, Look
from harness.properties.model import SHELL, Property
from harness.properties.observing import own_namespace
from harness.properties.scene import Stage
from harness.properties.verdict import NotTestable, ProbeBroke, Seen, holds, violated

DAY = 24 * 60 * 60
GIVEN = 1000 * DAY
MOMENTS = 10 * 60  # more than any test takes from the start to the look


def rows() -> List[Property]:
    return [
        Property(
            name="own_time_namespace", since="04", scene=inside, observe=time_is_own,
            holds="another time namespace than the host's", violated="the host's time namespace",
            lesson="A time namespace moves the clocks that count from the boot, not the date.",
            man="7 time_namespaces",
            mistake="CLONE_NEWTIME is missing: unshare(2) takes it, fork(2) and clone(2) do not.",
            command=SHELL + " 'readlink /proc/self/ns/time'; readlink /proc/self/ns/time"),
        Property(
            name="uptime_starts_at_zero", since="04", scene=inside, asks=("clocks",),
            observe=uptime_starts_at_zero, needs=("own_time_namespace",),
            holds="CLOCK_BOOTTIME and CLOCK_MONOTONIC have counted since the container's start",
            violated="they have counted for longer",
            lesson="How long the host has been up tells which security updates its kernel lacks.",
            man="7 time_namespaces",
            mistake="An offset is missing: each of the two clocks has one of its own.",
            command=SHELL + " uptime"),
        Property(
            name="given_uptime_is_told", since="04", scene=uptime_given,
            observe=given_uptime_is_told,
            holds="the seconds that --uptime gave", violated="another uptime",
            lesson="A container that moves to another machine brings its clocks along: a timer must"
                   " not go off twice, or never.",
            man="7 time_namespaces",
            mistake="--uptime was ignored, or the offset was written when a process was already"
                    " in the namespace.",
            command="{stage} --rootfs {root} --uptime 86400 -- /bin/uptime"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


def uptime_given(stage: Stage) -> Look:
    options = ("--uptime", str(GIVEN)) if stage.at_least("04") else ()
    return held_with(stage, ["clocks"], *options)


# --- Observations ---------------------------------------------------------------------------------


def time_is_own(look: Look) -> Seen:
    if not look.fact("host_namespaces")["time"]:
        raise NotTestable("this kernel has no time namespaces")
    return own_namespace("time")(look)


def uptime_starts_at_zero(look: Look) -> Seen:
    return _clocks_are_at(look, look.answer("clocks"), 0)


def given_uptime_is_told(look: Look) -> Seen:
    return _clocks_are_at(look, look.answers.get("clocks", [{}])[0], GIVEN)


def _clocks_are_at(look: Look, answer: Dict, expected: int) -> Seen:
    namespaces = {who: look.fact(who)["time"] for who in ("namespaces", "host_namespaces")}
    if not namespaces["host_namespaces"]:
        raise NotTestable("this kernel has no time namespaces")
    if not answer.get("ok"):
        raise ProbeBroke(str(answer))
    told = f"CLOCK_BOOTTIME is {answer['boottime']} s, CLOCK_MONOTONIC {answer['monotonic']} s"
    if namespaces["namespaces"] == namespaces["host_namespaces"]:
        return violated(f"{told}, as on the host")
    if all(0 <= answer[clock] - expected < MOMENTS for clock in ("boottime", "monotonic")):
        return holds(told)
    return violated(told)


# --- What the probe is asked ----------------------------------------------------------------------

ASKS: Dict[str, Ask] = {
    "clocks": Ask("clocks"),
}
