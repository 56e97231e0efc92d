"""Pods, as the kubelet asks containerd for them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from containerd import IMAGE, SOCKET, Containerd, make_containerd
from engine_world import NO_CONTROLLERS, TIMEOUT, wait_until

pytest.importorskip("grpc", reason="python3-grpcio is not installed: ./setup.sh --engines")

import grpc  # noqa: E402  # pylint: disable=wrong-import-position,wrong-import-order
from cri import CONTAINER, EXITED, NODE, POD, READY, RUNNING, Cri  # noqa: E402

__all__ = ["make_containerd"]  # a fixture

NUMBERS = itertools.count()
SLEEP = ["sleep", "1000000"]


@dataclass
class Pod:
    """A pod's sandbox: its first container, which does nothing and holds the namespaces."""

    engine: Containerd
    cri: Cri
    config: dict
    name: str = ""
    containers: list[str] = field(default_factory=list)

    def run(self) -> None:
        self.name = self.cri.call("RunPodSandbox", config=self.config,
                                  runtime_handler="hood").pod_sandbox_id

    def status(self):
        return self.cri.call("PodSandboxStatus", pod_sandbox_id=self.name).status

    def create(self, *command: str, **config) -> str:
        number = len(self.containers)
        config = {"metadata": {"name": f"c{number}"}, "image": {"image": IMAGE},
                  "command": list(command), "log_path": f"c{number}.log", **config}
        options = config.setdefault("linux", {}).setdefault("security_context", {})
        options.setdefault("namespace_options", {"pid": CONTAINER})
        name = self.cri.call("CreateContainer", pod_sandbox_id=self.name, config=config,
                             sandbox_config=self.config).container_id
        self.containers.append(name)
        return name

    def start(self, *command: str, **config) -> str:
        """A container that runs; its id."""
        name = self.create(*command, **config)
        self.cri.call("StartContainer", container_id=name)
        return name

    def state(self, name: str) -> int:
        return self.cri.call("ContainerStatus", container_id=name).status.state

    def exec(self, name: str, *command: str):
        return self.cri.call("ExecSync", container_id=name, cmd=command, timeout=int(TIMEOUT))

    def output(self, name: str, *command: str) -> str:
        result = self.exec(name, *command)
        assert result.exit_code == 0, result.stderr
        return result.stdout.decode()

    def log(self, name: str) -> list[str]:
        """Its lines, without their times."""
        path = self.engine.folder / "logs" / f"c{self.containers.index(name)}.log"
        return [line.partition(" ")[2] for line in path.read_text().splitlines()]

    def remove(self) -> None:
        self.cri.call("StopPodSandbox", pod_sandbox_id=self.name)
        self.cri.call("RemovePodSandbox", pod_sandbox_id=self.name)


@pytest.fixture(name="cri", scope="module")
def make_cri(containerd) -> Iterator[Cri]:
    cri = Cri(f"/proc/{containerd.pid()}/root{SOCKET}", TIMEOUT)
    yield cri
    cri.channel.close()


@pytest.fixture(name="pods")
def make_pods(containerd, cri) -> Iterator:
    """A function that makes pods."""
    made = []

    def make(hostname: str = "the-pod", **linux) -> Pod:
        number = next(NUMBERS)
        pod = Pod(containerd, cri, {
            "metadata": {"name": f"pod{number}", "uid": f"uid{number}", "namespace": "test"},
            "hostname": hostname, "log_directory": str(containerd.folder / "logs"),
            "dns_config": {"servers": ["10.22.0.1"]}, "linux": linux})
        pod.run()
        made.append(pod)
        return pod

    yield make
    for pod in made:
        pod.remove()
    assert containerd.leftovers() == []


@pytest.fixture(name="pod")
def make_pod(pods) -> Pod:
    return pods()


def test_life_of_a_pod(pod, cri):
    status = pod.status()
    assert (status.state, status.runtime_handler) == (READY, "hood")
    assert status.network.ip.startswith("10.22.")
    name = pod.start("sh", "-c", "echo out; echo err >&2; trap 'exit 7' TERM;"
                     "while :; do sleep 0.05; done")
    assert pod.state(name) == RUNNING
    result = pod.exec(name, "sh", "-c", "hostname; echo to stderr >&2; exit 5")
    assert (result.stdout, result.stderr, result.exit_code) == (b"the-pod\n", b"to stderr\n", 5)
    assert pod.output(name, "cat", "/etc/resolv.conf") == "nameserver 10.22.0.1\n"
    assert wait_until(lambda: sorted(pod.log(name)) == ["stderr F err", "stdout F out"])
    cri.call("StopContainer", container_id=name, timeout=int(TIMEOUT))
    ended = cri.call("ContainerStatus", container_id=name).status
    assert (ended.state, ended.exit_code) == (EXITED, 7)
    with pytest.raises(grpc.RpcError, match="not running|is in CONTAINER_EXITED"):
        pod.exec(name, "id")
    cri.call("RemoveContainer", container_id=name)
    with pytest.raises(grpc.RpcError, match="not found"):
        cri.call("ContainerStatus", container_id=name)


