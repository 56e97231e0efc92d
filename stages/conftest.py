"""Runs the stages as a user would: as root, as an ordinary user, in a terminal."""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pexpect
import pytest

# So that a failed assertion in them shows details, as in a test.
pytest.register_assert_rewrite("hosts", "jobs", "layers")

NEEDS_ROOT = "needs root: bazel test --config=root //..."
STAGES = ("01_exec", "02_chroot", "03_userspace", "04_namespaces", "05_userns", "06_pivot_root",
          "07_cgroups", "08a_overlayfs", "08b_seccomp", "08c_network", "09_lsm",
          "10_ebpf")
UID = 12345  # an ordinary user that is in no passwd file
TIMEOUT = 30  # seconds; reached only when something hangs


class Started(subprocess.Popen):
    """A stage that runs. Leaving its `with` block ends it: no test waits for ever."""

    def __exit__(self, *exception) -> None:
        self.kill()
        super().__exit__(*exception)

    def child(self) -> int:
        """The stage's child, from stage 04 on PID 1 of the container, by its number on the host."""
        assert wait_until(lambda: children_of(self.pid)), "it has started no child"
        return children_of(self.pid)[0]


def children_of(pid: int) -> list[int]:
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(child) for child in text.split()]
    except (FileNotFoundError, ProcessLookupError):
        return []  # it has ended


def name_of(pid: int) -> str:
    """The name of the program that `pid` executes, or "" if it has ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").rstrip("\n")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_until(condition: Callable[[], object], seconds: float = 20) -> bool:
    """Whether `condition` came true in time. On a busy machine moments are seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


class Terminal(pexpect.spawn):
    """A shell in a terminal."""

    def close(self, force: bool = True) -> None:
        """Hangs up, and waits for the shell's end.

        pexpect gives up if the shell is there a moment after SIGKILL; on a busy machine it is.
        """
        if self.closed:
            return
        self.ptyproc.fileobj.close()
        if not wait_until(lambda: not self.isalive()):
            self.kill(signal.SIGKILL)
            assert wait_until(lambda: not self.isalive()), f"the shell {self.pid} does not end"
        super().close(force)


def without_straces(stderr: str | bytes | None) -> str | bytes | None:
    """Removes what strace(1) says when another process kills the one whose call it replaces.

    The stages' parent kills its watcher, which makes some of the calls that the container makes.
    """
    if not isinstance(stderr, str):
        return stderr
    return re.sub(r"^strace: Failed to tamper with process \d+: unexpectedly got .*\n", "", stderr,
                  flags=re.MULTILINE)


