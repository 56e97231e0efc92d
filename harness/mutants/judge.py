"""What becomes of a mutant: do the unit tests, rows and behaviour tests of its stage see it?"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from typing import Callable, Dict, Hashable, Iterator, List, Optional, Sequence, Set, Tuple

from harness.faults.world import ENTER_CGROUP
from harness.grading.grader import Grader, Program, SceneKey, cases_for, keys_of
from harness.mutants.build import Builder, NotLinked
from harness.mutants.failing_calls import FailingCalls
from harness.mutants.kinds import Generated
from harness.properties.model import ALL_SCENES, PROMISE, Case
from harness.properties.scene import Tools
from harness.properties.table import PROPERTIES
from harness.properties.verdict import ROOT, STAGES, USER, stage_number

# Whatever a mutant does to the machine ends with it. "$1" is its program, which is shown at "$2".
# The shell stays PID 1 because it waits for every orphan: a container that has ended would stay a
# zombie under pytest, and 11_oci waits 10 s for one to be gone. Files are in memory because tests
# make thousands of them; "$3" is a folder to use instead. "$4" is where cgroup v2 is mounted.
JAIL = """
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/user /var/cache/containers-under-the-hood
chmod 1777 /run/lock
mount -t tmpfs -o mode=700 tmpfs /var/cache/containers-under-the-hood
mount -t tmpfs -o mode=700 tmpfs /root
[ "$1" = "$2" ] || mount --bind "$1" "$2"
mount -t tmpfs -o mode=1777 tmpfs /tmp
[ -z "$3" ] || mount --bind "$3" /tmp
if [ "$4" ]; then
  umount --lazy "$4"
  mount -t cgroup2 cgroup2 "$4"
  mkdir "$4/tests"
  echo 0 > "$4/tests/cgroup.procs"
  for name in $(cat "$4/cgroup.controllers"); do echo "+$name" > "$4/cgroup.subtree_control"; done
