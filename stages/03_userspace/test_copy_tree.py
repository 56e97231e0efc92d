"""A copy has everything that `cp -a` keeps."""

import os
import pathlib
import signal
import socket
import stat
import subprocess
import time

import pytest
from tree import atimes, describe

COPY_TREE = os.environ["COPY_TREE"]
MKFS = "/usr/sbin/mkfs.xfs"
ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="root only")
NOBODY = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--"]


@pytest.fixture(name="scratch")
def fixture_scratch(tmp_path):
    """A folder on a disk, and open to an ordinary user: /tmp may be a tmpfs."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    (tmp_path / "copy").mkdir()
    return tmp_path


def make_tree(top: pathlib.Path) -> None:
    """A file of each kind, with unusual modes and times."""
    (top / "deep/er").mkdir(parents=True)
    (top / "deep/er/file").write_text("content")
    (top / "empty").write_text("")
    (top / "large").write_bytes(os.urandom(3_000_000))
    (top / "name with\nnewline \udcff").write_text("odd name")
    for number in range(300):
        (top / f"deep/{number}").write_text("x" * number)
    with (top / "sparse").open("wb") as file:
        file.seek(5_000_000)
        file.write(b"middle")
        file.truncate(9_000_000)
    with (top / "only a hole").open("wb") as file:
        file.truncate(1_000_000)
    os.link(top / "large", top / "deep/second name")
    os.link(top / "large", top / "deep/er/third name")
    (top / "link").symlink_to("large")
    (top / "dangling").symlink_to("/no/such/file")
    (top / "link to folder").symlink_to("deep")
    os.link(top / "dangling", top / "second name of link", follow_symlinks=False)
    os.mkfifo(top / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(top)  # a socket's name has 107 characters at most, see unix(7)
        listener.bind("socket")
        os.chdir(here)
    for name, mode in {"deep/1": 0o4755, "deep/2": 0o2711, "deep/3": 0o1644,
                       "deep/4": 0o000 if ROOT else 0o400, "deep/er": 0o3777}.items():
        (top / name).chmod(mode)
    for name in ("user.note", "user.other"):
        os.setxattr(top / "deep/er/file", name, b"\0binary\xff" + name.encode())
    os.setxattr(top / "deep", "user.note", b"folder")
    if ROOT:
        os.mknod(top / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(top / "loop", 0o640 | stat.S_IFBLK, os.makedev(7, 9))
        for name, owner in {"deep/5": (1000, 2000), "deep/er": (0, 42), "deep/1": (33, 33),
                            "link": (7, 8), "fifo": (1, 2), "null": (0, 5)}.items():
            os.lchown(top / name, *owner)
        (top / "deep/1").chmod(0o4755)
        (top / "deep/er").chmod(0o3777)
        (top / "capable").write_text("ping")
        (top / "capable").chmod(0o755)
        os.chown(top / "capable", 1000, 1000)
        capability = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
        os.setxattr(top / "capable", "security.capability", capability)
        os.setxattr(top / "link", "trusted.note", b"on a link", follow_symlinks=False)
    (top / "read-only").mkdir()
    (top / "read-only/file").write_text("in a read-only folder")
    (top / "read-only").chmod(0o555)
    for number, path in enumerate(sorted(top.rglob("*"), reverse=True)):
        os.utime(path, ns=(10**18 + number * 7, 12 * 10**17 + number * 1001), follow_symlinks=False)


def copy(*words: str | pathlib.Path, prefix: tuple[str, ...] | list[str] = ()) -> list[str]:
    result = subprocess.run([*prefix, COPY_TREE, "--", *map(str, words)], capture_output=True,
                            text=True, errors="surrogateescape", check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.split(" ", 3)


def test_like_cp(scratch):
    source = scratch / "source"
    make_tree(source)
    times = atimes(source)
    copy(source, scratch / "copy")
    if ROOT:
        assert times == atimes(scratch / "copy")
    subprocess.run(["cp", "-a", source, scratch / "by_cp"], check=True)
    ours, original, by_cp = (describe(scratch / d) for d in ("copy", "source", "by_cp"))
    assert ours == by_cp
    if ROOT:
        assert ours == original
    assert ours["sparse"]["has holes"] and ours["only a hole"]["has holes"]


@needs_root
def test_like_cp_for_an_ordinary_user(scratch):
    """An ordinary user's copy loses owners, special mode bits and devices."""
    make_tree(scratch / "source")
    (scratch / "source/closed").mkdir()
    (scratch / "source/closed/file").write_text("unseen")
    (scratch / "source/closed").chmod(0o700)
    os.chown(scratch / "copy", 12345, 12345)
    (scratch / "by_cp").mkdir()
    os.chown(scratch / "by_cp", 12345, 12345)
    _, _, skipped, first = copy(scratch / "source", scratch / "copy", prefix=NOBODY)
    subprocess.run([*NOBODY, "cp", "-aT", scratch / "source", scratch / "by_cp"],
                   stderr=subprocess.DEVNULL, check=False)
    ours, by_cp = describe(scratch / "copy"), describe(scratch / "by_cp")
    for entry in [*ours.values(), *by_cp.values()]:
        entry["mode"] &= ~stat.S_ISVTX  # cp of coreutils 9.7 drops this one, too
    assert ours == by_cp
    assert int(skipped) == 5  # deep/2, deep/4, closed, and two devices
    assert first.strip().endswith(("Permission denied", "Operation not permitted"))
    assert stat.S_IMODE((scratch / "copy/deep/1").stat().st_mode) == 0o755
    assert not (scratch / "copy/null").exists()


