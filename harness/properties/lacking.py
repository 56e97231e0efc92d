"""An option that a program does not have, found out by what it says."""

from __future__ import annotations

import re
from typing import Iterable, List

from harness.agent_client import Json

NO_OPTION = "--no-such-option"  # which no program has
LONGEST = 8000  # characters: of a program that writes without end, its last ones

SHORT = {"--env": "-e", "--memory": "-m", "--publish": "-p", "--user": "-u", "--volume": "-v",
         "--workdir": "-w"}

KIND = r"(?:long |command[- ]line )?(?:option|argument|flag|switch|parameter)s?"
# getopt_long(3), argparse, Go's flag, clap, OptionParser, Getopt::Long, and what people write.
BEFORE = re.compile(
    rf"(?:unrecogni[sz]ed|unknown|invalid|illegal|unexpected|undefined|unsupported|bad|no such)"
    rf" {KIND}|provided but not defined|\bhas no|\bhas not got|\blacks", re.IGNORECASE)
AFTER = re.compile(
    r"\W+(?:is )?(?:an? )?(?:(?:unrecogni[sz]ed|unknown|unexpected|unsupported)\b"
    r"|(?:invalid|illegal) (?:option|flag|switch|parameter)"  # not argument: that is EINVAL
    rf"|no such {KIND}|not (?:(?:yet )?(?:supported|implemented)|known|recogni[sz]ed|an? {KIND}"
    r"|found)\b|no such file|command not found)", re.IGNORECASE)
USAGE = re.compile(r"^\s*usage\b", re.IGNORECASE | re.MULTILINE)


def option_lacked(run: Json, used: Iterable[str]) -> str:
    """The option of `used` that a program has refused a start for, as one that it does not know;
    "" if it was refused for another reason, or not at all."""
    if run["why"] != "ended" or run.get("exit", 0) == 0:
        return ""
    options = sorted({word.split()[0] for word in used} - {NO_OPTION})
    text = run["stderr"][-LONGEST:] + "\n" + run["stdout"][-LONGEST:]
    for line in text.splitlines():
        for option in options:
            if names_as_unknown(line, option):
                return option
    others = [option for option in options if option != "--rootfs"]
    return others[0] if others and USAGE.search(text) else ""


def names_as_unknown(line: str, option: str) -> bool:
    for name in names_of(option):
        for found in re.finditer(name, line):
            if BEFORE.search(line[:found.start()]) or AFTER.match(line[found.end():]):
                return True
    return False


def names_of(option: str) -> List[str]:
    """Patterns: some programs leave out the dashes."""
    long = rf"(?<![\w/-])-{{0,2}}{option.lstrip('-')}(?![\w/-])"
    letter = SHORT.get(option, "")[1:]
    return [long] + ([rf"(?<![\w/-])-?{letter}(?![\w/-])"] if letter else [])
