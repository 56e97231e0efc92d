"""Gives a learner a folder to write a stage in: what the stage before was, a task, and a check.

  bazel run //harness:start -- 05 ~/stage05
  bazel run //harness:start -- 05 ~/stage05 --watch

Our own way of writing that stage, and those after it, is not in the folder.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time
from typing import Dict, List, Sequence

from harness.properties.model import Property
from harness.properties.table import PROPERTIES
from harness.properties.verdict import ROOT, STAGES, stage_number

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FIRST = "02"  # 01 has no stage before it
GENERATED = ("rootfs/rootfs.tar", "rootfs/rootfs_id.h", "stages/08b_seccomp/builtin_profiles.h")

MAKEFILE = """\
# make builds {program}, from all sources below common/, rootfs/ and stages/.
CXXFLAGS = -std=c++20 -Os -Wall -Wextra -I. -MMD
SOURCES := $(shell find common rootfs stages -name '*.cc')
OBJECTS := $(SOURCES:.cc=.o)
LIBRARIES = -larchive -lzstd -lz -lnettle -lseccomp

{program}: $(OBJECTS)
\t$(CXX) -static -s -o $@ $^ $(LIBRARIES)

-include $(OBJECTS:.o=.d)

clean:
\tfind . -name '*.[od]' -delete; rm -f {program}
.PHONY: clean
"""

CHECK = """\
#!/bin/sh
# Builds, and tells which properties hold. ./check --hints 3 tells more, ./check --help all.
cd "$(dirname "$0")" && make --quiet -j"$(nproc)" && folder=$PWD && cd {repository} &&
  exec python3 -B -m harness.grade --stage {stage} --binary "$folder/{program}" "$@"
"""

TASK = """\
# Your task: stage {stage}

`{main}` is what the stage before was. Make it what stage {stage} promises. A new layer
goes into files of its own beside it; `main.cc` gets a call or two.

    ./check                  builds, and tells which properties hold and what to mend first
    ./check --hints 3        tells more: where to look, the idea, what to read

## What has to hold

{promises}

## What to read

{pages}
"""


def built(path: str) -> pathlib.Path:
    """What Bazel makes: it is beside us if Bazel has started us, and always where Bazel builds."""
    beside = pathlib.Path(__file__).absolute().parents[2] / path  # not resolved: it is a link
    return beside if beside.exists() else REPOSITORY / "bazel-bin" / path


def folder_of(stage: str) -> pathlib.Path:
    """Such as REPOSITORY/stages/05_userns."""
    found = list((REPOSITORY / "stages").glob(f"{stage}_*"))
    if len(found) != 1:
        raise ValueError(f"there is no stage {stage} here")
    return found[0]


def stage_before(stage: str) -> str:
    return STAGES[stage_number(stage) - 1]


def sources(folder: pathlib.Path) -> List[pathlib.Path]:
    """What the folder's library is made of: no tests, and no programs."""
    return [path for path in sorted(folder.iterdir())
            if path.suffix in (".h", ".cc") and not path.stem.endswith(("_test", "_for_test"))
            and "\nint main(" not in path.read_text(encoding="utf-8")]


def make_folder(stage: str, folder: pathlib.Path) -> None:
    """Makes it, or, if something fails, leaves nothing."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already, and not an empty folder")
    own, before = folder_of(stage), folder_of(stage_before(stage))
    try:
        for earlier in STAGES[1:stage_number(stage)]:
            copy_sources(folder_of(earlier), folder)
        for name in ("common", "rootfs"):
            copy_sources(REPOSITORY / name, folder)
        copy_generated(folder)
        main = folder / "stages" / own.name / "main.cc"
        main.parent.mkdir()
        shutil.copyfile(before / "main.cc", main)
        write_texts(stage, folder, f"stages/{own.name}")
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def copy_sources(origin: pathlib.Path, folder: pathlib.Path) -> None:
    place = folder / origin.relative_to(REPOSITORY)
    place.mkdir(parents=True)
    for path in sources(origin):
        shutil.copyfile(path, place / path.name)


def copy_generated(folder: pathlib.Path) -> None:
    """Puts what Bazel makes beside those sources that are there."""
    for path in GENERATED:
        if (folder / path).parent.exists():
            shutil.copyfile(built(path), folder / path)


def write_texts(stage: str, folder: pathlib.Path, own: str) -> None:
    words = {"stage": stage, "program": f"{own}/{os.path.basename(own)}", "main": f"{own}/main.cc",
             "repository": shlex.quote(str(REPOSITORY)),
             "promises": promises(stage), "pages": pages(stage)}
    for name, text in {"Makefile": MAKEFILE, "check": CHECK, "TASK.md": TASK}.items():
        (folder / name).write_text(text.format(**words), encoding="utf-8")
    (folder / "check").chmod(0o755)


def rows_of(stage: str) -> List[Property]:
    return [row for row in PROPERTIES if row.since == stage]


def promises(stage: str) -> str:
    return "\n".join(f"- **{row.name}**: {row.holds}."
                     + ("" if ROOT in row.identities else " (As an ordinary user.)")
                     for row in rows_of(stage))


def pages(stage: str) -> str:
    """The man pages of its rows, each with the rows that name it."""
    found: Dict[str, List[str]] = {}
    for row in rows_of(stage):
        section, name = row.man.split()
        found.setdefault(f"{name}({section})", []).append(row.name)
    return "\n".join(f"- {page}: {', '.join(names)}" for page, names in sorted(found.items()))


def state_of(folder: pathlib.Path) -> Dict[str, int]:
    """When each source was saved."""
    saved = {}
    for path in folder.rglob("*"):
        if path.suffix in (".h", ".cc") or path.name == "Makefile":
            try:
                saved[str(path)] = path.stat().st_mtime_ns
            except FileNotFoundError:
                pass  # an editor that saves by renaming
    return saved


def watch(folder: pathlib.Path, words: Sequence[str]) -> None:
    """Checks, now and each time that a source is saved, until Ctrl-C."""
    seen: Dict[str, int] = {}
    while True:
        now = state_of(folder)
        if now != seen:
            seen = now
            print("\033[2J\033[H" if sys.stdout.isatty() else "", end="", flush=True)
            subprocess.run([str(folder / "check"), *words], check=False)
            print(f"\nwaiting for a change below {folder} (Ctrl-C ends)", flush=True)
        time.sleep(0.3)


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="harness.start", description=__doc__.split("\n", 1)[0])
    parser.add_argument("stage", choices=STAGES[stage_number(FIRST):], metavar="NN",
                        help="the stage to write: 02 to 08c")
    parser.add_argument("folder", type=pathlib.Path, metavar="DIR", help="a new folder")
    parser.add_argument("--watch", action="store_true", help="check each time a source is saved")
    parser.add_argument("--hints", default="1", choices=("0", "1", "2", "3"))
    arguments = parser.parse_args(words)
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    folder = arguments.folder.absolute()
    try:
        if not (arguments.watch and (folder / "check").exists()):
            make_folder(arguments.stage, folder)
            print(f"Made {folder}. Read TASK.md there, and try ./check")
        if arguments.watch:
            watch(folder, ["--hints", arguments.hints])
    except (ValueError, OSError) as error:
        print(f"harness.start: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
