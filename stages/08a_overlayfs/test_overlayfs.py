"""Stage 08a: layers in place of copies, as root and as an ordinary user."""

from __future__ import annotations

import gzip
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import (check_that_no_kill_of_the_parent_leaves_the_container, fingerprint, give_to,
                      remove, wait_until)

sys.path.append(os.getcwd())
from harness import oci_layout as oci  # noqa: E402  # pylint: disable=wrong-import-position

STAGE = "08a_overlayfs"


@pytest.fixture
def cache(caller):
    """The folder of unpacked layers. What a test adds to it is removed."""
    base = "/var/cache" if caller.uid == 0 else caller.home / ".cache"
    path = pathlib.Path(base, "containers-under-the-hood", "layers")
    before = names_in(path)
    yield path
    for name in names_in(path) - before:
        remove(path / name)


def names_in(path: pathlib.Path) -> set[str]:
    return set(os.listdir(path)) if path.exists() else set()


@pytest.fixture
def tree(caller, folder) -> pathlib.Path:
    """A small root directory of the caller's."""
    path = folder / "tree"
    for name in ("bin", "data", "data/deep", "tmp"):
        (path / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), path / "bin" / "busybox")
    for applet in ("sh", "cat", "ls", "mv", "rm", "chmod", "mkdir", "stat", "sleep", "id", "pwd"):
        os.symlink("busybox", path / "bin" / applet)
    for name in ("one", "two", "three", "deep/four"):
        (path / "data" / name).write_text(f"{name} below\n")
    give_to(caller, path)
    return path


def write(caller, path: pathlib.Path, content: bytes) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    give_to(caller, path)
    return path


def write_layout(caller, path: pathlib.Path, files: dict[str, bytes]) -> pathlib.Path:
    for name, content in files.items():
        write(caller, path / name, content)
    give_to(caller, path)
    return path


def zstd(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-q"], input=content, check=True, capture_output=True).stdout


def new_tar(*entries: oci.Entry) -> bytes:
    """A layer that no cache has: not what an earlier run has left when it was killed, either."""
    return oci.tar(*entries, oci.entry("new", secrets.token_bytes(16)))


def refused(result: subprocess.CompletedProcess, message: str, hint: str = "") -> None:
    """Status 125, one line that says why, and perhaps one that says what to do."""
    assert result.returncode == 125, result
    first, *hints = result.stderr.splitlines()
    assert re.search(message, first), first
    assert len(hints) <= 1 and all(line.startswith("hint: ") for line in hints)
    assert re.search(hint, "".join(hints)), result.stderr


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
    caller.output(STAGE, "--rootfs", tree, "-v", f"{folder}/shared:/data/shared", "sh", "-c",
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


@pytest.fixture
def folder_of_root(root, tmp_path):
    cache = pathlib.Path("/var/cache/containers-under-the-hood/layers")
    before = names_in(cache)
    yield tmp_path
    for name in names_in(cache) - before:
        remove(cache / name)


def test_holes_stay_holes(caller, folder, tree, cache):
    """A file of 3 TB, all hole but its last bytes: GNU tar --sparse."""
    sparse = folder / "sparse"
    with open(sparse, "wb") as file:
        file.seek(3 * 10**12)
        file.write(b"end")
    subprocess.run(["tar", "--sparse", "-C", folder, "-cf", folder / "a.tar", "sparse"], check=True)
    assert (folder / "a.tar").stat().st_size < 100_000
    give_to(caller, folder)
    script = "stat -c %s /sparse; tail -c 3 /sparse"
    os.symlink("busybox", tree / "bin" / "tail")
    out = caller.output(STAGE, "--rootfs", tree, "--layer", folder / "a.tar", "sh", "-c", script)
    assert out == "3000000000003\nend"


# --- Hostile layers -------------------------------------------------------------------------------

def hostile(victim: str) -> dict[str, tuple[list[oci.Entry], str]]:
    """Tars that want to write in `victim`, and what we say of those that we do not unpack."""
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
        "whiteout of dotdot": ([oci.entry("d/.wh..."), ], "is no whiteout"),
        "whiteout of dot": ([oci.entry("d/.wh.."), ], "is no whiteout"),
        "whiteout without a name": ([oci.entry("d/.wh."), ], "is no whiteout"),
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
    (b"", "Unrecognized archive format"),
    (b"no tar at all\n" * 100, "Unrecognized archive format"),
    (oci.tar(oci.entry("a", b"x" * 100_000))[:60_000], "Truncated"),
    (gzip.compress(oci.tar(oci.entry("a", os.urandom(100_000))))[:60_000], "truncated|Truncated"),
    (oci.tar(oci.entry("a", b"x")).replace(b"00000000001\0", b"\x80" + b"\x7f" * 11), "tar|size"),
], ids=["empty", "text", "cut off", "gzip cut off", "huge size"])
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
    """As the files' owner: those of ids that are not mapped, overlayfs could not copy up."""
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
    result = root.run(STAGE, *words, "--keep", kept, "sh", "-c", script)
    refused(result, r"mkdir\(kept/upper\): Permission denied", "sudo chown UID DIR")
    os.chown(kept, 100000, 100000)
    assert root.output(STAGE, *words, "--keep", kept, "sh", "-c", script) == "0"
    assert (kept / "upper" / "tmp" / "x").stat().st_uid == 100000


