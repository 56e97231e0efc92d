"""The commands of the runtime, as conmon, podman and containerd call them."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import pathlib
import pty
import shutil
import signal
import socket
import subprocess
import termios

import pytest
from conftest import TIMEOUT, wait_until
from oci_runtime import NEEDS_ROOT, Runtime, make_runtime

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
    master, slave = pty.openpty()
    with subprocess.Popen(runtime.words("run", "--bundle", runtime.bundle, "c"), stdin=slave,
                          stdout=slave, stderr=slave, start_new_session=True,
                          preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) as program:
        os.close(slave)
        assert "/dev/console\r\n/dev/pts/0\r\n" in read_from(master, "0\r\n")
        os.write(master, b"6\n")
        assert program.wait(TIMEOUT) == 6
    os.close(master)
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
    assert wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists() or "Z (" in
                      pathlib.Path(f"/proc/{pid}/status").read_text())


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


# --- What the config asks for -------------------------------------------------------------------


def hook(runtime: Runtime, name: str, status: int = 0) -> dict:
    log = runtime.folder / "hooks"
    script = (f"echo {name} $(cat) >>{log}; grep -q 'SigBlk:.0*$' /proc/self/status || exit 9;"
              f" exit {status}")
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}


def test_hooks_run_at_their_moments(runtime):
    runtime.config["hooks"] = {
        name: [hook(runtime, name)] for name in
        ("prestart", "createRuntime", "createContainer", "poststart", "poststop")}
    runtime.config["hooks"]["startContainer"] = [
        {"path": "/bin/sh", "args": ["sh", "-c", "echo startContainer in $(hostname)"],
         "env": ["PATH=/bin:/usr/bin"]}]
    log = runtime.folder / "hooks"

    def names() -> list[str]:
        return [line.split()[0] for line in log.read_text().splitlines() if line]

    runtime.create()
    assert names() == ["prestart", "createRuntime", "createContainer"]
    assert '"status": "creating"' in log.read_text()
    runtime.do("start", "c")
    assert "startContainer in 11_oci" in runtime.output()
    assert names()[3:] == ["poststart"]
    runtime.do("delete", "--force", "c")
    assert names()[4:] == ["poststop"]


@pytest.mark.parametrize("path, status", [("/no/such", 127), ("/etc/passwd", 126)])
def test_a_hook_that_is_no_program_stops_the_creation(runtime, path, status):
    runtime.config["hooks"] = {"createRuntime": [{"path": path}]}
    runtime.write_config()
    error = runtime.refused("create", "--bundle", runtime.bundle, "c")
    assert f"createRuntime hook {path}: exit status {status}" in error
    assert len(error.splitlines()) == 1  # its process is no second runtime
    assert runtime.leftovers() == []


@pytest.mark.parametrize("name", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_stops_the_creation(runtime, name):
    runtime.config["hooks"] = {name: [hook(runtime, name, 3)]}
    runtime.write_config()
    error = runtime.refused("create", "--bundle", runtime.bundle, "c")
    assert f"{name} hook /bin/sh: exit status 3" in error
    assert runtime.leftovers() == []


def test_five_sets_of_capabilities(runtime):
    runtime.config["process"]["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"], "permitted": ["CAP_KILL"],
        "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}
    runtime.config["process"]["user"] = {"uid": 9, "gid": 9}
    out = runtime.run("grep", "Cap", "/proc/self/status").stdout
    sets = dict(line.split(":\t") for line in out.splitlines())
    kill = 1 << 5
    assert {name: int(value, 16) for name, value in sets.items()} == {
        "CapInh": kill, "CapPrm": kill, "CapEff": kill, "CapAmb": kill,
        "CapBnd": kill | 1 | 1 << 13}


def test_mounts_in_order_with_their_options(runtime):
    source = runtime.folder / "source"
    source.mkdir()
    (source / "file").write_text("of the host")
    (runtime.bundle / "rootfs/filled").mkdir()
    (runtime.bundle / "rootfs/filled/old").write_text("kept")
    runtime.config["mounts"][:0] = [  # before /proc
        {"destination": "/data", "type": "bind", "source": str(source), "options": ["rbind", "ro"]},
        {"destination": "/one", "type": "bind", "source": str(source / "file"),
         "options": ["bind", "nosuid", "noexec"]},
        {"destination": "/filled", "type": "tmpfs", "source": "mine",
         "options": ["tmpcopyup", "size=1m"]}]
    out = runtime.run("sh", "-c", "cat /one; echo; cat /filled/old; echo; touch /data/new;"
                      "touch /filled/new && grep -e ' /one ' -e ' /filled ' /proc/mounts").stdout
    assert out.splitlines()[:2] == ["of the host", "kept"]
    assert not (source / "new").exists()
    assert not (runtime.bundle / "rootfs/filled/new").exists()
    one, = [line for line in out.splitlines() if " /one " in line]
    assert "nosuid" in one and "noexec" in one
    filled, = [line for line in out.splitlines() if " /filled " in line]
    assert filled.startswith("mine /filled tmpfs ")


def test_no_signal_is_ignored_or_blocked_because_the_engine_does(runtime):
    """conmon ignores SIGPIPE; podman's test of `kill` found that a shell could not trap it."""
    def ignore() -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})

    hook = runtime.folder / "hook"
    runtime.config["hooks"] = {"createRuntime": [{
        "path": "/bin/sh", "args": ["sh", "-c", f"grep Sig /proc/self/status >{hook}"]}]}
    out = runtime.run("grep", "Sig", "/proc/self/status", preexec_fn=ignore,
                      restore_signals=False).stdout
    for text in (out, hook.read_text()):
        fields = dict(line.split(":\t") for line in text.splitlines())
        assert int(fields["SigIgn"], 16) == int(fields["SigBlk"], 16) == 0


