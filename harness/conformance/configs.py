"""Stage 11 beside crun and runc, on generated configs: good ones, strange ones and bad ones.

    sudo bazel run //harness/conformance:configs -- [--vm] [--seed 1] [--count 100] [--show 17]

Each runtime runs each config to its end, which gives an exit status; and creates, starts, kills and
deletes it, which gives the state, and a process that the harness's probe and /proc describe. The
table says how often the runtimes agree. If ours agrees with neither of the others, and is not
merely stricter, the exit status is 1, and a second table has the first difference.
"""

from __future__ import annotations

import collections
import copy
import itertools
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from harness.conformance import places

Json = Dict[str, Any]
NONCE = "conformance"
TIME_LIMIT = 60
LOOKS = ("hello", "arguments", "cwd", "hostname", "loopback", "personality",
         "read=/proc/keys", "read=/proc/sys/kernel/msgmax", "read=/proc/sys/net/ipv4/ip_forward",
         "write=/root-is-writable", "write=/tmp/x", "list=/dev", "list=/data", "list=/scratch")
CAPABILITIES = ("CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SETUID", "CAP_SYS_CHROOT",
                "CAP_NET_BIND_SERVICE", "CAP_MKNOD")
SETS = ("bounding", "permitted", "effective", "inheritable", "ambient")
SET_ASIDE = """Not compared: crun's link `/dev/core`; `nodev` of our root directory, whose devices
are in `/dev`; the order in which a directory lists its files; what it is that hides a masked
path."""
OF_SPECIFICATION = {"ociVersion", "id", "status", "pid", "bundle", "annotations"}

# --- The configs --------------------------------------------------------------------------------


def plain() -> Json:
    def mount(where: str, kind: str, *options: str) -> Json:
        return {"destination": where, "type": kind, "source": kind, "options": list(options)}

    return {
        "ociVersion": "1.0.2",
        "process": {"terminal": False, "user": {"uid": 0, "gid": 0}, "cwd": "/",
                    "args": ["/probe", NONCE, *LOOKS], "env": ["PATH=/bin:/usr/bin"],
                    "capabilities": {name: ["CAP_KILL"] for name in SETS[:3]},
                    "noNewPrivileges": True},
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "generated",
        "mounts": [mount("/proc", "proc", "nosuid", "noexec", "nodev"),
                   mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
                   mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666",
                         "mode=0620"),
                   mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777",
                         "size=65536k"),
                   mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev")],
        "linux": {"namespaces": [{"type": kind} for kind in
                                 ("pid", "network", "ipc", "uts", "mount", "cgroup")],
                  "maskedPaths": ["/proc/kcore", "/proc/keys"],
                  "readonlyPaths": ["/proc/sys", "/proc/irq"]},
    }


def without_namespace(config: Json, kind: str) -> None:
    config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"]
                                     if one["type"] != kind]


def choose_namespaces(config: Json, dice: random.Random) -> None:
    kind = dice.choice(("network", "ipc", "uts", "cgroup", "pid", "user"))
    if kind == "user":
        config["linux"]["namespaces"].append({"type": "user"})
        for what in ("uidMappings", "gidMappings"):
            config["linux"][what] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    else:
        without_namespace(config, kind)
        if kind == "uts" and dice.random() < 0.7:
            del config["hostname"]


def choose_mounts(config: Json, dice: random.Random) -> None:
    flags = dice.sample(("nosuid", "nodev", "noexec", "noatime"), dice.randrange(4))
    if dice.random() < 0.5:
        config["mounts"].append({"destination": "/scratch", "type": "tmpfs", "source": "scratch",
                                 "options": [*flags, *dice.choice(
                                     (["size=1m"], ["ro"], ["mode=700", "size=64k"], []))]})
    else:
        config["mounts"].append({"destination": "/data", "type": "bind", "source": "BUNDLE/data",
                                 "options": [dice.choice(("bind", "rbind")), *flags, *dice.choice(
                                     (["ro"], ["rw"], [], ["rprivate"], ["rslave", "ro"]))]})


