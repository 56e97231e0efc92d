"""What the config asks for."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from conftest import wait_until
from oci_runtime import NEEDS_ROOT, Runtime, make_runtime

__all__ = ["make_runtime"]  # a fixture
pytestmark = NEEDS_ROOT


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
    assert log.read_text().count('"status": "created"') == 3
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


def test_a_state_folder_that_cannot_be_removed_is_named(runtime):
    folder = runtime.state_root / "c" / "mount"
    script = f"mkdir {folder} && mount -t tmpfs none {folder}; exit 3"
    runtime.config["hooks"] = {"createRuntime": [
        {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]}
    runtime.write_config()
    runtime.program = ["unshare", "--mount", *runtime.program]
    error = runtime.refused("create", "--bundle", runtime.bundle, "c")
    assert "createRuntime hook /bin/sh: exit status 3" in error
    assert "rm -rf c: Invalid cross-device link\nhint: delete --force tries again\n" in error
    runtime.do("delete", "--force", "c")
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


def test_options_of_a_tmpfs_have_no_effect_on_a_bind_mount(runtime):
    """As with runc and crun: the kernel ignores the data of MS_BIND, see mount(2)."""
    source = runtime.folder / "source"
    source.mkdir()
    source.chmod(0o711)
    runtime.config["mounts"].append({"destination": "/data", "type": "bind", "source": str(source),
                                     "options": ["bind", "mode=700", "size=1k"]})
    assert runtime.run("stat", "-c", "%a", "/data").stdout == "711\n"


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


def test_a_limit_that_cannot_be_raised_stops_the_creation(runtime):
    runtime.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 200}]
    runtime.write_config()
    runtime.program = ["prlimit", "--nofile=100", "setpriv", "--bounding-set=-sys_resource",
                       *runtime.program]
    error = runtime.refused("create", "--bundle", runtime.bundle, "c")
    assert "prlimit(RLIMIT_NOFILE, 200, 200): Operation not permitted" in error
    assert runtime.leftovers() == []


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


def test_how_a_process_is_scheduled(runtime):
    """From its first instruction on; fields 19 and 41 of proc_pid_stat(5). A negative nice value is
    not inherited after SCHED_FLAG_RESET_ON_FORK."""
    look = "cut -d' ' -f 19,41 /proc/self/stat; cut -d' ' -f 19,41 /proc/$$/stat"
    runtime.config["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7}
    assert runtime.run("sh", "-c", look).stdout.splitlines() == ["7 3"] * 2
    runtime.config["process"].update(
        scheduler={"policy": "SCHED_BATCH", "nice": -3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        args=["sh", "-c", look + "; exec sleep 1000"])
    runtime.create()
    runtime.do("start", "c")
    assert wait_until(lambda: len(runtime.output().splitlines()) == 2)
    assert runtime.output().splitlines() == ["0 3", "-3 3"]
    process = {**runtime.config["process"], "scheduler": {"policy": "SCHED_IDLE"},
               "args": ["cut", "-d ", "-f", "19,41", "/proc/self/stat"]}
    (runtime.folder / "process").write_text(json.dumps(process))
    assert runtime.do("exec", "--process", runtime.folder / "process", "c") == "0 5\n"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="it needs two CPUs")
def test_the_cpus_of_what_exec_starts(runtime):
    """Not of the container's first process."""
    first, *_, last = sorted(os.sched_getaffinity(0))
    look = ["grep", "Cpus_allowed_list", "/proc/self/status"]
    everywhere = subprocess.check_output(look, text=True).split()[1]

    def words(affinity: dict[str, str]) -> list[str]:
        process = {**runtime.config["process"], "execCPUAffinity": affinity, "args": look}
        (runtime.folder / "process").write_text(json.dumps(process))
        return ["exec", "--process", runtime.folder / "process", "c"]

    def cpus(affinity: dict[str, str]) -> str:
        return runtime.do(*words(affinity)).split()[1]

    runtime.config["process"].update(execCPUAffinity={"final": str(last)}, args=["sleep", "1000"])
    runtime.create()
    runtime.do("start", "c")
    assert last != first and os.sched_getaffinity(runtime.state()["pid"]) >= {first, last}
    assert runtime.do("exec", "c", *look).split()[1] == str(last)
    assert cpus({"initial": str(first), "final": str(last)}) == str(last)
    assert cpus({"initial": str(first)}) == str(first), "as no cgroup has CPUs of its own"
    assert cpus({"initial": "", "final": ""}) == everywhere
    refusal = runtime.refused(*words({"final": "8000"}))
    assert "process.execCPUAffinity: sched_setaffinity(8000): Invalid argument" in refusal


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