def test_a_working_directory_that_is_not_there_is_made(runtime):
    """As runc and crun make that of an image, also where the root is read-only for its command."""
    runtime.config["root"]["readonly"] = True
    runtime.config["process"]["cwd"] = "/made/by/it"
    assert runtime.run("pwd").stdout == "/made/by/it\n"
    runtime.config["process"]["cwd"] = "/bin/sh"  # a file
    assert "/bin/sh" in runtime.run("pwd").stderr


def test_any_user_may_write_to_a_tmpfs_whose_place_was_made_for_it(runtime):
    """podman run --tmpfs /new --user 5"""
    (runtime.bundle / "rootfs/private").mkdir(mode=0o700)
    runtime.config["root"]["readonly"] = False
    runtime.config["mounts"] += [
        {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
        for path in ("/new", "/private")]
    out = runtime.run("stat", "-c", "%a", "/new", "/private").stdout
    assert out.split() == ["1777", "700"]


def test_a_hostile_root_gets_no_mount_outside(runtime):
    """Contract point 2: a link in the root does not lead to the host."""
    outside = runtime.folder / "outside"
    outside.mkdir()
    (runtime.bundle / "rootfs/link").symlink_to(outside)
    runtime.config["root"]["readonly"] = False
    runtime.config["mounts"].append({"destination": "/link/in", "type": "tmpfs", "source": "t"})
    result = runtime.run("sh", "-c", "grep /in /proc/mounts")
    assert f"{outside}/in" in result.stdout, result.stderr  # in the container
    assert list(outside.iterdir()) == []


def test_a_link_instead_of_proc_is_refused(runtime):
    (runtime.bundle / "rootfs/elsewhere").mkdir()
    (runtime.bundle / "rootfs/proc").rmdir()
    (runtime.bundle / "rootfs/proc").symlink_to("elsewhere")
    runtime.write_config()
    assert "/proc" in runtime.refused("create", "--bundle", runtime.bundle, "c")
    assert runtime.leftovers() == []


@pytest.mark.parametrize("link, target", [
    ("work", "dev"), ("work", "/proc"), ("work", "proc/sys"), ("work", "sys/kernel"), ("work", "."),
    ("dev", "work")])
def test_a_link_of_the_root_leads_no_volume_over_our_own_mounts(runtime, link, target):
    """CVE-2025-31133: our devices would be made in the volume, which is a folder of the host."""
    root = runtime.bundle / "rootfs"
    if link == "dev":
        shutil.rmtree(root / "dev", ignore_errors=True)
        (root / "work").mkdir()
    (root / link).symlink_to(target)
    volume = runtime.folder / "volume"
    volume.mkdir()
    runtime.config["mounts"].append({"destination": "/work", "type": "bind", "source": str(volume),
                                     "options": ["rbind"]})
    runtime.write_config()
    runtime.refused("create", "--bundle", runtime.bundle, "c")
    assert list(volume.iterdir()) == []
    assert runtime.leftovers() == []


def test_masks_and_read_only_paths(runtime):
    runtime.config["root"]["readonly"] = False
    (runtime.bundle / "rootfs/secret").write_text("secret")
    (runtime.bundle / "rootfs/fixed").mkdir()
    runtime.config["linux"]["maskedPaths"] += ["/secret", "/not/there"]
    runtime.config["linux"]["readonlyPaths"] += ["/fixed"]
    out = runtime.run("sh", "-c", "cat /secret; touch /fixed/x 2>&1; touch /ok && echo made;"
                      "cat /proc/keys; ls /sys/firmware").stdout
    assert out.splitlines() == ["touch: /fixed/x: Read-only file system", "made"]


def test_user_limits_and_environment(runtime):
    runtime.config["process"].update({
        "user": {"uid": 3, "gid": 4, "umask": 0o77, "additionalGids": [8, 9]}, "cwd": "/tmp",
        "env": ["PATH=/bin", "A=1"], "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 99,
                                                  "hard": 100}]})
    out = runtime.run("sh", "-c",
                      "id -u; id -g; id -G; umask; ulimit -n; pwd; echo $A $HOME").stdout
    assert out.splitlines() == ["3", "4", "4 8 9", "0077", "99", "/tmp", "1 /"]


