"""The roots that --userspace and --with build, from the outside."""

import fcntl
import os
import pathlib
import pty
import shutil
import signal
import stat
import subprocess
import tarfile
import time

import pytest
from tree import describe

BUILD_USERSPACE = os.environ["BUILD_USERSPACE"]
ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="root only")
NOBODY = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--"]


class Builder:
    """Runs the layer on a fake built-in root, with a cache of its own.

    In a mount namespace of its own, because root's cache is in /var/cache.
    """

    def __init__(self, scratch: pathlib.Path):
        self.scratch = scratch
        self.cache = scratch / "cache"
        self.builtin = scratch / "builtin"
        self.usr: pathlib.Path | None = None  # goes over /usr
        self.prefix: list[str] = []           # another user, say
        self.prepare = ""                     # shell commands before
        (self.builtin / "etc").mkdir(parents=True)
        (self.builtin / "bin").mkdir()
        self.cache.mkdir()
        for name in ("passwd", "group", "hosts", "profile", "os-release"):
            (self.builtin / "etc" / name).write_text(f"built-in {name}\n")
        (self.builtin / "bin/busybox").write_text("busybox")
        (self.builtin / "bin/sh").symlink_to("busybox")

    def command(self, *words: str | pathlib.Path) -> list[str]:
        env = ["env", f"BUILTIN={self.builtin}", f"HOME={self.cache}", "XDG_CACHE_HOME="]
        run = [*env, *self.prefix, str(self.binary()), *map(str, words), "--", "x"]
        if not ROOT:
            return run
        over = f"mount --bind {self.cache} /var/cache && {self.prepare or ':'}"
        if self.usr is not None:
            over += f" && mount --bind {self.usr} /usr"
        return ["unshare", "-m", "sh", "-c", over + ' && exec "$@"', "sh", *run]

    def binary(self) -> pathlib.Path:
        return pathlib.Path(BUILD_USERSPACE)

    def run(self, *words: str | pathlib.Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False)

    def build(self, *words: str | pathlib.Path) -> pathlib.Path:
        result = self.run(*words)
        assert result.returncode == 0, result.stderr
        path = result.stdout.strip()
        return pathlib.Path(path.replace("/var/cache", str(self.cache)) if ROOT else path)

    def leftovers(self) -> list[str]:
        return sorted(str(p.relative_to(self.cache)) for p in self.cache.glob("*/*"))


@pytest.fixture(name="builder")
def fixture_builder(tmp_path):
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    return Builder(tmp_path)


@pytest.fixture(name="usr")
def fixture_usr(builder):
    """A small /usr, that has a shell and what env(1) needs for the rest of the way."""
    usr = builder.scratch / "usr"
    needed = {path for name in ("env", "setpriv", "sh")
              for path in libraries_and(name)}
    with tarfile.open(builder.scratch / "usr.tar", "w") as tar:
        for path in needed:
            tar.add(path)
    with tarfile.open(builder.scratch / "usr.tar") as tar:
        tar.extractall(builder.scratch)
    (usr / "share/doc").mkdir(parents=True)
    (usr / "share/doc/README").write_text("read me")
    (usr / "bin/suid").write_text("x")
    (usr / "bin/suid").chmod(0o4755)
    builder.usr = usr
    return usr


def libraries_and(name: str) -> list[str]:
    """The program's files that are below /usr, by all their names."""
    path = subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True,
                          check=True).stdout.strip()
    ldd = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    found = [path] + [line.split("=>")[-1].split()[0] for line in ldd.splitlines()]
    names = {name for file in found for name in (file, "/usr" + file, os.path.realpath(file))}
    return sorted(name for name in names if name.startswith("/usr/") and os.path.exists(name))


