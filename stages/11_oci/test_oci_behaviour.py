"""The commands of the runtime, as conmon, podman and containerd call them."""

from __future__ import annotations

import array
import contextlib
import json
import os
import pathlib
import socket
import subprocess

import pexpect
import pytest
from conftest import TIMEOUT, wait_until
from oci_runtime import NEEDS_ROOT, make_runtime

__all__ = ["make_runtime"]  # a fixture
pytestmark = NEEDS_ROOT


# --- The life of a container --------------------------------------------------------------------


def test_life_of_a_container(runtime):
    runtime.config["annotations"] = {"org.example": "kept"}
    runtime.config["process"]["args"] = ["sh", "-c", "echo began; exec sleep 1000"]
    pid = runtime.create()
    state = runtime.state()
    assert state["status"] == "created"
    assert (state["id"], state["pid"], state["bundle"]) == ("c", pid, str(runtime.bundle))
    assert state["annotations"] == {"org.example": "kept"}
    assert runtime.output() == ""  # the command does not run yet
    runtime.do("start", "c")
    assert wait_until(lambda: runtime.output() == "began\n")
    assert runtime.status() == "running"
    assert os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
    assert [one["id"] for one in json.loads(runtime.do("list", "--format", "json"))] == ["c"]
    assert runtime.do("list", "-q") == "c\n"
    assert pid in json.loads(runtime.do("ps", "--format", "json", "c"))
    for signal in ("CONT", "SIGCONT", "sigcont", "18"):
        runtime.do("kill", "c", signal)
    assert runtime.status() == "running"
    runtime.do("kill", "c", "SIGKILL")
    assert wait_until(lambda: runtime.status() == "stopped")
    assert runtime.state()["pid"] == 0
    runtime.do("delete", "c")
    assert runtime.leftovers() == []


