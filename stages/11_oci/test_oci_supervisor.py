"""A supervisor of a seccomp filter: linux.seccomp.listenerPath."""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import pathlib
import socket
import struct
import threading
from typing import List

import pytest
from conftest import wait_until
from oci_runtime import NEEDS_ROOT, make_runtime

__all__ = ["make_runtime"]  # a fixture
pytestmark = [NEEDS_ROOT, pytest.mark.as_shipped]

# See seccomp_unotify(2): struct seccomp_notif, and seccomp_notif_resp.
NOTIF_RECV, NOTIF_SEND = 0xc0502100, 0xc0182101
REQUEST, REPLY = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
CONTINUE = 1
NUMBERS = {"x86_64": {83: "mkdir", 258: "mkdirat", 59: "execve"},
           "aarch64": {34: "mkdirat", 221: "execve"}}[os.uname().machine]


class Supervisor:
    """Listens at a socket, and replies to each call: mkdir fails with EUCLEAN, others go on."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen()
        self.messages: List[dict] = []
        self.calls: List[str] = []
        self.pids: List[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            text, control, _, _ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(4))
            if not text:
                return  # the container was never started
            message = json.loads(text)
            assert connection.recv(1) == b"", "one message for each connection"
        (_, _, descriptors), = control
        listener, = array.array("i", descriptors)
        self.messages.append(message)
        while True:
            request = bytearray(REQUEST.size)
            try:
                fcntl.ioctl(listener, NOTIF_RECV, request)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    continue
                os.close(listener)
                return
            number, pid, _, call, *_ = REQUEST.unpack(request)
            name = NUMBERS.get(call, str(call))
            self.calls.append(name)
            self.pids.append(pid)
            reply = (0, -errno.EUCLEAN, 0) if name.startswith("mkdir") else (0, 0, CONTINUE)
            try:
                fcntl.ioctl(listener, NOTIF_SEND, REPLY.pack(number, *reply))
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise


@pytest.fixture(name="supervisor")
def make_supervisor(runtime):
    supervisor = Supervisor(runtime.folder / "supervisor")
    runtime.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(supervisor.path),
        "listenerMetadata": "who asks",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]}
    return supervisor


def test_a_supervisor_decides(runtime, supervisor):
    runtime.config["annotations"] = {"a": "b"}
    result = runtime.run("sh", "-c", "mkdir /dev/shm/x; touch /dev/shm/y && echo touched")
    assert "Structure needs cleaning" in result.stderr
    assert result.stdout == "touched\n"
    assert {name[:5] for name in supervisor.calls} == {"mkdir"}
    message, = supervisor.messages
    assert message["fds"] == ["seccompFd"]
    assert message["metadata"] == "who asks"
    assert message["ociVersion"] == runtime.config["ociVersion"]
    state = message["state"]
    assert (state["id"], state["bundle"]) == ("c", str(runtime.bundle))
    assert state["annotations"] == {"a": "b"}
    assert state["pid"] == message["pid"]


@pytest.mark.parametrize("default", ["SCMP_ACT_NOTIFY", "SCMP_ACT_ALLOW"])
@pytest.mark.parametrize("no_new_privs", [True, False])
def test_a_supervisor_of_all_calls(runtime, supervisor, default, no_new_privs):
    """Even of those by which the listener would have to be sent."""
    seccomp = runtime.config["linux"]["seccomp"]
    seccomp["defaultAction"] = default
    names = ["sendmsg", "write", "close", "futex", "execve", "exit_group"]
    seccomp["syscalls"] = [{"names": names, "action": "SCMP_ACT_NOTIFY"}]
    runtime.config["process"]["noNewPrivileges"] = no_new_privs
    result = runtime.run("echo", "done")
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
    assert supervisor.calls[0] == "execve"


def test_create_start_and_exec(runtime, supervisor):
    pid = runtime.create()
    assert supervisor.messages == []
    runtime.do("start", "c")
    assert wait_until(lambda: supervisor.messages)
    assert supervisor.messages[0]["pid"] == supervisor.messages[0]["state"]["pid"] == pid
    result = runtime.call("exec", "c", "mkdir", "/dev/shm/x")
    assert "Structure needs cleaning" in result.stderr
    message = supervisor.messages[1]
    assert message["state"]["pid"] == pid
    assert message["state"]["status"] == "running"
    assert message["pid"] in supervisor.pids


def test_a_supervisor_is_not_asked_where_no_call_is_for_it(runtime, supervisor):
    runtime.config["linux"]["seccomp"]["syscalls"] = []
    os.unlink(supervisor.path)
    result = runtime.run("mkdir", "/dev/shm/x")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_supervisor_that_hangs_up(runtime):
    path = runtime.folder / "supervisor"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        runtime.config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(path),
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}
        runtime.create()
        listening.accept()[0].close()
    result = runtime.call("start", "c")
    assert result.returncode == 1
    assert "linux.seccomp.listenerPath: send(): Broken pipe" in result.stderr
    runtime.do("delete", "--force", "c")
    assert runtime.leftovers() == []


def test_the_path_of_a_supervisor_may_be_long(runtime, supervisor):
    folder = runtime.folder / ("x" * 200)
    folder.mkdir()
    os.rename(supervisor.path, folder / "supervisor")
    runtime.config["linux"]["seccomp"]["listenerPath"] = str(folder / "supervisor")
    result = runtime.run("mkdir", "/dev/shm/x")
    assert "Structure needs cleaning" in result.stderr


def test_no_listener_is_left_in_the_container(runtime, supervisor):
    out = runtime.run("ls", "-l", "/proc/self/fd").stdout
    assert "seccomp" not in out and "socket" not in out and "memfd" not in out
    assert wait_until(lambda: supervisor.messages)
