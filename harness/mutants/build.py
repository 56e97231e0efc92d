"""Builds mutants from what Bazel has built: each one is a compilation of one file, and a link."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
from typing import Dict, List, Sequence

from harness.mutants.kinds import Generated, changed

# Most of a compilation goes into these, so they are read once: GCC's manual, Precompiled Headers.
HEADERS = ("algorithm", "filesystem", "fmt/format.h", "fmt/ranges.h", "fstream", "functional",
           "map", "memory", "optional", "sstream", "string", "vector")
PATHS = ("-I", "-iquote", "-isystem")


def bazel(*words: str) -> str:
    quiet = [] if words[0] == "info" else ["--ui_event_filters=-info", "--noshow_progress"]
    program = shutil.which("bazel") or shutil.which("bazelisk") or "bazel"
    done = subprocess.run([program, *words, *quiet], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:  # bazel has said why
        sys.exit(f"generate: bazel {words[0]} failed")
    return done.stdout


def run(words: Sequence[str], folder: str) -> bool:
    done = subprocess.run(words, cwd=folder, check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          start_new_session=True)  # Ctrl-C would look as if it could not be built
    return done.returncode == 0


def without_paths(words: Sequence[str]) -> List[str]:
    kept: List[str] = []
    for before, word in zip(["", *words], words):
        if before not in PATHS and word not in PATHS:
            kept.append(word)
    return kept


class NotLinked(Exception):
    """It is as little a program as what no compiler takes."""


class NotBuilt(Exception):
    """There is nothing to compare a mutant with."""


class Builder:
    """Bazel's commands for the programs of some stages, whose parts are all built."""

    def __init__(self, stages: Sequence[str], folder: pathlib.Path) -> None:
        every = " + ".join(f"//stages/{stage}:all" for stage in stages)
        targets = bazel("query", f'kind("cc_(binary|test) rule", {every})').split()
        bazel("build", "--symlink_prefix=/", *targets)
        plan = json.loads(bazel("aquery", f'mnemonic("CppCompile", deps(set({" ".join(targets)})))',
                                "--output=jsonproto"))
        self.compilations: Dict[str, List[str]] = {}
        for action in plan.get("actions", []):
            words = action["arguments"]
            source = words[words.index("-c") + 1]
            if source.startswith("stages/") and ".pic.o" in words[words.index("-o") + 1]:
                self.compilations[source] = words
        self.bin = bazel("info", "bazel-bin").strip()
        self.links: Dict[str, List[str]] = {}  # by the program's path below that
        for target in targets:
            name = target[2:].replace(":", "/")
            params = pathlib.Path(f"{self.bin}/{name}-2.params")
            self.links[name] = params.read_text(encoding="utf-8").splitlines()
        self.root = bazel("info", "execution_root").strip()
        self.headers = folder / "headers"
        self.precompiled: Dict[str, pathlib.Path] = {}
        self.unchanged: Dict[str, bytes] = {}
        self.lock = threading.Lock()

    def object_of(self, file: str) -> str:
        words = self.compilations[file]
        return words[words.index("-o") + 1]

    def is_in(self, file: str, program: str) -> bool:
        return self.object_of(file) in self.links[program]

    def files(self, stage: str) -> List[str]:
        """The sources that are in this stage's program, and its own."""
        link = self.links[f"stages/{stage}/{stage}"]
        return sorted(source for source in self.compilations
                      if source.startswith(f"stages/{stage}/") and self.object_of(source) in link)

    def programs_with(self, file: str) -> List[str]:
        """All programs and unit tests that this file is linked into."""
        there = self.object_of(file)
        stage = os.path.dirname(file) + "/"
        return sorted(name for name, link in self.links.items()
                      if name.startswith(stage) and there in link)

    def options(self, file: str) -> List[str]:
        words = list(self.compilations[file])
        for option, count in (("-MD", 1), ("-MF", 2), ("-c", 2), ("-o", 2)):
            at = words.index(option)
            del words[at:at + count]
        # What the stages' own compiler refuses is no mutant: a function that returns nothing.
        return [word for word in words if not word.startswith(("-frandom-seed", "-W"))
                or word.startswith("-Werror=")] + ["-O0"]

    def headers_for(self, options: Sequence[str]) -> str:
        """The precompiled headers for these options: those of another set would be ignored."""
        key = " ".join(without_paths(options))
        with self.lock:
            if key not in self.precompiled:
                place = self.headers / str(len(self.precompiled))
                place.mkdir(parents=True)
                (place / "all.h").write_text("".join(f"#include <{name}>\n" for name in HEADERS),
                                             encoding="utf-8")
                run([*options, "-x", "c++-header", "-c", str(place / "all.h"),
                     "-o", str(place / "all.h.gch")], self.root)  # without it, all.h is read
                self.precompiled[key] = place / "all.h"
            return str(self.precompiled[key])

    def compile(self, file: str, text: str, folder: pathlib.Path) -> bytes:
        """The object file, left in `folder`; nothing if no compiler takes it."""
        source, made = folder / os.path.basename(file), folder / "mutant.o"
        source.write_text(text, encoding="utf-8")
        options = self.options(file)
        taken = run([*options, "-include", self.headers_for(options), "-c", str(source),
                     "-o", str(made)], self.root)
        return made.read_bytes() if taken else b""

    def build(self, mutant: Generated, text: str, folder: pathlib.Path) -> bool:
        """Compiles it. Whether a compiler takes it."""
        return bool(self.compile(mutant.file, changed(text, mutant), folder))

    def is_same_code(self, file: str, text: str, folder: pathlib.Path) -> bool:
        """Whether what was compiled in `folder` is what comes of the file as it is, too."""
        made = (folder / "mutant.o").read_bytes()
        if file not in self.unchanged:
            self.unchanged[file] = self.check_that_it_is_built(file, text, folder)
        return made == self.unchanged[file]

    def check_that_it_is_built(self, file: str, text: str, folder: pathlib.Path) -> bytes:
        """Ends the run if the file as it is cannot be compiled, either: another bazel may have
        taken away what it needs. What is compiled, otherwise."""
        beside = folder / "unchanged"
        beside.mkdir()
        made = self.compile(file, text, beside)
        if not made:
            raise NotBuilt(f"{file} cannot be compiled as it is: does another bazel run here?")
        return made

    def link(self, program: str, file: str, folder: pathlib.Path) -> pathlib.Path:
        """`program` with the mutant in `folder` in place of the file. Once."""
        there, made = self.object_of(file), folder / program
        if made.exists():
            return made
        made.parent.mkdir(parents=True, exist_ok=True)
        words = [str(folder / "mutant.o") if word == there else word
                 for word in self.links[program]]
        words[words.index("-o") + 1] = str(made)
        if not run([self.compilations[file][0], *words], self.root):
            raise NotLinked(f"{program} with {file} cannot be linked")
        return made