@needs_root
def test_without_reflinks_and_copy_file_range(scratch):
    """Between file systems the kernel may refuse both; files of /proc have the wrong size."""
    copy("/proc/sys/kernel/random", scratch / "copy")
    assert len((scratch / "copy/boot_id").read_text()) == 37
    make_tree(scratch / "source")
    script = ('mount -t tmpfs none "$2" && "$1" -- "$3" "$2" && cp -a "$2" "$4"')
    subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", COPY_TREE, scratch / "copy",
                    scratch / "source", scratch / "back"], check=True, stdout=subprocess.DEVNULL)
    original, back = describe(scratch / "source"), describe(scratch / "back")
    for entry in [*original.values(), *back.values()]:
        for name in ("user.note", "user.other"):  # tmpfs has those from Linux 6.6 on
            entry["xattrs"].pop(name, None)
    assert original == back


@pytest.mark.as_shipped
def test_a_file_that_has_become_shorter_is_copied_to_its_end(scratch):
    (scratch / "source").mkdir()
    (scratch / "source/file").write_text("content")
    copy(scratch / "source", scratch / "copy", prefix=[
        "timeout", "20", "strace", "-qq", "-o", "/dev/null", "-e", "inject=ioctl:error=EOPNOTSUPP",
        "-e", "inject=copy_file_range:retval=0"])
    assert (scratch / "copy/file").read_text() == ""


@needs_root
@pytest.mark.skipif(not os.path.exists(MKFS), reason="no mkfs.xfs (package xfsprogs)")
def test_reflinks(scratch):
    """On XFS a copy shares its blocks with the original."""
    image = scratch / "image"
    with image.open("wb") as file:
        file.truncate(400 << 20)
    subprocess.run([MKFS, "-q", image], check=True)
    script = ('mount -o loop "$2" "$3" || exit 77; cd "$3" && mkdir a b && '
              'head -c 100M /dev/zero | tr "\\0" x >a/f && sync && before=$(stat -fc %f .) && '
              '"$1" -- a b && sync && echo $((before - $(stat -fc %f .))) && cmp a/f b/f')
    result = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", COPY_TREE, image,
                             scratch / "copy"], capture_output=True, text=True, check=False)
    if result.returncode == 77:
        pytest.skip("this machine cannot mount XFS: " + result.stderr)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.splitlines()[-1]) < 1000  # blocks of 4 kB, of 25,600


def test_adds_to_a_folder_and_replaces_files(scratch):
    for name in ("source", "copy"):
        (scratch / name / "folder").mkdir(parents=True)
        (scratch / name / "folder" / f"of {name}").write_text(name)
        (scratch / name / "file").write_text(name)
    (scratch / "outside").write_text("precious")
    (scratch / "source/link").write_text("a file by now")
    (scratch / "copy/link").symlink_to(scratch / "outside")
    copy(scratch / "source", scratch / "copy")
    assert (scratch / "copy/file").read_text() == "source"
    assert {p.name for p in (scratch / "copy/folder").iterdir()} == {"of source", "of copy"}
    assert (scratch / "outside").read_text() == "precious"
    assert (scratch / "copy/link").read_text() == "a file by now"


