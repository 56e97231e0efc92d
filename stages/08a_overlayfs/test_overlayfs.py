"""Stage 08a: layers in place of copies, as root and as an ordinary user."""

from __future__ import annotations

import gzip
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest
from conftest import (check_that_no_kill_of_the_parent_leaves_the_container, fingerprint, give_to,
                      wait_until)
from layers import STAGE, names_in, new_tar, oci, refused, write, zstd

pytest_plugins = ["layers"]  # its fixtures

# --- The layers below are read-only -------------------------------------------------------------

CHANGES = """
    echo new >/data/one; rm /data/two; mv /data/three /data/3; chmod 600 /data/deep/four
    rm -r /data/deep; mkdir /data/deep; echo new >/data/deep/five; mkdir /new; echo x >/new/x
    cat /data/one /data/3; ls /data /data/deep /new"""
CHANGED = "new\nthree below\n/data:\n3\ndeep\none\n\n/data/deep:\nfive\n\n/new:\nx"


def test_changes_are_seen_inside_and_not_below(caller, tree):
    before = fingerprint(tree)
    assert caller.output(STAGE, "--rootfs", tree, "sh", "-c", CHANGES) == CHANGED
    assert fingerprint(tree) == before


def test_the_next_container_starts_afresh(caller):
    assert caller.output(STAGE, "sh", "-c", "echo x >/tmp/x; rm /etc/hosts; cat /tmp/x") == "x"
    assert caller.run(STAGE, "ls", "/etc/hosts", "/tmp/x").stdout == "/etc/hosts\n"


def test_two_at_once_do_not_see_each_others_writes(caller, tree):
    with caller.start(STAGE, "--rootfs", tree, "sh", "-c", "echo mine >/x; echo ready; read wait",
                      stdin=subprocess.PIPE) as first:
        assert first.stdout.readline() == "ready\n"
        script = "ls /x 2>/dev/null; echo other >/x"
        assert caller.run(STAGE, "--rootfs", tree, "sh", "-c", script).stdout == ""


def test_the_root_keeps_its_mode(caller, tree):
    tree.chmod(0o751)
    assert caller.output(STAGE, "--rootfs", tree, "stat", "-c", "%a %u", "/") == "751 0"


def test_a_userspace_is_a_layer_like_any_other(caller, folder):
    root = folder / "new"
    words = ["--rootfs", root, "--userspace", "minimal"]
    script = "echo x >/written; ls /written"
    assert caller.output(STAGE, *words, "sh", "-c", script) == "/written"
    assert not (root / "written").exists()
    assert caller.run(STAGE, *words, "ls", "/written").returncode != 0


def test_read_only(caller, tree):
    result = caller.run(STAGE, "--rootfs", tree, "--read-only", "sh", "-c", "echo x >/data/one")
    assert "Read-only file system" in result.stderr


def test_a_volume_is_still_the_hosts(caller, folder, tree):
    (folder / "shared").mkdir()
    give_to(caller, folder)
    more = ":idmap" if caller.name == "root" else ""
    caller.output(STAGE, "--rootfs", tree, "-v", f"{folder}/shared:/data/shared{more}", "sh", "-c",
                  "echo x >/data/shared/x")
    assert (folder / "shared" / "x").read_text() == "x\n"
    assert not (tree / "data" / "shared").exists()


