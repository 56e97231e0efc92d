"""Stage 05: root inside, nobody special outside; as root and as an ordinary user."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

import pytest
from conftest import (TIMEOUT, check_that_no_kill_of_the_parent_leaves_the_container,
                      processes_with)

STAGE = "05_userns"


def test_root_inside_is_the_caller_outside(caller):
    with caller.start(STAGE, "sh", "-c", "id -u; id -g; read wait",
                      stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() + process.stdout.readline() == "0\n0\n"
        proc = pathlib.Path(f"/proc/{process.child()}")
        outside, count = ("524288", "65536") if caller.name == "root" else (str(caller.uid), "1")
        assert proc.joinpath("uid_map").read_text().split() == ["0", outside, count]
        assert proc.joinpath("gid_map").read_text().split() == ["0", outside, count]
        # With one gid there is no group to drop, and a range of unused groups cannot deny access.
        setgroups = "allow" if caller.name == "root" else "deny"
        assert proc.joinpath("setgroups").read_text() == f"{setgroups}\n"
        status = proc.joinpath("status").read_text()
        assert re.search(rf"^Uid:(\t{outside}){{4}}$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0*1f{9,}$", status, re.MULTILINE), "all, in its namespace"
        assert proc.joinpath("ns/user").readlink() != pathlib.Path("/proc/self/ns/user").readlink()


@pytest.fixture
def subordinate_ids_of_root(root):
    kept = {}
    for path in map(pathlib.Path, ("/etc/subuid", "/etc/subgid")):
        kept[path] = path.read_text() if path.exists() else ""
    yield lambda subuid, subgid: (pathlib.Path("/etc/subuid").write_text(subuid),
                                  pathlib.Path("/etc/subgid").write_text(subgid))
    for path, text in kept.items():
        path.write_text(text)


def test_root_may_have_a_line_in_subuid(root, subordinate_ids_of_root):
    subordinate_ids_of_root("user:100000:65536\nroot:300000:70000\n", "root:400000:70000\n")
    out = root.output(STAGE, "sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map")
    assert out.split() == ["0", "300000", "70000", "0", "400000", "70000"]


def test_roots_ids_are_nobody_elses(root, subordinate_ids_of_root):
    subordinate_ids_of_root("seventh:493216:65536\n", "eighth:589824:65536\n")
    out = root.output(STAGE, "sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map")
    assert out.split() == ["0", "655360", "65536"] * 2


def test_one_map_of_roots_stands_for_both(root):
    for option in ("--uid-map", "--gid-map"):
        out = root.output(STAGE, option, "0:200000:500", "sh", "-c",
                          "cat /proc/self/uid_map /proc/self/gid_map")
        assert out.split() == ["0", "200000", "500"] * 2


def test_roots_files_are_roots_inside_and_on_the_disk(root, tmp_path):
    """A tree as debootstrap makes it works as it is: the mount is idmapped, not the files."""
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "data").mkdir()
    shutil.copy(shutil.which("busybox"), tree / "bin" / "busybox")
    for name in ("sh", "stat", "chown", "touch"):
        os.symlink("busybox", tree / "bin" / name)
    (tree / "private").write_text("root's")
    (tree / "private").chmod(0o600)
    (tree / "www").write_text("")
    os.chown(tree / "www", 33, 34)
    script = ("cd /; stat -c %u:%g private www; read line <private; echo $line;"
              "touch data/made; touch data/given; chown 33:34 data/given")
    out = root.output(STAGE, "--rootfs", tree, "/bin/sh", "-c", script)
    assert out.split("\n") == ["0:0", "33:34", "root's"]
    owners = [(path.stat().st_uid, path.stat().st_gid)
              for path in (tree / "data" / "made", tree / "data" / "given", tree / "private")]
    assert owners == [(0, 0), (33, 34), (0, 0)]


def test_a_tree_whose_ids_are_the_ranges_is_shown_as_it_is(root, tmp_path):
    """As umoci and lxc unpack it for a range: its ids have been changed on the disk."""
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), tree / "bin" / "stat")
    for path in (tree, tree / "bin"):
        os.chown(path, 200000, 200000)
    out = root.output(STAGE, "--rootfs", tree, "--uid-map", "0:200000:1000", "/bin/stat", "-c",
                      "%u:%g", "/bin")
    assert out == "0:0"


def test_what_is_mounted_below_the_root_is_roots_too(root, tmp_path):
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "below").mkdir()
    shutil.copy(shutil.which("busybox"), tree / "bin" / "stat")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    script = f"""
        mount --bind {tmp_path}/other {tree}/below && exec {root.program(STAGE)} --rootfs {tree} \
            /bin/stat -c %u:%g /below/file"""
    assert in_mount_namespace(script).stdout == "0:0\n"


def test_the_parent_stays_in_its_working_directory(root, tmp_path):
    """setns(2) changes it, too, and the parent makes idmapped mounts among those of the child."""
    with root.start(STAGE, "sh", "-c", "echo ready; read wait", stdin=subprocess.PIPE,
                    cwd=tmp_path) as process:
        assert process.stdout.readline() == "ready\n"
        assert os.readlink(f"/proc/{process.pid}/cwd") == str(tmp_path)


def test_verbose_shows_the_new_keyring(root):
    assert "keyctl(JOIN_SESSION_KEYRING)\n" in root.run(STAGE, "--verbose", "true").stderr


def test_the_hosts_files_are_not_roots_of_the_container(root):
    """What is mounted below the root is not the root file system: /proc, /sys."""
    result = root.run(STAGE, "--rootfs", "/", "sh", "-c",
                      "stat -c %u /sys /proc/sys; echo x >/proc/sys/kernel/core_pattern;"
                      "echo x >/sys/kernel/profiling")
    assert result.stdout.split() == ["65534", "65534"]
    assert result.stderr.count("Permission denied") + result.stderr.count("Read-only") == 2, \
        result.stderr


@pytest.mark.as_shipped
def test_a_file_system_that_cannot_be_idmapped_is_named(root):
    before = ["strace", "-f", "-o", "/dev/null", "-e", "inject=mount_setattr:error=EINVAL:when=2+"]
    result = root.run(STAGE, "true", before=before)
    assert result.returncode == 125
    message, hint = result.stderr.splitlines()
    assert re.fullmatch(rf"{STAGE}: mount_setattr\(/\S+, IDMAP\): Invalid argument", message)
    assert "--uid-map 0:0:65536" in hint
    assert root.output(STAGE, "--uid-map", "0:0:65536", "id", "-u", before=before) == "0"


def test_the_capabilities_do_not_reach_the_host(user):
    # The container's root has CAP_CHOWN, CAP_DAC_OVERRIDE and CAP_SYS_TIME, but only over its own
    # objects.
    assert user.run(STAGE, "--rootfs", "/", "cat", "/etc/shadow").returncode != 0
    assert user.run(STAGE, "--rootfs", "/", "touch", "/etc/x").returncode != 0
    assert user.run(STAGE, "--rootfs", "/", "date", "--set", "2000-01-01").returncode != 0


def test_no_device_node_can_be_made(caller):
    result = caller.run(STAGE, "mknod", "/tmp/disk", "b", "8", "0")
    assert result.returncode == 1
    assert "Operation not permitted" in result.stderr


@pytest.mark.parametrize("words", [[], ["--with", "/bin/true"]])
def test_what_it_leaves_never_runs_as_the_hosts_root(root, words):
    """Stages 02 to 04 run what is in their built-in root as the host's root."""
    name = f"planted-{os.getpid()}"
    path = f"/usr/local/bin/{name}"
    plant = f"mkdir -p /usr/local/bin; cp /bin/busybox {path}; ls {path}"
    assert root.output(STAGE, *words, "sh", "-c", plant) == path
    for stage in ("02_chroot", "03_userspace", "04_namespaces"):
        result = root.run(stage, *(words if stage != "02_chroot" else []), "ls", path)
        assert (result.returncode, result.stdout) == (1, ""), stage
    assert root.output(STAGE, *words, "ls", path) == path  # the next one has it, see the page
    root.output(STAGE, *words, "rm", path)