@pytest.mark.parametrize("keep, message", [
    ("/no/such/folder", "--keep /no/such/folder: No such file or directory"),
    ("/etc/passwd", "--keep /etc/passwd: Not a directory"),
    ("{tree}/data", "lies in another one"),
    ("{tree}", "lies in another one"),
])
def test_a_wrong_folder_to_keep_is_refused(caller, tree, keep, message):
    before = fingerprint(tree)
    refused(caller.run(STAGE, "--rootfs", tree, "--keep", keep.format(tree=tree), "true"), message)
    assert fingerprint(tree) == before


# --- --image --------------------------------------------------------------------------------------

SHELL = pathlib.Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
PASSWD = b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"
BASE = new_tar(oci.entry("bin/busybox", SHELL, mode=0o755),
               *(oci.link(f"bin/{name}", "busybox") for name in ("sh", "cat", "echo", "id", "pwd")),
               oci.entry("etc/passwd", PASSWD), oci.entry("etc/group", b"staff:x:50:\n"),
               oci.entry("data/one", b"one\n"), oci.folder("work"))
PRINT = {"Cmd": ["sh", "-c", "echo $GREETING; pwd; cat /data/*"], "Env": ["GREETING=hello"],
         "WorkingDir": "/work"}


@pytest.fixture
def image(caller, folder, cache):
    """Writes an image of BASE and more."""
    def make(config=None, *more: bytes, pack=lambda layer: layer, **how) -> pathlib.Path:
        layers = [pack(layer) for layer in (BASE, *more)]
        return write_layout(caller, folder / "image", oci.layout(layers, config or {}, **how))
    return make


@pytest.mark.parametrize("pack", [lambda layer: layer, gzip.compress, zstd],
                         ids=["tar", "gzip", "zstd"])
def test_an_image_runs_as_it_says(caller, image, pack):
    path = image(PRINT, oci.tar(oci.entry("data/.wh.one"), oci.entry("data/two", b"two\n")),
                 pack=pack)
    assert caller.output(STAGE, "--image", path) == "hello\n/work\ntwo"
    assert caller.output(STAGE, "--image", f"{path}:latest") == "hello\n/work\ntwo"
    words = ["-e", "GREETING=good day", "-w", "/", "sh", "-c", "echo $GREETING; pwd"]
    assert caller.output(STAGE, "--image", path, *words) == "good day\n/"