def choose_capabilities(config: Json, dice: random.Random) -> None:
    chosen = dice.sample(CAPABILITIES, dice.randrange(1, 6))
    config["process"]["capabilities"] = {
        name: list(chosen) for name in SETS[:dice.randrange(3, 6)]}
    config["process"]["noNewPrivileges"] = dice.random() < 0.5


def choose_limits(config: Json, dice: random.Random) -> None:
    config["process"]["rlimits"] = [
        {"type": f"RLIMIT_{name}", "soft": soft, "hard": soft + dice.choice((0, 1))}
        for name, soft in dice.sample((("NOFILE", 64), ("CORE", 0), ("NPROC", 500),
                                       ("FSIZE", 1 << 20), ("STACK", 1 << 20)), 2)]
    if dice.random() < 0.5:
        config["process"]["oomScoreAdj"] = dice.choice((0, 100, 1000))


def choose_user(config: Json, dice: random.Random) -> None:
    config["process"]["user"] = {"uid": dice.choice((0, 1, 1000)), "gid": dice.choice((0, 5, 1000))}
    if dice.random() < 0.5:
        config["process"]["user"]["additionalGids"] = dice.sample((1, 7, 2000), 2)
    if dice.random() < 0.5:
        config["process"]["user"]["umask"] = dice.choice((0o22, 0o77, 0o2))


def choose_sysctl(config: Json, dice: random.Random) -> None:
    name, value = dice.choice((("net.ipv4.ip_forward", "1"), ("kernel.msgmax", "4096"),
                               ("net.ipv4.ip_default_ttl", "32"), ("kernel.domainname", "example")))
    config["linux"]["sysctl"] = {name: value}


def choose_paths(config: Json, dice: random.Random) -> None:
    config["linux"]["maskedPaths"] = dice.sample(
        ("/proc/keys", "/proc/acpi", "/bin", "/etc", "/not-there"), 3)
    config["linux"]["readonlyPaths"] = dice.sample(("/proc/sys", "/dev", "/not-there", "/tmp"), 2)
    config["root"]["readonly"] = dice.random() < 0.5


def choose_process(config: Json, dice: random.Random) -> None:
    config["process"]["cwd"] = dice.choice(("/", "/bin", "/made/by/the/runtime"))
    config["root"]["readonly"] = dice.random() < 0.5
    config["process"]["env"] = dice.sample(("PATH=/bin", "A=b", "A=c", "EMPTY=", "A B=c d"), 3)
    config["hostname"] = dice.choice(("x", "a-longer-name.example.org"))


def choose_hooks(config: Json, dice: random.Random) -> None:
    kind = dice.choice(("prestart", "createRuntime", "poststart", "poststop"))
    config["hooks"] = {kind: [{
        "path": dice.choice(("/bin/sh", "/bin/sh", "/not-there")),
        "args": ["sh", "-c", f"cat >/dev/null; echo {kind} >>BUNDLE/hooks; exit"
                 f" {dice.choice((0, 0, 3))}"]}]}


def choose_filter(config: Json, dice: random.Random) -> None:
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": [dice.choice(("mkdir", "sethostname", "getcwd"))],
                      "action": "SCMP_ACT_ERRNO", **dice.choice(({}, {"errnoRet": 38}))}]}