def test_nothing_of_the_host_is_mounted(caller, tree):
    with caller.start(STAGE, "--rootfs", tree, "sh", "-c", "echo ready; read wait",
                      stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "ready\n"
        lines = pathlib.Path(f"/proc/{process.child()}/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    assert points.count("/") == 1
    assert all(point == "/" or point.startswith(("/proc", "/sys", "/dev")) for point in points)
    root = next(line for line in lines if line.split()[4] == "/")
    assert " - overlay overlay " in root and "nodev" in root.split()[5]


# --- --layer --------------------------------------------------------------------------------------

@pytest.mark.parametrize("pack", [None, lambda content: content, gzip.compress, zstd],
                         ids=["folder", "tar", "gzip", "zstd"])
def test_layers_lie_upon_each_other(caller, folder, tree, cache, pack):
    words: list[str] = []
    for name in ("low", "high"):
        if pack is None:
            path = folder / name
            write(caller, path / "data" / "one", f"{name}\n".encode())
            write(caller, path / "data" / name, b"")
        else:
            path = write(caller, folder / f"{name}.tar", pack(oci.tar(
                oci.entry("data/one", f"{name}\n".encode()), oci.entry(f"./data/{name}"))))
        words += ["--layer", str(path)]
    give_to(caller, folder)
    script = "cat /data/one /data/two; ls /data; rm -r /data"
    shown = "high\ntwo below\ndeep\nhigh\nlow\none\nthree\ntwo"
    assert caller.output(STAGE, "--rootfs", tree, *words, "sh", "-c", script) == shown
    swapped = [*words[2:], *words[:2]]
    assert caller.output(STAGE, "--rootfs", tree, *swapped, "cat", "/data/one") == "low"


def test_a_tar_is_unpacked_once_and_again_when_it_changes(caller, folder, tree, cache):
    before = names_in(cache)
    path = write(caller, folder / "a.tar", new_tar(oci.entry("a", b"1")))
    words = ["--rootfs", str(tree), "--layer", str(path), "cat", "/a"]
    for _ in range(2):
        assert caller.output(STAGE, *words) == "1"
    assert len(names_in(cache) - before) == 1
    write(caller, path, new_tar(oci.entry("a", b"2")))
    assert caller.output(STAGE, *words) == "2"


def test_the_cache_is_closed_to_others(caller, folder, tree, cache):
    path = write(caller, folder / "a.tar", oci.tar(oci.entry("su", mode=0o4755)))
    assert caller.output(STAGE, "--rootfs", tree, "--layer", path, "stat", "-c", "%a", "/su") == (
        "4755" if caller.uid == 0 else "755")
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("entries", [
    [oci.entry("data/.wh.one"), oci.entry("data/.wh.deep")],
    [oci.entry("data/.wh.one"), oci.entry("data/.wh.deep"), oci.entry("data/.wh.absent")],
    [oci.entry("./data/.wh.one"), oci.entry("/data/.wh.deep"), oci.entry(".wh..wh.plnk")],
])
def test_whiteouts(caller, folder, tree, cache, entries):
    path = write(caller, folder / "a.tar", oci.tar(*entries))
    assert caller.output(STAGE, "--rootfs", tree, "--layer", path, "ls", "/data") == "three\ntwo"


@pytest.mark.parametrize("entries", [
    [oci.entry("data/.wh..wh..opq"), oci.entry("data/new")],
    [oci.folder("data"), oci.entry("data/new"), oci.entry("data/.wh..wh..opq")],
    [oci.entry(".wh.data"), oci.folder("data"), oci.entry("data/new")],  # another folder instead
    [oci.entry("data/new"), oci.entry(".wh.data")],
], ids=["first", "last", "whiteout before", "whiteout after"])
def test_opaque_folders(caller, folder, tree, cache, entries):
    path = write(caller, folder / "a.tar", oci.tar(*entries))
    assert caller.output(STAGE, "--rootfs", tree, "--layer", path, "ls", "/data") == "new"


def test_the_same_layer_twice_counts_where_it_is_last(caller, folder, tree, cache):
    low, high = (write(caller, folder / name / "data" / "one", name.encode()).parents[1]
                 for name in ("low", "high"))
    give_to(caller, folder)
    layers = [word for path in (low, high, low) for word in ("--layer", path)]
    assert caller.output(STAGE, "--rootfs", tree, *layers, "cat", "/data/one") == "low"


@pytest.mark.parametrize("count", [60, 130])
def test_many_layers(caller, folder, tree, count):
    if count > 88 and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 7):
        pytest.skip("more than 88 layers need Linux 6.7")
    words = []
    for number in range(count):
        write(caller, folder / str(number) / "number", str(number).encode())
        words += ["--layer", str(folder / str(number))]
    give_to(caller, folder)
    assert caller.output(STAGE, "--rootfs", tree, *words, "cat", "/number") == str(count - 1)


def test_files_keep_what_they_are(caller, folder, tree, cache):
    path = write(caller, folder / "a.tar", oci.tar(
        oci.folder("d", 0o1770, mtime=86400), oci.entry("d/f", b"text", mode=0o640, mtime=1),
        oci.folder("closed", 0o500), oci.entry("closed/f", b"in it"),
        oci.hard_link("d/hard", "d/f"), oci.link("d/soft", "f"), oci.link("d/away", "/etc/passwd"),
        oci.entry("fifo", type=oci.tarfile.FIFOTYPE, mode=0o622),
        oci.entry("r\u00e9sum\u00e9", b"utf-8"), oci.entry("two\nlines", b"lf"),
        oci.entry("x" * 250, b"long"), oci.entry("/".join(["deep"] * 100), b"deep")))
    script = """
        stat -c '%a %F %Y %h' /d /d/f /d/hard /closed /fifo; cat /d/soft /closed/f
        stat -c %N /d/away
        cat r*sum* two?lines x* """
    shown = caller.output(STAGE, "--rootfs", tree, "--layer", path, "sh", "-c", script)
    lines = shown.splitlines()
    assert lines[:4] == ["1770 directory 86400 2", "640 regular file 1 2", "640 regular file 1 2",
                         "500 directory 0 2"]
    assert lines[4] == "622 fifo 0 1"
    assert lines[5] == "textin it'/d/away' -> '/etc/passwd'"
    assert "utf-8" in shown and "lf" in shown and "long" in shown


def test_names_are_bytes(caller, folder, tree, cache):
    """Not UTF-8, in each tar format: the name arrives as it is."""
    for form in (oci.tarfile.PAX_FORMAT, oci.tarfile.GNU_FORMAT):
        path = write(caller, folder / "a.tar", oci.tar(
            oci.entry("names/\udcff\udcfe", b"latin"), oci.entry("names/\u00fc", b"u"), form=form))
        got = caller.run(STAGE, "--rootfs", tree, "--layer", path, "-w", "/names", "sh", "-c",
                         "echo *", text=False)
        assert got.stdout.split() == ["\u00fc".encode(), b"\xff\xfe"]


def test_owners(root, folder_of_root):
    path = folder_of_root / "a.tar"
    path.write_bytes(oci.tar(oci.entry("f", b"", uid=33, gid=44), oci.folder("d", uid=5)))
    out = root.output(STAGE, "--layer", path, "--uid-map", "0:0:100", "--gid-map", "0:0:100",
                      "stat", "-c", "%u %g", "/f", "/d")
    assert out == "33 44\n5 0"


def test_owners_are_the_same_with_roots_own_range(root, folder_of_root):
    """Layers and what is kept are shown with the ids inside: on the disk they are as they were."""
    path, kept = folder_of_root / "a.tar", folder_of_root / "kept"
    path.write_bytes(oci.tar(oci.entry("f", b"", uid=33, gid=44, mode=0o600)))
    words = ["--layer", path, "--keep", kept]
    script = ("stat -c '%u %g' /f; cat /f; chown 7:8 /f; echo x >/new;"
              " grep -c '^ *0 *0 ' /proc/self/uid_map")
    assert root.run(STAGE, *words, "sh", "-c", script).stdout == "33 44\n0\n"
    for name, owner in (("f", (7, 8)), ("new", (0, 0))):
        status = (kept / "upper" / name).stat()
        assert (status.st_uid, status.st_gid) == owner
    assert root.output(STAGE, *words, "stat", "-c", "%u %g", "/f", "/new") == "7 8\n0 0"


def test_holes_stay_holes(caller, folder, tree, cache):
    """Of 3 TB and 1 TB, all hole but the last bytes, or the first: GNU tar --sparse."""
    sparse = folder / "sparse"
    with open(sparse, "wb") as file:
        file.seek(3 * 10**12)
        file.write(b"end")
    with open(folder / "ends", "wb") as file:
        file.write(b"start")
        file.truncate(10**12)
    subprocess.run(["tar", "--sparse", "-C", folder, "-cf", folder / "a.tar", "sparse", "ends"],
                   check=True)
    assert (folder / "a.tar").stat().st_size < 100_000
    give_to(caller, folder)
    script = "stat -c %s /ends; stat -c %s /sparse; tail -c 3 /sparse"
    os.symlink("busybox", tree / "bin" / "tail")
    out = caller.output(STAGE, "--rootfs", tree, "--layer", folder / "a.tar", "sh", "-c", script)
    assert out == "1000000000000\n3000000000003\nend"


# --- Hostile layers -------------------------------------------------------------------------------

def hostile(victim: str) -> dict[str, tuple[list[oci.Entry], str]]:
    """Tars that try to write in `victim`, and the messages for those that are not unpacked."""
    out = "../" * 20 + victim[1:]
    device = {"type": oci.tarfile.BLKTYPE, "devmajor": 8, "devminor": 0}
    return {
        "absolute": ([oci.entry(f"{victim}/made", b"x")], ""),
        "dotdot": ([oci.entry(f"{out}/made", b"x")], "which leads out"),
        "dotdot in the middle": ([oci.entry("a/../../made", b"x")], "which leads out"),
        "absolute link": ([oci.link("a", victim), oci.entry("a/made", b"x")], "a: File exists"),
        "relative link": ([oci.link("a", out), oci.entry("a/made", b"x")], "a: File exists"),
        "link to a file": ([oci.link("a", f"{victim}/kept"), oci.entry("a", b"x")], ""),
        "link to the root": ([oci.link("a", "/"), oci.entry("a/made", b"x")], ""),
        "link to itself": ([oci.link("a", "a"), oci.entry("a/made", b"x")], "Too many levels"),
        "links of links": ([oci.link("a", "b"), oci.link("b", victim), oci.folder("a/made")],
                           "a: File exists"),
        "a folder in place of a link": ([oci.link("a", victim), oci.folder("a", 0o777)], ""),
        "hard link out": ([oci.hard_link("a", f"{victim}/kept"), oci.entry("a", b"x")],
                          "No such file or directory"),
        "hard link by dotdot": ([oci.hard_link("a", f"{out}/kept")], "which leads out"),
        "hard link to a link": ([oci.link("l", f"{victim}/kept"), oci.hard_link("a", "l"),
                                 oci.entry("a", b"x")], ""),
        "hard link to a folder": ([oci.folder("d"), oci.hard_link("a", "d")], "not permitted"),
        "whiteout of dotdot": ([oci.entry("d/.wh..."), ], "is not a valid whiteout"),
        "whiteout of dot": ([oci.entry("d/.wh.."), ], "is not a valid whiteout"),
        "whiteout without a name": ([oci.entry("d/.wh."), ], "is not a valid whiteout"),
        "whiteout behind a link": ([oci.link("a", victim), oci.entry("a/.wh.kept")],
                                   "a: File exists"),
        "opaque behind a link": ([oci.link("a", victim), oci.entry("a/.wh..wh..opq")],
                                 "a: File exists"),
        "device": ([oci.entry("data/disk", mode=0o666, **device)], ""),
        "file as a folder": ([oci.entry("a", b"x"), oci.entry("a/b", b"x")], "a: File exists"),
        "name too long": ([oci.entry("x" * 300, b"x")], "File name too long"),
        "path too long": ([oci.entry("/".join(["x" * 200] * 30), b"x")], "File name too long"),
        "escape sequences": ([oci.entry("\x1b[31m\n/../x", b"x")], r"\?\[31m\?/\.\./x, which"),
    }


@pytest.mark.parametrize("name", hostile("/x"))
def test_a_hostile_layer_writes_nothing_outside(caller, folder, tree, cache, name):
    victim = folder / "victim"
    write(caller, victim / "kept", b"kept")
    give_to(caller, folder)
    entries, message = hostile(str(victim))[name]
    path = write(caller, folder / "hostile.tar", oci.tar(*entries))
    before, cached = fingerprint(folder), names_in(cache)
    result = caller.run(STAGE, "--rootfs", tree, "--layer", path, "ls", "/data")
    assert fingerprint(folder) == before
    if message:
        refused(result, message)
        assert names_in(cache) == cached
    else:
        assert (result.returncode, result.stderr) == (0, "")
        assert "disk" not in result.stdout


@pytest.mark.parametrize("content, message", [
    (b"no tar at all\n" * 100, "Unrecognized archive format"),
    (oci.tar(oci.entry("a", b"x" * 100_000))[:60_000], "Truncated"),
    (gzip.compress(oci.tar(oci.entry("a", os.urandom(100_000))))[:60_000], "truncated|Truncated"),
    (oci.tar(oci.entry("a", b"x")).replace(b"00000000001\0", b"\x80" + b"\x7f" * 11), "tar|size"),
], ids=["text", "cut off", "gzip cut off", "huge size"])
def test_what_is_no_layer_is_refused(caller, folder, tree, cache, content, message):
    path = write(caller, folder / "bad.tar", content)
    before = names_in(cache)
    result = caller.run(STAGE, "--rootfs", tree, "--layer", path, "true")
    refused(result, message)
    assert names_in(cache) == before


def test_ctrl_c_while_unpacking_leaves_nothing(caller, folder, tree, cache):
    header = oci.tarfile.TarInfo("big")
    header.size = 100 * 10**7
    path = write(caller, folder / "big.tar.gz",
                 gzip.compress(header.tobuf()) + gzip.compress(bytes(10**7)) * 100)
    before = names_in(cache)
    with caller.start(STAGE, "--rootfs", tree, "--layer", path, "true") as process:
        assert wait_until(lambda: any(name.endswith(".partial") for name in names_in(cache)))
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == f"{STAGE}: interrupted\n"
    assert names_in(cache) == before


def test_many_unpack_at_once(caller, folder, tree, cache):
    path = write(caller, folder / "a.tar", new_tar(oci.entry("a", b"x" * 10_000_000)))
    before = names_in(cache)
    started = [caller.start(STAGE, "--rootfs", tree, "--layer", path, "stat", "-c", "%s", "/a")
               for _ in range(8)]
    for process in started:
        with process:
            assert process.communicate(timeout=30) == ("10000000\n", "")
    assert len(names_in(cache) - before) == 1


# --- --keep ---------------------------------------------------------------------------------------

def test_keep_goes_on_where_it_was(caller, folder, tree):
    words = ["--rootfs", str(tree), "--keep", str(folder / "kept")]
    before = fingerprint(tree)
    assert caller.output(STAGE, *words, "sh", "-c", CHANGES) == CHANGED
    script = "cat /data/one /data/3; ls /data /data/deep /new; echo more >/new/y"
    assert caller.output(STAGE, *words, "sh", "-c", script) == CHANGED
    assert caller.output(STAGE, *words, "ls", "/new") == "x\ny"
    assert caller.run(STAGE, "--rootfs", tree, "ls", "/new").returncode != 0
    assert fingerprint(tree) == before
    assert (folder / "kept" / "upper" / "new" / "y").stat().st_uid == caller.uid


def test_a_kept_layer_has_one_container_at_a_time(caller, folder, tree):
    words = ["--rootfs", str(tree), "--keep", str(folder / "kept")]
    assert caller.run(STAGE, *words, "pwd").returncode == 0
    with caller.start(STAGE, *words, "sh", "-c", "echo ready; read wait",
                      stdin=subprocess.PIPE) as first:
        assert first.stdout.readline() == "ready\n"
        refused(caller.run(STAGE, *words, "pwd"), "kept: another container is using it")
        first.kill()  # the lock goes with it
        assert wait_until(lambda: caller.run(STAGE, *words, "pwd").returncode == 0)


def test_root_inside_may_be_somebody_else(root, folder_of_root):
    """A tree with the range's owners is shown as it is; what is kept is root's on the disk."""
    kept, tree = folder_of_root / "kept", folder_of_root / "tree"
    for name in ("bin", "etc", "tmp"):
        (tree / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), tree / "bin" / "busybox")
    for applet in ("sh", "stat", "rm", "mkdir"):
        os.symlink("busybox", tree / "bin" / applet)
    subprocess.run(["chown", "-hR", "100000:100000", tree], check=True)
    words = ["--uid-map", "0:100000:10", "--gid-map", "0:100000:10", "--rootfs", str(tree)]
    script = "echo x >/tmp/x; rm -r /etc; mkdir /etc; stat -c %u /tmp/x"
    assert root.output(STAGE, *words, "sh", "-c", script) == "0"
    assert root.output(STAGE, *words, "--keep", kept, "sh", "-c", script) == "0"
    assert (kept / "upper" / "tmp" / "x").stat().st_uid == 0
    os.chown(kept, 100000, 100000)
    subprocess.run(["rm", "-r", kept / "upper", kept / "work"], check=True)
    assert root.output(STAGE, *words, "--keep", kept, "sh", "-c", script) == "0"
    assert (kept / "upper" / "tmp" / "x").stat().st_uid == 100000


