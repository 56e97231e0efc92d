"""A submission may be anything: it must not stop a class, hinder another submission, get at a file
of this machine, or send control characters to a terminal."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import pathlib
import shutil
import subprocess
import threading
import time
from typing import Callable, Iterator

import pytest

from harness.grading import command, folders, report, submission, test_submission
from harness.grading.command import Progress, Task, grade_one, tell
from harness.grading.submission import NotGradable, program_of
from harness.grading.test_submission import LIMITS, folder_with, start_class
from harness.properties.model import Grade, Outcome, Result
from harness.vm import vm as vm_module
from harness.vm.vm import Vm

reachable_tmp_path = test_submission.reachable_tmp_path  # the fixture tmp_path
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
ESCAPES = "\x1b[2J\x9b2J\x07\u202e"
ODD = set("\x1b\x9b\x07\u202e")
FAKE = f"x{ESCAPES}\n3/3 Ada: 9 of 9"
RUNS = {"01_x": "#!/bin/sh\nshift\nexec \"$@\"\n"}


# --- A class goes on ------------------------------------------------------------------------------


def nest(folder: pathlib.Path, depth: int) -> None:
    """This many nested directories: more than a path can name."""
    back = os.open(".", os.O_RDONLY)
    os.chdir(folder)
    for _ in range(depth):
        os.mkdir("a")
        os.chdir("a")
    os.fchdir(back)
    os.close(back)


def sparse(folder: pathlib.Path) -> None:
    with open(folder / "large", "wb") as file:
        file.truncate(64 << 30)


HOSTILE = {
    "a FIFO whose name is no text": lambda folder: os.mkfifo(bytes(folder / "x") + b"\xff"),
    "a FIFO whose name looks like ours": lambda folder: os.mkfifo(folder / FAKE.replace("/", "-")),
    "a file of 64 GiB": sparse,
    "1200 folders in each other": lambda folder: nest(folder, 1200),
    "3000 folders in each other": lambda folder: nest(folder, 3000),
    "a build that nests folders": lambda folder: folder_with(
        folder, build__sh="i=0; while [ $i -lt 3000 ]; do mkdir a && cd a; i=$((i+1)); done"),
    "a build whose log is no text": lambda folder: folder_with(
        folder, build__sh=f"printf '{FAKE}\\377\\n'; exit 1"),
    "a program whose name looks like ours": lambda folder: folder_with(
        folder, **{f"01_{FAKE}".replace("/", "-"): "#!/bin/sh\nexec \"$@\"\n"}),
    "a link to itself": lambda folder: (folder / "01_x").symlink_to("01_x"),
    "a device": lambda folder: os.mknod(folder / "null", 0o600 | 0o20000, os.makedev(1, 3)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_class_is_graded_whatever_is_handed_in(tmp_path, kind):
    if kind == "a device" and os.geteuid() != 0:
        pytest.skip("needs root")
    (tmp_path / "subs").mkdir()
    for name in ("ada", "cyd"):
        folder_with(tmp_path / "subs" / name, **RUNS)
    (tmp_path / "subs" / "bob").mkdir()
    HOSTILE[kind](tmp_path / "subs" / "bob")
    (tmp_path / "roster.csv").write_text("name,submission\nAda,ada\nBob,bob\nCyd,cyd\n")
    before = set(os.listdir("/tmp"))
    try:
        for again in (False, True):
            _, err = (running := start_class(tmp_path)).communicate(timeout=120)
            assert running.returncode == 0, err
            assert not set(err) & ODD, repr(err)
            told = [line for line in err.splitlines() if line[:2] in ("1/", "2/", "3/")]
            assert [line.split()[1] for line in told] == ["Ada:", "Bob:", "Cyd:"], told
            assert err.count("as before") == (3 if again else 0), err
        table = list(csv.DictReader(io.StringIO((tmp_path / "out/grades.csv").read_text())))
        assert [line["name"] for line in table] == ["Ada", "Bob", "Cyd"]
        assert int(table[0]["score"]) > 0 and int(table[2]["score"]) > 0
        assert not [name for name in set(os.listdir("/tmp")) - before
                    if name.startswith("submission-") and "test" not in name]
    finally:
        folders.remove(tmp_path / "subs")


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("deep"), ValueError("odd"),
                                   UnicodeEncodeError("utf-8", "\udcff", 0, 1, "no")])
def test_what_nobody_thought_of_is_a_grade_too(tmp_path, tools, monkeypatch, error):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(command, "program_of", fail)
    grade = grade_one(Task("Ada", tmp_path), "01", tools, "host", LIMITS)
    assert type(error).__name__ in grade.problem and grade.score == 0


@pytest.mark.parametrize("mode", [0o000, 0o111])
@NEEDS_ROOT
def test_what_may_not_be_read_is_told(tmp_path, mode):
    folder = folder_with(tmp_path / "theirs", **RUNS)
    (folder / "01_x").chmod(mode)
    (tmp_path / "scratch").mkdir()
    os.chown(tmp_path / "scratch", submission.NOBODY, submission.NOBODY)
    os.seteuid(submission.NOBODY)
    try:
        assert folders.digest(folder, 1 << 20) == folders.digest(folder, 1 << 20)
        with pytest.raises(NotGradable, match="01_x: Permission denied"):
            program_of(folder, "01", tmp_path / "scratch")
    finally:
        os.seteuid(0)


def test_a_digest_tells_what_has_changed(tmp_path):
    folder = folder_with(tmp_path / "theirs", a="1")
    seen = {folders.digest(folder, 1 << 20)}
    for change in (lambda: (folder / "a").write_text("2"), lambda: (folder / "a").chmod(0o644),
                   lambda: (folder / "b").symlink_to("a"), lambda: os.mkfifo(folder / "c"),
                   lambda: (folder / "c").rename(folder / "d"), lambda: sparse(folder),
                   lambda: os.truncate(folder / "large", 65 << 30)):
        change()
        digest = folders.digest(folder, 1 << 20)
        assert digest not in seen
        seen.add(digest)


def test_a_copy_is_no_set_user_id_program(tmp_path):
    folder = folder_with(tmp_path / "theirs", **RUNS)
    (folder / "01_x").chmod(0o6755)
    folders.copy(folder, tmp_path / "copy")
    assert (tmp_path / "copy" / "01_x").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "copy" / "01_x").stat().st_mtime == (folder / "01_x").stat().st_mtime


# --- Builds do not hinder each other --------------------------------------------------------------


def build_of(tmp_path: pathlib.Path, name: str, script: str, limit: float = 20.0):
    scratch = tmp_path / f"scratch of {name}"
    scratch.mkdir()
    return program_of(folder_with(tmp_path / name, build__sh=script), "05", scratch, limit)


GOOD_BUILD = "printf '#!/bin/sh\\n' >05_x; chmod +x 05_x; id -u >user"


@contextlib.contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    def until_it_ends() -> None:
        with contextlib.suppress(NotGradable):
            work()

    thread = threading.Thread(target=until_it_ends)
    thread.start()
    time.sleep(1.0)
    yield
    thread.join()


@NEEDS_ROOT
def test_a_fork_bomb_leaves_processes_to_the_others(tmp_path):
    bomb = "i=0; while [ $i -lt 300 ]; do sleep 5 & i=$((i+1)); done; sleep 5"
    with beside(lambda: build_of(tmp_path, "ada", bomb, 4.0)):
        program = build_of(tmp_path, "bob", GOOD_BUILD)
        user = int((program.path.parent / "user").read_text())
        assert user != submission.NOBODY and program.path.exists()


def test_where_there_is_one_user_one_build_goes_on_at_a_time(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    going_on, most = 0, 0

    def work() -> None:
        nonlocal going_on, most
        with submission.builder() as user:
            assert user is None
            going_on += 1
            most = max(most, going_on)
            time.sleep(0.05)
            going_on -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


EAT = "exec python3 -c 'import time; kept = bytearray(200 << 20); time.sleep(3)'"


def test_a_build_that_takes_all_memory_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(submission, "memory_left", lambda: 0)
    monkeypatch.setattr(submission, "LEAST_MEMORY", 100 << 20)
    with pytest.raises(NotGradable, match="its build leaves less than 100 MiB of memory"):
        build_of(tmp_path, "ada", f"({EAT}); true")
    build_of(tmp_path, "bob", GOOD_BUILD + "; sleep 1")  # it is not the one who has taken it


def test_what_a_build_keeps_in_memory_has_a_limit(tmp_path):
    with pytest.raises(NotGradable):
        build_of(tmp_path, "ada", "head -c 100M /dev/zero >/dev/shm/x && " + GOOD_BUILD)
    with pytest.raises(NotGradable):
        build_of(tmp_path, "bob", "echo x >/dev/x && " + GOOD_BUILD)


@NEEDS_ROOT
@pytest.mark.parametrize("limits, fill, why", [
    ("size=64m", "head -c 1M /dev/zero >", "its build leaves less than 16 MiB on the disk"),
    ("nr_inodes=2000", ": >", "its build leaves room for fewer than 1000 files on the disk"),
])
def test_the_build_that_fills_the_disk_is_ended_and_no_other(tmp_path, monkeypatch, limits, fill,
                                                             why):
    monkeypatch.setattr(submission, "LEAST_FREE", 16 << 20)
    monkeypatch.setattr(submission, "LEAST_FILES", 1000)
    subprocess.run(["mount", "-t", "tmpfs", "-o", limits, "small", tmp_path], check=True)
    try:
        tmp_path.chmod(0o755)
        # Ours looks twenty times a second, and a fast machine fills the disk in less.
        script = f"i=0; while [ $i -lt 1500 ] && {fill}$i; do i=$((i+1)); done; sleep 5; exit 1"
        with pytest.raises(NotGradable, match=why):
            build_of(tmp_path, "ada", script)
        shutil.rmtree(tmp_path / "scratch of ada")
        (tmp_path / "full").mkdir()
        for number in range(50 if "size" in limits else 1200):
            (tmp_path / "full" / str(number)).write_bytes(bytes(1 << 20 if "size" in limits else 0))
        build_of(tmp_path, "bob", GOOD_BUILD + "; sleep 1")
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


# --- Nothing of this machine goes with it ---------------------------------------------------------


@pytest.mark.parametrize("planted", ["a link", "a link on the way", "a file of somebody's"])
def test_only_the_program_itself_comes_into_the_machine(tmp_path, monkeypatch, planted):
    """A stage of ours finds its root at ../../rootfs/rootfs.tar: not a submission."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "rootfs.tar").write_text("grades")
    theirs = tmp_path / "theirs"
    (theirs / "a" / "b").mkdir(parents=True)
    program = theirs / "a" / "b" / "05_x"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o4755)
    if planted == "a link on the way":
        (theirs / "rootfs").symlink_to(secret)
    else:
        (theirs / "rootfs").mkdir()
        if planted == "a link":
            (theirs / "rootfs" / "rootfs.tar").symlink_to(secret / "rootfs.tar")
        else:
            (theirs / "rootfs" / "rootfs.tar").write_text("grades")
    assert came_along(tmp_path, monkeypatch, strangers=[str(program)]) == {str(program): 0o755}
    if planted != "a file of somebody's":
        assert came_along(tmp_path, monkeypatch, programs=[str(program)]) == {str(program): 0o755}


