"""Stage 08a: what a layer, an image and a folder to keep may not do to the host."""

from __future__ import annotations

import bz2
import ctypes
import gzip
import json
import lzma
import os
import pathlib
import signal
import stat
import struct
import threading
import zlib

import pytest
from conftest import TIMEOUT, directories_open_at, fingerprint, give_to, wait_until
from layers import STAGE, names_in, oci, refused, write, write_layout

pytest_plugins = ["layers"]  # its fixtures

MiB = 1 << 20


# --- What unpacking may use -----------------------------------------------------------------------

def xattrs(count: int, size: int, **fields) -> dict:
    return {"pax_headers": {f"SCHILY.xattr.user.a{number}": "x" * size for number in range(count)},
            **fields}


def zeros_of(size: int) -> bytes:
    """A compressed file of `size` zeros in a tar, which is a thousandth of it."""
    header = oci.tarfile.TarInfo("zeros")
    header.size = size
    return gzip.compress(header.tobuf()) + gzip.compress(bytes(MiB)) * (size // MiB)


def sparse_map(blocks: int) -> bytes:
    """A file with a map of holes that is larger than the file, see GNU.sparse 1.0 in tar(5)."""
    text = b"%d\n" % blocks + b"0\n0\n" * blocks
    text += bytes(-len(text) % 512)
    return oci.tar(oci.entry("sparse", text, pax_headers={
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "sparse",
        "GNU.sparse.realsize": "10"}))


def deep_by_links() -> list[oci.Entry]:
    """No name in it is deep: each begins with a link to where the last one has ended."""
    entries = [oci.link("l0", ".")]
    for number in range(10):
        entries.append(oci.folder(f"l{number}/" + "/".join(["d"] * 100)))
        entries.append(oci.link(f"l{number + 1}", f"l{number}/" + "/".join(["d"] * 100)))
    return entries


BOMBS = {
    "bytes": (lambda: zeros_of(200 * MiB), ["--unpack-limit", "100m"],
              "the layers unpack to more than --unpack-limit allows", "--unpack-limit SIZE"),
    "attributes of an entry": (lambda: oci.tar(oci.entry("f", **xattrs(4, 50_000))), [],
                               "f: has more than 128 KiB of extended attributes", ""),
    "attributes of many": (
        lambda: gzip.compress(oci.tar(*(oci.folder(f"d{number}", **xattrs(2, 60_000))
                                        for number in range(700))), 1), [],
        "the layers have more extended attributes than are allowed", ""),
    "many small attributes": (lambda: oci.tar(oci.entry("f", **xattrs(20_000, 1))), [],
                              "f: has more than 128 KiB of extended attributes", ""),
    "a header without an end": (lambda: gzip.compress(sparse_map(4_000_000), 1), [],
                                "more than 4 MiB of attributes and names", ""),
    "depth": (lambda: oci.tar(oci.folder("/".join(["d"] * 257))), [],
              "directories more than 256 deep", ""),
    "depth by links": (lambda: oci.tar(*deep_by_links()), [], "directories more than 256 deep", ""),
}


@pytest.mark.as_shipped
@pytest.mark.parametrize("name", BOMBS)
def test_a_layer_that_wants_too_much_is_refused(caller, folder, tree, cache, name):
    make, words, message, hint = BOMBS[name]
    path = write(caller, folder / "bomb.tar", make())
    before = names_in(cache)
    little_memory = ["prlimit", f"--data={100 * MiB}"]
    result = caller.run(STAGE, "--rootfs", tree, *words, "--layer", path, "ls",
                        before=little_memory)
    refused(result, message, hint)
    assert names_in(cache) == before, "nothing of it stays"


def test_a_layer_as_deep_as_is_allowed(caller, folder, tree):
    deepest = "/".join(["d"] * 256)
    path = write(caller, folder / "deep.tar", oci.tar(oci.folder(deepest)))
    assert caller.output(STAGE, "--rootfs", tree, "--layer", path, "ls", "-d", f"/{deepest}")


def xz_that_asks_for(dictionary: int, content: bytes) -> bytes:
    """The decoder gets so much memory before it decodes anything; dictionary is 2 ** that."""
    packed = bytearray(lzma.compress(content))
    # The block's header: its size, flags, filter 0x21 with 1 byte of properties.
    assert packed[13:16] == b"\0\x21\1"
    packed[16] = 2 * (dictionary - 12)
    size = (packed[12] + 1) * 4
    packed[12 + size - 4:12 + size] = struct.pack("<I", zlib.crc32(packed[12:12 + size - 4]))
    return bytes(packed)


@pytest.mark.as_shipped
def test_a_file_that_asks_for_a_gigabyte_to_be_decompressed(caller, folder, tree, cache):
    text = oci.tar(oci.entry("new", b"text"))
    path = write(caller, folder / "a.tar", xz_that_asks_for(27, text))
    assert caller.output(STAGE, "--rootfs", tree, "--layer", path, "cat", "/new") == "text"
    before = names_in(cache)
    path = write(caller, folder / "b.tar", xz_that_asks_for(30, text))
    refused(caller.run(STAGE, "--rootfs", tree, "--layer", path, "ls"),
            "decompressing it takes more than 256 MiB of memory")
    assert names_in(cache) == before


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_layer_is_compressed_once(caller, folder, tree, cache, pack):
    """Three times, half a megabyte would keep the stage busy for days, deaf to all signals."""
    path = write(caller, folder / "a.tar", pack(gzip.compress(oci.tar(oci.entry("f")))))
    refused(caller.run(STAGE, "--rootfs", tree, "--layer", path, "ls"), "Unrecognized archive")


def is_reading(process: int, path: pathlib.Path) -> bool:
    """Whether the process has read a part of the file."""
    proc = pathlib.Path("/proc", str(process))
    try:
        return any(os.path.samefile(fd, path) and
                   not (proc / "fdinfo" / fd.name).read_text().startswith("pos:\t0\n")
                   for fd in (proc / "fd").iterdir() if os.path.exists(fd))
    except OSError:
        return False  # it has been closed meanwhile


def test_nothing_comes_out_of_it_but_a_signal_ends_it(caller, folder, tree, cache):
    path = write(caller, folder / "a.tar", gzip.compress(b"") * 3_000_000)
    before = names_in(cache)
    with caller.start(STAGE, "--rootfs", tree, "--layer", path, "ls") as stage:
        assert wait_until(lambda: is_reading(stage.pid, path))
        stage.send_signal(signal.SIGINT)
        assert stage.wait(TIMEOUT) == 128 + signal.SIGINT
    assert names_in(cache) == before


def test_what_is_allowed_is_unpacked(caller, folder, tree, cache):
    path = write(caller, folder / "a.tar", zeros_of(20 * MiB))
    words = ["--rootfs", tree, "--unpack-limit", "21MiB", "--layer", path]
    assert caller.output(STAGE, *words, "stat", "-c", "%s", "/zeros") == str(20 * MiB)


def test_the_limit_is_for_all_layers_together(caller, folder, tree, cache):
    layers = [write(caller, folder / f"{number}.tar", oci.tar(
        oci.entry("zeros", bytes(6 * MiB + number)))) for number in (1, 2)]
    words = ["--rootfs", tree, *(word for path in layers for word in ("--layer", path))]
    refused(caller.run(STAGE, *words, "--unpack-limit", "10m", "ls"), "more than --unpack-limit"
                                                                      " allows")
    assert caller.run(STAGE, *words, "--unpack-limit", "20m", "ls").returncode == 0


@pytest.mark.parametrize("size", ["", "0", "many", "4gb!"])
def test_a_wrong_limit_is_refused(caller, tree, size):
    refused(caller.run(STAGE, "--rootfs", tree, "--unpack-limit", size, "ls"), "--unpack-limit")


def test_a_deep_tree_that_is_cut_off_leaves_nothing(caller, folder, tree, cache):
    """It is removed again, with far fewer descriptors than it has folders."""
    path = write(caller, folder / "a.tar", oci.tar(
        oci.folder("/".join(["d"] * 250)), oci.entry("f", bytes(10_000)))[:-11_000])
    before = names_in(cache)
    result = caller.run(STAGE, "--rootfs", tree, "--layer", path, "ls",
                        before=["prlimit", "--nofile=32"])
    refused(result, "Truncated")
    assert names_in(cache) == before


@pytest.mark.parametrize("ids", [{"uid": 1 << 32}, {"uid": (1 << 32) - 1}, {"gid": 1 << 32},
                                 {"gid": (1 << 32) - 1}, {"uid": (1 << 32) + 1}, {"uid": 1 << 62}])
def test_an_owner_that_nobody_can_be_is_refused(caller, folder, tree, cache, ids):
    """Cut to 32 bits it would be root, or "unchanged", which is also root."""
    path = write(caller, folder / "a.tar", oci.tar(oci.entry("f", **ids)))
    refused(caller.run(STAGE, "--rootfs", tree, "--layer", path, "ls"),
            rf"f: its .id is {next(iter(ids.values()))}, which is not a valid id")


def test_the_largest_id_is_one(root, folder_of_root):
    path = folder_of_root / "a.tar"
    path.write_bytes(oci.tar(oci.entry("f", uid=(1 << 32) - 2, gid=(1 << 32) - 2)))
    assert root.output(STAGE, "--layer", path, "stat", "-c", "%u", "/f") == "65534"


@pytest.mark.as_shipped
def test_an_error_of_the_disk_is_named(caller, folder, tree, cache):
    path = write(caller, folder / "a.tar", oci.tar(oci.entry("f", bytes(1000))))
    result = caller.run(STAGE, "--rootfs", tree, "--layer", path, "ls", before=[
        "strace", "-f", "-o", "/dev/null", "-P", str(path), "-e", "inject=read:error=EIO"])
    refused(result, "a.tar: cannot be read: Input/output error")


# --- What the world's tools write -----------------------------------------------------------------

@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress], ids=["xz", "bzip2"])
def test_other_compressions(caller, folder, tree, cache, pack):
    path = write(caller, folder / "a.tar", pack(oci.tar(oci.entry("new", b"text"))))
    assert caller.output(STAGE, "--rootfs", tree, "--layer", path, "cat", "/new") == "text"


