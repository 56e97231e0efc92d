"""Stage 06: the host's file system is gone; as root and as an ordinary user."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import tarfile

import pytest
from conftest import (TIMEOUT, UID, check_that_no_kill_of_the_parent_leaves_the_container,
                      children_of, fingerprint, give_to, wait_until)

STAGE = "06_pivot_root"


def mount_table(caller, *options: str) -> dict[str, set[str]]:
    """Mount point -> its flags, read on the host from the container's mountinfo."""
    with caller.start(STAGE, *options, "sh", "-c", "echo ready; read wait",
                      stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "ready\n"
        lines = pathlib.Path(f"/proc/{process.child()}/mountinfo").read_text().splitlines()
    return {line.split()[4]: set(line.split()[5].split(",")) for line in lines}


def test_nothing_of_the_host_is_mounted_any_more(caller):
    table = mount_table(caller)
    expected = {"/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue",
                *(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty"))}
    assert expected <= table.keys()
    assert all(point in expected or point.startswith(("/proc/", "/sys/")) for point in table)


def test_a_second_chroot_does_not_lead_out(caller, folder):
    """The way out of stages 02 to 05: keep a directory above the root, and walk up from it."""
    (folder / "secret").write_text("host")
    script = f"""
        mkdir -p /tmp/jail && cd / && chroot /tmp/jail true 2>/dev/null
        cd / && for i in 1 2 3 4 5 6 7 8 9; do cd ..; done
        cat .{folder}/secret 2>/dev/null || echo shut"""
    assert caller.output(STAGE, "sh", "-c", script) == "shut"


def test_dev_has_the_usual_devices(caller):
    script = """
        echo lost >/dev/null; head -c 3 /dev/zero | od -An -tx1; head -c 9 /dev/urandom | wc -c
        echo full >/dev/full; cat /dev/fd/0 </etc/hostname; ls -l /dev/stdout | sed 's/.*-> //'
        echo x >/dev/shm/x && cat /dev/shm/x; ls /dev/pts"""
    result = caller.run(STAGE, "--hostname", "x", "sh", "-c", script)
    assert [line.strip() for line in result.stdout.splitlines()] == [
        "00 00 00", "9", "/proc/self/fd/1", "x", "ptmx"]
    assert "No space left on device" in result.stderr  # from /dev/full
    listed = caller.output(STAGE, "ls", "/dev").split()
    assert listed == sorted(["fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm",
                             "stderr", "stdin", "stdout", "tty", "urandom", "zero"])


@pytest.mark.parametrize("path", [
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"])
def test_masked_paths_are_empty(root, path):
    if not os.path.exists(path):
        assert root.run(STAGE, "test", "-e", path).returncode == 1  # this kernel has none
    elif os.path.isdir(path):
        assert root.output(STAGE, "ls", path) == ""
    else:
        assert root.output(STAGE, "cat", path) == ""


def test_read_only_paths_are_read_only(caller):
    table = mount_table(caller)
    for path in ("/proc/sys", "/proc/irq", "/proc/fs", "/proc/bus", "/proc/sysrq-trigger", "/sys"):
        assert "ro" in table[path] if os.path.exists(path) else path not in table
    result = caller.run(STAGE, "sh", "-c", "echo x >/proc/sys/kernel/domainname")
    assert result.returncode != 0
    assert "Read-only file system" in result.stderr


def test_volumes(caller, folder):
    (folder / "in").write_text("from the host\n")
    give_to(caller, folder)
    script = "cat /data/in && echo from inside >/data/out && cat /one/file"
    more = ":idmap" if caller.name == "root" else ""
    out = caller.output(STAGE, "-v", f"{folder}:/data{more}", "-v", f"{folder}/in:/one/file:ro",
                        "sh", "-c", script)
    assert out == "from the host\nfrom the host"
    assert (folder / "out").read_text() == "from inside\n"
    assert (folder / "out").stat().st_uid == caller.uid


def test_a_volume_keeps_its_owners(root, tmp_path):
    """As with docker's userns-remap: root inside does not own the files of the host's root."""
    for path in [tmp_path, *tmp_path.parents[:-1]]:
        path.chmod(path.stat().st_mode | 0o055)
    (tmp_path / "secret").write_text("the host's")
    (tmp_path / "secret").chmod(0o600)
    script = "stat -c %u /data; cat /data/secret; echo x >/data/new"
    result = root.run(STAGE, "-v", f"{tmp_path}:/data", "sh", "-c", script)
    assert result.stdout == "65534\n"
    assert result.stderr.count("Permission denied") == 2
    result = root.run(STAGE, "-v", f"{tmp_path}:/data:idmap", "-v", f"{tmp_path}:/again:ro,idmap",
                      "sh", "-c", f"{script}; stat -c %u /again")
    assert result.stdout == "0\nthe host's0\n"
    assert (tmp_path / "new").stat().st_uid == 0


def test_idmap_is_for_the_hosts_root(user):
    result = user.run(STAGE, "-v", "/tmp:/data:idmap", "true")
    assert result.returncode == 125
    assert result.stderr.splitlines() == [
        f"{STAGE}: --volume /tmp:/data:idmap: only the host's root can show files with other"
        " owners",
        "hint: your own files already belong to root inside: leave :idmap out"]


def test_root_shows_what_lies_in_another_users_private_folder(root, tmp_path):
    """As /home/NAME often is; the container's own root has no right to walk through it."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "file").write_text("shown")
    (private / "folder").mkdir()
    (private / "folder" / "file").write_text("as well")
    os.chown(private, UID, UID)
    here = tmp_path / "here"
    here.mkdir()
    options = ("-v", f"{private}/file:/file", "-v", f"{private}/folder:/a",
               "-v", f"{private}/folder:/b:ro", "-v", f"{private}/folder:/c:idmap")
    out = root.output(STAGE, *options, "sh", "-c", "cat /file /a/file /b/file; stat -c %u /a /c",
                      cwd=here)
    assert out.split() == ["shownas", "wellas", "well65534", "0"]


@pytest.mark.parametrize("idmap", ["", ":idmap"])
def test_what_is_mounted_read_only_on_the_host_stays_so_in_a_volume(root, tmp_path, idmap):
    """The kernel has locked it in the container's mount namespace, see mount_namespaces(7)."""
    mounted = ["unshare", "--mount", "sh", "-c",
               f"mount -t tmpfs -o mode=777 tmpfs {tmp_path} && touch {tmp_path}/old &&"
               f" mount -o remount,bind,ro {tmp_path} && exec \"$@\"", "sh"]
    result = root.run(STAGE, "-v", f"{tmp_path}:/data{idmap}", "sh", "-c",
                      "mount -o remount,bind,rw /data; touch /data/new; ls /data", before=mounted)
    assert result.stdout == "old\n"
    assert "Read-only file system" in result.stderr


def test_what_is_mounted_read_only_on_the_host_stays_so_as_the_root(root, tmp_path):
    tree = tmp_path / "tree"
    with tarfile.open(root.programs / "rootfs" / "rootfs.tar") as tar:
        tar.extractall(tree)
    mounted = ["unshare", "--mount", "sh", "-c", f"mount --bind -o ro {tree} {tree} &&"
               " exec \"$@\"", "sh"]
    result = root.run(STAGE, "--rootfs", tree, "sh", "-c",
                      "mount -o remount,bind,rw /; touch /new; ls / | grep -c new", before=mounted)
    assert result.stdout == "0\n"
    assert "Read-only file system" in result.stderr
    assert not (tree / "new").exists()


def test_a_read_only_volume_cannot_be_written(caller, folder):
    (folder / "file").write_text("kept")
    give_to(caller, folder)
    script = "echo x >/data/file; echo x >/data/new; rm /data/file; true"
    more = ",idmap" if caller.name == "root" else ""
    result = caller.run(STAGE, "-v", f"{folder}:/data:ro{more}", "sh", "-c", script)
    assert result.stderr.count("Read-only file system") == 3
    assert (folder / "file").read_text() == "kept"
    assert os.listdir(folder) == ["file"]


def test_a_volume_brings_no_device_and_no_set_user_id(caller, folder):
    table = mount_table(caller, "-v", f"{folder}:/data")
    assert {"nosuid", "nodev"} <= table["/data"]
    assert "nodev" in table["/"]


@pytest.mark.parametrize("volume, message", [
    ("x", "is not HOST:CONTAINER[:ro]"),
    (":/data", "is not HOST:CONTAINER[:ro]"),
    ("/tmp:data", "CONTAINER must be an absolute path below /"),
    ("/tmp:/", "CONTAINER must be an absolute path below /"),
    ("/tmp:/../..", "CONTAINER must be an absolute path below /"),
    ("/tmp:/data:rx", "'rx' is not an option of a volume; choose from ro, rw, noexec, idmap, z and"
                      " Z"),
    ("/tmp:/data:shared",
     "what the host mounts later does not appear in a container: leave :shared out"),
    ("/tmp:/proc/x", "nothing may be mounted in /proc of the container"),
    ("/tmp:/x/../sys", "nothing may be mounted in /sys of the container"),
    ("/tmp:/dev/", "the container has a /dev of its own; mount below it"),
    ("/no/such:/data", "No such file or directory"),
])
def test_a_wrong_volume_is_refused(caller, volume, message):
    result = caller.run(STAGE, "-v", volume, "true")
    assert result.returncode == 125
    assert result.stderr == f"{STAGE}: --volume {volume}: {message}\n"


def test_one_place_is_for_one_mount(caller):
    result = caller.run(STAGE, "-v", "/tmp:/data", "--tmpfs", "/data", "true")
    assert (result.returncode, result.stderr) == (
        125, f"{STAGE}: --tmpfs /data: something is mounted at /data already\n")


@pytest.mark.parametrize("volume, message", [
    ("/etc/hostname:/etc", "a file cannot be mounted on the directory /etc"),
    ("/usr:/etc/passwd", "a directory cannot be mounted on the file /etc/passwd")])
def test_what_does_not_fit_is_named(caller, volume, message):
    result = caller.run(STAGE, "-v", volume, "true")
    assert (result.returncode, result.stderr) == (125, f"{STAGE}: {message}\n")


def test_volumes_do_not_hide_each_other(caller, folder):
    """As docker run: the one nearer to the root is mounted first, whatever the order of words."""
    (folder / "outer" / "sub").mkdir(parents=True)
    (folder / "inner").mkdir()
    (folder / "inner" / "file").write_text("inner")
    give_to(caller, folder)
    out = caller.output(STAGE, "-v", f"{folder}/inner:/v/sub:ro,z", "-v", f"{folder}/outer:/v",
                        "cat", "/v/sub/file")
    assert out == "inner"


def test_tmpfs(caller):
    script = "echo x >/run/deep/x && stat -c %a /run/deep && echo y >/tmp/y; mount"
    result = caller.run(STAGE, "--read-only", "--tmpfs", "/run/deep:size=64k,mode=0750",
                        "--tmpfs", "/tmp:ro,exec", "sh", "-c", script)
    mounts = {line.split()[2]: line for line in result.stdout.splitlines()[1:]}
    assert result.stdout.splitlines()[0] == "750"
    assert "can't create /tmp/y: Read-only file system" in result.stderr
    assert "size=64k" in mounts["/run/deep"] and "noexec" in mounts["/run/deep"]
    assert "nodev" in mounts["/tmp"] and "noexec" not in mounts["/tmp"]


@pytest.mark.parametrize("option, message", [
    ("run", "DIR must be an absolute path below /"),
    ("/run:huge=always", "'huge=always' is not an option of a tmpfs; choose from ro, rw, exec,"
                         " size=, mode=, uid= and gid=")])
def test_a_wrong_tmpfs_is_refused(caller, option, message):
    result = caller.run(STAGE, "--tmpfs", option, "true")
    assert (result.returncode, result.stderr) == (125, f"{STAGE}: --tmpfs {option}: {message}\n")


def test_mount_points_are_open_to_all_whatever_the_umask(caller, folder):
    tree = folder / "tree"
    (tree / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), tree / "bin" / "stat")
    (folder / "f").write_text("x")
    give_to(caller, folder)
    out = caller.output(STAGE, "--rootfs", tree, "-v", f"{folder}/f:/data/deep/f", "stat", "-c",
                        "%a", "/data", "/data/deep",
                        before=["sh", "-c", 'umask 077; exec "$@"', "sh"])
    assert out.split() == ["755", "755"]


def test_read_only_root(caller):
    script = "echo x >/tmp/x; mkdir /new; echo x >/dev/shm/x && echo shm"
    result = caller.run(STAGE, "--read-only", "sh", "-c", script)
    assert result.stdout == "shm\n"
    assert result.stderr.count("Read-only file system") == 2


@pytest.mark.parametrize("name", ["proc", "sys", "dev", "data"])
@pytest.mark.parametrize("target", ["absolute", "relative", "dangling", "loop"])
def test_a_hostile_root_touches_nothing_outside(caller, folder, programs, name, target):
    """`name` in the root is a symbolic link that leads, on the host, to the victim."""
    victim = folder / "victim"
    tree = folder / "tree"
    (victim / "kept").mkdir(parents=True)
    (tree / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), tree / "bin" / "busybox")
    os.symlink("busybox", tree / "bin" / "sh")
    os.symlink({"absolute": str(victim), "relative": "../" * 20 + str(victim)[1:],
                "dangling": f"{victim}/absent", "loop": name}[target], tree / name)
    give_to(caller, folder)
    before = fingerprint(victim)

    result = caller.run(STAGE, "--rootfs", tree, "-v", f"{programs}:/data/deep/down:ro",
                        "sh", "-c", "echo started")
    assert fingerprint(victim) == before
    if name == "data" and target != "loop":
        # What it names is made in the container, as docker run does.
        assert result.stdout == "started\n", result.stderr
        assert tree.joinpath(str(victim)[1:]).is_dir()
        return
    assert result.returncode == 125, "a root whose link leads nowhere inside cannot be set up"
    assert result.stdout == ""
    expected = r"open\(/data/deep/down\): Too many levels of symbolic links" \
        if name == "data" else f"the root's /{name}: Not a directory"
    assert re.fullmatch(f"{STAGE}: {expected}\n", result.stderr), result.stderr


@pytest.mark.as_shipped
@pytest.mark.parametrize("what", ["volume", "root"])
def test_a_link_that_takes_the_place_of_a_directory_is_not_followed(user, folder, what):
    """Another user may own the directory above, and change it between two steps of the start."""
    (folder / "root/bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), folder / "root/bin/ls")
    shutil.copytree(folder / "root", folder / "other")
    (folder / "volume").mkdir()
    give_to(user, folder)
    delay = ["strace", "-f", "-o", "/dev/null", "-e", "inject=setsid:delay_enter=3s:when=1"]
    with user.start(STAGE, "--rootfs", folder / "root", "-v", f"{folder}/volume:/data", "ls", "/",
                    before=delay) as process:
        # At first strace(1) has another child, too. When the stage has one, it has read the paths.
        assert wait_until(lambda: any(map(children_of, children_of(process.pid))))
        (folder / what).rename(folder / "old")
        (folder / what).symlink_to(folder / "other")
        out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out) == (125, "")
    assert f"open({folder}/{what}): Too many levels of symbolic links" in err


@pytest.mark.parametrize("link, resolved", [
    ("/dev", "/dev"), ("/", "/"), ("/proc/self", "/proc/1"), ("proc/sys", "/proc/sys"),
    ("../sys/kernel", "/sys/kernel"), ("/dev/../proc", "/proc")])
def test_a_link_of_the_root_leads_no_volume_over_our_own_mounts(caller, folder, link, resolved):
    """CVE-2025-31133: with a /dev of the image's choice the masks would be made of its null."""
    tree = folder / "tree"
    (tree / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), tree / "bin" / "sh")
    os.symlink(link, tree / "work")
    (folder / "null").symlink_to("/proc/sys/kernel/core_pattern")
    give_to(caller, folder)
    result = caller.run(STAGE, "--rootfs", tree, "-v", f"{folder}:/work", "sh", "-c", "echo in")
    assert (result.returncode, result.stdout) == (125, "")
    assert result.stderr == (f"{STAGE}: /work leads to {resolved} in this root: nothing may be "
                             "mounted there\n")


def test_a_magic_link_leads_nowhere(caller, folder):
    """CVE-2024-21626, CVE-2021-30465: /proc/self/fd/N would be a way to what is open."""
    tree = folder / "tree"
    (tree / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), tree / "bin" / "sh")
    for number in range(3, 12):
        os.symlink(f"/proc/self/fd/{number}/../../../../../..{folder}", tree / f"w{number}")
    give_to(caller, folder)
    before = fingerprint(folder)
    for number in range(3, 12):
        result = caller.run(STAGE, "--rootfs", tree, "-v", f"/usr:/w{number}/planted:ro", "sh",
                            "-c", "echo in")
        assert result.returncode == 125 or result.stdout == "in\n"
    after = fingerprint(folder)
    assert {path for path in after if path not in before and "/tree/" not in path} == set()


def test_a_file_can_be_mounted_where_a_dangling_link_leads(caller, folder):
    """As /etc/resolv.conf with systemd-resolved."""
    tree = folder / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "etc").mkdir()
    shutil.copy(shutil.which("busybox"), tree / "bin" / "sh")
    os.symlink("../run/systemd/resolve/stub-resolv.conf", tree / "etc" / "resolv.conf")
    give_to(caller, folder)
    out = caller.output(STAGE, "--rootfs", tree, "-v", "/etc/os-release:/etc/resolv.conf", "sh",
                        "-c", "read line </etc/resolv.conf; echo $line")
    assert out == pathlib.Path("/etc/os-release").read_text().splitlines()[0]