@pytest.mark.parametrize("planted", ["nothing", "a link", "a file of somebody's"])
def test_a_submission_finds_our_root_where_a_stage_looks_for_it(tmp_path, monkeypatch, planted):
    """Otherwise a learner's stage would lose the rows that need one, as for --userspace minimal."""
    ours, theirs = (tmp_path / name / "stages" / "05_x" / "05_x" for name in ("ours", "theirs"))
    root, place = (tmp_path / name / "rootfs" / "rootfs.tar" for name in ("ours", "theirs"))
    for path, mode in ((ours, 0o755), (theirs, 0o755), (root, 0o640), (place, 0o604)):
        path.parent.mkdir(parents=True)
        path.write_text("")
        path.chmod(mode)
    if planted != "a file of somebody's":
        place.unlink()
    if planted == "a link":
        place.symlink_to("/etc/hostname")
    assert came_along(tmp_path, monkeypatch, programs=[str(ours)], strangers=[str(theirs)]) == {
        str(ours): 0o755, str(root): 0o640, str(theirs): 0o755, str(place): 0o640}


def test_our_own_stages_come_with_their_root(tmp_path, monkeypatch):
    program = tmp_path / "stages" / "05_x" / "05_x"
    root = tmp_path / "rootfs" / "rootfs.tar"
    for path in (program, root):
        path.parent.mkdir(parents=True)
        path.write_text("")
        path.chmod(0o644)
    assert came_along(tmp_path, monkeypatch, programs=[str(program)]) == {
        str(program): 0o644, str(root): 0o644}