@pytest.mark.parametrize("config, words, shown", [
    ({"Entrypoint": ["echo", "a"], "Cmd": ["b"]}, [], "a b"),
    ({"Entrypoint": ["echo", "a"], "Cmd": ["b"]}, ["c", "d"], "a c d"),
    ({"Entrypoint": ["echo", "a"], "Cmd": None}, [], "a"),
    ({"Entrypoint": None, "Cmd": ["echo", "b"], "Env": None}, [], "b"),
    ({"Cmd": ["echo", "b"]}, ["echo", "c"], "c"),
])
def test_entrypoint_and_cmd(caller, image, config, words, shown):
    assert caller.output(STAGE, "--image", image(config), *words) == shown


def test_without_any_command(caller, image):
    refused(caller.run(STAGE, "--image", image()), "no COMMAND given")


USERS = ["--uid-map", "0:0:2000", "--gid-map", "0:0:2000"]


@pytest.mark.parametrize("who, shown", [
    ("", "0 0 /root"), ("app", "1000 1001 /home/app"), ("1000", "1000 1001 /home/app"),
    ("1000:7", "1000 7 /home/app"), ("app:staff", "1000 50 /home/app"), ("77", "77 0 /root"),
    ("root", "0 0 /root"),
])
def test_the_images_user(root, folder_of_root, who, shown):
    path = write_layout(root, folder_of_root / "image", oci.layout([BASE], {"User": who}))
    script = "echo $(id -u) $(id -g) $HOME"
    assert root.output(STAGE, *USERS, "--image", path, "sh", "-c", script) == shown
    words = ["-u", "3:4", "--image", path, "sh", "-c", script]
    assert root.output(STAGE, *USERS, *words) == "3 4 /root"


@pytest.mark.parametrize("who, passwd, message, hint", [
    ("nobody-here", PASSWD, "the image's user nobody-here is not in its /etc/passwd", "-u UID"),
    ("app:nogroup", PASSWD, "the image's group nogroup is not in its /etc/group", "-u UID"),
    ("app", PASSWD, "the image's user app: uid 1000 is not mapped", "--uid-map"),
    ("x", b"x:x:4294967295:0::/:\n", "the image's user x is not in its /etc/passwd", "-u UID"),
    ("x", b"x\n:::\n\nx:y:z\n", "the image's user x is not in its /etc/passwd", "-u UID"),
    ("-1", PASSWD, "the image's user -1 is not in its /etc/passwd", "-u UID"),
])
def test_a_user_that_there_is_not(caller, image, who, passwd, message, hint):
    path = image({"User": who}, oci.tar(oci.entry("etc/passwd", passwd)))
    refused(caller.run(STAGE, "--image", path, "id"), message, hint)
    assert caller.output(STAGE, "--image", path, "-u", "0", "id", "-u") == "0"


@pytest.mark.parametrize("entries, message", [
    ([oci.entry("etc/passwd", type=oci.tarfile.FIFOTYPE)], "is no regular file"),
    ([oci.link("etc/passwd", "/dev/zero")], "is no regular file"),
    ([oci.link("etc/passwd", "passwd")], "Too many levels of symbolic links"),
])
def test_a_hostile_passwd(caller, image, entries, message):
    path = image({"User": "app"}, oci.tar(*entries))
    refused(caller.run(STAGE, "--image", path, "id"), message)


def test_a_passwd_that_is_a_link_does_not_lead_out(caller, folder, image):
    """The host's file, which is there, is not what the link means in the container."""
    write(caller, folder / "passwd", b"app:x:0:0::/stolen:/bin/sh\n")
    folder.chmod(0o755)
    path = image({"User": "app"}, oci.tar(oci.link("etc/passwd", str(folder / "passwd"))))
    refused(caller.run(STAGE, "--image", path, "sh", "-c", "echo $HOME"), "is not in its")


