"""Observations that several stages need."""

from __future__ import annotations

from typing import Callable, Dict, List

from harness.properties.look import Look, tell_run
from harness.properties.verdict import ProbeBroke, Seen, holds, violated


def hidden(ask: str, secret: str):
    """Is the text, which is proved to be on the host, out of reach for the probe?"""
    def observe(look: Look) -> Seen:
        answer = look.answer(ask)
        wanted = secret.format_map(look.names)
        if answer.get("text") == wanted:
            return violated(f"the probe read {wanted!r}")
        if answer.get("errno") in ("ENOENT", "EACCES", "EPERM", "EBADF", "ENOTDIR", "ENXIO"):
            return holds(f"the probe got {answer['errno']}")
        raise ProbeBroke(f"neither the text {wanted!r} nor an error: {answer}")
    return observe


def refused(ask: str, *errors: str):
    """Is what the probe tried refused by the kernel?"""
    def observe(look: Look) -> Seen:
        answer = look.answer(ask)
        if answer.get("ok"):
            return violated("the kernel did it")
        if answer.get("errno") in errors:
            return holds(f"the kernel returned {answer['errno']}")
        raise ProbeBroke(f"neither done nor one of {', '.join(errors)}: {answer}")
    return observe


def allowed(ask: str, *errors: str):
    """Did what the probe tried succeed?"""
    def observe(look: Look) -> Seen:
        answer = look.answer(ask)
        if answer.get("ok"):
            return holds("it worked")
        if answer.get("errno") in errors:
            return violated(f"the kernel returned {answer['errno']}")
        raise ProbeBroke(f"neither done nor one of {', '.join(errors)}: {answer}")
    return observe


def own_namespace(kind: str):
    """Is the probe in another namespace than the host, as /proc/PID/ns says on the host?"""
    def observe(look: Look) -> Seen:
        inside = look.fact("namespaces")[kind]
        outside = look.fact("host_namespaces")[kind]
        if not inside or not outside:
            raise ProbeBroke(f"/proc/PID/ns/{kind} cannot be read: {inside}, {outside}")
        if inside == outside:
            return violated(f"both are in {inside}")
        return holds(f"{inside}, the host is in {outside}")
    return observe


def text_is(got: str, right: Dict[str, str], wrong: Dict[str, str]) -> Seen:
    """One of the texts that mean it holds, or one of those that mean it does not."""
    if got in right:
        return holds(f"{got!r}: {right[got]}")
    if got in wrong:
        return violated(f"{got!r}: {wrong[got]}")
    raise ProbeBroke(f"{got!r} is none of {sorted(right) + sorted(wrong)}")


def mount_options(look: Look, point: str) -> List[str]:
    """The options of what is mounted at `point`, or [] if nothing is, as the host sees it."""
    options: List[str] = []
    for line in look.fact("mountinfo").splitlines():
        fields = line.split()
        if fields[4] == point:
            options = fields[5].split(",")
    return options


def does_not_start(run: Dict) -> Seen:
    """For a start that must fail: the command has not run. Has the program given up?"""
    if run["why"] == "ended":
        quiet = "" if run.get("exit") != 0 else ", though it calls that a success"
        return holds(f"it does not start{quiet}: {tell_run(run)}")
    return violated(f"it neither runs the command nor gives up: {tell_run(run)}")


def command_did_not_run(look: Look) -> Seen:
    if look.answers.get("hello"):
        return violated("the command ran")
    return does_not_start(look.run("run"))


def nothing_is_outside(look: Look, held: bool) -> Seen:
    """For a start that tries to write in a directory of the host: has it? Whether the command runs
    does not matter.
    """
    outside, run = look.fact("outside"), look.run("run")
    if outside:
        return violated(f"on the host there is now {list(outside)} in the directory outside")
    if outside == {}:
        return holds("nothing was made outside; it started" if held else
                     f"nothing was made outside; {tell_run({**run, 'stdout': ''})}")
    raise ProbeBroke(look.tell_runs())


def stops_or(inner: Callable[[Look], Seen]):
    """When a call of the set-up fails, the command must not run, or must be isolated
    nevertheless."""
    def observe(look: Look) -> Seen:
        if not look.answers.get("hello"):
            return does_not_start(look.run("run"))
        seen = inner(look)
        return Seen(seen.holds, f"the command runs; {seen.got}")
    return observe