def test_the_priorities_of_a_process(runtime):
    """The kernel takes them from its own parent, the runtime, which is not changed."""
    runtime.config["process"].update(
        oomScoreAdj=77, ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6},
        args=["sh", "-c", "cat /proc/self/oom_score_adj; ionice -p $$; exec sleep 1000"])
    runtime.create()
    runtime.do("start", "c")
    assert wait_until(lambda: len(runtime.output().splitlines()) == 2)
    assert runtime.output().splitlines() == ["77", "best-effort: prio 6"]
    process = {**runtime.config["process"], "oomScoreAdj": 78,
               "args": ["cat", "/proc/self/oom_score_adj"]}
    (runtime.folder / "process").write_text(json.dumps(process))
    assert runtime.do("exec", "--process", runtime.folder / "process", "c") == "78\n"


def test_a_root_that_its_user_may_not_list(runtime):
    (runtime.bundle / "rootfs").chmod(0o711)
    runtime.config["process"]["user"] = {"uid": 5, "gid": 5}
    runtime.create()
    runtime.do("start", "c")
    assert runtime.do("exec", "c", "id", "-u") == "5\n"


def test_devices_and_links_in_dev(runtime):
    runtime.config["linux"]["devices"] = [
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o100640, "uid": 3,
         "gid": 4},
        {"path": "/dev/sub/block", "type": "b", "major": 7, "minor": 9},
        {"path": "/dev/pipe", "type": "p", "uid": 5}]
    out = runtime.run("sh", "-c", "cd /dev; stat -c '%n %a %u:%g %F %t:%T' $(find . -type c -o"
                      " -type b -o -type p | grep -v -e pts/); for link in $(find . -type l);"
                      " do echo $link $(readlink $link); done")
    assert set(out.stdout.splitlines()) == {
        "./null 666 0:0 character special file 1:3", "./zero 666 0:0 character special file 1:5",
        "./full 666 0:0 character special file 1:7", "./random 666 0:0 character special file 1:8",
        "./urandom 666 0:0 character special file 1:9", "./tty 666 0:0 character special file 5:0",
        "./mine 640 3:4 character special file 1:3", "./sub/block 666 0:0 block special file 7:9",
        "./pipe 666 5:0 fifo 0:0", "./fd /proc/self/fd", "./stdin /proc/self/fd/0",
        "./stdout /proc/self/fd/1", "./stderr /proc/self/fd/2", "./ptmx pts/ptmx"}, out.stderr