def test_what_the_host_has_as_devices_and_masks_cannot_be_changed(caller):
    """Mode, owner and times are in the host's inode: chmod 0 /dev/null would stop the machine."""
    paths = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")]
    before = [os.stat(path) for path in paths]
    script = f"""
        for path in {' '.join(paths)} /proc/interrupts /proc/keys; do
            test -e $path || continue
            chmod 640 $path; touch -d 2001-01-01 $path; chown 0:0 $path
        done
        echo written >/dev/null && echo usable"""
    result = caller.run(STAGE, "sh", "-c", script)
    assert result.stdout == "usable\n"
    assert len(result.stderr.splitlines()) >= 3 * len(paths)
    assert all("Read-only file system" in line for line in result.stderr.splitlines())
    after = [os.stat(path) for path in paths]
    assert [(st.st_mode, st.st_uid) for st in before] == [(st.st_mode, st.st_uid) for st in after]


def test_of_the_hosts_sys_only_the_sysfs_is_shown(caller):
    """Not its debugfs, tracefs, cgroups, which are mounted in it."""
    mountinfo = pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    host = [line.split()[4] for line in mountinfo.splitlines()
            if line.split()[4].startswith("/sys/")]
    assert host, "nothing is mounted in /sys here"
    for path in host:
        assert caller.run(STAGE, "ls", path).stdout == ""