@pytest.mark.parametrize("pack", [lambda content: content, gzip.compress], ids=["plain", "gzip"])
def test_an_empty_layer(caller, folder, tree, cache, pack):
    """Docker once wrote layers of no bytes at all."""
    path = write(caller, folder / "a.tar", pack(b""))
    assert caller.output(STAGE, "--rootfs", tree, "--layer", path, "cat", "/data/one") == (
        "one below")


def without_end(*entries: oci.Entry) -> bytes:
    """As umoci inserts a file: no padding behind it, and no two blocks of zeros."""
    content = oci.tar(*entries, form=oci.tarfile.GNU_FORMAT)
    return content[:content.rstrip(b"\0").rfind(b"end") + 3]


@pytest.mark.parametrize("pack", [lambda content: content, gzip.compress], ids=["plain", "gzip"])
def test_the_last_padding_may_be_missing(caller, folder, tree, cache, pack):
    content = without_end(oci.entry("one", b"1"), oci.folder("d", 0o750), oci.entry("two", b"2end"))
    assert len(content) % 512 == 4
    path = write(caller, folder / "a.tar", pack(content))
    script = "cat /one /two; stat -c %a /d"
    shown = caller.output(STAGE, "--rootfs", tree, "--layer", path, "sh", "-c", script)
    assert shown == "12end750"
    cut = write(caller, folder / "cut.tar", pack(content[:-1]))
    refused(caller.run(STAGE, "--rootfs", tree, "--layer", cut, "ls"), "[Tt]runcated")