@pytest.mark.parametrize("option", ["ro", "rro"])
def test_what_is_in_a_tmpfs_is_made_before_it_is_read_only(runtime, option):
    """As podman has /dev in containers whose tmpfs are not to be written, too."""
    for mount in runtime.config["mounts"]:
        if mount["destination"] == "/dev":
            mount["options"].append(option)
    volume = runtime.folder / "volume"
    volume.mkdir()
    runtime.config["mounts"] += [
        {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": [option]},
        {"destination": "/t/data", "type": "bind", "source": str(volume), "options": ["bind"]}]
    runtime.config["process"]["args"] = [
        "sh", "-c", "touch /dev/new /t/new; echo >/dev/null && touch /t/data/new && ls /dev"]
    result = runtime.run()
    assert result.stderr.count("Read-only file system") == 2, result.stderr
    assert {"null", "ptmx", "pts", "shm", "stdin"} <= set(result.stdout.split())


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
    for _ in range(2):
        result = runtime.run("true")
        assert result.returncode == 0, result.stderr
    assert len(list(runtime.folder.glob("cache/*/seccomp-*/program"))) == 1


def mapped(first: int) -> dict:
    ids = [{"containerID": 0, "hostID": first, "size": 1000}]
    return {"uidMappings": ids, "gidMappings": ids}


@pytest.fixture(name="shared")
def make_shared(runtime):
    """A folder of the host's with a file of root's, and another one mounted in it, read-only."""
    folder, other = runtime.folder / "shared", runtime.folder / "other"
    (folder / "below").mkdir(parents=True)
    other.mkdir()
    for path in (folder, other):
        (path / "file").write_text("")
    subprocess.run(["mount", "--bind", other, folder / "below"], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder / "below"], check=True)
    yield folder
    subprocess.run(["umount", folder / "below"], check=True)


@pytest.fixture(name="mapped_runtime")
def make_mapped_runtime(runtime):
    """A container with a user namespace, in which root is 200000."""
    runtime.config["linux"]["namespaces"].append({"type": "user"})
    runtime.config["linux"].update(mapped(200000))
    subprocess.run(["chown", "-R", "200000:200000", runtime.bundle / "rootfs"], check=True)
    for folder in (runtime.folder, runtime.bundle):
        folder.chmod(0o755)
    return runtime


def test_user_namespace(mapped_runtime):
    out = mapped_runtime.run("sh", "-c", "id -u; cat /proc/self/uid_map;"
                             "echo x >/dev/null && echo ok; ls /proc/1/exe >/dev/null && echo proc")
    assert out.stdout.split() == ["0", "0", "200000", "1000", "ok", "proc"], out.stderr


@pytest.mark.parametrize("given", [True, False])
def test_the_user_namespace_of_another_container(mapped_runtime, shared, given):
    """As in a pod with a user namespace: also network, IPC and UTS are owned by that."""
    runtime = mapped_runtime
    first = runtime.create("first")
    runtime.joins(first, "user", "network", "ipc", "uts")
    del runtime.config["hostname"]
    for granted in runtime.config["process"]["capabilities"].values():
        granted.append("CAP_SYS_ADMIN")
    runtime.config["mounts"].append({"destination": "/host", "type": "bind", "source": str(shared),
                                     "options": ["rbind"]})
    if not given:
        del runtime.config["linux"]["uidMappings"], runtime.config["linux"]["gidMappings"]
    second = runtime.create("second")
    for name in ("user", "net", "ipc", "uts"):
        assert os.readlink(f"/proc/{first}/ns/{name}") == os.readlink(f"/proc/{second}/ns/{name}")
    for name in ("mnt", "pid"):
        assert os.readlink(f"/proc/{first}/ns/{name}") != os.readlink(f"/proc/{second}/ns/{name}")
    assert os.stat(f"/proc/{second}").st_uid in (0, 200000)  # 0: it has not executed anything yet
    runtime.do("start", "second")
    runtime.do("delete", "--force", "first")  # with the path of its namespaces
    out = runtime.do("exec", "second", "sh", "-c", "id -u; cat /proc/self/uid_map")
    assert out.split() == ["0", "0", "200000", "1000"]
    # What is read-only on the host stays so, whatever root inside wants.
    result = runtime.call("exec", "second", "mount", "-o", "remount,rw,bind", "/host/below")
    assert result.returncode != 0 and "ermission denied" in result.stderr, result.stderr