def test_a_container_outlives_the_runtime_and_gets_no_file_of_it(runtime):
    pid = runtime.create()
    assert set(os.listdir(f"/proc/{pid}/fd")) <= {"0", "1", "2"} | {
        name for name in os.listdir(f"/proc/{pid}/fd")
        if os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")}
    runtime.do("start", "c")
    assert wait_until(lambda: pathlib.Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    assert set(os.listdir(f"/proc/{pid}/fd")) == {"0", "1", "2"}


@pytest.mark.parametrize("status", [0, 7])
def test_run_ends_as_the_command_does(runtime, status):
    result = runtime.run("sh", "-c", f"(sleep 0.1); exit {status}")
    assert (result.returncode, result.stderr) == (status, "")
    assert runtime.leftovers() == []


@pytest.mark.parametrize("command", ["/bin/busybox", "./busybox", "../bin/busybox"])
def test_a_command_with_a_path(runtime, command):
    runtime.config["process"]["cwd"] = "/bin"
    assert runtime.run(command, "echo", "done").stdout == "done\n"


def test_run_in_the_background(runtime):
    runtime.write_config()
    with open(runtime.folder / "output", "w", encoding="utf-8") as output:
        result = runtime.call("run", "--detach", "--bundle", runtime.bundle, "c", stdout=output,
                              stderr=subprocess.STDOUT)
    assert (result.returncode, runtime.output()) == (0, "")
    assert runtime.status() == "running"
    assert runtime.do("list", "--quiet") == "c\n"


def test_run_in_our_terminal(runtime):
    runtime.config["process"].update(
        terminal=True, args=["sh", "-c", "tty </dev/console; tty; read x; exit $x"])
    runtime.write_config()
    words = runtime.words("run", "--bundle", runtime.bundle, "c")
    with pexpect.spawn(words[0], words[1:], timeout=TIMEOUT, encoding="utf-8") as terminal:
        terminal.expect(r"(.*)\r\n(.*)\r\n")
        assert terminal.match.groups() == ("/dev/console", "/dev/pts/0")
        terminal.sendline("6")
        terminal.expect(pexpect.EOF)
    assert terminal.exitstatus == 6
    assert runtime.leftovers() == []


def test_exec_joins_the_container(runtime):
    pid = runtime.create()
    runtime.do("start", "c")
    assert runtime.do("exec", "c", "sh", "-c", "readlink /proc/self/ns/mnt; hostname").split() == [
        os.readlink(f"/proc/{pid}/ns/mnt"), "11_oci"]
    assert runtime.call("exec", "c", "sh", "-c", "exit 3").returncode == 3
    assert "exec needs a command" in runtime.refused("exec", "c")
    assert runtime.do("exec", "--env", "A=b", "--cwd", "/tmp", "c", "sh", "-c",
                      "echo $A; pwd") == "b\n/tmp\n"


def has_ended(pid: int) -> bool:
    try:
        return "Z (" in pathlib.Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True  # and has been waited for


def test_exec_of_a_process_file_in_the_background(runtime):
    runtime.create()
    runtime.do("start", "c")
    process = {**runtime.config["process"], "args": ["sleep", "777"],
               "user": {"uid": 5, "gid": 6, "additionalGids": [7]},
               "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]}
    (runtime.folder / "process").write_text(json.dumps(process))
    runtime.do("exec", "--detach", "--process", runtime.folder / "process", "--pid-file",
               runtime.folder / "exec-pid", "c", stdout=subprocess.DEVNULL,
               stderr=subprocess.DEVNULL)
    pid = int((runtime.folder / "exec-pid").read_text())
    assert b"777" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    assert "Uid:\t5\t5\t5\t5\n" in status and "Groups:\t7 \n" in status
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines()
    assert "Max open files 77 88 files" in [" ".join(line.split()) for line in limits]
    runtime.do("kill", "c", "9")
    assert wait_until(lambda: has_ended(pid))


def receive_master(server: socket.socket) -> int:
    connection, _ = server.accept()
    _, messages, _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
    return array.array("i", messages[0][2])[0]


def read_from(master: int, text: str) -> str:
    seen = ""
    os.set_blocking(master, False)

    def look() -> bool:
        nonlocal seen
        with contextlib.suppress(BlockingIOError, OSError):
            seen += os.read(master, 1000).decode()
        return text in seen

    assert wait_until(look), seen
    return seen


@pytest.mark.parametrize("command", ["create", "exec"])
def test_the_master_of_the_terminal_goes_to_the_console_socket(runtime, command):
    shell = {**runtime.config["process"], "args": ["sh"], "terminal": True,
             "consoleSize": {"height": 12, "width": 34}}
    path = runtime.folder / "console"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        if command == "create":
            runtime.config["process"] = shell
            runtime.create("c", "--console-socket", str(path))
            runtime.do("start", "c")
        else:
            runtime.create()
            runtime.do("start", "c")
            (runtime.folder / "process").write_text(json.dumps(shell))
            runtime.do("exec", "-d", "--console-socket", path, "-p", runtime.folder / "process",
                       "c")
        master = receive_master(server)
    os.write(master, b"stty size; tty; echo o''k\n")
    seen = read_from(master, "ok\r\n")
    assert "12 34" in seen and "/dev/pts/0" in seen


def test_what_engines_pass_along(runtime):
    options = ["--preserve-fds", "0", "--no-new-keyring", "--no-subreaper"]
    runtime.config["process"]["args"] = ["true"]
    runtime.write_config()
    for manager in ("cgroupfs", "disabled"):
        runtime.do("--rootless", "true", "--cgroup-manager", manager, "run", *options, "--keep",
                   "--bundle", runtime.bundle, "c")
        assert runtime.status() == "stopped"  # --keep
        runtime.do("delete", "c")
    assert "Usage: 11_oci " in runtime.do("--help")
    for place, message in (("/not/there/x", "open(/not/there): No such file"),
                           ("/tmp/not-there", "connect(/tmp/not-there): No such file")):
        runtime.config["process"]["terminal"] = True
        runtime.write_config()
        assert message in runtime.refused("create", "--console-socket", place, "--bundle",
                                          runtime.bundle, "c")
    assert runtime.leftovers() == []


def test_features(runtime):
    features = json.loads(runtime.do("features"))
    last = int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text())
    names = features["linux"]["capabilities"]
    assert len(names) >= last + 1 and {"CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"} <= set(names)
    assert {"rbind", "rro", "nosuid", "rslave", "tmpcopyup"} <= set(features["mountOptions"])


def test_events_end_with_the_container(runtime):
    """As runc's do: that is no mistake."""
    runtime.create()
    runtime.do("start", "c")
    path, cgroup = runtime.state_root / "c/state.json", runtime.folder / "cgroup"
    kept = path.read_text()
    cgroup.mkdir()
    (cgroup / "cgroup.freeze").write_text("0\n")
    path.write_text(json.dumps({**json.loads(kept), "cgroup": str(cgroup)}))
    with subprocess.Popen(runtime.words("events", "--interval", "20ms", "c"), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as events:
        for _ in range(3):
            assert json.loads(events.stdout.readline())["type"] == "stats"
        runtime.do("kill", "c", "KILL")
        rest, errors = events.communicate(timeout=TIMEOUT)
    assert (events.returncode, errors) == (0, "")
    assert all(json.loads(line)["id"] == "c" for line in rest.splitlines())
    assert "container not running" in runtime.refused("events", "c")
    for wrong in ("0", "-1", "5y", "soon"):
        assert "--interval" in runtime.refused("events", "--interval", wrong, "c")
    path.write_text(kept)


def test_what_the_runtime_reads_and_writes_in_a_cgroup(runtime):
    """Its files are of a folder of ours, so that each has a number of its own on any machine."""
    runtime.create()
    runtime.do("start", "c")
    path = runtime.state_root / "c/state.json"
    kept, cgroup = path.read_text(), runtime.folder / "cgroup"
    cgroup.mkdir()
    files = {"cpu.stat": "usage_usec 1\nuser_usec 2\nsystem_usec 3\nnr_periods 4\n"
                         "nr_throttled 5\nthrottled_usec 6\n",
             "memory.stat": "anon 7\nfile 8\n", "memory.max": "9\n", "memory.current": "10\n",
             "pids.current": "11\n", "pids.max": "12\n", "cgroup.freeze": "0\n",
             "cgroup.events": "populated 1\nfrozen 1\n"}
    for name, text in files.items():
        (cgroup / name).write_text(text)
    path.write_text(json.dumps({**json.loads(kept), "cgroup": str(cgroup)}))
    event = json.loads(runtime.do("events", "--stats", "c"))
    assert (event["type"], event["id"]) == ("stats", "c")
    assert event["data"] == {
        "cpu": {"usage": {"total": 1000, "user": 2000, "kernel": 3000},
                "throttling": {"periods": 4, "throttledPeriods": 5, "throttledTime": 6000}},
        "memory": {"cache": 8, "usage": {"limit": 9, "usage": 10}},
        "pids": {"current": 11, "limit": 12}}
    runtime.do("update", "--resources", "-", "c", input='{"pids": {"limit": 13}}')
    assert (cgroup / "pids.max").read_text() == "13\n"
    runtime.do("pause", "c")
    assert (cgroup / "cgroup.freeze").read_text() == "1\n"
    assert runtime.status() == "paused"
    assert "cannot pause a container that is paused" in runtime.refused("pause", "c")
    assert "paused container" in runtime.refused("exec", "c", "true")
    # The kernel would write the answer; a file that is empty means that none will come.
    (cgroup / "cgroup.events").write_text("")
    assert "did not go on" in runtime.refused("resume", "c")
    (cgroup / "cgroup.freeze").write_text("0\n")
    assert "not paused" in runtime.refused("resume", "c")
    assert "did not stop" in runtime.refused("pause", "c")
    path.write_text(kept)


# --- Bad input ----------------------------------------------------------------------------------


def changed(config: dict, path: str, value: object) -> dict:
    """A copy of the config in which the property at `path`, as "process.cwd", is `value`."""
    config = json.loads(json.dumps(config))
    *folders, last = path.split(".")
    where = config
    for key in folders:
        where = where.setdefault(key, {})
    where.pop(last, None) if value is None else where.__setitem__(last, value)
    return config


@pytest.mark.parametrize("path, value, message", [
    ("ociVersion", None, "ociVersion: is missing"),
    ("ociVersion", "2.0.0", "ociVersion: this runtime reads versions"),
    ("root", None, "root: is missing"),
    ("root.path", "nowhere", "root.path: nowhere: No such file or directory"),
    ("process", None, "process: is missing"),
    ("process.args", [], "process.args: has no command"),
    ("process.args", ["not-there"], "executable file not found in $PATH"),
    ("process.args", ["/not/there"], "No such file or directory"),
    ("process.args", ["/etc"], "Permission denied"),
    ("process.cwd", "tmp", "process.cwd: is not an absolute path"),
    ("process.cwd", "/bin/busybox", "chdir(/bin/busybox): Not a directory"),
    ("process.env", ["no-value"], "process.env[0]: is not KEY=VALUE"),
    ("process.capabilities.bounding", ["CAP_FLY"], "there is no capability CAP_FLY"),
    ("process.rlimits", [{"type": "RLIMIT_LUCK", "soft": 1, "hard": 1}], "unknown limit"),
    ("process.selinuxLabel", "a:b:c", "the label a:b:c: this kernel does not use SELinux"),
    ("linux.mountLabel", "a:b:c", "the label a:b:c: this kernel does not use SELinux"),
    ("process.scheduler", {}, "process.scheduler.policy: is missing"),
    ("process.scheduler", {"policy": "SCHED_LUCK"}, "policy: unknown policy SCHED_LUCK"),
    ("process.scheduler", {"policy": "SCHED_ISO"}, "policy: no kernel has SCHED_ISO yet"),
    ("process.scheduler", {"policy": "SCHED_FIFO"}, "process.scheduler.priority: is missing"),
    ("process.scheduler", {"policy": "SCHED_IDLE", "period": 1}, "process.scheduler.period: "),
    ("process.scheduler", {"policy": "SCHED_IDLE", "flags": ["SCHED_FLAG_UTIL_CLAMP_MIN"]},
     "process.scheduler.flags[0]: a config has no value"),
    ("process.scheduler", {"policy": "SCHED_DEADLINE", "runtime": 9, "deadline": 1, "period": 1},
     "process.scheduler: sched_setattr(policy 6, nice 0, priority 0): Invalid argument"),
    ("process.execCPUAffinity", {"final": "3-1"},
     "process.execCPUAffinity.final: is not a list of CPUs, such as 0-3,7"),
    ("process.execCPUAffinity", {"initial": "0,"}, "execCPUAffinity.initial: is not a list"),
    ("process.execCPUAffinity", {"final": "0-8192"}, "execCPUAffinity.final: is not a list"),
    ("process.apparmorProfile", "no-such", "no-such"),
    ("process.terminal", True, "--console-socket"),
    ("mounts", [{"destination": "/", "type": "tmpfs"}], "a mount there would hide the root"),
    ("mounts", [{"destination": "/proc/sys", "type": "tmpfs"}], "nothing may be mounted in /proc"),
    ("mounts", [{"destination": "/x", "type": "bind", "source": "/not/there"}], "mounts[0].source"),
    ("mounts", [{"destination": "/x", "type": "bind", "source": "/etc", "options": ["rdonly"]}],
     "rdonly is not an option of a bind mount"),
    ("mounts", [{"destination": "/x", "type": "tmpfs", "options": ["remount"]}], "remount"),
    ("linux.namespaces", [{"type": "pid"}], "a new mount namespace is needed"),
    ("linux.namespaces", [{"type": "soul"}], "unknown namespace soul"),
    ("linux.namespaces", [{"type": "mount"}, {"type": "uts", "path": "/proc/self/ns/net"}],
     "linux.namespaces: /proc/self/ns/net is no namespace of that type"),
    ("linux.sysctl", {"kernel.panic": "1"}, "not a setting of the container's"),
    ("linux.cgroupsPath", "/../../x", "contains .."),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_FLY"}, "unknown action SCMP_ACT_FLY"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTIFY"}, "needs a supervisor process"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"},
     "listenerMetadata: is for nobody without listenerPath"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/not/there"},
     "linux.seccomp.listenerPath: open(/not): No such file or directory"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/there"},
     "linux.seccomp.listenerPath: connect(/there): No such file or directory"),
    ("mounts", [{"destination": "/x", "type": "tmpfs", "options": ["idmap"]}],
     "only a bind mount can have ids of its own"),
    ("mounts", [{"destination": "/x", "type": "bind", "source": "/etc", "options": ["idmap"]}],
     "idmap needs uidMappings and gidMappings, or those of a user namespace"),
    ("mounts", [{"destination": "/x", "type": "bind", "source": "/etc", "uidMappings": [
        {"containerID": 0, "hostID": 1, "size": 1}]}], "belong together"),
    ("linux.intelRdt", {"closID": "x"}, "linux.intelRdt: this runtime cannot do that"),
    ("linux.resources", {"memory": {"swappiness": 3}}, "linux.resources.memory.swappiness"),
    ("linux.resources", {"unified": {"../x": "1"}}, "is not the file of a resource"),
    ("windows", {"a": 1}, "windows: this runtime cannot do that"),
])
def test_a_config_that_cannot_be_done(runtime, path, value, message):
    runtime.config = changed(runtime.config, path, value)
    runtime.write_config()
    assert message in runtime.refused("create", "--bundle", runtime.bundle, "c")
    assert runtime.leftovers() == []


@pytest.mark.parametrize("path, file, message", [
    ("/{name}", "nothing.max", "there is no nothing controller"),
    ("{name}", "nothing.max", "there is no nothing controller"),
    ("/{name}\nx", "", "Invalid argument")], ids=["absolute", "relative", "two lines"])
def test_a_cgroup_that_cannot_be_made(runtime, path, file, message):
    if " cgroup2 " not in pathlib.Path("/proc/mounts").read_text():
        pytest.skip("no cgroup v2 here")
    runtime.config["linux"]["cgroupsPath"] = path.format(name=runtime.folder.name)
    runtime.config["linux"]["resources"] = {"unified": {file: "1"} if file else {}}
    runtime.write_config()
    assert message in runtime.refused("create", "--bundle", runtime.bundle, "c")
    assert runtime.leftovers() == []


def test_an_unknown_property_is_ignored_but_logged(runtime):
    runtime.config["linux"]["ofTheFuture"] = True
    runtime.write_config()
    log = runtime.folder / "log"
    runtime.do("--log", log, "--log-format", "json", "create", "--bundle", runtime.bundle, "c",
               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    line, = map(json.loads, log.read_text().splitlines())
    assert line["level"] == "warning" and "linux.ofTheFuture" in line["msg"]


@pytest.mark.parametrize("text", [
    "", "{", "[]", "{}", "nonsense", '{"ociVersion": 1}',
    pytest.param('{"linux": {"seccomp": {"syscalls": ' + 300_000 * "[" + 300_000 * "]" + "}}}",
                 id="deep")])
def test_a_config_that_does_not_parse(runtime, text):
    (runtime.bundle / "config.json").write_text(text)
    assert "config.json" in runtime.refused("create", "--bundle", runtime.bundle, "c")
    assert runtime.leftovers() == []


def test_a_bundle_whose_name_is_no_text_leaves_nothing(runtime):
    """The container's state, which is JSON, cannot name it."""
    runtime.write_config()
    bundle = os.fsencode(runtime.folder) + b"/b\xff"
    os.rename(runtime.bundle, bundle)
    runtime.refused("create", "--bundle", os.fsdecode(bundle), "c")
    assert runtime.leftovers() == []
    os.rename(bundle, runtime.bundle)


def test_update_takes_the_device_rules_that_are_there_and_no_others(runtime):
    """containerd passes them on when a limit is to be changed."""
    rules = [{"allow": False, "access": "rwm"},
             {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}]
    runtime.config["linux"].update(resources={"devices": rules},
                                   cgroupsPath=f"/{runtime.folder.name}")
    runtime.create()
    runtime.do("update", "--resources", "-", "c", input=json.dumps({"devices": rules}))
    for other in (rules[:1], [*rules, rules[0]], [rules[0], {**rules[1], "access": "rwm"}]):
        result = runtime.call("update", "--resources", "-", "c",
                              input=json.dumps({"devices": other}))
        assert result.returncode == 1 and "are not changed" in result.stderr


def test_failures_are_logged_as_json(runtime):
    log = runtime.folder / "log"
    error = runtime.refused("--log", log, "--log-format", "json", "state", "nothing")
    line, = map(json.loads, log.read_text().splitlines())
    assert line["level"] == "error" and line["time"].endswith("Z")
    assert line["msg"] == "container nothing does not exist" and line["msg"] in error


@pytest.mark.parametrize("name", ["../x", "..", ".", "a/b", "a b", "", "a\n", "x" * 256])
def test_a_hostile_id(runtime, name):
    runtime.write_config()
    runtime.refused("create", "--bundle", runtime.bundle, name)
    runtime.refused("delete", "--force", name)
    assert not runtime.state_root.exists()


def test_what_does_not_fit_the_state(runtime):
    for words in (("state", "c"), ("start", "c"), ("kill", "c"), ("delete", "c"), ("ps", "c"),
                  ("exec", "c", "true"), ("pause", "c")):
        assert "container c does not exist" in runtime.refused(*words)
    runtime.do("delete", "--force", "c")  # engines call it to be sure
    assert "No such file" in runtime.refused("create", "--bundle", "/not/there", "c")
    runtime.create()
    assert "already exists" in runtime.refused("create", "--bundle", runtime.bundle, "c")
    runtime.do("start", "c")
    assert "already running" in runtime.refused("start", "c")
    assert "not stopped: running" in runtime.refused("delete", "c")
    assert "unknown signal" in runtime.refused("kill", "c", "SIGFLY")
    assert runtime.status() == "running"
    runtime.do("kill", "c", "KILL")
    assert wait_until(lambda: runtime.status() == "stopped")
    for words in (("kill", "c", "KILL"), ("ps", "c"), ("events", "--stats", "c"),
                  ("update", "--resources", "/dev/null", "c")):
        assert "container not running" in runtime.refused(*words)
    assert "cannot pause a container that is stopped" in runtime.refused("pause", "c")
    assert "stopped" in runtime.refused("start", "c")
    assert "stopped container" in runtime.refused("exec", "c", "true")


def test_a_state_folder_that_others_can_write_to(runtime):
    runtime.state_root.mkdir()
    runtime.state_root.chmod(0o777)
    runtime.write_config()
    assert "other users may write" in runtime.refused("create", "--bundle", runtime.bundle, "c")
    runtime.state_root.chmod(0o700)
    os.chown(runtime.state_root, 1234, 1234)
    assert "belongs to user 1234" in runtime.refused("create", "--bundle", runtime.bundle, "c")


def test_a_state_folder_where_others_could_put_another_one(runtime):
    theirs = runtime.folder / "theirs"
    theirs.mkdir()
    runtime.write_config()
    for mode, owner in ((0o777, 0), (0o755, 1234)):
        theirs.chmod(mode)
        os.chown(theirs, owner, owner)
        for words in (("create", "--bundle", runtime.bundle, "c"), ("list",),
                      ("delete", "--force", "c")):
            result = subprocess.run([*runtime.program, "--root", theirs / "state", *words],
                                    stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                    timeout=TIMEOUT, check=False)
            assert result.returncode == 1
            assert f"another user may replace {theirs}" in result.stderr
    assert not list(theirs.iterdir())


@pytest.mark.parametrize("option", [["--systemd-cgroup", "list"], ["create", "--no-pivot", "c"],
                                    ["--fly", "list"], ["fly"], [],
                                    ["--cgroup-manager", "none", "list"]])
def test_a_command_line_that_is_refused(runtime, option):
    result = runtime.call(*option)
    assert result.returncode == 1
    assert result.stderr.startswith("11_oci: ")
