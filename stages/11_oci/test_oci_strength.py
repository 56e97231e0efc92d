"""What a container, a bundle and a killed runtime cannot do."""

from __future__ import annotations

import concurrent.futures
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pexpect
import pytest
from conftest import TIMEOUT, is_in, processes_with, wait_until
from oci_runtime import NEEDS_ROOT, PROGRAM, make_runtime

__all__ = ["make_runtime"]  # a fixture
pytestmark = NEEDS_ROOT


def kill_creation_and_delete(runtime, milliseconds):
    with subprocess.Popen(runtime.words("create", "--bundle", runtime.bundle, "c"),
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        time.sleep(milliseconds / 1000)
        process.kill()
    runtime.do("delete", "--force", "c")


def test_a_killed_creation_is_removed_by_delete_force(runtime):
    """The runtime is killed after each of its first milliseconds."""
    for delay in range(0, 60, 6):
        runtime.write_config()
        kill_creation_and_delete(runtime, delay)
        assert runtime.leftovers() == []


def kill_at(runtime, number: int, *inject: str) -> str:
    """strace's log of a creation that it kills as `inject` says, after delete --force."""
    name, log = f"c{number}", runtime.folder / f"trace-{number}"
    result = subprocess.run(
        ["strace", "-o", log, *inject, *runtime.words("create", "--bundle", runtime.bundle, name)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        timeout=TIMEOUT, check=False)
    runtime.do("delete", "--force", name)
    assert wait_until(lambda: not processes_with(f"\0{runtime.bundle}\0{name}\0")), (inject, result)
    text = log.read_text()
    log.unlink()
    return text


@pytest.mark.as_shipped
def test_a_creation_that_is_killed_at_any_system_call_is_removed(runtime):
    runtime.write_config()
    names = re.findall(r"^(\w+)\(", kill_at(runtime, 0), re.MULTILINE)
    assert names[0] == "execve" and "clone3" in names and len(names) > 100, names

    def is_killed(number: int) -> bool:
        name = names[number]
        occurrence = names[:number + 1].count(name)  # strace counts each call by itself
        text = kill_at(runtime, number, "-e", f"inject={name}:signal=KILL:when={occurrence}")
        return "+++ killed by SIGKILL +++" in text

    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # they mostly wait
        killed = sum(pool.map(is_killed, range(1, len(names))))
    assert killed >= len(names) - 5  # a run may need one poll() or read() less
    assert runtime.leftovers() == []
    cgroups = pathlib.Path("/sys/fs/cgroup").glob("**/c[0-9]*")
    assert [path for path in cgroups if path.name[1:].isdecimal()] == []


def test_a_hundred_containers_at_once(runtime):
    runtime.write_config()
    names = [f"c{number}" for number in range(100)]

    def begin(name: str) -> None:
        runtime.do("create", "--bundle", runtime.bundle, name, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
        runtime.do("start", name)

    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(begin, names))
        listed = json.loads(runtime.do("list", "--format", "json"))
        assert sorted((one["id"], one["status"]) for one in listed) == sorted(
            (name, "running") for name in names)
        assert len({os.readlink(f"/proc/{one['pid']}/ns/pid") for one in listed}) == len(names)
        list(pool.map(lambda name: runtime.do("delete", "--force", name), names))
    assert runtime.leftovers() == []


def test_the_program_in_the_container_is_not_the_hosts_file(runtime):
    """CVE-2019-5736: without a user namespace, root inside could write to it."""
    pid = runtime.create()
    host = PROGRAM.stat()
    inside = os.stat(f"/proc/{pid}/exe")
    assert (inside.st_dev, inside.st_ino) != (host.st_dev, host.st_ino)
    with pytest.raises(OSError):
        os.close(os.open(f"/proc/{pid}/exe", os.O_WRONLY))
    program = os.open(f"/proc/{pid}/exe", os.O_RDONLY)
    seals = fcntl.fcntl(program, fcntl.F_GET_SEALS)
    os.close(program)
    assert seals == (fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
                     | fcntl.F_SEAL_SEAL)


@pytest.mark.parametrize("command", ["run", "exec"])
@pytest.mark.parametrize("way", ["cwd", "command"])
def test_no_descriptor_leads_to_the_host(runtime, command, way):
    """CVE-2024-21626: the working directory, or the command, is below a descriptor that the runtime
    has. One is there for certain, which our caller has left open; a working directory may not even
    lead through one that they pass on."""
    (runtime.folder / "secret").write_text("secret")
    host = os.open("/", os.O_RDONLY)
    if command == "exec":
        runtime.create()
        runtime.do("start", "c")
    reached = []
    for number in range(3, 20):
        cwd = f"/proc/self/fd/{number}"
        program = ["cat", f"..{runtime.folder}/secret"]
        if way == "command":
            program = [f"{cwd}{runtime.bundle}/rootfs/bin/busybox", "echo", "secret"]
            cwd = "/"
        passed = ["--preserve-fds", str(host - 2)] if way == "cwd" else []
        how = {"pass_fds": [*range(3, host), host]} if passed else {"pass_fds": [host]}
        if command == "exec":
            result = runtime.call("exec", *passed, "--cwd", cwd, "c", *program, **how)
        else:
            runtime.config["process"].update(args=program, cwd=cwd)
            runtime.write_config()
            result = runtime.call("run", *passed, "--bundle", runtime.bundle, "r", **how)
        if "secret" in result.stdout:
            reached.append(number)
    os.close(host)
    assert reached == []


def give_ids(runtime) -> None:
    """Root of the container is user 200000 of the host, and may mount."""
    runtime.config["linux"]["namespaces"].append({"type": "user"})
    ids = [{"containerID": 0, "hostID": 200000, "size": 1000}]
    runtime.config["linux"].update({"uidMappings": ids, "gidMappings": ids})
    for capabilities in runtime.config["process"]["capabilities"].values():
        capabilities.append("CAP_SYS_ADMIN")
    subprocess.run(["chown", "-R", "200000:200000", runtime.bundle / "rootfs"], check=True)
    for folder in (runtime.folder, runtime.bundle):
        folder.chmod(0o755)


@pytest.mark.parametrize("options", [["rbind"], ["bind"], ["rbind", "rslave"], ["rbind", "rshared"],
                                     ["rbind", "rprivate"]], ids=",".join)
def test_what_is_mounted_read_only_on_the_host_stays_so(runtime, options):
    """The kernel has locked it in the container's mount namespace, see mount_namespaces(7)."""
    give_ids(runtime)
    volume = runtime.folder / "volume"
    volume.mkdir(mode=0o777)
    (runtime.bundle / "rootfs/data").mkdir()
    runtime.config["mounts"].append({"destination": "/data", "type": "bind",
                                     "source": str(volume), "options": options})
    runtime.config["root"]["readonly"] = False
    runtime.config["process"]["args"] = ["sh", "-c", "for place in / /data; do mount -o"
                                         " remount,bind,rw $place; touch $place/new; done"]
    runtime.write_config()
    root = runtime.bundle / "rootfs"
    mounted = (f"mount -t tmpfs -o mode=777 tmpfs {volume} && mount -o remount,bind,ro {volume} &&"
               f" mount --bind {root} {root} && mount -o remount,bind,ro {root} && \"$@\";"
               f" ls {volume} {root} | grep new")
    runtime.program = ["unshare", "--mount", "sh", "-c", mounted, "sh", *runtime.program]
    result = runtime.call("run", "--bundle", runtime.bundle, "c")
    assert result.stdout == ""
    assert result.stderr.count("Read-only file system") == 2, result.stderr


def test_what_a_mount_covers_stays_covered(runtime):
    """A bind mount without what is mounted below would show it: with a user namespace that is not
    the engine's to allow."""
    give_ids(runtime)
    volume = runtime.folder / "volume"
    (volume / "covered").mkdir(parents=True)
    (volume / "covered" / "secret").write_text("secret")
    runtime.config["mounts"].append({"destination": "/data", "type": "bind",
                                     "source": str(volume), "options": ["bind"]})
    runtime.write_config()
    plain = list(runtime.program)
    mounted = f"mount -t tmpfs tmpfs {volume}/covered && exec \"$@\""
    runtime.program = ["unshare", "--mount", "sh", "-c", mounted, "sh", *plain]
    error = runtime.refused("create", "--bundle", runtime.bundle, "c")
    assert f"mounts: {volume}: Invalid argument" in error and "rbind" in error
    runtime.program = plain
    assert runtime.leftovers() == []


def test_root_of_a_user_namespace_joins_no_pid_namespace(runtime):
    """It has no rights over that, and the engine would have to make its process among the others.
    """
    give_ids(runtime)
    for namespace in runtime.config["linux"]["namespaces"]:
        if namespace["type"] == "pid":
            namespace["path"] = "/proc/self/ns/pid"
    runtime.write_config()
    error = runtime.refused("create", "--bundle", runtime.bundle, "c")
    assert "a pid namespace that is there already is not joined" in error
    assert runtime.leftovers() == []


# A process that does not exist a moment later can be found only by looking all the time. Whether it
# has more rights than the container, and the engine's environment, is read when its root is seen.
SPY = """
echo ready
while :; do
    for process in /proc/[0-9]*; do
        for way in root cwd fd/3 fd/4 fd/5 fd/6 fd/7 fd/8 fd/9 fd/10 fd/11 fd/12; do
            if test -e $process/$way/../../../../../../../../../..$1; then
                echo "$process/$way"
            fi
        done
        while read -r key value; do
            if test "$key $value" = "CapEff: $2"; then
                echo "$process has all capabilities"
            fi
        done <$process/status
        if grep -q ENGINES_SECRET $process/environ; then
            echo "$process has the environment"
        fi
    done 2>/dev/null
done
"""


@pytest.fixture(name="spied")
def make_spied(runtime):
    """A container with CAP_SYS_PTRACE, without a user namespace, looks at each process that its
    /proc has: where that has a file of the host's, what it may, and which environment it has."""
    secret = runtime.folder / "secret"
    secret.write_text("")
    for capabilities in runtime.config["process"]["capabilities"].values():
        capabilities.append("CAP_SYS_PTRACE")
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    mine = status.partition("CapEff:")[2].split()[0]
    runtime.config["process"]["args"] = ["sh", "-c", SPY, "spy", str(secret), mine]
    runtime.create("spy")
    runtime.do("start", "spy")
    assert wait_until(lambda: "ready" in runtime.output())
    yield runtime
    assert (runtime.folder / "spied").read_text() == "ready\n"


def engine() -> dict[str, str]:
    """The environment of an engine, which a container must not see."""
    return {**os.environ, "ENGINES_SECRET": "1"}


def test_a_container_that_may_trace_sees_nothing_of_the_host_while_exec_joins_it(spied):
    """CVE-2016-9962: what exec starts must be in the container, and have no more rights than its
    command, when others can see it."""
    for _ in range(30):
        assert spied.do("exec", "spy", "echo", "joined", env=engine()) == "joined\n"
    os.rename(spied.folder / "output", spied.folder / "spied")


def test_a_container_that_may_trace_sees_nothing_of_the_host_while_a_neighbour_is_made(spied):
    """The same for a container that joins its PID namespace, as those of a pod do."""
    os.rename(spied.folder / "output", spied.folder / "spied")
    first = spied.state("spy")["pid"]
    spied.joins(first, "pid")
    spied.config["process"]["args"] = ["cat", "/proc/1/comm"]
    spied.write_config()
    with open(spied.folder / "output", "w", encoding="utf-8") as output:
        for _ in range(10):
            spied.do("create", "--bundle", spied.bundle, "c", stdout=output, stderr=output,
                     env=engine())
            pid = spied.state("c")["pid"]
            assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{first}/ns/pid")
            spied.do("start", "c")
            assert wait_until(lambda: spied.status("c") == "stopped")
            spied.do("delete", "c")
    assert spied.output() == 10 * "sh\n"


def test_a_neighbour_that_is_killed_while_it_is_made_is_removed(runtime):
    """Its process has two numbers, one after the other."""
    spy = runtime.create("first")
    runtime.joins(spy, "pid")
    runtime.write_config()
    inside = f"/proc/{spy}/ns/pid"
    for delay in range(0, 60, 3):
        kill_creation_and_delete(runtime, delay)
    assert runtime.leftovers() == ["first"]
    assert wait_until(lambda: len(processes_in(os.readlink(inside))) == 1)


@pytest.mark.as_shipped
def test_a_process_that_joins_others_has_nothing_open_that_they_could_use(runtime):
    """They may look into it from its first moment on, at which strace keeps it here."""
    first = runtime.create("first")
    runtime.do("start", "first")
    runtime.joins(first, "pid")
    runtime.write_config()
    inside = os.readlink(f"/proc/{first}/ns/pid")
    runtime.program = ["strace", "-f", "-o", "/dev/null", "-e", "inject=setsid:delay_enter=2s",
                       *runtime.program]
    with subprocess.Popen(runtime.words("create", "--bundle", runtime.bundle, "c"),
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            assert wait_until(lambda: any(is_in(pid, "setsid") for pid in processes_in(inside)))
            joining, = set(processes_in(inside)) - {first}
            fds = pathlib.Path(f"/proc/{joining}/fd")
            opened = [os.readlink(fds / fd) for fd in os.listdir(fds)]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            del runtime.program[:-1]
    assert {file.partition(":")[0] for file in opened} <= {"/dev/null", "socket", "pipe"}


@pytest.mark.as_shipped
def test_what_is_known_of_a_creation_that_was_killed_before_it_had_a_process(runtime):
    runtime.write_config()
    subprocess.run(["strace", "-o", "/dev/null", "-e", "inject=clone3:signal=KILL",
                    *runtime.words("create", "--bundle", runtime.bundle, "c")], check=False,
                   timeout=TIMEOUT, capture_output=True)
    state = runtime.state()
    assert (state["status"], state["pid"], state["bundle"]) == ("stopped", 0, str(runtime.bundle))


@pytest.mark.as_shipped
def test_a_creation_that_cannot_open_its_folder_leaves_none(runtime):
    runtime.write_config()
    runtime.program = ["strace", "-qq", "-o", "/dev/null", "-P", "lonely", "-e",
                       "inject=openat:error=EMFILE", *runtime.program]
    assert "lonely): Too many open files" in runtime.refused("create", "--bundle", runtime.bundle,
                                                             "lonely")
    del runtime.program[:-1]
    assert runtime.leftovers() == []


@pytest.mark.as_shipped
@pytest.mark.parametrize("files, call", [(3, "open(/proc/self/exe)"), (4, "memfd_create()")])
def test_without_its_copy_in_memory_nothing_starts(runtime, files, call):
    runtime.write_config()
    runtime.program = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "-", *runtime.program]
    assert runtime.refused("create", "--bundle", runtime.bundle, "c") == (
        f"11_oci: {call}: Too many open files\n")
    assert runtime.leftovers() == []


def processes_in(namespace: str) -> list[int]:
    found = []
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{process}/ns/pid") == namespace:
                found.append(int(process))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("what", ["volume", "rootfs"])
def test_a_link_that_takes_the_place_of_a_folder_is_not_followed(runtime, what):
    """Another user may own the folder above. The hook runs after the paths have been resolved."""
    secret = runtime.folder / "secret"
    secret.mkdir()
    place = runtime.bundle / "rootfs"
    if what == "volume":
        place = runtime.folder / "volume"
        place.mkdir()
        runtime.config["mounts"].append({"destination": "/data", "type": "bind",
                                         "source": str(place), "options": ["rbind"]})
    else:
        secret = runtime.folder / "root"
        shutil.copytree(place, secret, symlinks=True)
    runtime.config["hooks"] = {"createRuntime": [
        {"path": "/bin/sh", "args": ["sh", "-c", f"mv {place} {place}.old; ln -s {secret} {place}"],
         "env": ["PATH=/bin:/usr/bin"]}]}
    runtime.write_config()
    error = runtime.refused("create", "--bundle", runtime.bundle, "c")
    assert f"open({place}): Too many levels of symbolic links" in error
    assert runtime.leftovers() == []


def test_no_process_is_too_deep_to_be_killed(runtime):
    """The container may have nested more cgroups than the runtime may have descriptors."""
    runtime.create()
    runtime.do("start", "c")
    cgroup = json.loads((runtime.state_root / "c/state.json").read_text())["cgroup"]
    if not cgroup:
        pytest.skip("no cgroup v2 here")
    deepest = pathlib.Path(cgroup, *["n"] * 100)
    deepest.mkdir(parents=True)
    with subprocess.Popen(["sleep", "1000"]) as hidden:
        (deepest / "cgroup.procs").write_text(str(hidden.pid))
        runtime.program = ["prlimit", "--nofile=32", *runtime.program]
        assert hidden.pid in json.loads(runtime.do("ps", "--format", "json", "c"))
        runtime.do("kill", "--all", "c", "CONT")
        runtime.do("kill", "--all", "c", "KILL")
        assert hidden.wait(TIMEOUT) == -signal.SIGKILL
    assert wait_until(lambda: runtime.status() == "stopped")
    runtime.do("delete", "c")
    assert not os.path.exists(cgroup)


def test_nothing_that_a_container_chooses_changes_our_terminal(runtime):
    odd = "\x1b]0;TITLE\a\n\x7f\x9b31m\u202e"
    runtime.config["annotations"] = {"org.example": odd}
    runtime.config["process"]["args"] = ["sh", "-c", "echo began; sleep 1000; :", odd]
    runtime.bundle.rename(runtime.folder / odd)
    runtime.bundle.symlink_to(runtime.folder / odd)
    runtime.create()
    runtime.do("start", "c")
    assert wait_until(lambda: "began" in runtime.output())
    assert runtime.state()["annotations"]["org.example"] == odd
    for words in (["ps", "c"], ["list"], ["list", "--format", "json"], ["state", "c"]):
        shown = runtime.do(*words)
        assert odd not in shown
        assert not set(shown) & {"\x1b", "\a", "\x7f", "\x9b"}, words
    assert len(runtime.do("ps", "c").splitlines()) == 3  # a line for each process, and one above
    (runtime.bundle).unlink()
    (runtime.folder / odd).rename(runtime.bundle)


def test_the_engines_environment_is_not_in_a_container_that_waits(runtime):
    """A process that exec starts in it may read it."""
    runtime.write_config()
    with open(runtime.folder / "output", "w", encoding="utf-8") as output:
        runtime.do("create", "--bundle", runtime.bundle, "c", stdout=output, stderr=output,
                   env=engine())
    pid = runtime.state()["pid"]
    assert b"ENGINES_SECRET" not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()


def test_a_neighbour_cannot_be_looked_into_by_its_own_user(runtime):
    """Before its command begins: its files in /proc are root's then, see proc(5)."""
    first = runtime.create("first")
    runtime.joins(first, "pid")
    runtime.config["process"]["user"] = {"uid": 5, "gid": 5}
    pid = runtime.create("c")
    assert "Uid:\t5\t5\t5\t5\n" in pathlib.Path(f"/proc/{pid}/status").read_text()
    assert os.stat(f"/proc/{pid}/environ").st_uid == 0
    runtime.do("start", "c")
    assert wait_until(lambda: os.stat(f"/proc/{pid}/environ").st_uid == 5)


def test_a_neighbour_has_a_terminal_of_its_own(runtime):
    """The session that gets it is another than that of the process which has made it."""
    first = runtime.create("first")
    runtime.joins(first, "pid")
    runtime.config["process"].update(
        terminal=True, args=["sh", "-c", "tty; : </dev/tty && echo controls"])
    runtime.write_config()
    words = runtime.words("run", "--bundle", runtime.bundle, "c")
    with pexpect.spawn(words[0], words[1:], timeout=TIMEOUT, encoding="utf-8") as terminal:
        terminal.expect_exact("/dev/pts/0\r\ncontrols\r\n")
        terminal.expect(pexpect.EOF)