def test_a_command_that_ends_is_seen_to_end(pod, cri):
    name = pod.start("sh", "-c", "exit 3")
    assert wait_until(lambda: pod.state(name) == EXITED)
    ended = cri.call("ContainerStatus", container_id=name).status
    assert (ended.exit_code, ended.reason) == (3, "Error")


def test_a_container_that_ignores_the_signal_is_killed(pod, cri):
    name = pod.start(*SLEEP)  # PID 1
    before = time.monotonic()
    cri.call("StopContainer", container_id=name, timeout=1)
    assert time.monotonic() - before >= 1
    assert cri.call("ContainerStatus", container_id=name).status.exit_code == 137


def test_a_command_that_cannot_be_executed(pod, cri):
    name = pod.create("nothere")
    with pytest.raises(grpc.RpcError, match="executable file not found in"):
        cri.call("StartContainer", container_id=name)
    assert pod.state(name) == EXITED


def test_exec_ends_at_its_time_limit(pod, cri):
    name = pod.start(*SLEEP)
    with pytest.raises(grpc.RpcError, match="timeout 1s exceeded"):
        cri.call("ExecSync", container_id=name, cmd=["sleep", "777"], timeout=1)
    assert wait_until(lambda: "777" not in pod.output(name, "ps"))


def test_an_unknown_runtime_is_refused(containerd, cri):
    with pytest.raises(grpc.RpcError, match='no runtime for "other"'):
        cri.call("RunPodSandbox", runtime_handler="other", config={
            "metadata": {"name": "p", "uid": "u", "namespace": "test"}, "linux": {}})
    assert containerd.leftovers() == []


# --- What the containers of a pod share ---------------------------------------------------------


def namespace(pod: Pod, name: str, kind: str) -> str:
    return pod.output(name, "readlink", f"/proc/self/ns/{kind}")


def serve(pod: Pod, name: str) -> None:
    pod.output(name, "sh", "-c", "mkdir /tmp/w; echo hello >/tmp/w/index.html;"
               "httpd -p 8080 -h /tmp/w")


def get(pod: Pod, name: str, address: str):
    return pod.exec(name, "wget", "-q", "-O", "-", f"http://{address}:8080/")


def test_containers_of_a_pod_share_its_network_and_ipc(pod):
    one, two = pod.start(*SLEEP), pod.start(*SLEEP)
    for kind in ("net", "ipc", "uts"):
        assert namespace(pod, one, kind) == namespace(pod, two, kind)
    for kind in ("mnt", "pid"):
        assert namespace(pod, one, kind) != namespace(pod, two, kind)
    serve(pod, one)
    assert get(pod, two, "127.0.0.1").stdout == b"hello\n"


def test_pods_reach_each_other(pods):
    first, second = pods(), pods()
    server, client = first.start(*SLEEP), second.start(*SLEEP)
    serve(first, server)
    assert get(second, client, first.status().network.ip).stdout == b"hello\n"
    assert get(second, client, "127.0.0.1").exit_code != 0


def test_containers_that_share_the_pods_processes(pods):
    shared = {"namespace_options": {"pid": POD}}
    pod = pods(security_context=shared)
    one = pod.start(*SLEEP, linux={"security_context": shared})
    two = pod.start("sleep", "777", linux={"security_context": shared})
    assert namespace(pod, one, "pid") == namespace(pod, two, "pid")
    seen = pod.output(one, "ps")
    assert "777" in seen and seen.count("1000000") == 2  # the pod's own, and its own


def test_a_pod_with_the_network_of_the_node(pods, containerd):
    host = {"namespace_options": {"network": NODE}}
    pod = pods(hostname="", security_context=host)
    name = pod.start(*SLEEP)
    assert namespace(pod, name, "net") == containerd.do("readlink", "/proc/self/ns/net")


# --- What a container may -----------------------------------------------------------------------


