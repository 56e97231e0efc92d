"""The virtual machine: commands in it, its confinement, and that it always ends."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import pathlib
import subprocess
import sys
import time
from typing import Callable, Iterator

import pytest

from harness.agent_client import Agent
from harness.vm import image, snapshot, vm as vm_module
from harness.vm.image import VmError
from harness.vm.vm import EMULATION, Vm

KERNEL = os.environ.get("VM_KERNEL", image.DEFAULT_KERNEL)


@pytest.fixture(scope="module")
def vm() -> Iterator[Vm]:
    with Vm(KERNEL, [os.environ["HARNESS_AGENT"]]) as started:
        yield started


def sh(vm: Vm, script: str, user: bool = False, **options) -> subprocess.CompletedProcess:
    return vm.run("sh", "-c", script, user=user, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                  text=True, timeout=60, **options)


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


# --- Commands -------------------------------------------------------------------------------------


def test_streams_and_status_are_the_commands(vm):
    done = sh(vm, "cat; echo err >&2; exit 3", input="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, "in\n", "err\n")


def test_bytes_arrive_as_they_are(vm):
    data = os.urandom(1 << 20)
    done = vm.run("cat", input=data, stdout=subprocess.PIPE, timeout=60)
    assert done.stdout == data


@pytest.mark.parametrize("command, status", [
    (["sh", "-c", "kill -KILL $$"], 137), (["no-such-command"], 127), (["/etc/passwd"], 126),
    (["printf", "%s.", "two words", "$HOME", "*", "'\""], 0)])
def test_the_status_is_a_shells(vm, command, status):
    done = vm.run(*command, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == status
    if command[0] == "printf":
        assert done.stdout == "two words.$HOME.*.'\"."


def test_its_kernel_is_the_one_that_was_asked_for(vm):
    release = sh(vm, "uname -r").stdout
    assert release.startswith(f"{KERNEL}.") and f"cloud-{image.NATIVE}" in release


@pytest.mark.parametrize("machine, architecture", [(62, "amd64"), (183, "arm64")])
def test_its_architecture_is_that_of_its_programs(tmp_path, machine, architecture):
    script, program = tmp_path / "script", tmp_path / "program"
    script.write_text("#!/bin/sh\n")
    program.write_bytes(b"\x7fELF".ljust(18, b"\0") + machine.to_bytes(2, "little"))
    made = Vm(KERNEL, [str(script), str(program)])
    assert made.architecture == architecture
    foreign = "" if architecture == image.NATIVE else f":{architecture}"
    assert made.name == f"vm:{KERNEL}{foreign}"
    assert Vm(KERNEL, [str(script)]).architecture == image.NATIVE


def test_sessions_run_at_once(vm):
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda number: sh(vm, f"sleep 3; echo {number}").stdout, range(8)))
    assert outputs == [f"{number}\n" for number in range(8)]
    assert time.monotonic() - start < 20


def test_what_containers_need_is_there(vm):
    script = """
        set -e
        for controller in cpu memory pids io; do
          grep -qw $controller /sys/fs/cgroup/cgroup.subtree_control
        done
        test -c /dev/net/tun && test -w /dev/net/tun
        for tool in nft ip slirp4netns pasta newuidmap strace; do command -v $tool; done
        unshare -n sh -c 'ip link add type veth && ip link add type bridge && nft add table ip x'
        mkdir /tmp/l /tmp/u /tmp/w /tmp/m
        mount -t overlay -o lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w overlay /tmp/m ||
          mount -t overlay -o lowerdir=/tmp/l,upperdir=/root,workdir=/root overlay /tmp/m
        grep -x user:100000:65536 /etc/subuid"""
    done = sh(vm, script)
    assert done.returncode == 0, done.stderr


# --- A second terminal ----------------------------------------------------------------------------


def join(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-B", "-m", "harness.vm", "--join", *words],
                          capture_output=True, text=True, timeout=60, check=False)


def test_a_second_terminal_joins_the_machine_and_does_not_end_it(vm):
    vm.invite()
    sh(vm, "echo here >/tmp/mark")
    done = join("cat", "/tmp/mark")
    assert (done.returncode, done.stdout) == (0, "here\n"), done.stderr
    assert join("--user", "--", "id", "-u").stdout == "1000\n"
    assert join("sh", "-c", "exit 3").returncode == 3
    assert sh(vm, "cat /tmp/mark").stdout == "here\n"


def test_a_machine_that_has_ended_or_invites_nobody_cannot_be_joined(vm, monkeypatch, tmp_path):
    monkeypatch.setattr(vm_module, "PREFIX", "box-vm-none-")  # without those of other tests
    with pytest.raises(VmError, match="no virtual machine of yours runs .*\n?hint: "):
        with vm_module.joined():
            pass
    monkeypatch.undo()
    (tmp_path / "invites").touch()
    assert not vm_module.is_in_use(tmp_path) and vm_module.is_in_use(vm.folder)


# --- The ordinary user ----------------------------------------------------------------------------


def test_the_ordinary_user_has_a_delegated_cgroup(vm):
    script = """
        set -e
        id -u
        cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)
        mkdir inner box
        echo $$ >inner/cgroup.procs
        echo '+cpu +memory +pids' >cgroup.subtree_control
        echo '20000 100000' >box/cpu.max
        cat box/cpu.max
        rmdir box
        ! echo 1 >memory.max"""
    done = sh(vm, script, user=True)
    assert (done.returncode, done.stdout) == (0, "1000\n20000 100000\n"), done.stderr


# Attempts to reply in the place of an agent, or to end the machine.
FORGERIES = {
    "the port": "for port in /dev/vport*; do echo forged >$port && exit 0; done; exit 1",
    "sshd's end of it": "echo forged >/proc/$(pgrep -x sshd | head -n 1)/fd/0",
    "the agent's output": "echo forged >/proc/$(pgrep -x agent | head -n 1)/fd/1",
    "the agent": "kill -STOP $(pgrep -x agent | head -n 1)",
    "its memory": "head -c 1 /proc/$(pgrep -x agent | head -n 1)/mem",
    "the programs": "echo forged >/box/call",
    "the machine's ports": "head -c 1 /dev/port",
    "PID 1": "kill -KILL 1",
    "root": "su -c true </dev/null",
}


@pytest.mark.parametrize("script", FORGERIES.values(), ids=FORGERIES)
def test_the_ordinary_user_cannot_speak_for_the_agent(vm, script):
    with Agent(os.environ["HARNESS_AGENT"], own_host=False, place=vm) as agent:
        there = {"env": {"PATH": "/usr/bin:/bin"}, "time_limit": 30.0}
        assert agent.run(["/bin/sh", "-c", "pgrep -x agent && pgrep -x sshd"], **there)["exit"] == 0
        done = agent.run(["/bin/sh", "-c", script], user={"uid": 1000}, **there)
        assert done["exit"] != 0 and done["stderr"], done
        assert agent.ask("hello")["uid"] == 0


def test_even_root_cannot_open_the_port_a_second_time(vm):
    done = sh(vm, "for port in /dev/vport*; do echo forged >$port; done")
    assert done.returncode != 0 and "busy" in done.stderr


# --- QEMU -----------------------------------------------------------------------------------------


def test_qemu_is_confined(vm):
    process = pathlib.Path(f"/proc/{vm.qemu.pid}")
    assert "qemu-system" in (process / "cmdline").read_text()
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines()
                  if ":\t" in line)
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    limits = (process / "limits").read_text()
    assert f"{vm_module.ADDRESS_SPACE}" in limits and f"{vm_module.WRITTEN}" in limits
    if os.geteuid() == 0:
        assert status["Uid"].split() == [str(vm_module.NOBODY)] * 4
        assert int(status["CapBnd"], 16) == 0
        assert os.readlink(process / "ns/net") != os.readlink("/proc/self/ns/net")
    assert sh(vm, "ls /sys/class/net").stdout.split() == ["dummy0", "lo"]


HARNESS = """
import os, sys, time
from harness.vm.vm import Vm
with Vm(sys.argv[1]) as vm:
    print(vm.qemu.pid, vm.ssh.pid, vm.folder, vm.run("true").returncode, flush=True)
    time.sleep(600)