def spoil(config: Json, dice: random.Random) -> None:
    """What a runtime must or may refuse."""
    process, linux = config["process"], config["linux"]
    mounts: List[Json] = config["mounts"]
    deeds: Tuple[Callable[[], Any], ...] = (
        lambda: process.pop("args"),
        lambda: process.update(args=[]),
        lambda: process.update(args=["/not-there"]),
        lambda: process.update(args=["/etc"]),
        lambda: process.update(cwd="relative"),
        lambda: process.pop("cwd"),
        lambda: config.pop("ociVersion"),
        lambda: config.update(ociVersion="one"),
        lambda: config["root"].update(path="not-there"),
        lambda: config.pop("root"),
        lambda: linux["namespaces"].append({"type": "moon"}),
        lambda: linux["namespaces"].append({"type": "pid"}),
        lambda: linux["namespaces"].append({"type": "network", "path": "/not-there"}),
        lambda: process.update(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 10}]),
        lambda: process.update(rlimits=[{"type": "RLIMIT_MOON", "soft": 1, "hard": 1}]),
        lambda: process["capabilities"].update(effective=["CAP_KILL", "CAP_CHOWN"]),
        lambda: mounts.append({"destination": "/x", "type": "bind", "source": "/not-there",
                               "options": ["bind"]}),
        lambda: mounts.append({"destination": "/x", "type": "moonfs", "source": "x"}),
        lambda: mounts.append({"destination": "/x", "type": "tmpfs", "source": "x",
                               "options": ["size=much"]}),
        lambda: linux.update(sysctl={"kernel.panic": "1"}),
        lambda: linux.update(sysctl={"not.there": "1"}),
        lambda: linux.update(seccomp={"defaultAction": "SCMP_ACT_MOON"}),
        lambda: (without_namespace(config, "network"),
                 linux.update(sysctl={"net.ipv4.ip_forward": "1"})),
        lambda: process["user"].update(uid=-1),
        lambda: config.update(process=None),
        lambda: config.update(hostname=7),
    )
    dice.choice(deeds)()


CHOICES = (choose_namespaces, choose_mounts, choose_capabilities, choose_limits, choose_user,
           choose_sysctl, choose_paths, choose_process, choose_hooks, choose_filter)


def generate(seed: int, number: int) -> Tuple[str, Json]:
    """The config with that number, and what was chosen for it."""
    dice = random.Random(f"{seed}.{number}")
    config = plain()
    chosen = dice.sample(CHOICES, dice.choice((1, 1, 2, 3)))
    for choose in chosen:
        choose(config, dice)
    words = [choose.__name__[len("choose_"):] for choose in chosen]
    if dice.random() < 0.25:
        spoil(config, dice)
        words.append("spoilt")
    return "+".join(words), config


# --- What a runtime makes of one ----------------------------------------------------------------