def test_what_it_writes_belongs_to_the_caller(caller):
    assert caller.run(STAGE, "touch", "/tmp/mark").returncode == 0
    place = "rootfs-*" if caller.name == "user" else "containers/rootfs-*"
    mark, = caller.cache.glob(f"{place}/tmp/mark")
    assert (mark.stat().st_uid, mark.stat().st_gid) == (caller.uid, caller.uid)
    mark.unlink()


@pytest.mark.parametrize("words, message", [
    (["--uid-map", "abc"], "--uid-map abc: is not INSIDE:OUTSIDE:COUNT, as in 0:1000:1"),
    (["--gid-map", "0:1:0"], "--gid-map 0:1:0: is not INSIDE:OUTSIDE:COUNT, as in 0:1000:1"),
    (["--uid-map", "0:0:4294967295"],
     "--uid-map 0:0:4294967295: is not INSIDE:OUTSIDE:COUNT, as in 0:1000:1"),
    (["--uid-map", "0:1:2", "--uid-map", "1:7:1"], "--uid-map 1:7:1: 1:7:1 overlaps 0:1:2"),
    (["--user", ""], "--user : is not UID|NAME[:GID|GROUP]"),
    (["--user", "me:"], "--user me:: is not UID|NAME[:GID|GROUP]"),
    (["--user", "0:0:0"], "--user 0:0:0: is not UID|NAME[:GID|GROUP]"),
    (["--user", "4294967295"], "--user 4294967295: there is no id 4294967295"),
    (["--user", "me"], "--user me: the container's /etc/passwd has no user me"),
    (["--user", "root:us"], "--user root:us: the container's /etc/group has no group us"),
    (["--user", "70000"], "--user: uid 70000 is not mapped"),
    (["--user", "0:70000"], "--user: gid 70000 is not mapped"),
])
def test_a_wrong_map_is_refused(caller, words, message):
    result = caller.run(STAGE, *words, "sh")
    assert result.returncode == 125
    assert result.stderr.splitlines()[0] == f"{STAGE}: {message}"