"""


def test_two_run_at_once_and_with_the_harness_ends_its_own(vm):
    harness = subprocess.Popen([sys.executable, "-B", "-c", HARNESS, KERNEL], text=True,
                               stdout=subprocess.PIPE)
    try:
        qemu, ssh, folder, status = harness.stdout.readline().split()
        assert status == "0"
        assert sh(vm, "echo still here").stdout == "still here\n"
    finally:
        harness.kill()
        harness.wait()
    for process in (qemu, ssh):
        assert wait_until(lambda: is_gone(process)), f"{process} still runs"
    assert pathlib.Path(folder).exists()  # no process was left to remove it
    os.utime(folder, (0, 0))
    os.utime(vm.folder, (0, 0))
    vm_module.remove_left_folders()
    assert not pathlib.Path(folder).exists() and vm.folder.exists()


def is_gone(process: str) -> bool:
    try:
        status = pathlib.Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def impatient(monkeypatch) -> None:
    """One attempt, and not for long."""
    monkeypatch.setattr(vm_module, "kvm_may_work", lambda: False)
    monkeypatch.setattr(vm_module, "EMULATION", dataclasses.replace(EMULATION, up_within=3.0))
    monkeypatch.setattr(vm_module, "EMULATED_ATTEMPTS", 1)


def test_a_machine_that_never_comes_up_is_ended(impatient):
    machine = Vm(KERNEL, restores=False)
    machine.kernel_words = machine.kernel_words.replace("/init", "/bin/busybox") + " -- sleep 1000"
    start = time.monotonic()
    with pytest.raises(VmError, match="did not start within 3 s"):
        machine.boot()
    assert time.monotonic() - start < 10 and machine.qemu is None and machine.folder is None


def test_a_machine_that_ends_at_once_says_what_it_wrote(impatient, monkeypatch):
    monkeypatch.setattr(vm_module, "EMULATION", EMULATION)
    machine = Vm(KERNEL, restores=False)
    machine.kernel_words = machine.kernel_words.replace("/init", "/no-such-init")
    with pytest.raises(VmError, match="(?s)ended while it started.*Unable to mount root"):
        machine.boot()


def test_who_is_stopped_does_not_start_again():
    machine = Vm(KERNEL)
    machine.stop()
    with pytest.raises(VmError, match="the VM was stopped"):
        machine.boot()
    assert machine.qemu is None and machine.folder is None


def test_a_command_that_hangs_is_ended_by_the_limit():
    done = subprocess.run([sys.executable, "-B", "-m", "harness.vm", "--kernel", KERNEL,
                           "--time-limit", "1", "sleep", "600"], timeout=120, check=False)
    assert done.returncode == 124


def test_the_input_is_the_commands():
    """Nothing that runs in the machine while it starts takes any of it."""
    done = subprocess.run([sys.executable, "-B", "-m", "harness.vm", "--kernel", KERNEL, "cat"],
                          input=b"all of it\n", stdout=subprocess.PIPE, timeout=120, check=False)
    assert done.stdout == b"all of it\n"


# --- The snapshot ---------------------------------------------------------------------------------


@pytest.fixture
def emulated(monkeypatch) -> None:
    monkeypatch.setattr(vm_module, "kvm_may_work", lambda: False)


def was_restored(machine: Vm) -> bool:
    return "-incoming" in pathlib.Path(f"/proc/{machine.qemu.pid}/cmdline").read_text().split("\0")


def test_the_copies_of_a_machine_differ_in_what_has_to(emulated):
    own = []
    for _ in range(2):
        with Vm(KERNEL) as machine:
            assert was_restored(machine)
            assert abs(float(sh(machine, "date +%s.%N").stdout) - time.time()) < 10
            own.append(sh(machine, "cat /proc/sys/kernel/random/boot_id").stdout)
            done = sh(machine, "ls /root; echo mine >/root/left")
            assert (done.stdout, done.stderr) == ("", "")
    assert len(set(own)) == 2


def test_a_snapshot_that_cannot_be_restored_is_made_anew(emulated):
    snapshots = list(image.image_for(KERNEL).folder.glob("snapshot-*"))
    assert len(snapshots) == 1
    snapshots[0].write_bytes(snapshots[0].read_bytes()[:1 << 20])
    with Vm(KERNEL) as machine:
        assert not was_restored(machine)
        assert sh(machine, "echo here").stdout == "here\n"
    assert not snapshots[0].exists()
    with Vm(KERNEL) as machine:
        assert was_restored(machine)
    assert snapshots[0].stat().st_size > 16 << 20


def test_a_copy_that_is_slow_is_replaced_by_a_machine_that_starts(emulated, monkeypatch):
    monkeypatch.setattr(vm_module, "QUICK", 0.001)
    with Vm(KERNEL) as machine:
        assert not was_restored(machine)
        assert sh(machine, "echo here").stdout == "here\n"


def test_a_snapshot_is_of_one_image_and_one_qemu(tmp_path):
    made = []

    def make(path):
        path.write_text("memory")
        made.append(path)

    first = snapshot.snapshot_for(image.Image(tmp_path), ["echo", "QEMU 1"], make)
    assert snapshot.snapshot_for(image.Image(tmp_path), ["echo", "QEMU 1"], make) == first
    assert len(made) == 1
    second = snapshot.snapshot_for(image.Image(tmp_path), ["echo", "QEMU 2"], make)
    assert list(tmp_path.iterdir()) == [second] and second != first


def test_half_a_snapshot_is_none(tmp_path):
    def fail(path):
        path.write_text("half")
        raise OSError("no more room")

    with pytest.raises(VmError, match="no more room"):
        snapshot.snapshot_for(image.Image(tmp_path), ["echo"], fail)
    assert list(tmp_path.iterdir()) == []


# The last ones with this machine.


def test_a_machine_whose_init_ends_leaves_by_itself_and_starts_again(vm):
    sh(vm, "pkill sshd")
    assert vm.qemu.wait(timeout=30) == 0
    assert "panic" not in vm.said("console")
    vm.boot()
    assert sh(vm, "echo again").stdout == "again\n"


def test_it_starts_from_a_cache_that_is_closed_to_others():
    image.cache_directory().chmod(0o700)
    with Vm() as machine:
        assert sh(machine, "echo up").stdout == "up\n"


# --- The image ------------------------------------------------------------------------------------


@pytest.fixture
def cache(monkeypatch, tmp_path) -> pathlib.Path:
    """A cache of its own, in which images are made of nothing."""
    monkeypatch.setattr(image, "cache_directory", lambda: tmp_path)
    monkeypatch.setattr(image, "fill", lambda words, made: made.kernel.write_text(words[-2]))
    return tmp_path / "vm"


def test_an_image_is_made_once_and_anew_when_its_inputs_change(cache, monkeypatch, tmp_path):
    first = image.image_for("6.1")
    assert first.kernel.read_text() == "bookworm" and image.image_for("6.1") == first
    assert image.image_for("6.12") != first
    monkeypatch.setattr(image, "PACKAGES", image.PACKAGES + ("another",))
    second = image.image_for("6.1")
    other = tmp_path / "furnish"
    other.write_text(image.FURNISH.read_text() + "# changed\n")
    monkeypatch.setattr(image, "FURNISH", other)
    third = image.image_for("6.1")
    assert len({first, second, third}) == 3


def test_of_two_at_once_one_makes_the_image(cache, monkeypatch):
    made = []

    def fill(words, image_):
        time.sleep(0.3)
        made.append(words[-2])

    monkeypatch.setattr(image, "fill", fill)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        images = set(pool.map(lambda _: image.image_for("6.1"), range(4)))
    assert len(images) == 1 and made == ["bookworm"]


def test_half_an_image_is_none(cache, monkeypatch):
    def fail(words, image_):
        image_.kernel.write_text("half")
        raise VmError("no more room")

    monkeypatch.setattr(image, "fill", fail)
    with pytest.raises(VmError):
        image.image_for("6.1")
    assert list(cache.iterdir()) == []


SAID = {
    "E: Could not resolve 'deb.debian.org'": "the network",
    "newuidmap: uid range not allowed": "/etc/subuid" if os.geteuid() != 0 else "setup.sh",
    "something else": "setup.sh",
}


@pytest.mark.parametrize("said", SAID)
def test_a_failure_to_make_it_has_a_hint(said, monkeypatch, tmp_path):
    monkeypatch.setattr(image, "apt_options", lambda: [])
    with pytest.raises(VmError) as caught:
        image.fill(["sh", "-c", f'echo "{said}"; exit 1'], image.Image(tmp_path))
    assert said in str(caught.value)
    assert SAID[said] in str(caught.value).rpartition("hint: ")[2]


def test_a_kernel_that_is_none_is_refused():
    with pytest.raises(VmError, match="6.1, 6.12"):
        image.image_for("2.4")


def test_without_its_programs_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(vm_module, "TOOLS", ("sh", "no-such-tool"))
    with pytest.raises(VmError, match="no-such-tool is not installed\nhint: run ./setup.sh"):
        Vm(KERNEL).boot()