@pytest.mark.parametrize("change, message", [
    ({"uidMappings": [{"containerID": 0, "hostID": 1, "size": 1000}]}, "has others"),
    ({"user": 5000}, "process.user: is not mapped"),
])
def test_a_user_namespace_of_other_ids_is_not_joined(mapped_runtime, change, message):
    runtime = mapped_runtime
    first = runtime.create("first")
    runtime.joins(first, "user")
    if "user" in change:
        runtime.config["process"]["user"]["uid"] = change["user"]
    else:
        runtime.config["linux"].update(change)
    runtime.write_config()
    assert message in runtime.refused("create", "--bundle", runtime.bundle, "second")
    assert runtime.leftovers() == ["first"]


@pytest.mark.parametrize("option, below", [("idmap", "0"), ("ridmap", "700")])
def test_a_mount_shows_other_owners(runtime, shared, option, below):
    """Also without a user namespace; and what is made there belongs to the other id on the disk."""
    runtime.config["mounts"].append({
        "destination": "/shared", "type": "bind", "source": str(shared),
        "options": ["rbind", option], **mapped(700)})
    runtime.config["process"]["user"] = {"uid": 703, "gid": 700}
    os.chmod(shared, 0o777)
    result = runtime.run("sh", "-c", "cd shared; stat -c %u file below/file; touch new")
    assert result.stdout.split() == ["700", below], result.stderr
    status = os.stat(shared / "new")
    assert (status.st_uid, status.st_gid) == (3, 0)


def test_a_mount_shows_the_owners_of_the_containers_root(mapped_runtime, shared):
    """Without mappings of its own it has those of the container."""
    runtime = mapped_runtime
    for name, options in (("/with", ["rbind", "idmap"]), ("/without", ["rbind"])):
        runtime.config["mounts"].append({"destination": name, "type": "bind",
                                         "source": str(shared), "options": options})
    result = runtime.run("sh", "-c", "stat -c %u with/file without/file; touch with/new")
    assert result.stdout.split() == ["0", "65534"], result.stderr
    assert os.stat(shared / "new").st_uid == 0


def test_a_file_system_that_cannot_show_other_owners(runtime):
    runtime.config["mounts"].append({"destination": "/x", "type": "bind", "source": "/proc/sys",
                                     "options": ["bind"], **mapped(700)})
    runtime.write_config()
    stderr = runtime.refused("create", "--bundle", runtime.bundle, "c")
    assert "mounts: /x: mount_setattr(/proc/sys, IDMAP): Invalid argument" in stderr
    assert "cannot show its files with other owners" in stderr
    assert runtime.leftovers() == []


def test_namespaces_of_another_container(runtime):
    runtime.config["linux"]["namespaces"].append({"type": "time"})
    runtime.config["linux"]["timeOffsets"] = {"boottime": {"secs": 1000}}
    first = runtime.create("first")
    del runtime.config["linux"]["timeOffsets"]
    runtime.do("start", "first")
    runtime.joins(first, "network", "ipc", "uts", "pid", "time")
    del runtime.config["hostname"]
    runtime.config["process"]["args"] = ["sh", "-c", "cat /proc/1/comm; exec sleep 1000"]
    second = runtime.create("second")
    for name in ("net", "ipc", "uts", "pid", "time"):
        assert os.readlink(f"/proc/{first}/ns/{name}") == os.readlink(f"/proc/{second}/ns/{name}")
    assert os.readlink(f"/proc/{first}/ns/mnt") != os.readlink(f"/proc/{second}/ns/mnt")
    runtime.do("start", "second")
    assert wait_until(lambda: runtime.output() == "sleep\n")  # /proc is the namespace's, too


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


def test_a_pid_namespace_is_joined_by_root_only(runtime):
    """Rootless podman, in a pod that shares it."""
    joined_to_set(runtime, "pid", "/proc/self/ns/pid", {}, "")
    runtime.write_config()
    runtime.program = ["unshare", "--user", "--map-root-user", *runtime.program]
    assert "only root of the host can join a PID namespace" in runtime.refused(
        "create", "--bundle", runtime.bundle, "c")
    assert runtime.leftovers() == []