def came_along(tmp_path, monkeypatch, **programs) -> dict[str, int]:
    """The files on a machine's disk of programs, and their modes."""
    seen: dict[str, int] = {}

    def look(*words: str) -> None:
        top = pathlib.Path(words[words.index("-d") + 1]) / "programs"
        seen.update({f"/{path.relative_to(top)}": path.stat().st_mode & 0o7777
                     for path in top.rglob("*") if path.is_file()})

    monkeypatch.setattr(vm_module, "run_tool", look)
    machine = Vm(**programs)
    machine.folder = tmp_path / "machine"
    machine.folder.mkdir(exist_ok=True)
    (machine.folder / "key.pub").write_text("")
    machine.make_programs_disk(tmp_path / "disk")
    return seen


# --- Nothing but text reaches a terminal ----------------------------------------------------------


def hostile_grade(problem: str) -> Grade:
    one = command.unseen("01", "")[0]
    case = command.dataclasses.replace(one.case, label=FAKE)
    result = Result(case, Outcome.FAILED, FAKE, FAKE, FAKE, FAKE)
    return Grade(FAKE, "01", [result, result], problem, FAKE + "\udcff")


@pytest.mark.parametrize("problem", ["", FAKE])
@pytest.mark.parametrize("colour", [False, True])
def test_a_grade_for_the_terminal_is_text(problem, colour):
    told = tell(hostile_grade(problem), 3, colour)
    for ours in ("\033[32m", "\033[31m", "\033[2m", "\033[0m"):
        told = told.replace(ours, "")
    assert not set(told) & ODD
    told.encode()


@pytest.mark.parametrize("is_terminal", [False, True])
def test_each_submission_has_one_line_of_progress(is_terminal):
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal  # type: ignore[method-assign]
    Progress(3, stream).tell(hostile_grade(FAKE), False)
    told = stream.getvalue().replace("\r\033[K", "")
    assert not set(told) & ODD
    assert len(told.splitlines()) == 1


def test_a_matrix_is_text():
    assert not set(report.report(hostile_grade("").results)) & ODD