@needs_root
def test_no_space_left(scratch):
    (scratch / "source").mkdir()
    (scratch / "source/large").write_bytes(os.urandom(3_000_000))
    script = 'mount -t tmpfs -o size=1m none "$2" && exec "$1" -- "$3" "$2"'
    result = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", COPY_TREE,
                             scratch / "copy", scratch / "source"],
                            capture_output=True, text=True, check=False)
    assert result.returncode == 125
    assert str(scratch / "source/large") in result.stderr
    assert result.stderr.strip().endswith("No space left on device")


@needs_root
def test_an_ordinary_user_keeps_the_attributes_of_what_nobody_may_write_to(scratch):
    (scratch / "source").mkdir()
    (scratch / "source/file").write_text("content")
    os.setxattr(scratch / "source/file", "user.note", b"x")
    (scratch / "source/file").chmod(0o444)
    os.chown(scratch / "copy", 12345, 12345)
    copy(scratch / "source", scratch / "copy", prefix=NOBODY)
    assert os.getxattr(scratch / "copy/file", "user.note") == b"x"


def refused(*words, prefix=()) -> str:
    result = subprocess.run([*prefix, COPY_TREE, "--", *words], capture_output=True, text=True,
                            check=False)
    assert result.returncode == 125
    return result.stderr


def test_what_is_in_the_way_is_not_skipped(scratch):
    (scratch / "source").mkdir()
    (scratch / "copy/folder").mkdir()
    (scratch / "source/folder").write_text("a file where the copy has a folder")
    assert "Is a directory" in refused(scratch / "source", scratch / "copy")


def test_a_file_in_the_way_of_an_empty_folder_is_not_taken_for_it(scratch):
    (scratch / "source/folder").mkdir(parents=True)
    (scratch / "copy/folder").write_text("a file where the source has a folder")
    assert refused(scratch / "source", scratch / "copy").endswith("Not a directory\n")


def test_a_source_that_is_not_there_is_named(scratch):
    assert refused(scratch / "no such", scratch / "copy").endswith(
        f"lstat({scratch}/no such): No such file or directory\n")


@pytest.mark.as_shipped
def test_an_attribute_for_which_there_is_no_room_is_not_left_out(scratch):
    (scratch / "source").mkdir()
    (scratch / "source/file").write_text("content")
    os.setxattr(scratch / "source/file", "user.note", b"x")
    fault = ["strace", "-qq", "-o", "/dev/null", "-e", "inject=fsetxattr:error=ENOSPC"]
    assert refused(scratch / "source", scratch / "copy", prefix=fault).endswith(
        f"setxattr({scratch}/source/file, user.note): No space left on device\n")


@needs_root
@pytest.mark.as_shipped  # a sanitizer needs a descriptor itself
def test_only_what_is_closed_is_skipped(scratch):
    """An ordinary user's copy that runs out of descriptors has failed."""
    deep = scratch / "source" / "/".join("d" * 30)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    os.chown(scratch / "copy", 12345, 12345)
    result = subprocess.run(["prlimit", "--nofile=20", *NOBODY, COPY_TREE, "--",
                             scratch / "source", scratch / "copy"],
                            capture_output=True, text=True, check=False)
    assert result.returncode == 125
    assert result.stderr.endswith("Too many open files\n")


def test_interrupted_in_the_middle_of_a_file(scratch):
    """It stops at the next chunk, not at the end of the file."""
    (scratch / "source").mkdir()
    with (scratch / "source/huge").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20) * 8)
    with subprocess.Popen([COPY_TREE, "--", scratch / "source", scratch / "copy"],
                          stderr=subprocess.PIPE, text=True) as process:
        while not (scratch / "copy/huge").exists() or (scratch / "copy/huge").stat().st_size == 0:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        assert "interrupted" in process.stderr.read()
    assert process.returncode == 130
    assert (scratch / "copy/huge").stat().st_size < 512 << 20