def test_root_maps_what_it_likes(root):
    out = root.output(STAGE, "--uid-map", "0:100000:1000", "--gid-map", "0:200000:1000",
                      "--user", "33:44", "sh", "-c", "id -u; id -g; cat /proc/self/setgroups")
    assert out.split() == ["33", "44", "allow"]
    out = root.output(STAGE, "--uid-map", "0:100000:10", "--uid-map", "10:5:1", "cat",
                      "/proc/self/uid_map")
    assert out.split() == ["0", "100000", "10", "10", "5", "1"]


@pytest.mark.parametrize("who, shown", [
    ("guest", "1000 1000 /home"), ("guest:root", "1000 0 /home"), ("1000", "1000 1000 /home"),
    ("1000:7", "1000 7 /home"), (":7", "0 7 /root"), ("7", "7 0 /"), ("7:guest", "7 1000 /")])
def test_a_user_may_have_a_name(root, who, shown):
    """As docker run: the container's names, the user's group and home."""
    assert root.output(STAGE, "-u", who, "sh", "-c", "echo $(id -u) $(id -g) $HOME") == shown
    assert root.output(STAGE, "-u", who, "-e", "HOME=/x", "sh", "-c", "echo $HOME") == "/x"


def test_groups_of_a_user_that_are_not_mapped_are_left_out(root, tmp_path):
    """setgroups(2) would refuse them all; the container's /etc/group is not ours to correct."""
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "etc").mkdir()
    shutil.copy(shutil.which("busybox"), tree / "bin" / "id")
    (tree / "etc" / "passwd").write_text("me:x:5:6::/:/bin/sh\n")
    (tree / "etc" / "group").write_text("some:x:7:me\nothers:x:8:you\nbeyond:x:1000:me\n")
    assert root.output(STAGE, "--rootfs", tree, "--uid-map", "0:200000:1000", "-u", "me",
                       "/bin/id", "-G") == "6 7"


KEYS = """
import ctypes, os, sys
def keyctl(*words):
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(250, *words)
    return result
JOIN, SEARCH, SESSION = 1, 10, -3
add_key = ctypes.CDLL(None).syscall
keyctl(JOIN, None)
assert add_key(248, b"user", b"bugtest", b"hunter2", 7, SESSION) > 0
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_the_callers_keys_are_not_the_containers(caller):
    """CVE class of runc#453: a process possesses the keys of its session, whatever ids it has."""
    python = ["python3", "-c", KEYS]
    look = ["--rootfs", "/", "python3", "-c",
            "import ctypes; print(ctypes.CDLL(None).syscall(250, 10, -3, b'user', b'bugtest', 0))"]
    number = caller.output(STAGE, *look, before=python)
    assert number == "-1", "the key is found inside"
    seen = subprocess.run([*python, shutil.which("python3"), *look[3:]], capture_output=True,
                          text=True, check=True)
    assert int(seen.stdout) > 0, "the key is there outside"


@pytest.mark.as_shipped
def test_a_filter_that_refuses_clone3_is_named(user):
    before = ["strace", "-f", "-o", "/dev/null", "-e", "inject=clone3:error=ENOSYS"]
    result = user.run(STAGE, "true", before=before)
    assert result.returncode == 125
    message, hint = result.stderr.splitlines()
    assert message.endswith("Function not implemented")
    assert hint == "hint: this kernel has no clone3(2), which came with Linux 5.3"