@dataclass(frozen=True)
class Caller:
    """The user who starts the stage."""

    name: str
    uid: int
    home: pathlib.Path
    programs: pathlib.Path  # holds stages/NN_x/NN_x and rootfs/rootfs.tar, as bazel-bin does

    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
                "TERM": "xterm", "LANG": "C.UTF-8",
                # Root's cache would be in /var/cache, where others' containers have left something.
                **({"XDG_CACHE_HOME": str(self.home / ".cache")} if self.uid == 0 else {})}

    @property
    def cache(self) -> pathlib.Path:
        """The stages' cache, which no other test target uses."""
        return self.home / ".cache/containers-under-the-hood"

    def _as_this_user(self) -> dict:
        if os.geteuid() == self.uid:
            return {}
        return {"user": self.uid, "group": self.uid, "extra_groups": []}

    def program(self, stage: str) -> str:
        return str(self.programs / "stages" / stage / stage)

    def start(self, stage: str, *words: str | os.PathLike, **how) -> Started:
        how = {"cwd": "/", "env": self.environment(), "text": True, "stdin": subprocess.DEVNULL,
               "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **self._as_this_user(), **how}
        return Started([*how.pop("before", []), self.program(stage), *map(str, words)], **how)

    def run(self, stage: str, *words: str | os.PathLike, **how) -> subprocess.CompletedProcess:
        """Runs `stage` with `words` to its end; returns its status, stdout and stderr."""
        given = how.pop("input", None)
        if given is not None:
            how["stdin"] = subprocess.PIPE
        with self.start(stage, *words, **how) as process:
            out, err = process.communicate(given, timeout=TIMEOUT)
        return subprocess.CompletedProcess(words, process.returncode, out, without_straces(err))

    def output(self, stage: str, *words: str | os.PathLike, **how) -> str:
        """stdout of a run that must succeed, without the last line feed."""
        result = self.run(stage, *words, **how)
        assert result.returncode == 0, result.stderr
        return result.stdout.rstrip("\n")

    def terminal(self, stage: str, *words: str) -> Terminal:
        """A stage started by a shell with job control, in a terminal of 30 rows and 100 columns.

        The outer shell's prompt is `host$ `.
        """

        def become_user() -> None:
            if os.geteuid() != self.uid:
                os.setgroups([])
                os.setresgid(self.uid, self.uid, self.uid)
                os.setresuid(self.uid, self.uid, self.uid)

        shell = Terminal(
            "/bin/bash", ["--norc", "--noprofile", "-i"], dimensions=(30, 100), cwd="/",
            env={**self.environment(), "PS1": "host$ "}, preexec_fn=become_user, encoding="utf-8",
            timeout=TIMEOUT)
        shell.expect_exact("host$ ")
        if stage:
            shell.sendline(" ".join([self.program(stage), *words]))
        return shell


@pytest.fixture(scope="session")
def programs() -> Iterator[pathlib.Path]:
    """The programs under test where every user may read them, laid out as in bazel-bin."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="stages-", dir="/tmp"))
    for stage in stages_under_test():
        (folder / "stages" / stage).mkdir(parents=True)
        shutil.copy(f"stages/{stage}/{stage}", folder / "stages" / stage / stage)
    (folder / "rootfs").mkdir()
    shutil.copy("rootfs/rootfs.tar", folder / "rootfs" / "rootfs.tar")
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def root(programs: pathlib.Path) -> Iterator[Caller]:
    if os.geteuid() != 0:
        pytest.skip(NEEDS_ROOT)
    # /tmp may be a tmpfs, which before Linux 6.3 can show its files with no other owners.
    home = pathlib.Path(tempfile.mkdtemp(prefix="root-", dir="/var/tmp"))
    yield Caller("root", 0, home, programs)
    remove(home)


def remove(path: pathlib.Path) -> None:
    """Also removes directories that their owner may not change, as layers contain them."""
    subprocess.run(["chmod", "-R", "u+rwX", path], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["rm", "-rf", path], check=True)


@pytest.fixture(scope="session")
def user(programs: pathlib.Path) -> Iterator[Caller]:
    """The user who runs the tests, or, if that is root, another user."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="home-", dir="/tmp"))
    uid = os.geteuid() or UID
    os.chown(home, uid, uid if os.geteuid() == 0 else -1)
    yield Caller("user", uid, home, programs)
    remove(home)


@pytest.fixture(params=["root", "user"])
def caller(request: pytest.FixtureRequest) -> Caller:
    """Once as root, once as an ordinary user."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def folder(caller: Caller) -> Iterator[pathlib.Path]:
    """A folder of the caller's on the host."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="folder-", dir="/tmp"))
    give_to(caller, path)
    yield path
    remove(path)


def give_to(caller: Caller, path: pathlib.Path) -> None:
    if os.geteuid() == 0:
        subprocess.run(["chown", "--no-dereference", "-R", f"{caller.uid}:{caller.uid}", path],
                       check=True)


def fingerprint(folder: pathlib.Path) -> dict[str, str]:
    """Everything below `folder`: its type, mode and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        st = path.lstat()
        content = os.readlink(path) if path.is_symlink() else \
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = f"{st.st_mode:o} {content}"
    return found


def stages_under_test() -> list[str]:
    """The stages that the test's Bazel target lists as data."""
    return [stage for stage in STAGES if pathlib.Path("stages", stage, stage).exists()]


def callers_of(stage: str) -> list[str]:
    """The callers who can start `stage`: 02 to 04 need root."""
    return ["root"] if stage[:2] in ("02", "03", "04") else ["root", "user"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "stages_from(n): `any_stage` begins with stage n")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`any_stage`: each stage with each caller who can start it."""
    if "any_stage" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("stages_from")
        first = mark.args[0] if mark else 1
        cases = [(stage, who) for stage in stages_under_test() if int(stage[:2]) >= first
                 for who in callers_of(stage)]
        metafunc.parametrize("any_stage", cases, ids=[f"{s}-{who}" for s, who in cases],
                             indirect=True)


@dataclass(frozen=True)
class Stage:
    """A stage and the caller who starts it."""

    name: str
    caller: Caller

    @property
    def number(self) -> int:
        return int(self.name[:2])

    def run(self, *words, **how) -> subprocess.CompletedProcess:
        return self.caller.run(self.name, *words, **how)

    def output(self, *words, **how) -> str:
        return self.caller.output(self.name, *words, **how)

    def start(self, *words, **how) -> Started:
        return self.caller.start(self.name, *words, **how)


@pytest.fixture
def any_stage(request: pytest.FixtureRequest) -> Stage:
    name, who = request.param
    return Stage(name, request.getfixturevalue(who))


def processes_with(mark: str) -> list[int]:
    """The processes on this machine that have `mark` in their command line."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            pass  # it has just ended
    return found


def check_that_no_kill_of_the_parent_leaves_the_container(
        caller: Caller, stage: str, scratch: pathlib.Path) -> None:
    """strace kills the parent as it enters its first system call, its second, ... its last."""
    def trace(number: int, *inject: str) -> str:
        # strace follows only the parent, and dies of the same signal, so its status means nothing.
        mark, log = f"0.3{number:03}{secrets.randbelow(10**9)}", scratch / f"trace-{number}"
        with caller.start(stage, "sh", "-c", f"sleep {mark}; true",
                          before=["strace", "-o", str(log), *inject]) as process:
            process.communicate(timeout=TIMEOUT)
        assert wait_until(lambda: not processes_with(mark)), f"alive after {' '.join(inject)}"
        text = log.read_text()
        log.unlink()
        return text

    trace(0)  # fills the caller's cache, so that later runs make the same calls
    names = re.findall(r"^(\w+)\(", trace(0), re.MULTILINE)
    assert names[0] == "execve" and "clone3" in names and len(names) > 20, names

    def is_killed(number: int) -> bool:
        name = names[number]
        occurrence = names[:number + 1].count(name)  # strace counts each call by itself
        text = trace(number, "-e", f"inject={name}:signal=KILL:when={occurrence}")
        return "+++ killed by SIGKILL +++" in text

    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # they mostly wait
        killed = sum(pool.map(is_killed, range(1, len(names))))
    assert killed >= len(names) - 5  # a run may need one poll() or read() less


NUMBERS = {"x86_64": {"sethostname": 170, "prctl": 157, "setsid": 112},
           "aarch64": {"sethostname": 161, "prctl": 167, "setsid": 157}}


def is_in(pid: int, call: str) -> bool:
    """Whether the process is in that system call."""
    number = NUMBERS[os.uname().machine][call]
    try:
        return pathlib.Path(f"/proc/{pid}/syscall").read_text().split()[0] == str(number)
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has ended


def descendants_of(pid: int) -> list[int]:
    found = children_of(pid)
    return [*found, *(below for child in found for below in descendants_of(child))]


def directories_open_at(caller: Caller, stage: str, call: str, *words: str, **how) -> list[str]:
    """The directories that the container's process has open as it enters its first `call`.

    strace keeps it there meanwhile, and before that its parent, if that makes such a call, too.
    """
    strace = ["strace", "-f", "-o", "/dev/null", "-e", f"inject={call}:delay_enter=10s:when=1"]

    def there(parent: int) -> list[int]:
        return [pid for pid in descendants_of(parent)[1:]  # the first is the stage itself
                if is_in(pid, call)]
    with caller.start(stage, *words, before=strace, start_new_session=True, **how) as process:
        try:
            assert wait_until(lambda: there(process.pid), 40), f"no process has come to {call}"
            fds = pathlib.Path(f"/proc/{there(process.pid)[0]}/fd")
            return [os.readlink(fds / fd) for fd in os.listdir(fds) if (fds / fd).is_dir()]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