def test_a_file_that_is_mounted_in_the_hosts_sys_is_hidden(root, user):
    script = """mount --bind /etc/os-release /sys/kernel/uevent_seqnum
        exec setpriv --reuid {0} --regid {0} --clear-groups "$@" """.format(user.uid)
    before = ["unshare", "--mount", "sh", "-ec", script, "sh"]
    result = user.run(STAGE, "cat", "/sys/kernel/uevent_seqnum", before=before, user=root.uid,
                      group=root.uid)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_volumes_place_may_be_behind_a_link_of_the_root(caller, folder):
    """As /var/run in a Debian root."""
    tree = folder / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "var").mkdir()
    shutil.copy(shutil.which("busybox"), tree / "bin" / "sh")
    os.symlink("/run", tree / "var" / "run")
    (tree / "run").mkdir()
    give_to(caller, folder)
    script = "read line </run/app/release; echo $line"
    out = caller.output(STAGE, "--rootfs", tree, "-v", "/etc/os-release:/var/run/app/release",
                        "sh", "-c", script)
    assert out == pathlib.Path("/etc/os-release").read_text().splitlines()[0]


def test_a_fifo_as_mount_point_does_not_hang(caller, folder):
    tree = folder / "tree"
    (tree / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), tree / "bin" / "sh")
    os.mkfifo(tree / "data")
    give_to(caller, folder)
    out = caller.output(STAGE, "--rootfs", tree, "-v", "/etc/os-release:/data", "sh", "-c",
                        "read line </data; echo $line")
    assert out == pathlib.Path("/etc/os-release").read_text().splitlines()[0]


def test_another_user_can_open_dev_stderr(root):
    """nginx and httpd log there; with a pipe as `| cat` makes it."""
    script = "echo out >/dev/stdout; echo err >/dev/stderr; read line </dev/stdin; echo $line"
    result = root.run(STAGE, "-u", "1000:1000", "sh", "-c", script, input="in\n")
    assert (result.stdout, result.stderr) == ("out\nin\n", "err\n")


def test_the_hosts_root_can_be_the_root(caller):
    script = "id -u; echo $$; for p in /proc/[0-9]*; do echo $p; done"
    out = caller.output(STAGE, "--rootfs", "/", "sh", "-c", script)
    assert out.split() == ["0", "1", "/proc/1"]


@pytest.mark.as_shipped
def test_the_container_dies_with_a_parent_killed_at_any_system_call(user):
    check_that_no_kill_of_the_parent_leaves_the_container(user, STAGE, user.home)


def test_the_terminal_is_the_console(caller):
    script = "tty; [ /dev/console -ef /dev/pts/0 ]; echo $?; [ -c /dev/pts/0 ]; echo $?"
    shell = caller.terminal(STAGE, "sh", "-c", f"'{script}'")
    shell.expect_exact("/dev/pts/0\r\n0\r\n0\r\n")
