"""The agent: whatever the requests and programs are, it replies, and no process remains."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import time
from typing import Iterator

import pytest

from harness.agent_client import Agent, AgentError, AgentLost
from harness.properties.scene import Tools

SH = "/bin/sh"


@pytest.fixture(params=["own host", "this machine"])
def any_agent(request: pytest.FixtureRequest, tools: Tools) -> Iterator[Agent]:
    if request.param == "own host" and os.geteuid() != 0:
        pytest.skip("a host of its own needs root")
    with Agent(tools.agent, own_host=request.param == "own host") as agent:
        yield agent


def shell(agent: Agent, script: str, time_limit: float = 5.0, **options):
    return agent.run([SH, "-c", script], time_limit, env={"PATH": os.environ["PATH"]}, **options)


def test_it_tells_status_output_and_time(any_agent):
    done = shell(any_agent, "cat; echo err >&2; exit 3", stdin="in")
    assert (done["exit"], done["stdout"], done["stderr"]) == (3, "in", "err\n")
    assert done["why"] == "ended" and 0 < done["ms"] < 5000


def test_it_tells_the_signal(any_agent):
    done = shell(any_agent, "kill -SEGV $$")
    assert done["signal"] == 11 and "exit" not in done


@pytest.mark.parametrize("line", [
    "", "garbage", "[]", "1", "null", '{"id": 1}', '{"id": 1, "do": 5}',
    '{"id": 1, "do": "nothing"}',
    '{"id": 1, "do": "run"}', '{"id": 1, "do": "run", "argv": []}', '{"id": 1, "do": "wait"}',
    '{"id": 1, "do": "run", "argv": ["/bin/true"], "user": 5}',
    '{"id": 1, "do": "run", "argv": [{}]}', '{"id": 1, "do": "read", "paths": "x"}',
    '{"id": 1, "do": "start", "argv": ["/bin/true"], "files": [{"fd": 1000, "path": "/"}]}',
    '{"id": 1, "do": "signal", "pid": -1, "signal": 9}',
    '{"id": 1, "do": "remove", "paths": ["/"]}',
    "\x00\x01\xff", '{"id": 1, "do": "run", "argv": ["/bin/true"], "env": {"A": 1}}',
    pytest.param("[" * 5000, id="deeply nested")])
def test_garbage_is_answered_with_an_error_and_the_next_request_as_ever(tools, line):
    lines = line.encode("latin-1") + b'\n{"id":9,"do":"hello"}\n'
    result = subprocess.run([tools.agent], input=lines, stdout=subprocess.PIPE, check=True,
                            timeout=20)
    answers = result.stdout.decode().splitlines()
    assert len(answers) == (1 if line == "" else 2)
    assert '"error"' in answers[0] or line == ""
    assert '"id":9' in answers[-1] and '"ok"' in answers[-1]


def test_a_program_that_is_not_there_is_an_error(any_agent):
    with pytest.raises(AgentError) as caught:
        any_agent.run(["/no-such-program"])
    assert caught.value.errno == "ENOENT"


def test_bytes_that_are_no_text_arrive(any_agent):
    assert shell(any_agent, r"printf 'a\377b'")["stdout"] == "a\ufffdb"


def test_a_time_limit_ends_a_run(any_agent):
    start = time.monotonic()
    done = shell(any_agent, "trap '' TERM INT HUP; echo begun; sleep 100; sleep 100", 0.3)
    assert (done["why"], done["stdout"]) == ("time limit", "begun\n")
    assert time.monotonic() - start < 3
    assert any_agent.processes() == []


def test_an_output_limit_ends_a_run(any_agent):
    done = shell(any_agent, "yes", output_limit=10000)
    assert done["why"] == "output limit"
    assert len(done["stdout"]) == 10000 and done["too_much"]


@pytest.mark.parametrize("script", [
    "sleep 100 & exit 0",
    "(setsid sleep 100 &) & exit 0",
    "setsid sh -c 'trap \"\" HUP TERM; sleep 100 & sleep 100 & wait' & exit 0",
    "kill -9 0",
    "sleep 100 & kill -STOP $$",
])
def test_nothing_of_a_run_stays(any_agent, script):
    shell(any_agent, script, 0.5)
    assert any_agent.processes() == []


RUNNERS = """
import os, time
for _ in range(8):                    # eight at a time, each for ever: forks, and is gone
    if os.fork() == 0:
        while True:
            if os.fork() != 0:
                os._exit(0)
            os.setsid()
