"""What a container, a bundle and a killed runtime cannot do."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from conftest import wait_until
from oci_runtime import NEEDS_ROOT, PROGRAM, make_runtime

__all__ = ["make_runtime"]  # a fixture
pytestmark = NEEDS_ROOT


def test_a_killed_creation_is_removed_by_delete_force(runtime):
    """The runtime is killed after each of its first milliseconds."""
    for delay in range(0, 60, 6):
        runtime.write_config()
        with subprocess.Popen(runtime.words("create", "--bundle", runtime.bundle, "c"),
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            time.sleep(delay / 1000)
            process.kill()
        runtime.do("delete", "--force", "c")
        assert runtime.leftovers() == []


def test_the_program_in_the_container_is_not_the_hosts_file(runtime):
    """CVE-2019-5736: without a user namespace, root inside could write to it."""
    pid = runtime.create()
    host = PROGRAM.stat()
    inside = os.stat(f"/proc/{pid}/exe")
    assert (inside.st_dev, inside.st_ino) != (host.st_dev, host.st_ino)
    with pytest.raises(OSError):
        os.close(os.open(f"/proc/{pid}/exe", os.O_WRONLY))


@pytest.mark.parametrize("command", ["run", "exec"])
@pytest.mark.parametrize("way", ["cwd", "command"])
def test_no_descriptor_leads_to_the_host(runtime, command, way):
    """CVE-2024-21626: the working directory, or the command, is below a descriptor that the runtime
    has. One is there for certain, which our caller has left open; a working directory may not even
    lead through one that they pass on."""
    (runtime.folder / "secret").write_text("secret")
    host = os.open("/", os.O_RDONLY)
    if command == "exec":
        runtime.create()
        runtime.do("start", "c")
    reached = []
    for number in range(3, 20):
        cwd = f"/proc/self/fd/{number}"
        program = ["cat", f"..{runtime.folder}/secret"]
        if way == "command":
            program = [f"{cwd}{runtime.bundle}/rootfs/bin/busybox", "echo", "secret"]
            cwd = "/"
        passed = ["--preserve-fds", str(host - 2)] if way == "cwd" else []
        how = {"pass_fds": [*range(3, host), host]} if passed else {"pass_fds": [host]}
        if command == "exec":
            result = runtime.call("exec", *passed, "--cwd", cwd, "c", *program, **how)
        else:
            runtime.config["process"].update(args=program, cwd=cwd)
            runtime.write_config()
            result = runtime.call("run", *passed, "--bundle", runtime.bundle, "r", **how)
        if "secret" in result.stdout:
            reached.append(number)
    os.close(host)
    assert reached == []


# A process that does not exist a moment later can be found only by looking all the time.
SPY = """
echo ready
while :; do
    for process in /proc/[0-9]*; do
        for way in root cwd fd/3 fd/4 fd/5 fd/6 fd/7 fd/8 fd/9 fd/10 fd/11 fd/12; do
            if test -e $process/$way/../../../../../../../../../..$1; then
                echo "$process/$way"
            fi
        done
    done
done
"""


def test_a_container_that_may_trace_sees_no_file_of_the_host_while_exec_joins_it(runtime):
    """CVE-2016-9962: with CAP_SYS_PTRACE, and without a user namespace, root inside may look into
    each process that its /proc has. What exec starts must be in the container by then."""
    secret = runtime.folder / "secret"
    secret.write_text("")
    for capabilities in runtime.config["process"]["capabilities"].values():
        capabilities.append("CAP_SYS_PTRACE")
    runtime.config["process"]["args"] = ["sh", "-c", SPY, "spy", str(secret)]
    runtime.create()
    runtime.do("start", "c")
    assert wait_until(lambda: "ready" in runtime.output())
    for _ in range(30):
        assert runtime.do("exec", "c", "echo", "joined") == "joined\n"
    assert runtime.output() == "ready\n"