# --- Descriptors ----------------------------------------------------------------------------------

@pytest.mark.as_shipped
def test_the_layers_are_closed_before_the_container_names_anything(caller, folder, tree):
    """/proc/self/fd/N is a path of its own choice, and ".." from there the host."""
    kept = folder / "kept"
    found = directories_open_at(caller, STAGE, "prctl", "--rootfs", str(tree), "--keep", str(kept),
                                "true", umask=0o077)
    assert [path for path in found if str(folder) in path or "/containers-" in path] == []


# --- --keep ---------------------------------------------------------------------------------------

def planted(folder: pathlib.Path, name: str) -> pathlib.Path:
    """A folder to keep in which `name` is a link to another folder of the caller's."""
    (folder / "canary").mkdir()
    kept = folder / "kept"
    kept.mkdir(mode=0o700)
    (kept / name).symlink_to("../canary")
    return kept


@pytest.mark.parametrize("name", ["upper", "work"])
def test_a_link_in_a_kept_folder_is_not_followed(caller, folder, tree, name):
    kept = planted(folder, name)
    give_to(caller, folder)
    before = fingerprint(folder / "canary")
    refused(caller.run(STAGE, "--rootfs", tree, "--keep", kept, "sh", "-c", "echo x >/planted"),
            rf"open\({name}\): (Not a directory|Too many levels)")
    assert fingerprint(folder / "canary") == before


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_a_kept_folder_in_which_others_can_write_is_refused(caller, folder, tree, mode):
    kept = folder / "kept"
    kept.mkdir()
    kept.chmod(mode)
    give_to(caller, folder)
    refused(caller.run(STAGE, "--rootfs", tree, "--keep", kept, "ls"),
            f"is accessible to other users, its mode is {mode:04o}", "chmod 700")
    assert list(kept.iterdir()) == []