def test_user_groups_and_environment(pod):
    name = pod.start(*SLEEP, working_dir="/tmp", envs=[{"key": "A", "value": "b"}], linux={
        "security_context": {"run_as_user": {"value": 5}, "run_as_group": {"value": 6},
                             "supplemental_groups": [7], "namespace_options": {"pid": CONTAINER}}})
    out = pod.output(name, "sh", "-c", "id -u; id -g; id -G; pwd; echo $A")
    assert out.splitlines() == ["5", "6", "6 7", "/tmp", "b"]


def test_a_volume_and_a_root_that_is_read_only(pod, containerd):
    volume = containerd.folder / "volume"
    volume.mkdir()
    (volume / "file").write_text("of the node")
    name = pod.start(*SLEEP, mounts=[
        {"container_path": "/data", "host_path": str(volume)},
        {"container_path": "/fixed", "host_path": str(volume), "readonly": True}], linux={
            "security_context": {"readonly_rootfs": True}})
    assert pod.output(name, "cat", "/fixed/file") == "of the node"
    pod.output(name, "touch", "/data/new")
    assert (volume / "new").exists()
    for path in ("/fixed/new", "/new"):
        assert b"Read-only file system" in pod.exec(name, "touch", path).stderr


def status_of(pod: Pod, name: str) -> dict[str, str]:
    text = pod.output(name, "cat", "/proc/self/status")
    pairs = [line.partition(":") for line in text.splitlines()]
    return {key: value.strip() for key, _, value in pairs}


def test_capabilities_and_masks(pod):
    name = pod.start(*SLEEP, linux={"security_context": {
        "capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["KILL"]},
        "no_new_privs": True, "masked_paths": ["/proc/keys"], "readonly_paths": ["/proc/sys"]}})
    seen = status_of(pod, name)
    assert (int(seen["CapBnd"], 16), int(seen["CapEff"], 16)) == (1 << 5, 1 << 5)
    assert seen["NoNewPrivs"] == "1"
    assert pod.output(name, "cat", "/proc/keys") == ""
    assert b"Read-only" in pod.exec(name, "sh", "-c", "echo x >/proc/sys/kernel/hostname").stderr


def test_a_privileged_container(pods):
    pod = pods(security_context={"privileged": True})
    name = pod.start(*SLEEP, linux={"security_context": {"privileged": True}})
    pod.output(name, "mount", "-t", "tmpfs", "tmpfs", "/tmp")
    assert status_of(pod, name)["Seccomp"] == "0"
    assert "full" in pod.output(name, "ls", "/dev")


def test_sysctls_of_a_pod(pods):
    settings = {"net.ipv4.ip_unprivileged_port_start": "77", "kernel.shmmni": "55"}
    pod = pods(sysctls=[{"key": key, "value": value} for key, value in settings.items()])
    name = pod.start(*SLEEP)
    for key, value in settings.items():
        assert pod.output(name, "cat", f"/proc/sys/{key.replace('.', '/')}") == value + "\n"


# --- Limits --------------------------------------------------------------------------------------


@pytest.fixture(name="limited")
def make_limited(containerd, pods) -> Pod:
    if not containerd.has_controllers():
        pytest.skip(NO_CONTROLLERS)
    return pods(cgroup_parent="/pods")


def test_limits_are_set_and_changed(limited, cri, containerd):
    name = limited.start(*SLEEP, linux={"resources": {
        "cpu_period": 100_000, "cpu_quota": 50_000, "memory_limit_in_bytes": 40 << 20}})
    cgroup = containerd.cgroup / "pods" / name
    assert (cgroup / "memory.max").read_text() == f"{40 << 20}\n"
    assert (cgroup / "cpu.max").read_text() == "50000 100000\n"
    cri.call("UpdateContainerResources", container_id=name,
             linux={"memory_limit_in_bytes": 30 << 20, "cpu_quota": 20_000, "cpu_period": 100_000})
    assert (cgroup / "memory.max").read_text() == f"{30 << 20}\n"
    assert (cgroup / "cpu.max").read_text() == "20000 100000\n"


def test_stats(limited, cri):
    name = limited.start("sh", "-c", "while :; do :; done")

    def stats():
        return cri.call("ContainerStats", container_id=name).stats

    assert wait_until(lambda: stats().cpu.usage_core_nano_seconds.value > 1_000_000)
    assert stats().memory.working_set_bytes.value > 0
    assert stats().attributes.id == name


def test_a_container_without_memory_is_reported(limited, cri):
    name = limited.start("tail", "/dev/zero", linux={
        "resources": {"memory_limit_in_bytes": 20 << 20}})
    assert wait_until(lambda: limited.state(name) == EXITED)
    ended = cri.call("ContainerStatus", container_id=name).status
    assert (ended.exit_code, ended.reason) == (137, "OOMKilled")
