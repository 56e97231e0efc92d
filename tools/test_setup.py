"""setup.sh on machines that this is not: other distributions, packages, users and failures."""

import json
import pathlib
import subprocess

import pytest

SETUP = pathlib.Path("setup.sh").resolve()

FAKES = {
    "dpkg-query": 'for p in $INSTALLED; do echo "installed $p"; done\n',
    "apt-cache": 'case " $UNKNOWN " in *" $2 "*) ;; *) echo "Package: $2" ;; esac\n',
    "apt-get": 'echo "$*" >>"$APT_LOG"\n'
               'case "$*" in *"$APT_FAILS"*) echo "E: no such luck" >&2; exit 100 ;; esac\n',
    "id": 'echo "$USER_ID"\n',
    "node": "",
    "npm": 'echo "$PWD: $*" >>"$NPM_LOG"; [ -z "$NPM_FAILS" ] || { echo "$NPM_FAILS"; exit 1; }\n'
           "mkdir -p node_modules\n",
}
TOOLS = ["bash", "cat", "dirname", "env", "mkdir", "mktemp", "rm", "sed", "sha256sum", "tail",
         "timeout", "uname"]


class Machine:
    """A folder of fake programs, the only ones on PATH."""

    def __init__(self, folder):
        self.folder = folder
        self.apt_log = folder / "apt.log"
        self.npm_log = folder / "npm.log"
        self.script = folder / "setup.sh"
        self.script.write_bytes(SETUP.read_bytes())
        self.locks = [folder / "slides/package-lock.json", folder / "slides/site/package-lock.json"]
        for lock in self.locks:
            lock.parent.mkdir()
            lock.write_text("{}\n")
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name, text in FAKES.items():
            self.add_program(name, text)
        for name in TOOLS:
            (self.bin / name).symlink_to(f"/usr/bin/{name}")
        self.release = folder / "os-release"
        self.release.write_text("ID=debian\nVERSION_CODENAME=bookworm\n")

    def add_program(self, name, text=""):
        (self.bin / name).write_text(f"#!/bin/sh\n{text}")
        (self.bin / name).chmod(0o755)

    def setup(self, *arguments, **variables):
        environment = {"INSTALLED": "", "UNKNOWN": "", "APT_FAILS": "nothing at all",
                       "NPM_FAILS": "", "USER_ID": "0"} | variables
        return subprocess.run(
            ["/bin/bash", self.script, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, env=environment | {
                "PATH": str(self.bin), "OS_RELEASE": str(self.release),
                "APT_LOG": str(self.apt_log), "NPM_LOG": str(self.npm_log)})

    def setup_all(self, **variables):
        """Where all packages are installed."""
        return self.setup(INSTALLED=" ".join(self.packages()), **variables)

    def packages(self):
        return self.setup("--list").stdout.split()

    def apt_calls(self):
        return self.apt_log.read_text().splitlines() if self.apt_log.exists() else []

    def npm_calls(self):
        return self.npm_log.read_text().splitlines() if self.npm_log.exists() else []


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_engines_are_installed_only_if_asked_for(machine):
    assert "podman" not in machine.setup("--list").stdout.split()
    engines = set(machine.setup("--engines", "--list").stdout.split())
    assert {"conmon", "containerd", "podman", "runc"} <= engines


def test_no_second_containerd_is_installed(machine):
    """Docker's, of another package, would be removed for it."""
    machine.add_program("containerd")
    assert "containerd" not in machine.setup("--engines", "--list").stdout.split()


def test_changes_nothing_when_all_is_there(machine):
    machine.setup_all()
    machine.npm_log.unlink()
    done = machine.setup_all()
    assert not machine.npm_calls()
    assert (done.returncode, done.stdout, done.stderr) == (
        0, "setup.sh: everything is installed\n", "")
    assert not machine.apt_calls()


def test_installs_what_is_missing_and_only_that(machine):
    there = set(machine.packages()) - {"g++", "tmux"}
    done = machine.setup(INSTALLED=" ".join(there))
    assert done.returncode == 0, done.stderr
    assert "the compiler: g++\n" in done.stdout
    update, install = machine.apt_calls()
    assert update.endswith(" update")
    assert install.endswith(" install g++ tmux")


def test_dry_run_installs_nothing(machine):
    done = machine.setup("--dry-run")
    assert done.returncode == 0
    assert "g++" in done.stdout
    assert not machine.apt_calls()


@pytest.mark.parametrize("release", [
    "ID=debian\nVERSION_CODENAME=trixie\n",
    "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n",
    'ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n',
])
def test_knows_supported_releases_and_what_is_derived_from_them(machine, release):
    machine.release.write_text(release)
    assert machine.setup("--dry-run").returncode == 0


@pytest.mark.parametrize("release", [
    'ID=fedora\nPRETTY_NAME="Other"',
    'ID=debian\nVERSION_CODENAME=bullseye\nPRETTY_NAME="Other"\n',
    'ID=alpine\nVERSION_CODENAME=bookworm\nPRETTY_NAME=Other\n',
])
def test_refuses_other_releases_with_the_list_of_what_to_install(machine, release):
    machine.release.write_text(release)
    done = machine.setup()
    assert done.returncode == 1
    assert done.stderr.startswith("setup.sh: Other is not supported; use Debian 12")
    assert "the compiler: g++\n" in done.stderr
    assert not machine.apt_calls()


@pytest.mark.parametrize("there, needed", [
    ([], True),
    (["bazel"], False),
    (["bazelisk"], False),
])
def test_takes_the_bazel_that_is_there(machine, there, needed):
    for name in there:
        machine.add_program(name)
    assert ("bazel-rules-cc" in machine.packages()) == needed


def test_completes_a_packaged_bazel(machine):
    machine.add_program("bazel")
    done = machine.setup("--dry-run", INSTALLED="bazel-bootstrap")
    assert " bazel-rules-cc bazel-rules-java\n" in done.stdout


def test_shows_the_errors_of_apt(machine):
    done = machine.setup(APT_FAILS="install")
    assert done.returncode == 1
    assert "E: no such luck" in done.stderr


def test_goes_on_when_a_third_party_repository_is_out_of_reach(machine):
    assert machine.setup(APT_FAILS="update").returncode == 0


def test_names_unknown_packages(machine):
    done = machine.setup(UNKNOWN="bazel-bootstrap bazel-rules-cc")
    assert done.returncode == 1
    assert "no package bazel-bootstrap bazel-rules-cc." in done.stderr
    assert "universe" in done.stderr


def test_uses_sudo(machine):
    machine.add_program("sudo", 'echo "sudo $*" >>"$APT_LOG"; [ "$1" = -n ] || exec "$@"\n')
    assert machine.setup(USER_ID="1000").returncode == 0
    calls = machine.apt_calls()
    assert [call for call in calls if call.startswith("sudo env")]
    assert " install bazel-bootstrap" in calls[-1]


@pytest.mark.parametrize("sudo", ["", "exit 1\n"])
def test_says_what_to_ask_for_without_sudo(machine, sudo):
    if sudo:
        machine.add_program("sudo", sudo)
    done = machine.setup(USER_ID="1000")
    assert done.returncode == 1
    assert "apt-get install --no-install-recommends bazel-bootstrap" in done.stderr
    assert not machine.apt_calls()


def test_npm_installs_marp_and_eleventy_each_in_its_folder(machine):
    done = machine.setup_all()
    assert done.returncode == 0
    assert set(done.stdout.splitlines()) == {
        "setup.sh: Marp is installed", "setup.sh: Eleventy is installed"}
    assert {call.partition(" --")[0] for call in machine.npm_calls()} == {
        f"{lock.parent}: ci" for lock in machine.locks}
    assert all(" --ignore-scripts " in call for call in machine.npm_calls())


@pytest.mark.parametrize("change", [
    lambda lock: lock.write_text("other versions\n"),
    lambda lock: (lock.parent / "node_modules").rmdir(),
])
@pytest.mark.parametrize("which", [0, 1], ids=["slides", "site"])
def test_npm_installs_again_where_the_lock_has_changed_or_it_is_gone(machine, which, change):
    machine.setup_all()
    change(machine.locks[which])
    machine.setup_all()
    calls = machine.npm_calls()
    assert len(calls) == 3 and calls[2].startswith(f"{machine.locks[which].parent}: ")


def test_goes_on_without_what_npm_installs_and_says_what_that_means(machine):
    done = machine.setup_all(NPM_FAILS="npm error network")
    assert done.returncode == 0
    assert "setup.sh: npm could not install Marp: the slides cannot be built" in done.stderr
    assert "setup.sh: npm could not install Eleventy: the site cannot be built" in done.stderr
    assert "npm error network" in done.stderr
    assert "To try again:  ./setup.sh" in done.stderr
    assert "setup.sh: Marp is installed\n" in machine.setup_all().stdout


@pytest.mark.parametrize("there", ["node", "npm"])
def test_installs_npm_unless_it_is_there_with_its_node(machine, there):
    assert not {"nodejs", "npm"} & set(machine.packages())
    (machine.bin / there).unlink()
    assert {"nodejs", "npm"} < set(machine.packages())


def test_dry_run_has_npm_install_nothing(machine):
    said = machine.setup("--dry-run").stdout
    assert "would have npm install Marp" in said and "would have npm install Eleventy" in said
    assert not machine.npm_calls()


@pytest.mark.parametrize("release, wanted", [
    ("ID=debian\nVERSION_CODENAME=trixie\n", True),
    ("ID=ubuntu\nVERSION_CODENAME=noble\n", False),
])
def test_asks_for_chromium_where_it_is_a_package(machine, release, wanted):
    machine.release.write_text(release)
    assert ("chromium" in machine.packages()) == wanted


def test_other_processors_cost_nothing_until_they_are_asked_for(machine):
    plain = machine.packages()
    assert not any("linux-gnu" in package for package in plain)
    cross = machine.setup("--cross", "--list").stdout.split()
    assert set(cross) - set(plain) == {"g++-i686-linux-gnu", "g++-aarch64-linux-gnu",
                                       "qemu-system-arm", "qemu-user-static"}
    lab = machine.setup("--lab", "--list").stdout.split()
    assert set(lab) - set(cross) == {"firefox-esr", "python3-websocket"}


def test_packages_of_other_processors_are_unpacked_beside_the_sources(machine):
    (machine.folder / "lab").mkdir()
    (machine.folder / "lab/package-lock.json").write_text("{}\n")
    tools = machine.folder / "tools"
    tools.mkdir()
    unpack = tools / "foreign_packages"
    unpack.write_text('#!/bin/sh\necho "$1 $2 $3" >>"$APT_LOG.unpacked"\n')
    unpack.chmod(0o755)
    unpacked = machine.folder / "apt.log.unpacked"
    everything = " ".join(machine.setup("--lab", "--list").stdout.split())

    assert machine.setup("--cross", "--dry-run", INSTALLED=everything).returncode == 0
    assert not unpacked.exists()
    assert machine.setup("--cross", INSTALLED=everything).returncode == 0
    assert unpacked.read_text().splitlines() == [
        f"i386 bookworm {machine.folder}/foreign/i386",
        f"arm64 bookworm {machine.folder}/foreign/arm64"]

    unpacked.unlink()
    assert machine.setup("--lab", INSTALLED=everything).returncode == 0
    assert f"i386 bookworm {machine.folder}/foreign/lab" in unpacked.read_text().splitlines()
    unpack.write_text("#!/bin/sh\nexit 1\n")
    failed = machine.setup("--cross", INSTALLED=everything)
    assert failed.returncode == 1 and "could not be unpacked" in failed.stderr


@pytest.mark.parametrize("folder", ["slides", "slides/site", "lab"])
def test_npm_is_told_to_install_nothing_that_it_refuses_here(folder):
    """The npm of Debian 12 also installs what nothing needs, and ends where that is for macOS."""
    lock = json.loads(pathlib.Path(folder, "package-lock.json").read_text())
    for name, package in lock["packages"].items():
        assert "extraneous" not in package, name
        assert "os" not in package or package.get("optional"), name