def test_a_kept_folder_is_closed_to_others(caller, folder, tree):
    """A set-user-ID program in it would work for every user who can reach it."""
    kept = folder / "kept"
    kept.mkdir(mode=0o755)
    give_to(caller, folder)
    words = ["--rootfs", tree, "--keep", kept, "sh", "-c",
             "cp /bin/busybox /id && chmod 4755 /id; stat -c %a /"]
    for _ in range(2):
        caller.output(STAGE, *words)
        assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    # It must not make an existing directory private that others may use.
    other = folder / "other"
    other.mkdir(mode=0o755)
    (other / "file").write_text("text")
    give_to(caller, folder)
    refused(caller.run(STAGE, "--rootfs", tree, "--keep", other, "ls"),
            "is accessible to other users")
    assert stat.S_IMODE(other.stat().st_mode) == 0o755


def test_a_strangers_folder_is_not_kept_in(root, folder_of_root):
    kept = folder_of_root / "kept"
    kept.mkdir(mode=0o700)
    os.chown(kept, 12345, 12345)
    refused(root.run(STAGE, "--keep", kept, "ls"), "kept: belongs to another user, 12345",
            "a directory of your own")
    assert list(kept.iterdir()) == []


def test_the_folder_that_is_kept_in_is_the_one_that_was_checked(root, folder_of_root):
    """The owner of the directory above it puts their own in its place, and back, all the time."""
    kept, other = folder_of_root / "kept", folder_of_root / "other"
    kept.mkdir(mode=0o700)
    other.mkdir()
    os.chown(other, 12345, 12345)
    others_own = os.open(other, os.O_RDONLY)
    exchange = ctypes.CDLL(None).renameat2
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            exchange(-100, bytes(kept), -100, bytes(other), 2)  # AT_FDCWD, RENAME_EXCHANGE

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        results = [root.run(STAGE, "--keep", kept, "true") for _ in range(30)]
    finally:
        stop.set()
        thread.join()
    assert os.listdir(others_own) == []
    os.close(others_own)
    assert {result.returncode for result in results} <= {0, 125}