def test_devices_that_are_not_allowed(runtime):
    """Those that every container has are, whatever the config says. The others, which have numbers
    for local use, do not exist: what is not allowed is refused before the kernel finds out."""
    if " cgroup2 " not in pathlib.Path("/proc/mounts").read_text():
        pytest.skip("no cgroup v2 here")
    runtime.config["linux"].update(
        devices=[{"path": f"/dev/{name}", "type": "c", "major": 60, "minor": minor}
                 for name, minor in (("allowed", 7), ("other", 8))],
        resources={"devices": [{"allow": False, "access": "rwm"},
                               {"allow": True, "type": "c", "major": 60, "minor": 7,
                                "access": "r"}]},
        cgroupsPath=f"/{runtime.folder.name}")
    out = runtime.run("sh", "-c", "cd /dev; : </dev/null; : >>/dev/zero; for name in allowed other;"
                      " do cat $name; done; cat >>allowed")
    assert [line.rpartition(": ")[2] for line in out.stderr.splitlines()] == [
        "No such device or address", "Operation not permitted", "Operation not permitted"]


def test_a_dev_of_the_hosts_is_left_alone(runtime):
    volume = runtime.folder / "dev"
    volume.mkdir()
    runtime.config["mounts"] = [{"destination": "/dev", "type": "bind", "source": str(volume),
                                 "options": ["bind"]}]
    assert runtime.run("true").returncode == 0
    assert not list(volume.iterdir())


def test_a_command_that_cannot_be_started_leaves_nothing(runtime):
    """run, which makes the container, is the only one to know of it."""
    runtime.config["hooks"] = {"startContainer": [{"path": "/not/there"}]}
    result = runtime.run("true")
    assert (result.returncode, result.stdout) == (1, "")
    assert "startContainer hook /not/there: exit status 127" in result.stderr
    assert runtime.leftovers() == []


def test_seccomp_filter(runtime):
    runtime.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122}]}
    result = runtime.run("mkdir", "/tmp/x")
    assert "quota" in result.stderr.lower(), result.stderr


def test_a_seccomp_profile_is_compiled_once(runtime):
    runtime.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122}]}
    cache = runtime.folder / "cache"
    cache.mkdir(mode=0o700)
    for _ in range(2):
        result = runtime.run("true", env={**os.environ, "XDG_CACHE_HOME": str(cache)})
        assert result.returncode == 0, result.stderr
    assert len(list(cache.glob("*/seccomp-*/program"))) == 1


def test_user_namespace(runtime):
    runtime.config["linux"]["namespaces"].append({"type": "user"})
    ids = [{"containerID": 0, "hostID": 200000, "size": 1000}]
    runtime.config["linux"].update({"uidMappings": ids, "gidMappings": ids})
    subprocess.run(["chown", "-R", "200000:200000", runtime.bundle / "rootfs"], check=True)
    for folder in (runtime.folder, runtime.bundle):
        folder.chmod(0o755)
    out = runtime.run("sh", "-c", "id -u; cat /proc/self/uid_map; echo x >/dev/null && echo ok;"
                      "ls /proc/1/exe >/dev/null && echo proc")
    assert out.stdout.split() == ["0", "0", "200000", "1000", "ok", "proc"], out.stderr


