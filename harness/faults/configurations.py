"""The configurations of a sweep: programs, each with options that use one feature."""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Tuple

FOLDER = "/tmp/faults"  # in a world: what the cases need, see world.py
ROOT = f"{FOLDER}/root"  # a root directory, with the probe in it
SUBORDINATE = 100000  # the first id of the ordinary user's in /etc/subuid


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One way to start a container."""

    name: str
    program: str  # of a stage, or "bwrap", "crun"
    options: Tuple[str, ...] = ()
    user: bool = False  # started by an ordinary user
    own_root: bool = True  # runs the probe in ROOT, otherwise a shell in the built-in root
    cold: Tuple[str, ...] = ()  # patterns: what is removed from the cache before each start
    terminal: bool = False
    bridge: bool = False  # it changes the host's network
    needs: str = ""  # "controllers": of cgroup v2; "tun": /dev/net/tun

    @property
    def is_stage(self) -> bool:
        return self.program[0].isdigit()

    @property
    def is_runtime(self) -> bool:
        """An OCI runtime."""
        return self.program in ("11_oci", "crun")

    @property
    def shares(self) -> bool:
        """Two of them share something: a cache, a port, the bridge."""
        return bool(self.cold) or "-p" in self.options

    @property
    def has_root(self) -> bool:
        """The container has another root directory than the host."""
        return not self.program.startswith("01")

    def words(self, program: str, command: List[str]) -> List[str]:
        """How `program`, which is this one, is started."""
        if self.program == "bwrap":
            return [program, "--unshare-all", "--die-with-parent", "--bind", ROOT, "/",
                    "--proc", "/proc", "--dev", "/dev", *command]
        if self.is_runtime:  # the command is in the bundle
            return [program, "--cgroup-manager=disabled", "run", "--bundle", f"{FOLDER}/bundle",
                    "faults"]
        root = ["--rootfs", ROOT] if self.own_root and self.has_root else []
        return [program, *root, *self.options, "--", *command]


def _stage(name: str, program: str, *options: str, **more: object) -> Configuration:
    return Configuration(name, program, options, **more)  # type: ignore[arg-type]


MAPS = ("--uid-map", "0:{uid}:1", "--uid-map", f"1:{SUBORDINATE}:100",
        "--gid-map", "0:{gid}:1", "--gid-map", f"1:{SUBORDINATE}:100", "-u", "user")
VOLUME = ("-v", f"{FOLDER}/volume:/volume:ro")
LIMITS = ("--cpus", "0.5", "--memory", "64m", "--pids-limit", "20")
PORTS = ("-p", "8080:80", "-p", "8053:53/udp")

CONFIGURATIONS: Dict[str, Configuration] = {one.name: one for one in [
    _stage("01", "01_exec"),
    _stage("02", "02_chroot"),
    _stage("02-cold", "02_chroot", own_root=False, cold=("rootfs-*",)),
    _stage("03-minimal", "03_userspace", "--userspace", "minimal", own_root=False,
           cold=("userspace-*",)),
    _stage("04", "04_namespaces"),
    _stage("04-init", "04_namespaces", "--init"),
    _stage("05", "05_userns"),
    _stage("05-user", "05_userns", user=True),
    _stage("05-user-maps", "05_userns", *MAPS, user=True),
    _stage("06", "06_pivot_root", *VOLUME, "--read-only", "--init"),
    _stage("06-user", "06_pivot_root", *VOLUME, user=True),
    _stage("06-terminal", "06_pivot_root", terminal=True),
    _stage("07", "07_cgroups", "--init"),
    _stage("07-user", "07_cgroups", user=True),
    _stage("07-limits", "07_cgroups", *LIMITS, needs="controllers"),
    _stage("07-limits-user", "07_cgroups", *LIMITS, user=True, needs="controllers"),
    _stage("08a", "08a_overlayfs", "--layer", f"{FOLDER}/layer"),
    _stage("08a-tar-cold", "08a_overlayfs", "--layer", f"{FOLDER}/layer.tar", cold=("layers/*",)),
    _stage("08a-keep", "08a_overlayfs", "--keep", f"{FOLDER}/keep"),
    _stage("08b", "08b_seccomp", "--cap-drop", "ALL", "--init", cold=("seccomp-*",)),
    _stage("08b-user", "08b_seccomp", user=True),
    _stage("08b-verbose", "08b_seccomp", "--verbose", "-u", "0:0"),
    _stage("08c-none", "08c_network", "--network", "none", "--init"),
    _stage("08c-none-user", "08c_network", "--network", "none", user=True),
    _stage("08c-terminal", "08c_network", "--network", "none", terminal=True),
    _stage("08c-limits", "08c_network", "--network", "none", *LIMITS, needs="controllers"),
    _stage("08c-bridge", "08c_network", "--network", "bridge", *PORTS, bridge=True),
    _stage("08c-pasta-user", "08c_network", "--network", "pasta", "-p", "18080:80", user=True,
           needs="tun"),
    _stage("08c-slirp-user", "08c_network", "--network", "slirp4netns", "-p", "18080:80",
           user=True, needs="tun"),
    _stage("08c-pasta", "08c_network", "--network", "pasta", "-p", "18080:80", needs="tun"),
    _stage("11", "11_oci"),
    Configuration("bwrap", "bwrap"),
    Configuration("bwrap-user", "bwrap", user=True),
    Configuration("crun", "crun"),
]}