@pytest.mark.parametrize("keep, message", [
    ("/no/such/folder", "--keep /no/such/folder: No such file or directory"),
    ("/etc/passwd", "--keep /etc/passwd: Not a directory"),
    ("{tree}/data", "is inside another one"),
    ("{tree}", "is inside another one"),
])
def test_a_wrong_folder_to_keep_is_refused(caller, tree, keep, message):
    before = fingerprint(tree)
    refused(caller.run(STAGE, "--rootfs", tree, "--keep", keep.format(tree=tree), "true"), message)
    assert fingerprint(tree) == before


# --- What the kernel may refuse -------------------------------------------------------------------

def call_of_overlay(trace: str, name: str) -> int:
    """Which of the calls of `name` is the one that makes the overlay."""
    calls = re.findall(r"^\d+ +(fsopen|fsconfig)\((.*)", trace, re.MULTILINE)
    start = next(i for i, (call, words) in enumerate(calls)
                 if call == "fsopen" and '"overlay"' in words)
    end = start if name == "fsopen" else next(
        i for i in range(start, len(calls)) if "FSCONFIG_CMD_CREATE" in calls[i][1])
    return sum(call == name for call, _ in calls[:end + 1])


@pytest.mark.as_shipped
@pytest.mark.parametrize("name, error, message, hint", [
    ("fsconfig", "EPERM", r"fsconfig\(overlay, CREATE\): Operation not permitted",
     "fuse-overlayfs"),
    ("fsopen", "ENODEV", r"fsopen\(overlay\): No such device", ""),
])
def test_where_the_kernel_has_no_overlay_for_us(caller, tree, folder, name, error, message, hint):
    trace = folder / "trace"
    strace = ["strace", "-f", "-o", str(trace), "-e", "trace=fsopen,fsconfig"]
    caller.run(STAGE, "--rootfs", tree, "true", before=strace)
    number = call_of_overlay(trace.read_text(), name)
    result = caller.run(STAGE, "--rootfs", tree, "sh", "-c", "echo ran", before=[
        *strace, "-e", f"inject={name}:error={error}:when={number}"])
    refused(result, message, hint)
    assert result.stdout == ""