time.sleep(100)
"""


@pytest.mark.as_shipped  # a sanitizer makes the agent slower than what forks
def test_who_forks_without_end_is_caught(any_agent):
    done = any_agent.run(["/usr/bin/python3", "-c", RUNNERS], 0.5)
    assert done["why"] == "time limit" and done["unkillable"] == []
    assert any_agent.processes() == []


def test_two_runs_do_not_end_each_other(any_agent):
    first = any_agent.start([SH, "-c", "(setsid sleep 100 &); echo up; read line; echo $line"],
                            close_stdin=False)
    assert any_agent.expect(first["run"], "up", 5)["found"]
    time.sleep(0.02)  # /proc tells the time in hundredths
    assert shell(any_agent, "sleep 200 & exit 5")["exit"] == 5
    assert "100" in [process["argv"][-1] for process in any_agent.processes()]
    any_agent.write(first["run"], "hello\n")
    assert any_agent.wait(first["run"], 5)["stdout"] == "up\nhello\n"
    any_agent.finish(first["run"])
    assert any_agent.processes() == []


def test_descriptors_limits_and_umask_are_as_asked(any_agent):
    done = shell(any_agent, "head -c 4 <&7; umask; ulimit -n; ls /proc/self/fd",
                 files=[{"fd": 7, "path": "/proc/self/maps"}], umask=0o077, limits={"nofile": 99})
    assert "0077" in done["stdout"]
    assert done["stdout"].split()[-6:] == ["99", "0", "1", "2", "3", "7"]


def test_signals_are_as_asked(any_agent):
    done = any_agent.run(["/bin/grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"],
                         ignore=["HUP"], block=["USR1"])
    assert done["stdout"].split()[1::2] == ["0000000000000200", "0000000000000001"]


def test_a_terminal_is_one(any_agent):
    run = any_agent.start(["/bin/sh", "-c", "stty size; tty >/dev/null && echo yes; read x"],
                          terminal={"rows": 33, "columns": 77}, close_stdin=False,
                          env={"PATH": os.environ["PATH"]})
    assert any_agent.expect(run["run"], "yes", 5)["stdout"] == "33 77\r\nyes\r\n"
    assert any_agent.ask("terminal", run=run["run"])["echo"] is True
    any_agent.write(run["run"], "\x03")
    assert any_agent.wait(run["run"], 5)["signal"] == 2


def test_a_run_that_is_over_can_be_forgotten(any_agent):
    """Until then the agent has its terminal, and a machine has some thousands of these."""
    run = any_agent.start(["/bin/cat"], terminal={}, close_stdin=False)["run"]
    with pytest.raises(AgentError, match="is not over"):
        any_agent.ask("forget", run=run)
    any_agent.write(run, "\x04")
    assert any_agent.wait(run, 5)["exit"] == 0
    any_agent.ask("forget", run=run)
    with pytest.raises(AgentError, match=f"there is no run {run}"):
        any_agent.ask("terminal", run=run)


def test_remove_stops_at_mounts(agent, tmp_path):
    """A program may have bind-mounted the whole host below the directory that is removed."""
    if not agent.has_own_host:
        pytest.skip("mounts need root")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("here")
    folder = str(tmp_path / "folder")
    # pytest's folder is below /tmp, of which this agent has one of its own.
    script = f"mkdir -p {folder}/a {folder}/precious; echo here > {folder}/precious/file;" \
             f" mkdir {folder}/b; mount --bind {folder}/precious {folder}/b"
    assert shell(agent, script)["exit"] == 0
    agent.ask("remove", paths=[f"{folder}/a"])
    agent.ask("remove", paths=[f"{folder}/b"])
    assert agent.read(f"{folder}/precious/file")[f"{folder}/precious/file"]["text"] == "here\n"
    agent.ask("remove", paths=[folder])
    assert agent.stat(folder)[folder]["errno"] == "ENOENT"


def test_what_happens_on_its_own_host_stays_there(agent, watcher):
    if not agent.has_own_host:
        pytest.skip("a host of its own needs root")
    before = watcher.ask("snapshot", folders=["/dev/shm"])
    script = """
        hostname other; mount -t tmpfs x /mnt; ipcmk -Q; echo > /tmp/left; echo > /dev/shm/left"""
    assert shell(agent, script)["exit"] == 0
    inside = agent.ask("snapshot", folders=["/tmp"])
    assert inside["hostname"] == ["other"] and len(inside["sysvipc"]) == 1
    assert any("/mnt" in line for line in inside["mounts"])
    assert any("/tmp/left" in line for line in inside["files"])
    after = watcher.ask("snapshot", folders=["/dev/shm"])
    at_mnt = [[line for line in seen["mounts"] if " /mnt " in line] for seen in (before, after)]
    assert after["hostname"] == before["hostname"] and at_mnt[0] == at_mnt[1]
    assert not pathlib.Path("/tmp/left").exists() and not pathlib.Path("/dev/shm/left").exists()


def test_a_directory_of_the_host_is_not_new_if_a_file_in_it_is(agent):
    """overlayfs copies the directory up, so the layer of what was written has it, too."""
    if not agent.has_own_host:
        pytest.skip("a host of its own needs root")
    folder = next(path for path in sorted(pathlib.Path("/var/lib").iterdir()) if path.is_dir())
    written = agent.about["written"]["/var/lib"]

    def new():
        files = agent.ask("snapshot", folders=[written])["files"]
        return [line.split()[0][len(written):] for line in files]

    assert new() == []
    assert shell(agent, f"echo > {folder}/left-by-test")["exit"] == 0
    assert new() == [f"/{folder.name}/left-by-test"]
    assert shell(agent, f"chmod 1777 {folder}; mkdir {folder}/new")["exit"] == 0
    assert new() == [f"/{folder.name}", f"/{folder.name}/left-by-test", f"/{folder.name}/new"]


def test_its_own_host_is_not_for_a_program_to_kill(agent):
    if not agent.has_own_host:
        pytest.skip("a host of its own needs root")
    assert shell(agent, "kill -9 -1; kill -9 1; echo still")["stdout"] in ("still\n", "")
    assert shell(agent, "exit 4")["exit"] == 4


def test_with_its_caller_go_it_and_all_that_it_started(tools):
    agent = Agent(tools.agent)
    run = agent.start([SH, "-c", "setsid sleep 4567 & sleep 4567"])
    assert run["pid"] > 0
    agent.close()
    time.sleep(0.1)
    assert "sleep 4567" not in subprocess.run(["ps", "-e", "-o", "args"], stdout=subprocess.PIPE,
                                              check=True, text=True).stdout


@pytest.mark.as_shipped  # a sanitizer makes the agent slower than what forks
def test_an_ordinary_user_can_run_one(tools, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    program = "/tmp/agent-of-a-user"
    shutil.copy(tools.agent, program)
    try:
        with Agent(program, user=12345) as agent:
            assert agent.about["uid"] == 12345 and not agent.has_own_host
            done = agent.run(["/usr/bin/python3", "-c", RUNNERS], 0.5)
            assert done["unkillable"] == [] and agent.processes() == []
    finally:
        os.unlink(program)


def test_an_agent_that_is_lost_is_told(tools):
    agent = Agent(tools.agent, own_host=False)
    agent._process.kill()  # pylint: disable=protected-access
    with pytest.raises(AgentLost):
        agent.ask("hello")
    agent.close()


# --- Hosts beside each other ----------------------------------------------------------------------


def cgroup_mount(agent: Agent) -> str:
    """Where cgroup v2 is; skips the test if it is nowhere, or read-only."""
    lines = [line.split() for line in agent.ask("snapshot")["mounts"] if " - cgroup2 " in line]
    if not lines or not os.access(lines[0][2], os.W_OK):
        pytest.skip("needs cgroup v2")
    return lines[0][2]


@pytest.fixture
def machines_cgroup() -> Iterator[pathlib.Path]:
    """A new cgroup of the machine itself, as any program may make one at any time."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4] for line in file if " - cgroup2 " in line]
    if os.geteuid() != 0 or not points:
        pytest.skip("needs root and cgroup v2")
    path = pathlib.Path(points[0], "somebodys-cgroup")
    yield path
    if path.exists():
        path.rmdir()


