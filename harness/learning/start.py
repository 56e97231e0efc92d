"""Gives a learner a folder to write a stage in: a task, a skeleton that builds, and a check.

  bazel run //harness:start -- 05 ~/stage05
  bazel run //harness:start -- 05 ~/stage05 --watch

The skeleton is the stage without the functions that are the lesson, and those after it are not in
the folder. What the stages before are made of is compiled already.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Dict, List, Sequence, Set

from harness import matrix
from harness.learning import describe, skeleton
from harness.learning.tasks.table import TASKS
from harness.properties.verdict import STAGES, stage_number

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
GENERATED = ("rootfs/rootfs.tar", "rootfs/rootfs_id.h", "stages/08b_seccomp/builtin_profiles.h",
             "stages/10_ebpf/programs.cc")

MAKEFILE = """\
# make builds {program}
# from what you have written or changed. All other sources are compiled already, in before.a.
OWN := {own}
# A function that is still to be written does not use its parameters yet: no warning for that.
CXXFLAGS = -std=c++20 -O1 -Wall -Wextra -Wno-unused -I. -MMD
LIBRARIES = -larchive -lbz2 -llzma -lzstd -lnettle -lseccomp -lbpf -lelf -lz

# What you have not changed. If you change a header, all that may include it is compiled again.
SAME := $(shell sha256sum --check before.sums 2>/dev/null | sed -n 's/: OK$$//p')
NEW_HEADERS := $(filter-out $(SAME),$(shell find common rootfs stages -name '*.h'))
ifneq ($(filter-out $(OWN)/%,$(NEW_HEADERS)),)
SAME :=
else ifneq ($(NEW_HEADERS),)
SAME := $(filter-out $(OWN)/%,$(SAME))
endif
SOURCES := $(filter-out $(SAME),$(shell find common rootfs stages -name '*.cc'))
OBJECTS := $(SOURCES:.cc=.o)

{program}: $(OBJECTS)
\t$(CXX) -static -s -o $@ $^ $(wildcard before.a) $(LIBRARIES)

-include $(OBJECTS:.o=.d)

clean:
\tfind . -name '*.[od]' -delete; rm -f {program}
.PHONY: clean
"""

CHECK = """\
#!/bin/sh
# Builds, and tells which milestone is next: see ./check --help.
cd "$(dirname "$0")" || exit
folder=$PWD
# sudo ./check must not leave files that you cannot replace.
build="make --quiet -j$(nproc)"
if [ "$(id -u)" = 0 ] && [ "$(stat -c %u .)" != 0 ]; then
  build="setpriv --reuid=$(stat -c %u .) --regid=$(stat -c %g .) --clear-groups $build"
fi
[ "$1" = --watch ] || [ "$1" = --help ] || $build || exit
cd {repository} && exec python3 -B -m harness.learning.check {stage} "$folder" "$@"
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
    try:
        for earlier in STAGES[1:stage_number(stage)]:
            copy_sources(folder_of(earlier), folder)
        for name in ("common", "rootfs"):
            copy_sources(REPOSITORY / name, folder)
        own = folder / "stages" / folder_of(stage).name
        write_skeleton(stage, own)
        copy_generated(folder)
        write_objects(folder, [own / name for name in ("main.cc", *TASKS[stage].written)])
        shutil.copytree(own, folder / "given")
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


def write_skeleton(stage: str, own: pathlib.Path) -> None:
    """The layer, without what is to be written, and a main.cc that does what the stage before did.
    """
    origin, todos = folder_of(stage), TASKS[stage].todos
    own.mkdir(parents=True)
    headers = "".join(path.read_text(encoding="utf-8") for path in sources(origin)
                      if path.suffix == ".h")
    for path in sources(origin):
        text = path.read_text(encoding="utf-8")
        here = [todo for todo in todos if todo.file == path.name]
        (own / path.name).write_text(skeleton.cut(text, here, headers) if here else text,
                                     encoding="utf-8")
    main = (origin / "main.cc").read_text(encoding="utf-8")
    if stage != STAGES[1]:  # which has none before it: its main.cc has three calls, and is given
        before = (folder_of(stage_before(stage)) / "main.cc").read_text(encoding="utf-8")
        page = (origin / "README.md").read_text(encoding="utf-8")
        main = skeleton.main_with_todos(before, main, page, todos)
    (own / "main.cc").write_text(main, encoding="utf-8")


def write_objects(folder: pathlib.Path, unfinished: Sequence[pathlib.Path]) -> None:
    """before.a: what Bazel has compiled of the sources in the folder, so that make need not. And
    before.sums, by which make sees what has been changed since."""
    runfiles = pathlib.Path(__file__).absolute().parents[2]
    done = [path.relative_to(folder) for path in sorted(folder.rglob("*.h"))]
    there = {path.relative_to(folder) for path in folder.rglob("*.cc") if path not in unfinished}
    with tempfile.TemporaryDirectory(prefix="start-") as scratch:
        for package in sorted({path.parent for path in there}):
            for archive in sorted((runfiles / package).glob("lib*.a")):
                done += unpack(archive, package, there, pathlib.Path(scratch))
        objects = sorted(str(path) for path in pathlib.Path(scratch).glob("*.o"))
        if objects:  # not so without Bazel, which alone knows that they fit the sources
            subprocess.run(["ar", "rcs", str(folder / "before.a"), *objects], check=True)
    sums = [f"{hashlib.sha256((folder / path).read_bytes()).hexdigest()}  {path}\n"
            for path in done]
    (folder / "before.sums").write_text("".join(sums), encoding="utf-8")


def unpack(archive: pathlib.Path, package: pathlib.Path, there: Set[pathlib.Path],
           scratch: pathlib.Path) -> List[pathlib.Path]:
    """Puts those objects of a library whose sources are `there` into `scratch`, and returns these
    sources."""
    found = []
    names = subprocess.run(["ar", "t", str(archive)], stdout=subprocess.PIPE, text=True,
                           check=True).stdout.split()
    for name in names:
        source = package / (name.split(".")[0] + ".cc")
        if source in there:
            found.append(source)
            with open(scratch / (str(source).replace("/", "_") + ".o"), "wb") as file:
                subprocess.run(["ar", "p", str(archive), name], stdout=file, check=True)
    return found


def write_texts(stage: str, folder: pathlib.Path, own: str) -> None:
    words = {"stage": stage, "own": own, "program": f"{own}/{os.path.basename(own)}",
             "repository": shlex.quote(str(REPOSITORY))}
    for name, text in {"Makefile": MAKEFILE, "check": CHECK}.items():
        (folder / name).write_text(text.format(**words), encoding="utf-8")
    (folder / "check").chmod(0o755)
    (folder / "TASK.md").write_text(
        describe.task_text(TASKS[stage], own, options_of(stage), REPOSITORY), encoding="utf-8")


def options_of(stage: str) -> str:
    """What --help says of those options that the stage adds."""
    programs = matrix.stages_of_this_toolkit()
    if stage not in programs:
        raise ValueError(f"stage {stage} is not built: bazel build //stages/...")
    before = programs.get(stage_before(stage))
    return describe.new_options(help_of(programs[stage].path),
                                help_of(before.path) if before and stage != STAGES[1] else "")


def help_of(program: str) -> str:
    return subprocess.run([program, "--help"], stdout=subprocess.PIPE, text=True,
                          check=True).stdout


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
    parser.add_argument("stage", choices=list(TASKS), metavar="NN",
                        help=f"the stage to write: 01 to {list(TASKS)[-1]}")
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