class Tried:
    """One runtime with a bundle of its own."""

    def __init__(self, name: str, words: List[str], folder: pathlib.Path) -> None:
        self.why = ""  # what the last run said
        self.folder = folder / name
        self.bundle = self.folder / "bundle"
        self.words = [*words, "--root", str(self.folder / "state")]
        (self.bundle / "rootfs").mkdir(parents=True)
        with tarfile.open("rootfs/rootfs.tar") as tar:
            tar.extractall(self.bundle / "rootfs")
        shutil.copy("harness/probe/static/probe", self.bundle / "rootfs/probe")
        for path in (self.bundle / "data", self.bundle / "rootfs/data"):
            path.mkdir()
        (self.bundle / "data/file").touch()
        for path in (self.folder, self.bundle):
            path.chmod(0o755)

    def call(self, *words: str, timeout: Optional[float] = TIME_LIMIT) -> int:
        """Its exit status. The output goes to a file, because a container keeps it open."""
        with open(self.folder / "output", "w+", encoding="utf-8") as output:
            try:
                return subprocess.run([*self.words, *words], stdin=subprocess.DEVNULL,
                                      stdout=output, stderr=output, timeout=timeout,
                                      check=False).returncode
            except subprocess.TimeoutExpired:
                return -1

    def said(self) -> str:
        return (self.folder / "output").read_text(encoding="utf-8", errors="replace")

    def state(self) -> Json:
        done = subprocess.run([*self.words, "state", "c"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False,
                              timeout=TIME_LIMIT)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def write(self, config: Json, *last: str) -> None:
        config = copy.deepcopy(config)
        if runs_probe(config):
            config["process"]["args"] += last
        text = json.dumps(config).replace("BUNDLE", str(self.bundle))
        (self.bundle / "config.json").write_text(text)
        (self.bundle / "hooks").unlink(missing_ok=True)

    def hooks(self) -> str:
        path = self.bundle / "hooks"
        return path.read_text() if path.exists() else ""

    def outcome(self, config: Json) -> Json:
        seen: Json = {}
        self.write(config, "exit=7")
        seen["exit status"] = self.call("run", "--bundle", str(self.bundle), "c")
        self.why = self.said()
        seen["what the probe saw"] = self.answers()
        seen["hooks that were run"] = self.hooks()
        self.call("delete", "--force", "c")
        self.write(config, "sleep_ms=60000")
        pid_file = self.folder / "pid"
        seen["create"] = self.call("create", "--bundle", str(self.bundle), "--pid-file",
                                   str(pid_file), "c")
        if seen["create"] == 0:
            state = self.state()
            seen["state"] = sorted(OF_SPECIFICATION & set(state)), state.get("status")
            seen["start"] = self.call("start", "c")
            if seen["start"] == 0 and runs_probe(config):
                seen.update(self.looks_of(int(pid_file.read_text()), config))
            self.call("kill", "c", "KILL")
            self.wait_until_stopped()
            seen["state at the end"] = self.state().get("status")
            seen["delete"] = self.call("delete", "c")
        seen["what is left"] = self.state() != {}
        self.call("delete", "--force", "c")
        return seen

    def answers(self) -> List[str]:
        lines = []
        for line in self.said().splitlines():
            if NONCE in line and line.startswith("{"):
                answer = json.loads(line)
                for changing in ("pid", "ppid", "sid", "pgid", "time", "nonce"):
                    answer.pop(changing, None)
                if answer["verb"] == "read=/proc/keys":
                    answer = {"/proc/keys is masked": answer.get("size") == 0}
                if "names" in answer:
                    answer["names"] = sorted(set(answer["names"]) - {"core"})
                lines.append(json.dumps(answer, sort_keys=True))
        return lines

    def wait_until_stopped(self) -> None:
        end = time.monotonic() + TIME_LIMIT
        while self.state().get("status") not in ("stopped", None) and time.monotonic() < end:
            time.sleep(0.02)

    @staticmethod
    def looks_of(pid: int, config: Json) -> Json:
        """Its process, as the world's /proc shows it."""
        proc = pathlib.Path("/proc", str(pid))
        end = time.monotonic() + TIME_LIMIT
        while "probe" not in (proc / "comm").read_text() and time.monotonic() < end:
            time.sleep(0.01)
        status = dict(line.split(":\t", 1) for line in
                      (proc / "status").read_text().splitlines() if ":\t" in line)
        looks: Json = {key: status[key].strip() for key in (
            "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
            "NoNewPrivs", "Seccomp", "Umask")}
        looks["oom_score_adj"] = (proc / "oom_score_adj").read_text()
        looks["limits"] = [line for line in (proc / "limits").read_text().splitlines()
                           if "open files" in line or "core" in line or "stack" in line
                           or "file size" in line or "processes" in line]
        looks["namespaces of its own"] = sorted(
            name for name in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
            if os.readlink(proc / "ns" / name) != os.readlink(f"/proc/self/ns/{name}"))
        special = [*config["linux"].get("maskedPaths", []),
                   *config["linux"].get("readonlyPaths", [])]
        looks["mounts"] = mounts_of(proc, special)
        return looks


def runs_probe(config: Json) -> bool:
    return ((config["process"] or {}).get("args") or [""])[0] == "/probe"


def mounts_of(proc: pathlib.Path, special: List[str]) -> List[str]:
    """Place, type and flags. Of masks only the place, because what hides a file does not matter,
    and the probe reads some."""
    lines = []
    for line in (proc / "mountinfo").read_text().splitlines():
        left, right = line.split(" - ")
        place, flags = left.split()[4:6]
        words = [word for word in flags.split(",") if word in (
            "ro", "nosuid", "nodev", "noexec", "noatime", "relatime")]
        if place == "/" and "nodev" in words:
            words.remove("nodev")
        lines.append(place if place in special else " ".join(
            [place, right.split()[0], *words]))
    return sorted(lines)


# --- The comparison -----------------------------------------------------------------------------


def differences(one: Json, other: Json) -> List[str]:
    return [key for key in {**one, **other} if one.get(key) != other.get(key)]


def has_more_flags(ours: Json, theirs: Json) -> bool:
    """Whether only the mounts differ, and ours have all flags of theirs, and some more."""
    if differences(ours, theirs) != ["mounts"]:
        return False
    flags = [{tuple(line.split()[:2]): set(line.split()[2:]) for line in seen["mounts"]}
             for seen in (ours, theirs)]
    return flags[0].keys() == flags[1].keys() and all(
        flags[0][mount] >= flags[1][mount] for mount in flags[1])


def told(seen: Dict[str, Json], said: Dict[str, str], name: str, key: str) -> str:
    """What is this runtime's alone, or what it said."""
    value = seen[name].get(key)
    if isinstance(value, list):
        common = set.intersection(*(set(one.get(key) or []) for one in seen.values()))
        value = ", ".join(item for item in value if item not in common)
    text = f"{value} {said[name].strip()[-100:]}"
    return text.replace("|", " ").replace("\n", " ").replace("`", " ").strip()[:160]


def compare(seed: int, numbers: range, show: Optional[int]) -> Tuple[str, bool]:
    """The tables, and whether ours agrees each time with another one, or is stricter."""
    agreeing: Dict[str, int] = collections.Counter()
    lines = []
    with tempfile.TemporaryDirectory(prefix="configs-", dir="/tmp") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        tried = {name: Tried(name, words, folder)
                 for name, words in places.runtimes().items()}
        others = [name for name in tried if name != places.OURS]
        for number in numbers:
            what, config = generate(seed, number)
            seen, said = {}, {}
            for name, runtime in tried.items():
                seen[name] = runtime.outcome(config)
                said[name] = "" if seen[name]["exit status"] == 7 else runtime.why
            if show is not None:
                print(json.dumps(config, indent=1), json.dumps(seen, indent=1), said)
            for one, other in itertools.combinations(tried, 2):
                agreeing[f"{one} and {other} agree"] += not differences(seen[one], seen[other])
            ours = seen[places.OURS]
            found = [differences(ours, seen[other]) for other in others]
            if not all(found):
                continue
            if any(has_more_flags(ours, seen[other]) for other in others):
                agreeing["only ours has more flags on a mount"] += 1
                continue
            lines.append([str(number), what, found[0][0],
                          *(told(seen, said, name, found[0][0]) for name in tried)])
            print(*lines[-1], sep="\t", file=sys.stderr, flush=True)
    result = [places.table([f"of {len(numbers)} configs", "in all that is compared"],
                           [[str(number), what] for what, number in agreeing.items()]), SET_ASIDE]
    if lines:
        result.append(places.table(["config", "chosen", "differs in", *tried], lines))
    return "\n\n".join(result), not lines


def main() -> int:
    parser = places.parser_of("configs", __doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--show", type=int, metavar="NUMBER", help="all about one config")
    arguments = parser.parse_args()
    words = ["--seed", str(arguments.seed), "--count", str(arguments.count),
             *(["--show", str(arguments.show)] if arguments.show is not None else [])]
    if arguments.vm:
        return places.run_in_vm(arguments.kernel, "configs", words)
    if not arguments.inside:
        return places.run_inside("configs", words)
    numbers = range(arguments.count)
    if arguments.show is not None:
        numbers = range(arguments.show, arguments.show + 1)
    tables, agrees = compare(arguments.seed, numbers, arguments.show)
    print(tables)
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