def agents_left(machines_cgroup: pathlib.Path) -> set[str]:
    return {path.name for path in machines_cgroup.parent.glob("box-agent-*")}


def test_others_cgroups_are_not_seen(tools, machines_cgroup):
    with Agent(tools.agent) as agent:
        point = cgroup_mount(agent)
        before = agent.ask("snapshot")["cgroups"]
        machines_cgroup.mkdir()
        assert agent.ask("snapshot")["cgroups"] == before
        shell(agent, f"mkdir {point}/own")
        assert agent.ask("snapshot")["cgroups"] != before


def test_a_cgroup_of_a_fixed_name_is_each_hosts_own(tools, machines_cgroup):
    before = agents_left(machines_cgroup)
    name = machines_cgroup.name
    with Agent(tools.agent) as first, Agent(tools.agent) as second:
        for agent in (first, second):
            point = cgroup_mount(agent)
            done = shell(agent, f"mkdir {point}/{name} && cd {point}/{name}"
                                " && echo $$ >cgroup.procs"
                                " && cat /proc/self/cgroup && wc -l <cgroup.procs")
            assert (done["stdout"].splitlines()[-2:], done["stderr"]) == ([f"0::/{name}", "2"], "")
        assert not machines_cgroup.exists()
        assert len(agents_left(machines_cgroup) - before) == 2
    assert not agents_left(machines_cgroup) - before


