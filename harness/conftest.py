"""What the harness's tests share: programs, agents, and a machine that must not change."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
from typing import Callable, Dict, Iterator, List

import pytest

from harness import matrix, places
from harness.grading import report
from harness.agent_client import Agent, Place
from harness.grading.grader import grade_in
from harness.properties.model import Case, Result
from harness.properties.scene import Tools

# Other programs of this machine hardly change these.
WATCHED = ("mounts", "links", "nft", "hostname")

CASES = pytest.StashKey[List[Case]]()
RESULTS = pytest.StashKey[Dict[str, Result]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    # Programs that are built with a sanitizer need libraries that the virtual machine does not
    # have.
    default = "host" if "SANITIZED" in os.environ else places.ANYWHERE
    parser.addoption("--in", dest="place", choices=places.CHOICES, default=default,
                     help=places.HELP, metavar="PLACE")
    parser.addoption("--all-rows", action="store_true",
                     help="ask mutants for the rows of earlier stages, too, which takes longer")


def pytest_configure(config: pytest.Config) -> None:
    config.option.verbose = max(config.option.verbose, 1)  # the names describe them
    config.stash[RESULTS] = {}


def pytest_collection_finish(session: pytest.Session) -> None:
    """The cases that -k has selected: only the scenes that they need are run."""
    cases = (getattr(item, "callspec", None) for item in session.items)
    session.config.stash[CASES] = [spec.params["case"] for spec in cases
                                   if spec is not None and "case" in spec.params]


@pytest.fixture(scope="session")
def tools() -> Tools:
    return matrix.tools()


@pytest.fixture(scope="session")
def where(request: pytest.FixtureRequest, tools: Tools) -> Iterator[List[Place]]:
    """The places to test in. Each has the programs that Bazel has built for the test.

    Making the disk of the machine with SELinux takes minutes, so it is only there if it is asked
    for: bazel test --test_env=HARNESS_SELINUX=yes
    """
    names = ("HARNESS_STAGE", "HARNESS_STAGE_BEFORE", "HARNESS_MUTANTS")
    programs = [path for name in names for path in os.environ.get(name, "").split()]
    own = [tools.agent, tools.probe, tools.busybox]
    selinux = "HARNESS_SELINUX" in os.environ
    with places.places(request.config.option.place, own + programs, selinux=selinux) as chosen:
        yield chosen


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, tools: Tools, where: List[Place],
            watcher: Agent) -> Dict[str, Result]:
    """The results of all selected cases, by their id; they are graded together."""
    with machine_unchanged_by("grading", watcher):
        graded = grade_in(where, tools, request.config.stash[CASES])
    request.config.stash[RESULTS].update({result.case.id: result for result in graded})
    return request.config.stash[RESULTS]


@pytest.fixture
def agent(tools: Tools) -> Iterator[Agent]:
    with Agent(tools.agent) as started:
        yield started


@pytest.fixture(scope="session")
def watcher(tools: Tools) -> Iterator[Agent]:
    """An agent on this machine itself, which only observes."""
    with Agent(tools.agent, own_host=False) as started:
        yield started


@pytest.fixture
def folder() -> Iterator[pathlib.Path]:
    """Where every user may go: pytest's own folders are private."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="harness-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


# The directories of this machine that a container with this machine's programs sees, read-only.
OF_THIS_MACHINE = ("/usr", "/etc/passwd", "/etc/alternatives", "/var/lib/dpkg")


@pytest.fixture
def like_docker() -> Iterator[Callable[..., subprocess.CompletedProcess]]:
    """Runs a command in a container that allows root as little as Docker's does: our own, of stage
    08b, with all ids of this machine. Called with the command, and volumes="HOST:CONTAINER[:ro]".
    """
    if os.geteuid() != 0:
        pytest.skip("needs root, because root of a Docker container has many ids")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="like-docker-", dir="/tmp"))
    for name in ("etc", "tmp"):
        (folder / name).mkdir()
    (folder / "tmp").chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        (folder / name).symlink_to(f"usr/{name}")
    folder.chmod(0o755)
    stage_08b = matrix.stages_of_this_toolkit()["08b"].path

    def run(*words: str, volumes: List[str]) -> subprocess.CompletedProcess:
        shown = [*(f"{path}:{path}:ro" for path in OF_THIS_MACHINE), *volumes]
        return subprocess.run(
            [stage_08b, "--rootfs", folder, "--uid-map", "0:0:65536", "--gid-map", "0:0:65536",
             *(word for volume in shown for word in ("--volume", volume)), "--", *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=120, check=False)
    yield run
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def machine_is_unchanged(request: pytest.FixtureRequest) -> Iterator[None]:
    """Around every test: no change that a test makes may reach the machine itself."""
    if "HARNESS_AGENT" not in os.environ or "results" in request.fixturenames:
        yield  # a test of results starts no program; its runs were watched already
        return
    with machine_unchanged_by("the test", request.getfixturevalue("watcher")):
        yield


@contextlib.contextmanager
def machine_unchanged_by(what: str, watcher: Agent) -> Iterator[None]:
    before = watcher.ask("snapshot")
    yield
    after = watcher.ask("snapshot")
    for kind in WATCHED:
        assert ours(after[kind], kind) == ours(before[kind], kind), \
            f"{what} has changed the machine's {kind}"


def ours(lines: List[str], kind: str) -> List[str]:
    """Other programs mount things while the tests run; our mounts are in the directory of a
    scene."""
    return [line for line in lines if "/box-" in line] if kind == "mounts" else lines


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    results = list(config.stash[RESULTS].values())
    if not results:
        return
    terminalreporter.section("isolation")
    terminalreporter.write_line(report.matrix(results))
    terminalreporter.write_line(report.summary(results))
