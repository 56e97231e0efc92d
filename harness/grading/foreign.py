"""Programs that do not know our command line: a template becomes a small program that does."""

from __future__ import annotations

import contextlib
import pathlib
import shlex
import shutil
import string
import tempfile
from typing import Dict, Iterator, List, Sequence, Tuple

EVERY_OPTION = "*"  # in place of the options that a program lacks: all but --rootfs

# {root} is where a root directory is named, {command} all words of the command, and {line} the same
# as one word, for a program that gives it to a shell.
PLACES: Dict[str, str] = {"root": '"$root"', "command": '"$@"', "line": '"$(printf "%q " "$@")"'}

ADAPTER = """#!/bin/bash
# {template}
root=/
while (($#)); do
  case $1 in
    --) shift && break ;;
    --rootfs) root=$2 && shift 2 ;;
    -*) echo "${{0##*/}}: unknown option $1" >&2 && exit 125 ;;
    *) break ;;
  esac
done
exec {words}
"""


def with_values(words: Sequence[str]) -> List[str]:
    """A command line in which --lacks has its value, as argparse accepts one with a dash."""
    rest = iter(words)
    return [f"{word}={next(rest, '')}" if word == "--lacks" else word for word in rest]


class BadTemplate(Exception):
    """For people: what is wrong with it."""


def words_of(template: str) -> List[str]:
    """The words of a template, each quoted for a shell, except its placeholders."""
    try:
        words = shlex.split(template)
        names = [name for word in words for _, name, _, _ in string.Formatter().parse(word)
                 if name is not None]
    except ValueError as error:
        raise BadTemplate(f"--command {template!r}: {error}") from error
    unknown = [name for name in names if name not in PLACES]
    if unknown:
        raise BadTemplate(f"--command {template!r}: {{{unknown[0]}}} is none of"
                          f" {', '.join(f'{{{place}}}' for place in PLACES)}")
    if not {"command", "line"} & set(names):
        raise BadTemplate(f"--command {template!r} does not say where the {{command}} stands")
    return ["".join(shlex.quote(text) * bool(text) + (PLACES[name] if name else "")
                    for text, name, _, _ in string.Formatter().parse(word)) or "''"
            for word in words]


@contextlib.contextmanager
def adapter_for(template: str) -> Iterator[Tuple[str, List[str]]]:
    """A program with our command line, and what has to be where it is: the program of the template,
    if that is a file; otherwise it is looked for in PATH."""
    words = words_of(template)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="adapter-", dir="/tmp"))
    folder.chmod(0o755)  # an ordinary user, too, has to start it
    try:
        yield write_adapter(folder, template, words)
    finally:
        shutil.rmtree(folder)


def copy_of(adapter: str) -> str:
    """Where the program of an adapter's template is."""
    return f"{adapter}.program"


def write_adapter(folder: pathlib.Path, template: str, words: List[str]) -> Tuple[str, List[str]]:
    program = pathlib.Path(shlex.split(template)[0])
    beside: List[str] = []
    if program.parent != pathlib.Path("."):
        copy = pathlib.Path(copy_of(str(folder / program.name)))
        try:
            shutil.copy(program, copy)
        except OSError as error:
            raise BadTemplate(f"{program}: {error.strerror}") from error
        beside.append(str(copy))
        words = [f'"${{0%/*}}"/{shlex.quote(copy.name)}', *words[1:]]
    path = folder / program.name
    path.write_text(ADAPTER.format(template=template.replace("\n", " "), words=" ".join(words)),
                    encoding="utf-8")
    path.chmod(0o755)
    return str(path), beside