def test_what_a_killed_agent_leaves_the_next_one_removes(tools, machines_cgroup):
    before = agents_left(machines_cgroup)
    agent = Agent(tools.agent)
    agent._process.kill()  # pylint: disable=protected-access
    agent.close()
    end = time.monotonic() + 20  # all of its host has to end, before its cgroup can be removed
    while agents_left(machines_cgroup) - before and time.monotonic() < end:
        with Agent(tools.agent):
            pass
    assert not agents_left(machines_cgroup) - before


IN_ANOTHER_PID_NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc",
                            sys.executable, "-B", "-c",
                            "import sys; from harness.agent_client import Agent; "
                            "Agent(sys.argv[1]).close()"]


def test_a_cgroup_belongs_to_its_agent_as_long_as_that_holds_the_lock(tools, machines_cgroup):
    """In another PID namespace, no process has our number."""
    cgroup = machines_cgroup.parent / f"box-agent-{os.getpid()}-of-a-test"
    cgroup.mkdir()
    held = os.open(cgroup, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    subprocess.run([*IN_ANOTHER_PID_NAMESPACE, tools.agent], check=True, timeout=60)
    assert cgroup.exists()
    os.close(held)
    with Agent(tools.agent):
        assert not cgroup.exists()


def test_process_numbers_are_each_hosts_own(tools):
    if os.geteuid() != 0:
        pytest.skip("a host of its own needs root")
    with contextlib.ExitStack() as stack:
        agents = [stack.enter_context(Agent(tools.agent)) for _ in range(8)]
        numbers = [int(shell(agent, "echo $$")["stdout"]) for agent in agents]
    numbers.sort()
    assert numbers[0] > 1000
    assert all(second - first >= 300 for first, second in zip(numbers, numbers[1:])), numbers


def test_one_call_of_many_is_refused(tools):
    with Agent(tools.agent) as agent:
        def names(**refused):
            done = agent.run(["busybox", "sh", "-c", "cd /; cd /; cd /; true"],
                             program=tools.busybox, refuse=[{"call": "chdir"}], **refused)
            return done["calls"], done["stderr"].count("can't cd"), done["exit"]

        assert names(nth=0) == (["chdir"] * 3, 0, 0)
        for nth in (1, 3):
            assert names(nth=nth, nth_of="chdir") == (["chdir"] * 3, 1, 0)
        assert names(nth=4, nth_of="chdir") == (["chdir"] * 3, 0, 0)
        assert names(nth=1, nth_of="chroot") == (["chdir"] * 3, 0, 0)


# --- Replies that another process forges -------------------------------------------------------

HONEST = """#!/usr/bin/python3 -u
import json, sys, time
for line in sys.stdin:
    asked = json.loads(line)
    honest = json.dumps({"id": asked["id"], "ok": {"uid": 0, "said": asked["do"]}}) + "\\n"
    if asked["do"] != "hello":
        %s
    sys.stdout.write(honest)
"""


def agent_that(tmp_path: pathlib.Path, *lines: str) -> Agent:
    """An agent that replies, and before that does what `lines` say, because root on its host can
    write into its pipes."""
    program = tmp_path / "agent"
    program.write_text(HONEST % "\n        ".join(lines))
    program.chmod(0o755)
    return Agent(str(program), own_host=False)


@pytest.mark.parametrize("line", [
    "while True: sys.stdout.write('x' * 4096)",
    "while True: sys.stdout.write('x'); time.sleep(0.05)",
    "while True: sys.stdout.write(json.dumps({'id': 0, 'ok': 0}) + '\\n')",
    "while True: sys.stdout.write(json.dumps({'id': 0, 'ok': 0}) + '\\n'); time.sleep(0.05)",
], ids=["an endless line", "a slow one", "endless answers", "slow ones"])
def test_what_has_no_end_is_lost_in_time(tmp_path, line):
    start = time.monotonic()
    with agent_that(tmp_path, line) as agent:
        with pytest.raises(AgentLost):
            agent.ask("run", answer_within=1.0)
    assert time.monotonic() - start < 15


def test_an_answer_cannot_be_forged_by_who_does_not_know_the_question(tmp_path):
    with agent_that(tmp_path, "for number in range(1000):",
                    "    forged = {'id': number, 'ok': {'said': 'forged'}}",
                    "    sys.stdout.write(json.dumps(forged) + '\\n')") as agent:
        assert agent.ask("run")["said"] == "run"


@pytest.mark.parametrize("text", ["no JSON", "[1]", "7", "[" * 100000],
                         ids=["no JSON", "a list", "a number", "deep JSON"])
def test_an_answer_that_is_none_is_no_answer(tmp_path, text):
    with agent_that(tmp_path, f"print({text!r}); time.sleep(60)") as agent:
        with pytest.raises(AgentLost):
            agent.ask("run", answer_within=1.0)


def test_a_snapshot_has_the_rules_of_nftables(tools):
    if os.geteuid() != 0 or not os.path.exists("/usr/sbin/nft"):
        pytest.skip("needs root, and nft: apt-get install nftables")
    with Agent(tools.agent, own_host=True) as agent:
        assert agent.ask("snapshot")["nft"] == []
        done = shell(agent, "/usr/sbin/nft add table ip6 box-test")
        assert done["exit"] == 0, done
        assert agent.ask("snapshot")["nft"] == ["table ip6 box-test {", "}"]
        shell(agent, "/usr/sbin/nft delete table ip6 box-test")
        assert agent.ask("snapshot")["nft"] == []