def test_what_is_mounted_in_a_layer_is_named(root, folder_of_root):
    """Without an idmapped mount: in a user namespace a mount must not reveal what another one
    hides."""
    layer = folder_of_root / "layer"
    (layer / "point").mkdir(parents=True)
    script = f"""
        mount -t tmpfs x {layer}/point && exec {root.program(STAGE)} --uid-map 0:0:65536 \
            --layer {layer} true"""
    result = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True,
                            text=True, check=False)
    refused(result, r"fsconfig\(overlay, CREATE\): Invalid argument",
            f"something is mounted in the layer {layer}, at {layer}/point")


def test_another_overlay_cannot_keep_the_changes_and_is_named(root, folder_of_root):
    for name in ("lower", "upper", "work", "merged"):
        (folder_of_root / name).mkdir()
    script = f"""
        cd {folder_of_root} &&
        mount -t overlay x -o lowerdir=lower,upperdir=upper,workdir=work merged &&
        exec {root.program(STAGE)} --uid-map 0:0:65536 --layer lower \\
            --keep merged/kept true"""
    result = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True,
                            text=True, check=False)
    refused(result, r"fsconfig\(overlay, .*\): Invalid argument",
            "the container's changes cannot be stored in another overlayfs")


@pytest.mark.as_shipped
def test_a_folder_to_keep_needs_extended_attributes(caller, folder, tree):
    fault = ["strace", "-qq", "-o", "/dev/null", "-e", "inject=fsetxattr:error=EOPNOTSUPP"]
    result = caller.run(STAGE, "--rootfs", tree, "--keep", folder / "kept", "true", before=fault)
    refused(result, r"--keep .*kept: extended attributes: Operation not supported", "on a disk")
    assert not (folder / "kept").exists()


@pytest.mark.as_shipped
def test_the_container_dies_with_a_parent_killed_at_any_system_call(user):
    check_that_no_kill_of_the_parent_leaves_the_container(user, STAGE, user.home)
