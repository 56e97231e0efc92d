"""A learner's folder: it builds, does not hold the solution, and can become it."""

from __future__ import annotations

import io
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from typing import Iterator, List

import pytest

from harness.grading.grader import Grader, Program, cases_for
from harness.learning import check, start
from harness.learning.tasks.table import TASKS
from harness.properties.model import PROMISE, Outcome, Result, case_for
from harness.properties.table import BY_NAME
from harness.properties.verdict import STAGES, USER, stage_number
from slides import definitions

QUICKLY = ["make", "--quiet", f"-j{os.cpu_count()}"]
FLAGS = ["-std=c++20", "-O0", "-I."]
WARNINGS = ["-Wall", "-Wextra", "-Wno-unused", "-Werror"]
HEADERS = ("algorithm", "fmt/format.h", "fstream", "functional", "map", "memory", "optional",
           "sstream", "string", "vector")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    made = tmp_path_factory.mktemp("learner") / "stage05"
    start.make_folder("05", made)
    yield made


@pytest.fixture(scope="module")
def precompiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[List[str]]:
    """The options of a compiler that has read the headers of others already: most of its work."""
    header = tmp_path_factory.mktemp("headers") / "all.h"
    header.write_text("".join(f"#include <{name}>\n" for name in HEADERS))
    subprocess.run(["g++", *FLAGS, "-x", "c++-header", "-o", f"{header}.gch", str(header)],
                   check=True)
    yield [*FLAGS, "-include", str(header)]


@pytest.mark.parametrize("stage", TASKS)
def test_all_is_in_it_but_the_solution(stage, tmp_path, precompiled):
    made = tmp_path / "made"
    start.make_folder(stage, made)
    origin, own = start.folder_of(stage), made / "stages" / start.folder_of(stage).name
    stages = sorted(path.name.split("_")[0] for path in (made / "stages").iterdir())
    assert stages == list(STAGES[1:stage_number(stage) + 1])
    written = [path for path in made.rglob("*") if path.suffix in (".h", ".cc")
               and "given" not in path.parts]
    programs = [path for path in written if "\nint main(" in path.read_text()]
    assert programs == [own / "main.cc"]
    included = {name for path in written
                for name in re.findall(r'^#include "(.*)"', path.read_text(), re.MULTILINE)}
    assert [name for name in included if not (made / name).exists()] == []

    # What is to be written is marked, and not to be found.
    for todo in TASKS[stage].todos:
        ours, theirs = (definitions.find(path.read_text(), todo.function)[0]
                        for path in (origin / todo.file, own / todo.file))
        body = (origin / todo.file).read_text()[ours.begin:ours.end].partition("{")[2]
        statements = [line.strip() for line in body.splitlines() if len(line.strip()) > 30]
        skeleton = (own / todo.file).read_text()
        assert f"TODO (milestone {todo.milestone})" in skeleton[theirs.begin:theirs.end]
        assert [line for line in statements
                if line in skeleton[theirs.begin:theirs.end] and line not in todo.code] == []
    undone = [path.name for path in own.iterdir() if "TODO" in path.read_text()]
    assert set(undone) == {*TASKS[stage].written, *(["main.cc"] if stage != "01" else [])}
    assert sorted(path.name for path in (made / "given").iterdir()) == \
        sorted(path.name for path in own.iterdir())
    for name in undone:
        subprocess.run(["g++", *precompiled, *WARNINGS, "-fsyntax-only", str(own / name)],
                       cwd=made, check=True)


@pytest.mark.parametrize("stage", list(TASKS)[1:])
def test_main_cc_is_that_of_the_stage_before_with_todos(stage):
    own = pathlib.Path(start.folder_of(stage))
    before, after = (((start.folder_of(one)) / "main.cc").read_text().splitlines()
                     for one in (start.stage_before(stage), stage))
    page = (own / "README.md").read_text()
    made = start.skeleton.main_with_todos("\n".join(before), "\n".join(after), page,
                                          TASKS[stage].todos).splitlines()
    code = [line for line in made if not re.match(r" *// ", line)]
    old = [line for line in before if not re.match(r" *// ", line)]
    options = [line for line in code if line not in old]
    assert all(line.startswith("#include") or re.fullmatch(r"  \w+Options \w+\(.*\);", line)
               for line in options)
    assert [line for line in old if line not in code] == []
    assert "TODO" not in re.split(r"\n  return ", "\n".join(made))[1]
    # Each line that our main.cc adds after its options is asked for by name.
    parsed = after.index("  line.parse();")
    text = re.sub(r"\s+//\s+", " ", "\n".join(made))
    for line in after[parsed:]:
        called = re.findall(r"([a-z]\w+)\((?!\) const)", line.split("//")[0])
        if line not in before and called:
            assert re.search(rf"TODO[^;]*\b{called[0]}\b", text), line