fi
shift 4
"$@"
"""
CGROUP = "mutant"  # with what makes the name unique behind it
ENTER = ENTER_CGROUP + 'enter_cgroup "$0"; exec "$@"'
# Since then, files of tmpfs have extended attributes of users, which overlayfs needs, see xattr(7).
MEMORY_HAS_ATTRIBUTES = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 6)
NAMESPACES = ("--mount", "--net", "--cgroup", "--ipc", "--pid", "--fork", "--kill-child",
              "--mount-proc", "--propagation", "private")
# Without the folder that `bazel run` names: a stage starts in it, see common/run_main.cc, though it
# may be hidden here.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("BUILD_W")}
LONGEST = 900.0  # seconds, for all tests of a stage
UNIT_TEST = 60.0  # seconds, for one that takes a moment: one that hangs has seen it, too
ENDING = 2.0  # seconds, for processes that have been killed and have not ended yet
SLOW = 2.0  # seconds: a test that takes longer is asked only if no other sees a mutant
MORE_TIME = 4.0  # of the usual, when a row that has failed is asked again: the machine may be busy

# The programs that the tests of stage 03 call.
HELPERS = {"COPY_TREE": "copy_tree_for_test", "BUILD_USERSPACE": "build_userspace_for_test",
           "PRINT_LIBRARIES": "print_libraries"}


def is_unit_test(name: str) -> bool:
    return name.endswith("_test") and os.path.basename(name) not in HELPERS.values()


def mount_of_cgroups() -> str:
    """Where cgroup v2 is mounted, if anywhere."""
    lines = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return next((line.split()[1] for line in lines if line.split()[2] == "cgroup2"), "")


@contextlib.contextmanager
def own_cgroup(mounted_at: str, name: str) -> Iterator[str]:
    """One for all that is started here: the names of containers are the same each time."""
    if not mounted_at:
        yield ""
        return
    cgroup = tempfile.mkdtemp(prefix=f"{name}-", dir=mounted_at)
    try:
        yield cgroup
    finally:
        end = time.monotonic() + ENDING
        while os.path.exists(cgroup) and time.monotonic() < end:
            for folder, _, _ in os.walk(cgroup, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
            time.sleep(0.01)


# They drive stage 11 through an engine, which takes most of the time for a survivor.
OF_ENGINES = ("test_containerd.py", "test_cri.py", "test_podman.py")
ASKS = ("unit", "row", "test", "fault")  # what can see a mutant


class Look(enum.IntEnum):
    """How much is asked before a mutant has survived."""

    QUICK = 0  # the stage's own rows and tests
    USUAL = 1  # the rows of all stages, and the tests of all stages, too
    THOROUGH = 2  # slow tests, and a sample of all calls that may fail, too


class Judge:
    """One stage, and everything that can see a mistake in it. Several threads may call it."""

    def __init__(self, builder: Builder, tools: Tools, stage: str, place: pathlib.Path,
                 look: Look = Look.USUAL, asks: Sequence[str] = ASKS) -> None:
        self.asks = asks
        self.builder, self.tools, self.stage, self.look = builder, tools, stage, look
        self.number = stage.partition("_")[0]
        self.place = place  # each mutant has a folder in it
        self.template = place / f"of-{self.number}"  # as Bazel lays out what tests need
        self.kills: Dict[Hashable, int] = collections.Counter()
        self.seconds: Dict[str, float] = {}
        self.kept: Optional[pathlib.Path] = None
        self.sound: Dict[str, bool] = {}  # by test: whether it passes without a change
        self.lock = threading.Lock()
        self.complete: Optional[Judge] = None  # of the stage that has all the layers
        self.lay_out()
        self.failing_calls = FailingCalls(tools, stage, self.template / self.program,
                                          self.template / "rootfs/rootfs.tar")

    @property
    def program(self) -> str:
        return f"stages/{self.stage}/{self.stage}"

    # --- Before the first one ---------------------------------------------------------------------

    def lay_out(self) -> None:
        there = self.template / "stages" / self.stage
        there.mkdir(parents=True)
        (self.template / "rootfs").mkdir()
        (self.template / "harness").mkdir()
        own = [path for path in pathlib.Path("stages", self.stage).glob("*.py")
               if not path.name.endswith("_in_vm.py")
               and (self.look == Look.THOROUGH or path.name not in OF_ENGINES)]
        data = list(pathlib.Path("stages", self.stage).glob("*.json"))  # of unit tests
        for path in own + data + list(pathlib.Path("stages").glob("*.py")):
            shutil.copy(path, self.template / path)
        for name in ("__init__.py", "oci_layout.py"):
            shutil.copy(f"harness/{name}", self.template / "harness" / name)
        for name in ("bazel/pytest_main.py", "harness/mutants/chosen_tests.py"):
            shutil.copy(name, self.template / os.path.basename(name))
        shutil.copy(f"{self.builder.bin}/rootfs/rootfs.tar", self.template / "rootfs/rootfs.tar")
        for name in self.builder.links:
            if name.startswith(f"stages/{self.stage}/"):
                shutil.copy(f"{self.builder.bin}/{name}", self.template / name)
        subprocess.run(["chmod", "-R", "a+rX,u+w", self.template], check=True)

    def remember(self, results: pathlib.Path) -> None:
        """What has seen mutants before; and how long the tests took: a file beside the results."""
        self.kept = results.with_suffix(f".{self.number}.json")
        if self.kept.exists():
            self.seconds = json.loads(self.kept.read_text(encoding="utf-8"))
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
        for one in map(json.loads, lines):
            file = one["id"].partition(":")[0]
            if one["became"] == "killed" and file.startswith(f"stages/{self.stage}/"):
                self.count_kill(file, one["by"])

    def count_kill(self, file: str, seen_by: str) -> None:
        self.kills[seen_by] += 1
        self.kills[file, seen_by] += 1

    @contextlib.contextmanager
    def own_folder(self) -> Iterator[pathlib.Path]:
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.place))
        folder.chmod(0o755)
        (folder / "rootfs").mkdir()
        os.link(self.template / "rootfs/rootfs.tar", folder / "rootfs/rootfs.tar")
        yield folder
        subprocess.run(["chmod", "-R", "u+rwX", folder], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(folder, ignore_errors=True)

    # --- One of them ------------------------------------------------------------------------------

    def judge(self, mutant: Generated, text: str, is_explained: bool = False) -> Tuple[str, str]:
        """What became of it: "killed", "survived", "not built", "same code"; and what saw it.
        Nothing is asked about one that is known to be no mistake."""
        with self.own_folder() as folder:
            try:
                if not self.builder.build(mutant, text, folder):
                    self.builder.check_that_it_is_built(mutant.file, text, folder)
                    return "not built", ""
                if self.builder.is_same_code(mutant.file, text, folder):
                    return "same code", ""
                for ask in () if is_explained else self.questions(mutant):
                    seen_by = ask(mutant, folder)
                    if seen_by:
                        with self.lock:
                            self.count_kill(mutant.file, seen_by)
                        return "killed", seen_by
            except NotLinked:
                return "not built", ""
            return "survived", ""

    def questions(self, mutant: Generated) -> List[Callable[[Generated, pathlib.Path], str]]:
        """From what is quick to what takes long: first the stage's own rows and tests."""
        asked: List[Tuple[str, Callable[[Generated, pathlib.Path], str]]] = [
            ("unit", self.seen_by_unit_test),
            ("row", lambda mutant, folder: self.seen_by_row(mutant, folder, self.is_own)),
            ("fault", lambda mutant, folder: self.seen_by_failing_call(mutant, folder, False)),
            ("test", lambda mutant, folder: self.seen_by_test(mutant, folder, slow=False))]
        # Most of a main.cc are calls of earlier stages, for which the rows of those stages are.
        if self.look >= Look.USUAL or os.path.basename(mutant.file) == "main.cc":
            asked.append(("row", lambda mutant, folder: self.seen_by_row(mutant, folder,
                                                                         self.is_earlier)))
        if self.look >= Look.USUAL and self.complete:
            asked.append(("row", self.complete.seen_by_later_row))
        if self.look >= Look.THOROUGH:
            asked += [("test", lambda mutant, folder: self.seen_by_test(mutant, folder, slow=True)),
                      ("fault", lambda mutant, folder: self.seen_by_failing_call(mutant, folder,
                                                                                 True))]
        return [question for kind, question in asked if kind in self.asks]

    def is_sound(self, name: str, passes: Callable[[], bool]) -> bool:
        """Whether the program passes it as it is; asked once, when it has failed with a change."""
        if name not in self.sound:
            self.sound[name] = passes()
            if not self.sound[name]:
                print(f"fails without a change, too: {name}", file=sys.stderr, flush=True)
        return self.sound[name]

    def seen_by_unit_test(self, mutant: Generated, folder: pathlib.Path) -> str:
        for name in self.builder.programs_with(mutant.file):
            if not is_unit_test(name) or self.sound.get(name) is False:
                continue
            program = self.builder.link(name, mutant.file, folder)
            # Twice: that the machine is busy is no merit.
            passes = functools.partial(self.unit_test_passes, name, folder)
            if (self.jailed([program], folder, limit=UNIT_TEST) != 0
                    and self.jailed([program], folder, limit=UNIT_TEST) != 0
                    and self.is_sound(name, passes)):
                return f"unit {name}"
        return ""

    def unit_test_passes(self, name: str, folder: pathlib.Path) -> bool:
        return self.jailed([self.template / name], folder) == 0

    # --- Rows -------------------------------------------------------------------------------------

    def cases(self, program: pathlib.Path) -> List[Case]:
        if self.number not in STAGES:  # 11: the rows know no OCI runtime
            return []
        return cases_for(Program.of(str(program), self.stage), PROPERTIES, PROMISE, (ROOT, USER))

    def name_of(self, case: Case) -> str:
        return f"row {case.property.name} as {case.identity}"

    def is_own(self, case: Case) -> bool:
        return case.property.since == self.number

    def is_earlier(self, case: Case) -> bool:
        return not self.is_own(case)

    def seen_by_later_row(self, mutant: Generated, folder: pathlib.Path) -> str:
        """Asked of the complete container: what a layer is for may be a later one."""
        number = stage_number(mutant.file.split("/")[1])
        return self.seen_by_row(mutant, folder,
                                lambda case: stage_number(case.property.since) > number)

    def seen_by_row(self, mutant: Generated, folder: pathlib.Path,
                    is_asked: Callable[[Case], bool]) -> str:
        """Scene by scene, so that the first row that fails is the last to be asked."""
        if not self.builder.is_in(mutant.file, self.program):
            return ""
        cases = [case for case in self.cases(self.builder.link(self.program, mutant.file, folder))
                 if is_asked(case) and self.sound.get(self.name_of(case)) is not False]
        scenes: Dict[SceneKey, List[Case]] = {}
        for case in cases:
            if case.property.scene is not ALL_SCENES:
                scenes.setdefault(keys_of(case)[0], []).append(case)
        grader = Grader(self.tools)
        for key in sorted(scenes, key=lambda key: self.kills_of(mutant, scenes[key]), reverse=True):
            for result in grader.grade(scenes[key]):
                if result.is_bad and self.is_certain(result.case):
                    return self.name_of(result.case)
        for case in cases if scenes else ():
            if (case.property.scene is ALL_SCENES and grader.judge(case).is_bad
                    and self.is_certain(case)):
                return self.name_of(case)
        return ""

    def kills_of(self, mutant: Generated, cases: Sequence[Case]) -> Tuple[int, int]:
        """How many mutants of the same file they have seen, and how many at all."""
        with self.lock:
            names = [self.name_of(case) for case in cases]
            return (sum(self.kills[mutant.file, name] for name in names),
                    sum(self.kills[name] for name in names))

    def is_certain(self, case: Case) -> bool:
        """It fails with more time, too, and does not without the change."""
        def fails(case: Case) -> bool:
            return Grader(self.tools, 5.0 * MORE_TIME).grade([case])[0].is_bad
        unchanged = dataclasses.replace(case, program=str(self.template / self.program))
        return fails(case) and self.is_sound(self.name_of(case), lambda: not fails(unchanged))

    def seen_by_failing_call(self, mutant: Generated, folder: pathlib.Path, others: bool) -> str:
        """`others`: than those that the changed line names."""
        if not self.builder.is_in(mutant.file, self.program):
            return ""
        program = self.builder.link(self.program, mutant.file, folder)
        return self.failing_calls.seen_by(mutant, program, others)

    # --- Tests of behaviour -----------------------------------------------------------------------

    def seen_by_test(self, mutant: Generated, folder: pathlib.Path, slow: bool) -> str:
        programs = {name: self.builder.link(name, mutant.file, folder)
                    for name in self.builder.programs_with(mutant.file)
                    if not is_unit_test(name)}
        before: Set[str] = set()  # what has passed already
        while programs:
            with self.lock:
                known = sorted(self.seconds, key=lambda name: (
                    -self.kills[mutant.file, f"test {name}"], -self.kills[f"test {name}"],
                    self.seconds[name]))
                leave_out = [name for name in known if (self.seconds[name] > SLOW) != slow
                             or self.sound.get(name) is False or name in before]
            failed = self.failed_test(folder, programs, {"order": known, "leave_out": leave_out})
            before |= self.passed(folder) | {failed}
            if not failed:
                return ""
            if (self.failed_test(folder, programs, {"only": [failed]}) and self.is_sound(
                    failed, functools.partial(self.test_passes, failed, folder))):
                return f"test {failed}"
            self.seconds.setdefault(failed, SLOW)
        return ""

    def test_passes(self, name: str, folder: pathlib.Path) -> bool:
        return not self.failed_test(folder, {}, {"only": [name]})

    def failed_test(self, folder: pathlib.Path, programs: Dict[str, pathlib.Path],
                    chosen: Dict[str, List[str]]) -> str:
        """The first test that fails with these programs in place of Bazel's; "" if none does."""
        tests, outcomes = folder / "tests.json", folder / "outcomes"
        tests.write_text(json.dumps(chosen), encoding="utf-8")
        outcomes.write_text("", encoding="utf-8")
        env = {**ENVIRONMENT, "MUTANT_TESTS": str(tests), "MUTANT_OUTCOMES": str(outcomes),
               "PYTHONPATH": str(self.template), "TESTBRIDGE_TEST_ONLY": ""}
        for variable, name in HELPERS.items():
            path = f"stages/{self.stage}/{name}"
            env[variable] = str(programs.get(path, self.template / path))
        # Most of what all stages share is in the first one.
        asks_all = self.look >= Look.USUAL or self.number == "01"
        of_all = self.tests_of_all_stages() if asks_all else []
        files = ({name.partition("::")[0] for name in chosen.get("only", [])}
                 or {f"stages/{self.stage}", *of_all})
        status = self.jailed(["/usr/bin/python3", "pytest_main.py", "-q", "-x", "--rootdir=.",
                              "--tb=no", "-p", "chosen_tests", *sorted(files)],
                             folder, programs.get(self.program, self.template / self.program), env)
        done = [json.loads(line) for line in outcomes.read_text(encoding="utf-8").splitlines()]
        took: Dict[str, float] = collections.Counter()
        for one in done:
            took[one["test"]] += one["seconds"]
        bad = [one["test"] for one in done if one["outcome"] == "failed"]
        with self.lock:
            self.seconds.update({name: took[name] for name in took if name not in bad})
            if self.kept:
                self.kept.write_text(json.dumps(self.seconds), encoding="utf-8")
        # If pytest itself was ended, it was by the test that it had come to.
        return bad[0] if bad else done[-1]["test"] if status not in (0, 5) and done else ""

    def passed(self, folder: pathlib.Path) -> Set[str]:
        """What the last run of tests in this folder has been through, without what failed."""
        lines = (folder / "outcomes").read_text(encoding="utf-8").splitlines()
        done = [json.loads(line) for line in lines]
        return {one["test"] for one in done} - {one["test"] for one in done
                                                if one["outcome"] == "failed"}

    def tests_of_all_stages(self) -> List[str]:
        """Those of the terminal only where that is what the stage is about."""
        return {"01": ["stages/test_all_stages.py", "stages/test_terminal.py"],
                "06": ["stages/test_all_stages.py", "stages/test_own_terminal.py"],
                "11": []}.get(self.number, ["stages/test_all_stages.py"])

    def jailed(self, words: Sequence, folder: pathlib.Path, program: pathlib.Path = pathlib.Path(),
               env: Dict[str, str] = {}, limit: float = LONGEST) -> int:
        shown_at, on_disk = self.template / self.program, ""
        if not MEMORY_HAS_ATTRIBUTES:
            (folder / "tmp").mkdir(exist_ok=True)
            (folder / "tmp").chmod(0o1777)
            on_disk = str(folder / "tmp")
        cgroups = mount_of_cgroups()
        given = [program if program.name else shown_at, shown_at, on_disk, cgroups]
        # A shell starts what runs in the background with SIGINT and SIGQUIT ignored.
        command = ["env", "--default-signal", "setpriv", "--pdeathsig", "KILL",
                   "unshare", *NAMESPACES, "sh", "-e", "-c", JAIL, "jail", *given, *words]
        with own_cgroup(cgroups, f"{CGROUP}-{folder.name}") as cgroup:
            if cgroup:
                command = ["sh", "-e", "-c", ENTER, cgroup, *command]
            try:
                # Ctrl-C is for us only: otherwise, it would look as if a test had failed.
                done = subprocess.run([str(word) for word in command], cwd=self.template,
                                      check=False, timeout=limit, start_new_session=True,
                                      env=env or {**ENVIRONMENT, "TEST_TMPDIR": "/tmp"},
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
            except subprocess.TimeoutExpired:
                return -1
        return done.returncode