@pytest.mark.as_shipped
def test_groups_that_could_not_be_dropped_are_a_failure(root):
    before = ["strace", "-f", "-o", "/dev/null", "-e", "inject=setgroups:error=EPERM"]
    result = root.run(STAGE, "true", before=before)
    assert (result.returncode, result.stderr) == (
        125, f"{STAGE}: setgroups(0): Operation not permitted\n")


@pytest.mark.as_shipped
def test_a_user_that_could_not_be_changed_is_a_failure(root):
    """Otherwise the namespace would be root's."""
    before = ["strace", "-f", "-o", "/dev/null", "-e", "inject=setresuid:error=EAGAIN:when=1"]
    result = root.run(STAGE, "--uid-map", "0:200000:1000", "true", before=before)
    assert (result.returncode, result.stderr) == (
        125, f"{STAGE}: setresuid(-1, 200000, -1): Resource temporarily unavailable\n")


def test_a_map_without_root_works(caller):
    maps = ["--uid-map", f"1000:{caller.uid}:1", "--gid-map", f"1000:{caller.uid}:1"]
    assert caller.output(STAGE, *maps, "-u", "1000:1000", "id").startswith("uid=1000(guest)")


@pytest.fixture
def subordinate_ids(user):
    """The ordinary user may map 1000 ids from 300000, until the test ends."""
    if os.geteuid() != 0:
        pytest.skip("writes /etc/subuid: needs root")
    kept = {}
    for path in map(pathlib.Path, ("/etc/subuid", "/etc/subgid")):
        kept[path] = path.read_text() if path.exists() else ""
        path.write_text(f"{kept[path]}{user.uid}:300000:1000\n")
    passwd = pathlib.Path("/etc/passwd")
    kept[passwd] = passwd.read_text()
    passwd.write_text(f"{kept[passwd]}stage-test:x:{user.uid}:{user.uid}::/:/bin/false\n")
    yield
    for path, text in kept.items():
        path.write_text(text)


def test_an_ordinary_user_maps_ranges_through_newuidmap(user, subordinate_ids):
    maps = ["--uid-map", f"0:{user.uid}:1", "--uid-map", "1:300000:1000",
            "--gid-map", "0:300000:1000"]
    out = user.output(STAGE, *maps, "-u", "5:6", "sh", "-c",
                      "id -u; id -g; cat /proc/self/uid_map")
    assert out.split() == ["5", "6", "0", str(user.uid), "1", "1", "300000", "1000"]


def test_ids_that_are_not_ones_own_are_refused(user, subordinate_ids):
    result = user.run(STAGE, "--uid-map", "0:0:10", "sh")
    assert result.returncode == 125
    message, hint = result.stderr.splitlines()
    assert message.startswith(f"{STAGE}: newuidmap: uid range [0-10) -> [0-10) not allowed")
    assert "/etc/subuid" in hint


def test_without_newuidmap_the_package_is_named(user):
    environment = {**user.environment(), "PATH": "/no/such/folder"}
    result = user.run(STAGE, "--rootfs", "/", "--uid-map", "0:100000:10", "sh", env=environment)
    assert result.returncode == 125
    assert result.stderr.splitlines() == [
        f"{STAGE}: newuidmap: No such file or directory",
        "hint: mapping more ids than your own needs newuidmap(1): sudo apt-get install uidmap"]


def test_it_runs_inside_itself(caller):
    program = caller.program(STAGE)
    out = caller.output(STAGE, "--rootfs", "/", program, "--rootfs", "/", program, "--rootfs", "/",
                        "sh", "-c", "id -u; cat /proc/self/uid_map; echo $$")
    assert out.split() == ["0", "0", "0", "1", "1"]


def in_mount_namespace(script: str, *options: str) -> subprocess.CompletedProcess:
    """Runs `script` in a mount namespace of its own, and perhaps a user namespace."""
    return subprocess.run(["unshare", "--mount", *options, "sh", "-c", script],
                          capture_output=True, text=True, timeout=TIMEOUT, check=False)


def test_root_of_a_user_namespace_keeps_the_root_in_his_own_cache(user):
    """Root inside may not write to /var/cache, because its owner is not mapped."""
    out = user.output(STAGE, "id", "-u", before=["unshare", "--user", "--map-root-user"])
    assert out == "0"
    assert list(user.cache.iterdir())