def test_a_todo_names_the_milestone_of_what_it_calls_or_of_the_object(tmp_path):
    for stage, todos in {
        "04": ["(milestone 1), start_child_in()", ", namespaces: which kinds"],
        "07": ["(milestone 1), Cgroup cgroup:", "(milestone 3), cgroup.enter_namespace()",
               "(milestone 1), cgroup.finish()"],
    }.items():
        own = tmp_path / stage
        start.write_skeleton(stage, own)
        text = (own / "main.cc").read_text()
        assert [todo for todo in todos if f"// TODO {todo}".replace(" ,", ",") not in text] == []


def test_a_folder_that_is_in_use_is_left_alone(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ValueError, match="not an empty folder"):
        start.make_folder("05", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def would_compile(folder: pathlib.Path) -> List[str]:
    told = subprocess.run(["make", "-n"], cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return sorted(re.findall(r"-c -o \S+ (\S+)", told.stdout))


def test_what_is_written_or_changed_is_compiled_and_nothing_else(tmp_path):
    folder = tmp_path / "stage07"
    start.make_folder("07", folder)
    assert would_compile(folder) == ["stages/07_cgroups/cgroup.cc", "stages/07_cgroups/main.cc"]
    with open(folder / "stages/02_chroot/chroot.cc", "a", encoding="utf-8") as file:
        file.write("// changed\n")
    assert "stages/02_chroot/chroot.cc" in would_compile(folder)
    assert len(would_compile(folder)) == 3
    with open(folder / "stages/07_cgroups/limits.h", "a", encoding="utf-8") as file:
        file.write("// changed\n")
    assert {"stages/07_cgroups/limits.cc", "stages/07_cgroups/hierarchy.cc"} < \
        set(would_compile(folder))
    with open(folder / "common/check.h", "a", encoding="utf-8") as file:
        file.write("// changed\n")
    every = [str(path.relative_to(folder)) for name in ("common", "rootfs", "stages")
             for path in (folder / name).rglob("*.cc")]
    assert would_compile(folder) == sorted(every)


def holds(tools, program: pathlib.Path, name: str) -> bool:
    results = Grader(tools).grade(cases_for(Program.of(str(program), "05"), [BY_NAME[name]],
                                            PROMISE))
    return all(result.outcome is Outcome.PASSED for result in results)


def as_somebody(folder: pathlib.Path) -> List[str]:
    """Gives the folder to an ordinary user; returns how to run as that one. Unless we are one."""
    if os.geteuid() != 0:
        return []
    for path in (folder.parent, folder, *folder.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    return ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]


def readable_repository(tools, place: pathlib.Path) -> dict:
    """The harness where an ordinary user may read it, and where its programs are."""
    for name in ("harness", "slides"):
        shutil.copytree(start.REPOSITORY / name, place / name, ignore=lambda folder, names: [
            one for one in names if not (one.endswith(".py") or
                                         os.path.isdir(os.path.join(folder, one)))
            or one in ("node_modules", "__pycache__")])
    programs = {}
    for name, path in zip(("AGENT", "PROBE", "BUSYBOX"), (tools.agent, tools.probe, tools.busybox)):
        programs[f"HARNESS_{name}"] = shutil.copy(path, place / name.lower())
    return programs


def test_it_builds_and_becomes_the_stage_with_its_layer(folder, tools, precompiled):
    quickly = [*QUICKLY, f"CXXFLAGS={' '.join(precompiled)} -MMD"]
    subprocess.run(quickly, cwd=folder, check=True, timeout=600)
    program = folder / "stages/05_userns/05_userns"
    assert not holds(tools, program, "own_user_namespace")
    solution = start.folder_of("05")
    for path in [*start.sources(solution), solution / "main.cc"]:
        shutil.copyfile(path, folder / "stages/05_userns" / path.name)
    subprocess.run(quickly, cwd=folder, check=True, timeout=600)
    assert holds(tools, program, "own_user_namespace")


def test_an_ordinary_user_is_told_the_next_milestone_and_no_more(tmp_path, tools):
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)  # pytest's are root's own
    place = tmp_path / "repository"
    programs = readable_repository(tools, place)
    made = tmp_path / "mine" / "stage05"
    made.parent.mkdir()
    start.make_folder("05", made)
    script = (made / "check").read_text().replace(str(start.REPOSITORY), str(place))
    (made / "check").write_text(script)
    (made / "Makefile").write_text(  # what it builds is not the point
        "stages/05_userns/05_userns:\n\tprintf '#!/bin/sh\\nexit 125\\n' >$@; chmod +x $@\n")
    words = as_somebody(made)
    told = subprocess.run([*words, "./check"], cwd=made, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
                          env={**os.environ, **programs, "HOME": str(made)})
    assert told.returncode == 1, told.stdout
    assert told.stdout.startswith("- 1. A user namespace"), told.stdout
    assert re.search(r"^Fix first: 05_userns-\w+-holds-as_user$", told.stdout, re.MULTILINE)
    assert "2. " not in told.stdout


def step_of(title: str, *outcomes: Outcome) -> check.Step:
    row = BY_NAME["no_root_needed"]
    case = case_for(row, "05", "", "05_userns", USER, PROMISE)
    assert case is not None
    return check.Step(title, [Result(case, outcome, "expected", "got", "why")
                              for outcome in outcomes])


@pytest.mark.parametrize("outcomes,state", [
    ([Outcome.PASSED, Outcome.PASSED], check.REACHED),
    ([Outcome.PASSED, Outcome.SKIPPED], check.REACHED),
    ([Outcome.PASSED, Outcome.FAILED], check.MISSED),
    ([Outcome.SKIPPED, Outcome.ERROR], check.MISSED),
    ([Outcome.SKIPPED], check.UNSEEN),
    ([], check.UNSEEN),
])
def test_a_milestone_is_reached_when_nothing_of_it_is_bad(outcomes, state):
    assert step_of("", *outcomes).state == state


def test_what_to_fix_first_is_the_milestones_own_row_and_its_command_can_be_pasted(tmp_path):
    results = []
    for name in ("roots_files_are_roots_inside", "copies_are_copies"):  # the latter is stage 03's
        case = case_for(BY_NAME[name], "05", "", "05_userns", "root", PROMISE)
        assert case is not None
        results.append(Result(case, Outcome.FAILED, name, "got", "why",
                              command="05_userns --rootfs $ROOT -- ls"))
    told = io.StringIO()
    check.tell(check.Step("5.", results), 1, told)
    assert "Fix first: 05_userns-roots_files_are_roots_inside" in told.getvalue()
    assert "$ROOT: see TASK.md" in told.getvalue()
    start.write_texts("05", tmp_path, "stages/05_userns")
    task = (tmp_path / "TASK.md").read_text()
    assert "\n    ROOT=$(mktemp -d)" in task and "\n    for a in $(busybox" in task


@pytest.mark.parametrize("everything,seen", [(False, 2), (True, 6)])
def test_checking_ends_at_the_first_milestone_that_is_missed(monkeypatch, everything, seen):
    asked = []

    def grade(_where, _tools, cases):
        asked.append(cases)
        outcome = Outcome.FAILED if len(asked) == 2 else Outcome.PASSED
        return [Result(case, outcome, "", "") for case in cases]
    monkeypatch.setattr(check, "grade_in", grade)
    program = Program("program", "05", "05_userns")
    steps = list(check.look(TASKS["05"], program, None, [], everything))
    assert [step.state for step in steps].count(check.MISSED) == 1
    assert len(steps) == len(asked) == seen


def test_a_stage_of_which_nothing_was_seen_is_not_called_done():
    reached, unseen = step_of("1.", Outcome.PASSED), step_of("2.", Outcome.SKIPPED)
    assert check.verdict_on("04", [reached, reached]) == \
        "Stage 04 is done: all that was checked holds."
    for steps in ([unseen, unseen], [reached, unseen]):
        assert "may not be done" in check.verdict_on("04", steps)
    assert check.verdict_on("04", [reached, step_of("2.", Outcome.FAILED)]) == ""


def test_a_milestone_without_a_row_is_not_called_reached_and_keeps_no_stage_from_being_done():
    without, told = step_of("2. Nothing is left (robust)"), io.StringIO()
    check.tell(without, 1, told)
    assert told.getvalue() == ("? 2. Nothing is left (robust)\n"
                               "    no row judges this: try it, and compare with our way\n")
    assert check.verdict_on("10", [step_of("1.", Outcome.PASSED), without]) == \
        "Stage 10 is done: all that was checked holds."


def test_what_could_not_be_looked_at_is_said():
    assert check.remark([step_of("", Outcome.PASSED)], "host") == ""
    told = check.remark([step_of("", Outcome.PASSED, Outcome.SKIPPED)], "host")
    assert told.startswith("1 of the checks cannot be run here; try ")
    assert "./check --in vm" in told


def test_watching_checks_again_when_a_source_is_saved(tmp_path):
    script = tmp_path / "check"
    script.write_text('#!/bin/sh\necho "checked with $*"\n')
    script.chmod(0o755)
    source = tmp_path / "main.cc"
    source.write_text("")
    with subprocess.Popen(
            [sys.executable, "-B", "-c", "from harness.learning import start; import sys;"
             "sys.exit(start.main(sys.argv[1:]))", "05", str(tmp_path), "--watch", "--hints", "2"],
            stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        seen = 0
        for line in watching.stdout:
            if line.startswith("checked with --hints 2"):
                seen += 1
            if line.startswith("waiting"):
                if seen == 2:
                    break
                source.write_text("// saved")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(5) == 130