def chroot(root: pathlib.Path, *command: str) -> str:
    result = subprocess.run(["chroot", root, *command], capture_output=True, text=True, check=False,
                            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_minimal_has_what_it_needs(builder):
    root = builder.build("--userspace", "minimal")
    modes = {name: stat.S_IMODE((root / name).stat().st_mode)
             for name in ("dev", "proc", "sys", "tmp", "root", "run", "var", "home", "mnt", "etc")}
    assert modes == {"dev": 0o755, "proc": 0o755, "sys": 0o755, "tmp": 0o1777, "root": 0o700,
                     "run": 0o755, "var": 0o755, "home": 0o755, "mnt": 0o755, "etc": 0o755}
    for name in ("bin", "lib", "lib64", "sbin"):
        host = pathlib.Path("/", name)
        if host.is_symlink():
            assert os.readlink(root / name) == os.readlink(host)
            assert (root / name).is_dir()
    assert (root / "etc/passwd").read_text() == "built-in passwd\n"
    assert (root / "etc/os-release").read_text() == "built-in os-release\n"
    assert (root / "etc/userspace").read_text() == "--userspace minimal\n"
    assert not (root / "etc/shadow").exists()
    if ROOT:
        assert chroot(root, "/bin/sh", "-c", "ls / && cp /etc/hosts /tmp/x && cat /tmp/x && id "
                      "&& mount --version && bash -c 'echo from bash'").endswith("from bash\n")


def test_minimal_dangles_nowhere(builder):
    root = builder.build("--userspace", "minimal")
    assert not [link for link in root.rglob("*") if link.is_symlink()
                and not (root / os.readlink(link).lstrip("/") if os.readlink(link).startswith("/")
                         else link.parent / os.readlink(link)).exists()]


@needs_root
@pytest.mark.skipif(not os.path.exists("/usr/lib/python3.11"), reason="no python3.11")
def test_with_python(builder):
    root = builder.build("--with", "/usr/bin/python3", "--with", "/usr/lib/python3.11")
    assert chroot(root, "/usr/bin/python3", "-c", "import ssl, ctypes; print(6 * 7)") == "42\n"
    assert (root / "bin/busybox").read_text() == "busybox"


def test_with_none_leaves_the_builtin_root_alone(builder):
    before = describe(builder.builtin)
    root = builder.build("--with", "sleep")
    assert describe(builder.builtin) == before
    assert (root / "bin/busybox").read_text() == "busybox"
    assert os.access(root / "usr/bin/sleep", os.X_OK)
    assert root != builder.builtin


def test_a_script_brings_its_interpreter(builder):
    script = builder.scratch / "script"
    script.write_text("#!/usr/bin/env -S sleep 1\n")
    script.chmod(0o755)
    root = builder.build("--with", script)
    assert (root / str(script)[1:]).read_text() == script.read_text()
    assert os.access(root / "usr/bin/env", os.X_OK)
    assert os.access(root / "usr/bin/sleep", os.X_OK)
    script.write_text("#!/no/such/interpreter\n")
    result = builder.run("--with", script)
    assert result.returncode == 125
    assert f"{script}: its interpreter /no/such/interpreter: No such file" in result.stderr


def test_the_argument_of_another_interpreter_than_env_is_no_program(builder):
    script = builder.scratch / "script"
    script.write_text("#!/bin/echo no-such-program\n")
    script.chmod(0o755)
    assert os.access(builder.build("--with", script) / "bin/echo", os.X_OK)


def test_an_interpreter_is_a_program(builder):
    """Otherwise another user's script could bring a file into the root that only we may read."""
    script, secret = builder.scratch / "script", builder.scratch / "secret"
    secret.write_text("top secret")
    script.write_text(f"#!{secret}\n")
    for mode, reason in ((0o600, "Permission denied"), (0o755, "is not a program")):
        secret.chmod(mode)
        result = builder.run("--with", script)
        assert result.returncode == 125
        assert f"{script}: its interpreter {secret}: {reason}" in result.stderr


def test_a_file_with_hard_links_may_come_twice(builder):
    folder = builder.scratch / "links"
    folder.mkdir()
    shutil.copy("/bin/ls", folder / "one")
    os.link(folder / "one", folder / "two")
    root = builder.build("--with", folder / "one", "--with", folder)
    one, two = (root / str(folder)[1:] / name for name in ("one", "two"))
    assert one.read_bytes() == pathlib.Path("/bin/ls").read_bytes()
    assert one.stat().st_ino == two.stat().st_ino


def test_the_second_run_uses_the_first(builder):
    root = builder.build("--userspace", "minimal")
    (root / "mark").write_text("")
    assert builder.build("--userspace", "minimal") == root
    assert (root / "mark").exists()
    assert builder.run("--userspace", "minimal").stderr == ""


def test_a_changed_program_is_a_new_root(builder):
    program = builder.scratch / "program"
    program.write_text("one")
    first = builder.build("--with", program)
    assert builder.build("--with", program) == first
    program.write_text("two!")
    second = builder.build("--with", program)
    assert second != first
    assert (second / str(program)[1:]).read_text() == "two!"


def test_a_changed_file_of_a_folder_is_a_new_root(builder):
    folder = builder.scratch / "folder"
    folder.mkdir()
    (folder / "a").write_text("one")
    first = builder.build("--with", folder)
    (folder / "a").write_text("two!")
    assert builder.build("--with", folder) != first


def test_a_changed_file_of_the_builtin_root_is_a_new_root(builder):
    first = builder.build("--userspace", "minimal")
    (builder.builtin / "etc/hosts").write_text("changed")
    second = builder.build("--userspace", "minimal")
    assert second != first
    assert (second / "etc/hosts").read_text() == "changed"


def test_at_a_place_of_ones_own(builder):
    place = builder.scratch / "my root"
    assert builder.build("--rootfs", place, "--userspace", "minimal") == place
    assert (place / "bin/ls").exists() and builder.leftovers() == []
    before = describe(place)
    assert builder.build("--rootfs", f"{place}/", "--userspace", "minimal") == place
    assert describe(place) == before


@needs_root
def test_not_where_another_user_could_put_a_link(builder):
    theirs = builder.scratch / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    words = ["--rootfs", theirs / "root", "--userspace", "minimal"]
    result = builder.run(*words)
    assert result.returncode == 125
    assert result.stderr.splitlines() == [
        f"build_userspace_for_test: {theirs}/root: another user may replace {theirs}",
        "hint: choose a place in a directory of your own"]
    assert not list(theirs.iterdir())
    builder.prefix = ["env", "SUDO_UID=12345"]  # who may do as root what they like
    assert builder.build(*words) == theirs / "root"


@needs_root
@pytest.mark.parametrize("kind", ["directory", "link"])
def test_not_in_what_another_user_has_put_there(builder, kind):
    """In a directory such as /tmp, from where they cannot move ours."""
    builder.scratch.chmod(0o1777)
    partial = builder.scratch / "root.partial"
    other = builder.scratch / "other"
    (partial if kind == "directory" else other).mkdir()
    if kind == "link":
        partial.symlink_to(other)
    os.chown(partial, 12345, 12345, follow_symlinks=False)
    builder.prefix = ["timeout", "60"]
    lock = os.open(partial, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    result = builder.run("--rootfs", builder.scratch / "root", "--userspace", "minimal")
    os.close(lock)
    assert result.returncode == 125
    assert str(partial) in result.stderr.splitlines()[0]
    assert not list(partial.iterdir()) and not (builder.scratch / "root").exists()


def test_nobody_can_hold_it_up_by_a_lock(builder):
    above = os.open(builder.scratch, os.O_RDONLY)
    fcntl.flock(above, fcntl.LOCK_EX)  # as any user may who can open the directory
    builder.prefix = ["timeout", "60"]
    assert builder.build("--rootfs", builder.scratch / "root", "--userspace", "minimal")
    os.close(above)


@pytest.mark.parametrize("words, built_for", [
    (["--userspace", "full"], "--userspace full"),
    (["--with", "/bin/ls"], "--userspace none --with /bin/ls"),
    (["--userspace", "minimal", "--with", "/bin/ls"], "--userspace minimal --with /bin/ls"),
])
def test_another_root_is_refused_and_not_touched(builder, words, built_for):
    place = builder.scratch / "place"
    builder.build("--rootfs", place, "--userspace", "minimal")
    before = describe(place)
    result = builder.run("--rootfs", place, *words)
    assert result.returncode == 125
    assert result.stderr.splitlines() == [
        f"build_userspace_for_test: --rootfs {place}: already exists, and was not built by"
        f" {built_for} but by --userspace minimal",
        "hint: name a directory that does not exist yet, or remove this one"]
    assert describe(place) == before


def test_bad_input_makes_nothing(builder):
    mine = builder.scratch / "mine"
    mine.mkdir()
    (mine / "file").write_text("precious")
    for words in (["--userspace", "some"], ["--userspace", "minimal", "--with", "/no/such"],
                  ["--userspace", "minimal", "--rootfs", mine], ["--with", "ls", "--rootfs", mine],
                  ["--userspace", "minimal", "--rootfs", mine / "file"],
                  ["--userspace", "minimal", "--rootfs", mine / "no/such"],
                  ["--with", mine, "--rootfs", mine / "root"]):
        result = builder.run(*words)
        assert result.returncode == 125, words
        first, *more = result.stderr.splitlines()
        assert first.startswith("build_userspace_for_test: ")
        assert all(line.startswith("hint: ") for line in more) and len(more) <= 1
    assert os.listdir(mine) == ["file"]
    assert builder.leftovers() == []


@needs_root
@pytest.mark.as_shipped
def test_full(builder, usr):
    root = builder.build("--userspace", "full")
    assert describe(root / "usr") == describe(usr)
    assert stat.S_IMODE((root / "usr/bin/suid").stat().st_mode) == 0o4755
    for name in ("bin", "lib", "lib64", "sbin", "lib32", "libx32"):
        if os.path.islink(f"/{name}"):
            assert os.readlink(root / name) == os.readlink(f"/{name}")
        else:
            assert os.path.lexists(f"/{name}") == os.path.lexists(root / name)
    for name in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "nsswitch.conf", "alternatives"):
        if os.path.lexists(f"/etc/{name}"):
            assert describe(root / "etc" / name) == describe(pathlib.Path("/etc", name))
    assert (root / "etc/passwd").read_text() == "built-in passwd\n"
    assert not (root / "etc/shadow").exists()
    assert (root / "etc/userspace").read_text() == "--userspace full\n"
    assert chroot(root, "/bin/sh", "-c", "echo inside") == "inside\n"
    (usr / "bin/new").write_text("a package was upgraded")
    assert builder.build("--userspace", "full") != root


@needs_root
@pytest.mark.as_shipped
def test_full_with_more(builder, usr):
    (builder.scratch / "opt").mkdir()
    program = builder.scratch / "opt/program"
    program.write_text("#!/bin/sh\n")
    (usr / "bin/linked").symlink_to(program)
    root = builder.build("--userspace", "full", "--with", "/usr/bin/sh",
                         "--with", "/usr/bin/linked")
    assert (root / str(program)[1:]).read_text() == "#!/bin/sh\n"
    assert os.readlink(root / "usr/bin/linked") == str(program)


@needs_root
@pytest.mark.as_shipped
def test_an_ordinary_user_goes_on_without_what_is_closed(builder, usr):
    (usr / "share/secret").write_text("x")
    (usr / "share/secret").chmod(0o600)
    os.chown(builder.cache, 12345, 12345)
    builder.prefix = NOBODY
    result = builder.run("--userspace", "full")
    assert result.returncode == 0, result.stderr
    assert "skipped 1, the first: /usr/share/secret: Permission denied" in result.stderr
    root = pathlib.Path(result.stdout.strip())
    assert root.is_relative_to(builder.cache)
    assert (root / "usr/share/doc/README").exists() and not (root / "usr/share/secret").exists()
    assert stat.S_IMODE((root / "usr/bin/suid").stat().st_mode) == 0o755


@needs_root
def test_no_space_left_leaves_nothing(builder):
    builder.prepare = "mount -t tmpfs -o size=2m none /var/cache"
    result = builder.run("--userspace", "minimal")
    assert result.returncode == 125
    error, hint = result.stderr.splitlines()
    assert error.endswith("No space left on device") and "(/usr/" in error
    assert hint.startswith("hint: the root needs ")
    place = builder.scratch / "small"
    place.mkdir()
    for size in ("size=2m", "nr_inodes=6"):  # there is no room for a file, or for a directory
        builder.prepare = f"mount -t tmpfs -o {size} none {place}"
        script = builder.command("--userspace", "minimal", "--rootfs", place / "root")
        script[4] = script[4].replace('exec "$@"', f'{{ "$@" || ls -A {place}; }}')
        out = subprocess.run(script, capture_output=True, text=True, check=False)
        error, hint = out.stderr.splitlines()
        assert error.endswith("No space left on device"), size
        assert hint.startswith("hint: the root needs "), size
        assert out.stdout == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_leaves_nothing(builder, number):
    folder = builder.scratch / "folder"
    folder.mkdir()
    for index in range(40):
        (folder / str(index)).write_bytes(bytes(20_000_000))
    place = builder.scratch / "place"
    with subprocess.Popen(builder.command("--rootfs", place, "--with", folder),
                          stderr=subprocess.PIPE, text=True) as process:
        partial = builder.scratch / "place.partial"
        while not (partial / str(folder)[1:]).exists():
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(number)
        assert process.stderr.read() == "build_userspace_for_test: interrupted\n"
    assert process.returncode == 128 + number
    assert not place.exists() and not partial.exists()


def test_after_a_kill_the_next_one_clears_up(builder):
    partial = builder.scratch / "place.partial"
    partial.mkdir()
    (partial / "half").write_text("")
    place = builder.build("--rootfs", builder.scratch / "place", "--userspace", "minimal")
    assert not partial.exists() and not (place / "half").exists()


def test_two_at_once(builder):
    words = ("--rootfs", builder.scratch / "place", "--userspace", "minimal")
    processes = [subprocess.Popen(builder.command(*words), stderr=subprocess.PIPE, text=True)
                 for _ in range(4)]
    summaries = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(map(bool, summaries)) == [False] * 3 + [True]


def test_two_at_once_that_want_different_things(builder):
    """The second process gets an error, even if nothing existed when it started."""
    place = builder.scratch / "place"
    partial = builder.scratch / "place.partial"
    partial.mkdir()
    lock = os.open(partial, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as if another process was building there
    processes = [subprocess.Popen(builder.command("--rootfs", place, "--with", program),
                                  stderr=subprocess.PIPE, text=True)
                 for program in ("/bin/ls", "/bin/cat")]
    inode = f":{partial.stat().st_ino} "
    while sum("->" in line and inode in line for line in open("/proc/locks", encoding="ascii")) < 2:
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.01)
    os.close(lock)
    errors = [process.communicate()[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 125]
    assert sum("was not built by" in error for error in errors) == 1


def test_the_summary_is_one_line(builder):
    result = builder.run("--userspace", "minimal")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("build_userspace_for_test: copied ")


def test_progress_on_a_terminal(builder):
    folder = builder.scratch / "folder"
    folder.mkdir()
    for index in range(20):
        (folder / str(index)).write_bytes(bytes(20_000_000))
    master, slave = pty.openpty()
    with subprocess.Popen(builder.command("--with", folder), stderr=slave,
                          stdout=subprocess.DEVNULL) as process:
        os.close(slave)
        shown = b""
        try:
            while block := os.read(master, 65536):
                shown += block
        except OSError:  # EIO: the last one has closed it
            pass
    os.close(master)
    assert process.returncode == 0
    drawn = shown.split(b"\r\x1b[K")
    assert drawn[1].startswith(b"[") and b"% " in drawn[1] and drawn[1].endswith(b" of 400 MB")
    assert all(len(bar) < 80 for bar in drawn[1:-1])
    assert drawn[-1].startswith(b"build_userspace_for_test: copied ")  # the bar is gone