def test_layers_and_image(caller, folder, image, tree):
    layer = write(caller, folder / "more" / "data" / "two", b"two\n").parents[1]
    give_to(caller, folder)
    path = image(PRINT)
    assert caller.output(STAGE, "--image", path, "--layer", layer) == "hello\n/work\none\ntwo"
    for option in (["--rootfs", tree], ["--userspace", "minimal"], ["--with", "cat"]):
        refused(caller.run(STAGE, "--image", path, *option, "true"),
                "--image brings a root of its own", "leave --rootfs, --userspace and --with out")


def test_images_share_layers_and_need_them_only_once(caller, folder, cache, image):
    before = names_in(cache)
    first = image(PRINT)
    second = write_layout(caller, folder / "other", oci.layout(
        [BASE, LAYER, BASE], PRINT, tags=("a", "b")))
    assert caller.output(STAGE, "--image", first) == "hello\n/work\none"
    assert caller.output(STAGE, "--image", f"{second}:b") == "hello\n/work\none\ntwo"
    assert len(names_in(cache) - before) == 2
    # A second start does not read them, however large: these have become unreadable nonsense.
    for blob in (folder / "other" / "blobs" / "sha256").iterdir():
        if blob.stat().st_size > 1000:
            blob.write_bytes(b"nonsense")
    assert caller.output(STAGE, "--image", f"{second}:b") == "hello\n/work\none\ntwo"


def test_an_index_of_architectures(caller, folder, cache):
    here = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    files: dict[str, bytes] = {}
    manifests = []
    for architecture in ("other", here):
        one = oci.layout([BASE], {"Cmd": ["echo", architecture]}, architecture=architecture)
        files.update(one)
        described = oci.json.loads(one["index.json"])["manifests"][0]
        manifests.append({**described, "annotations": {},
                          "platform": {"os": "linux", "architecture": architecture}})
    nested = oci.json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    files[f"blobs/sha256/{oci.sha256(nested)}"] = nested
    files["index.json"] = oci.json.dumps({
        "schemaVersion": 2, "manifests": [oci.descriptor(oci.INDEX, nested)]}).encode()
    path = write_layout(caller, folder / "image", files)
    assert caller.output(STAGE, "--image", path) == here


def change_blob(files: dict[str, bytes], old: bytes, new: bytes) -> dict[str, bytes]:
    name = f"blobs/sha256/{oci.sha256(old)}"
    return {**files, name: new}


def change_index(files: dict[str, bytes], old: str, new: str) -> dict[str, bytes]:
    text = files["index.json"].decode()
    assert old in text
    return {**files, "index.json": text.replace(old, new).encode()}


