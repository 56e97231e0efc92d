"""A Debian that debootstrap made, as the root and as an image: a minute, and the network."""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from conftest import Caller, wait_until


@pytest.fixture(scope="session")
def debian() -> Iterator[pathlib.Path]:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="debian-", dir="/tmp"))
    if os.geteuid() != 0:
        pytest.skip("debootstrap needs root")
    subprocess.run(["debootstrap", "--variant=minbase", "--include=python3", "bookworm",
                    folder / "tree"], check=True, stdin=subprocess.DEVNULL,
                   env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    folder.chmod(0o755)
    yield folder / "tree"
    shutil.rmtree(folder)


@pytest.mark.stages_from(2)
def test_apt_get_runs(any_stage, debian):
    shown = any_stage.output("--rootfs", debian, "apt-get", "--version")
    assert shown.startswith("apt 2.")


@pytest.mark.stages_from(2)
def test_a_bash_session(any_stage, debian):
    terminal = any_stage.caller.terminal(any_stage.name, "--rootfs", str(debian), "-e",
                                         "PS1=debian$\\ ", "bash", "--norc")
    for line, answer in {
            "cat /etc/debian_version": "12.",
            "echo $((6 * 7))": "42",
            "dpkg -s bash | grep ^Status": "Status: install ok installed",
            "sleep 0.1 & wait $! && echo waited": "waited",
    }.items():
        terminal.expect_exact("debian$ ")
        terminal.sendline(line)
        terminal.expect_exact("\r\n")
        terminal.expect_exact(answer)
    terminal.sendline("exit 5")
    terminal.expect_exact("host$ ")
    terminal.sendline("echo status $?")
    terminal.expect_exact("status 5\r\n")
    terminal.close(force=True)


@pytest.fixture(scope="session")
def image(debian) -> pathlib.Path:
    """It, packed by umoci, and copied by skopeo."""
    packed, copied = debian.with_name("packed"), debian.with_name("copied")
    for words in (["umoci", "init", "--layout", packed],
                  ["umoci", "new", "--image", f"{packed}:debian"],
                  ["umoci", "insert", "--image", f"{packed}:debian", debian, "/"],
                  ["umoci", "config", "--image", f"{packed}:debian", "--config.cmd", "python3",
                   "--config.cmd", "--version", "--config.env", "GREETING=hello"],
                  ["skopeo", "copy", "--quiet", "--insecure-policy", f"oci:{packed}:debian",
                   f"oci:{copied}:debian"]):
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    subprocess.run(["chmod", "-R", "a+rX", packed, copied], check=True)
    return packed


@pytest.mark.stages_from(8)
@pytest.mark.parametrize("made_by", ["packed", "copied"])
def test_an_image_of_it(any_stage, image, made_by):
    path = f"{image.with_name(made_by)}:debian"
    assert any_stage.output("--image", path).startswith("Python 3.")
    assert any_stage.output("--image", path, "apt-get", "--version").startswith("apt 2.")
    script = "import os; print(os.environ['GREETING'], os.listdir('/home'))"
    assert any_stage.output("--image", path, "python3", "-c", script) == "hello []"
    # A package manager replaces, renames and removes files of the layers.
    out = any_stage.output("--image", path, "dpkg", "--remove", "--force-depends", "python3")
    assert "Removing python3" in out


def free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def test_a_web_server_of_an_image_is_published(caller: Caller, image: pathlib.Path) -> None:
    """With all layers: what `docker run -d -p PORT:80 IMAGE` is."""
    if caller.uid != 0 and os.stat("/dev/net/tun").st_mode & 0o006 != 0o006:
        pytest.skip("/dev/net/tun is root's on this machine: //stages/08c_network tries it as user")
    url = f"http://localhost:{free_port()}/debian_version"
    port = url.split(":")[2].split("/")[0]

    def page() -> str:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return answer.read().decode()
        except (OSError, urllib.error.URLError):
            return ""

    caller.output("08c_network", "--image", f"{image}:debian", "true")  # its layers are unpacked
    # Before it serves, it asks for its own name: without a name server, that takes its time.
    with caller.start("08c_network", "--image", f"{image}:debian", "--publish", f"{port}:80",
                      "python3", "-m", "http.server", "--directory", "/etc", "80") as server:
        if not wait_until(page, 60):
            server.kill()
            pytest.fail(f"no answer: {server.communicate()[1]}")
        assert page().startswith("12.")
    assert wait_until(lambda: page() == "")