def test_namespaces_of_another_container(runtime):
    first = runtime.create("first")
    runtime.do("start", "first")
    for namespace in runtime.config["linux"]["namespaces"]:
        name = {"network": "net"}.get(namespace["type"], namespace["type"])
        if name in ("net", "ipc", "uts", "pid"):
            namespace["path"] = f"/proc/{first}/ns/{name}"
    del runtime.config["hostname"]
    second = runtime.create("second")
    for name in ("net", "ipc", "uts", "pid"):
        assert os.readlink(f"/proc/{first}/ns/{name}") == os.readlink(f"/proc/{second}/ns/{name}")
    assert os.readlink(f"/proc/{first}/ns/mnt") != os.readlink(f"/proc/{second}/ns/mnt")


SETTINGS = [("network", "net", {"net.ipv4.ip_unprivileged_port_start": "80"}, ""),
            ("ipc", "ipc", {"kernel.shmmni": "77"}, ""), ("uts", "uts", {}, "renamed")]


def joined_to_set(runtime, kind, path, settings, hostname) -> None:
    runtime.config["linux"]["namespaces"] = [
        {"type": kind, "path": path} if one["type"] == kind else one
        for one in runtime.config["linux"]["namespaces"]]
    runtime.config["linux"]["sysctl"] = settings
    runtime.config["hostname"] = hostname


@pytest.mark.parametrize("kind, name, settings, hostname", SETTINGS)
def test_settings_of_a_namespace_that_is_joined(runtime, kind, name, settings, hostname):
    """containerd makes a pod's network namespace itself."""
    first = runtime.create("first")
    runtime.do("start", "first")
    joined_to_set(runtime, kind, f"/proc/{first}/ns/{name}", settings, hostname)
    runtime.create("second")
    paths = [f"/proc/sys/{key.replace('.', '/')}" for key in settings]
    assert runtime.do("exec", "first", "cat", *paths, "/proc/sys/kernel/hostname").split() == [
        *settings.values(), hostname or "11_oci"]


@pytest.mark.parametrize("kind, name, settings, hostname", SETTINGS)
def test_no_setting_of_the_hosts_namespaces_is_changed(runtime, kind, name, settings, hostname):
    joined_to_set(runtime, kind, f"/proc/self/ns/{name}", settings, hostname)
    runtime.write_config()
    # If it were changed, that would not be the host's.
    runtime.program = ["unshare", "--net", "--ipc", "--uts", *runtime.program]
    error = runtime.refused("create", "--bundle", runtime.bundle, "c")
    assert f"/proc/self/ns/{name} is the host's" in error
    assert runtime.leftovers() == []


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
    ("process.selinuxLabel", "a:b:c", "process.selinuxLabel: this runtime cannot do that"),
    ("process.scheduler", {"policy": "SCHED_FIFO"}, "process.scheduler: this runtime cannot"),
    ("process.apparmorProfile", "no-such", "no-such"),
    ("process.terminal", True, "--console-socket"),
    ("mounts", [{"destination": "/", "type": "tmpfs"}], "a mount there would hide the root"),
    ("mounts", [{"destination": "/proc/sys", "type": "tmpfs"}], "nothing may be mounted in /proc"),
    ("mounts", [{"destination": "/x", "type": "bind", "source": "/not/there"}], "mounts[0].source"),
    ("mounts", [{"destination": "/x", "type": "tmpfs", "options": ["remount"]}], "remount"),
    ("linux.namespaces", [{"type": "pid"}], "a new mount namespace is needed"),
    ("linux.namespaces", [{"type": "soul"}], "unknown namespace soul"),
    ("linux.sysctl", {"kernel.panic": "1"}, "not a setting of the container's"),
    ("linux.cgroupsPath", "/../../x", "contains .."),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_FLY"}, "unknown action SCMP_ACT_FLY"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}, "listenerPath"),
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