LAYER = new_tar(oci.entry("data/two", b"two\n"))
GOOD = oci.layout([BASE, LAYER], PRINT)
DIGEST = oci.json.loads(GOOD["index.json"])["manifests"][0]["digest"]
MANIFEST = GOOD[f"blobs/sha256/{DIGEST[7:]}"]
BAD_IMAGES = {
    "tampered layer": (change_blob(GOOD, LAYER, LAYER.replace(b"two\n", b"2wo\n")),
                       "its content has another digest", "copy the image"),
    "truncated layer": (change_blob(GOOD, LAYER, LAYER[:1024]), "has 1024 bytes, not", "copy"),
    "longer layer": (change_blob(GOOD, LAYER, LAYER + b"\0" * 512), "bytes, not", "copy"),
    "no layer": ({name: content for name, content in GOOD.items() if content != LAYER},
                 "No such file or directory", ""),
    "tampered manifest": (change_blob(GOOD, MANIFEST, MANIFEST + b" "),
                          "its content has another digest", "copy"),
    "manifest is no JSON": (oci.layout([BASE], PRINT) | {
        "index.json": oci.json.dumps({"manifests": [oci.descriptor(oci.MANIFEST, BASE)]}).encode(),
    }, "is no JSON object", ""),
    "no manifest": ({name: content for name, content in GOOD.items() if content != MANIFEST},
                    "No such file or directory", ""),
    "digest that climbs": (change_index(GOOD, DIGEST, "sha256:../../../../../etc/passwd"),
                           r'names a blob by "sha256:\.\./.*no SHA-256 digest', ""),
    "digest with a line feed": (change_index(GOOD, DIGEST, r"sha256:a\nb"),
                                r'names a blob by "sha256:a\\nb"', ""),
    "digest of another kind": (change_index(GOOD, DIGEST, "sha512:" + "0" * 128),
                               "is no SHA-256 digest", ""),
    "no digest": (change_index(GOOD, '"digest"', '"diggest"'), 'by "", which is no', ""),
    "digest is a number": (change_index(GOOD, f'"{DIGEST}"', "7"),
                           "is not as the OCI image spec says", ""),
    "no images": ({**GOOD, "index.json": b'{"manifests": []}'}, "has no image", ""),
    "index is a list": ({**GOOD, "index.json": b"[]"}, "index.json: is no JSON object", ""),
    "index is cut off": ({**GOOD, "index.json": b'{"manifests": [{'}, "is no JSON object", ""),
    "index is huge": ({**GOOD, "index.json": b"[" * 5_000_000}, "has more than", ""),
    "index is deep": ({**GOOD, "index.json": b"[" * 1_000_000}, "is no JSON object", ""),
    "no index": ({"oci-layout": GOOD["oci-layout"]}, "index.json: No such file", ""),
    "no marker": ({"index.json": b"{}"}, "is no OCI image layout", "skopeo copy"),
    "another version": ({**GOOD, "oci-layout": b'{"imageLayoutVersion": "9.0"}'},
                        "its version is not 1", ""),
    "two images": (oci.layout([BASE], PRINT, tags=("a", "b")), "several images", '"a, b"'),
    "no layers": (oci.layout([], PRINT), "the image has no layers", ""),
    "Cmd is text": (oci.layout([BASE], {"Cmd": "sh"}), "is not as the OCI image spec says", ""),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_is_refused(caller, folder, cache, name):
    files, message, hint = BAD_IMAGES[name]
    path = write_layout(caller, folder / "image", files)
    result = caller.run(STAGE, "--image", path)
    refused(result, message, hint)
    assert result.stdout == ""
    assert not [name for name in names_in(cache) if name.endswith(".partial")]
    assert f"sha256-{oci.sha256(LAYER)}" not in names_in(cache)


def test_a_wrong_reference_is_refused(caller, image):
    path = image(PRINT)
    refused(caller.run(STAGE, "--image", f"{path}:absent"), "has no image called absent", "latest")
    refused(caller.run(STAGE, "--image", "/no/such"), "--image /no/such: No such file or directory")
    refused(caller.run(STAGE, "--image", "/etc/passwd"), "is no OCI image layout")


def test_a_blob_that_is_a_link_or_a_fifo_is_refused(caller, folder, image):
    path = image(PRINT)
    blob = path / "blobs" / "sha256" / oci.sha256(BASE)
    blob.rename(folder / "elsewhere")
    blob.symlink_to(folder / "elsewhere")
    refused(caller.run(STAGE, "--image", path), "Too many levels of symbolic links")
    blob.unlink()
    os.mkfifo(blob)
    give_to(caller, path)
    refused(caller.run(STAGE, "--image", path), "is neither a folder nor a file")


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
    """As root, who can mount something there; in a user namespace nothing may uncover it."""
    layer = folder_of_root / "layer"
    (layer / "point").mkdir(parents=True)
    script = f"""
        mount -t tmpfs x {layer}/point && exec {root.program(STAGE)} --layer {layer} true"""
    result = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True,
                            text=True, check=False)
    refused(result, r"fsconfig\(overlay, CREATE\): Invalid argument",
            f"something is mounted in the layer {layer}, at {layer}/point")


@pytest.mark.as_shipped
def test_the_container_dies_with_a_parent_killed_at_any_system_call(user):
    check_that_no_kill_of_the_parent_leaves_the_container(user, STAGE, user.home)