# --- What an image says ---------------------------------------------------------------------------

def image_of(caller, folder, config: dict, **how) -> pathlib.Path:
    layer = oci.tar(oci.entry("bin/busybox", pathlib.Path("/bin/busybox").read_bytes(), mode=0o755),
                    oci.link("bin/sh", "busybox"))
    return write_layout(caller, folder / "image", oci.layout([layer], config, **how))


ESCAPES = "\x1b]0;TITLE\x07\nfaked\x1b[31m\u009b31m"


@pytest.mark.parametrize("config, words", [
    ({"Cmd": ["sh"], "User": ESCAPES}, []),
    ({"Cmd": ["sh"], "User": f"0:{ESCAPES}"}, []),
    ({"Cmd": [ESCAPES]}, []),
    ({"Entrypoint": [f"/bin/{ESCAPES}"]}, []),
    ({"Cmd": ["sh"], "WorkingDir": f"/bin/busybox/{ESCAPES}"}, []),
    ({"Cmd": ["sh", "-c", "true"]}, ["--verbose"]),
])
def test_no_word_of_an_image_changes_the_terminal(caller, folder, cache, config, words):
    path = image_of(caller, folder, config, tags=(ESCAPES, "other"))
    for reference in (path, f"{path}:{ESCAPES}", f"{path}:absent"):
        result = caller.run(STAGE, *words, "--image", reference)
        shown = result.stdout + result.stderr
        assert not {c for c in shown if c != "\n" and (c < " " or "\x7f" <= c < "\xa0")}, shown
        assert not [line for line in shown.splitlines() if line.startswith("faked")], shown


@pytest.mark.parametrize("config", [
    {"Cmd": ["sh\0x"]}, {"Cmd": ["sh"], "WorkingDir": "/bin\0x"}, {"Cmd": ["sh"], "User": "0\0:5"},
    {"Cmd": ["sh"], "Env": ["A=1\0B=2"]}, {"Cmd": ["sh"], "Volumes": {"/x\0y": {}}}])
def test_a_word_that_a_c_string_cannot_hold_is_refused(caller, folder, cache, config):
    """Otherwise its beginning would be used, which is another word than what was checked."""
    refused(caller.run(STAGE, "--image", image_of(caller, folder, config)),
            "a string of its JSON contains a null character")


@pytest.mark.parametrize("name", ["index.json", "oci-layout", "manifest", "config"])
def test_lists_in_lists_are_limited(caller, folder, cache, name):
    nested = b'{"annotations": ' + b"[" * 300_000 + b"]" * 300_000 + b"}"
    files = oci.layout([oci.tar(oci.entry("f"))], {"Cmd": ["sh"]})
    if name == "manifest":
        files[f"blobs/sha256/{oci.sha256(nested)}"] = nested
        files["index.json"] = json.dumps({
            "manifests": [oci.descriptor(oci.MANIFEST, nested)]}).encode()
    elif name == "config":
        files[f"blobs/sha256/{oci.sha256(nested)}"] = nested
        manifest = json.dumps({"config": oci.descriptor(oci.CONFIG, nested), "layers": [
            oci.descriptor(oci.LAYER, oci.tar(oci.entry("f")))]}).encode()
        files[f"blobs/sha256/{oci.sha256(manifest)}"] = manifest
        files["index.json"] = json.dumps({
            "manifests": [oci.descriptor(oci.MANIFEST, manifest)]}).encode()
    else:
        files[name] = nested
    path = write_layout(caller, folder / "image", files)
    refused(caller.run(STAGE, "--image", path), "its JSON is more than 64 levels deep")