def test_without_user_namespaces_the_switch_is_named(root):
    # /proc/sys/user shows each process the sysctls of its own user namespace.
    result = in_mount_namespace(f"""
        echo 0 >/proc/sys/user/max_user_namespaces
        {root.program(STAGE)} --rootfs / true""", "--user", "--map-root-user")
    assert result.returncode == 125
    message, hint = result.stderr.splitlines()
    assert message.startswith(f"{STAGE}: clone3(CLONE_NEWUSER|CLONE_NEWPID|")
    assert message.endswith("No space left on device")
    assert hint == ("hint: user namespaces are switched off here: "
                    "sudo sysctl -w user.max_user_namespaces=10000")


@pytest.mark.parametrize("call", ["sethostname", "chroot", "mount"])
@pytest.mark.parametrize("error", ["EPERM", "EACCES"])
@pytest.mark.as_shipped
def test_ubuntus_restriction_is_named(user, tmp_path, call, error):
    """Ubuntu's AppArmor lets clone3() succeed and refuses a later call.

    This kernel has no AppArmor: its sysctl is a file bound over another, and strace refuses.
    """
    if os.geteuid() != 0:
        pytest.skip("binds a file over /proc/sys/kernel: needs root")
    sysctls = tmp_path / "kernel"
    sysctls.mkdir()
    (sysctls / "apparmor_restrict_unprivileged_userns").write_text("1\n")
    for folder in [tmp_path, *tmp_path.parents[:-1]]:
        if folder.owner() == "root" and folder != pathlib.Path("/tmp"):
            folder.chmod(0o755)
    result = in_mount_namespace(f"""
        mount --bind {sysctls} /proc/sys/kernel
        exec setpriv --reuid {user.uid} --regid {user.uid} --clear-groups \
            strace -f -o /dev/null -e inject={call}:error={error} \
            {user.program(STAGE)} --rootfs / true""")
    assert result.returncode == 125
    message, hint = result.stderr.splitlines()
    assert message.startswith(f"{STAGE}: {call}(")
    assert hint == ("hint: AppArmor restricts user namespaces here (Ubuntu 23.10 and later): "
                    "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0")


@pytest.mark.parametrize("prepare", ["mount --bind {0} {0} && ", ""], ids=["mount", "directory"])
@pytest.mark.as_shipped
def test_inside_a_chroot_the_reason_is_named(root, tmp_path, prepare):
    shutil.copy(root.program(STAGE), tmp_path)
    tmp_path.joinpath("proc").mkdir()
    result = in_mount_namespace(f"""
        {prepare.format(tmp_path)} mount -t proc proc {tmp_path}/proc &&
        exec /usr/sbin/chroot {tmp_path} /{STAGE} --rootfs / true""")
    assert result.returncode == 125
    message, hint = result.stderr.splitlines()
    assert message.startswith(f"{STAGE}: clone3(CLONE_NEWUSER|") and message.endswith("permitted")
    assert hint.startswith("hint: a process in a chroot cannot create a user namespace")


def start_beside_mounts_at(user, *points):
    mounts = "\n".join(f"mount -t tmpfs cover {point}" for point in points)
    return in_mount_namespace(f"""
        {mounts}
        exec setpriv --reuid {user.uid} --regid {user.uid} --clear-groups \
            {user.program(STAGE)} --rootfs / true""")


def test_where_a_part_of_proc_is_covered_that_is_named(user):
    """As in docker run without --security-opt systempaths=unconfined."""
    if os.geteuid() != 0:
        pytest.skip("covers a part of /proc: needs root")
    harmless = "/proc/sys/fs/binfmt_misc"  # where the kernel has a directory to mount on
    assert start_beside_mounts_at(user, harmless).returncode == 0
    result = start_beside_mounts_at(user, harmless, "/proc/fs")
    message, hint = result.stderr.splitlines()
    assert message == f"{STAGE}: mount(proc, /proc): Operation not permitted"
    assert hint.startswith("hint: /proc/fs is masked here, as in Docker, ")


@pytest.mark.as_shipped
def test_the_container_dies_with_a_parent_killed_at_any_system_call(user):
    check_that_no_kill_of_the_parent_leaves_the_container(user, STAGE, user.home)


@pytest.mark.as_shipped
def test_a_parent_that_cannot_write_the_maps_leaves_no_child(user):
    before = ["strace", "-o", "/dev/null", "-e", "inject=write:error=EIO:when=1"]
    result = user.run(STAGE, "sleep", "1234567", before=before)
    assert result.returncode == 125
    assert re.fullmatch(rf'{STAGE}: write\(/proc/\d+/uid_map, "0 {user.uid} 1"\): '
                        "Input/output error\n", result.stderr)
    assert processes_with("1234567") == []
