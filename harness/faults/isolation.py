"""What isolates a container's command, as the host sees it while the command holds still; and in
what way two such views differ."""

from __future__ import annotations

import json
import re
from typing import Dict, List, Tuple

from harness.agent_client import Json

Key = Dict[str, str]

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
STATUS = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs",
          "Seccomp", "Seccomp_filters", "SigBlk", "SigIgn", "Umask")
FILES = ("uid_map", "gid_map", "setgroups", "limits", "environ", "timens_offsets", "oom_score_adj",
         "root/etc/hosts", "root/etc/resolv.conf")
# The probe does these, and reports the outcome, which is not visible from outside.
ASKS = ("hostname", "forbidden_calls", "new_namespaces")

# How to judge a difference.
WEAKER, STRONGER, COMFORT, CGROUP, OTHER = "weaker", "stronger", "comfort", "cgroup", "other"


def isolation_of(links: Json, files: Json, descriptors: Json, root_files: Json, host: Json
                 ) -> Key:
    """Everything that was seen of one command, without what differs from run to run."""
    key: Key = {}
    for name in NAMESPACES:
        inside, outside = links.get(f"ns/{name}"), host.get(f"ns/{name}")
        key[f"namespace {name}"] = "host" if inside == outside else "own"
    key["root"] = "host" if links.get("root") == "/" else "own"
    key["cwd"] = re.sub(r".*/containers-under-the-hood/", "CACHE/", steady(links.get("cwd") or ""))
    status = dict(line.split(":\t", 1) for line in files["status"].splitlines() if ":\t" in line)
    key.update({f"status {name}": status.get(name, "").strip() for name in STATUS})
    key["process group"] = "own" if status.get("NSpgid") == status.get("NSpid") else "shared"
    for name in FILES:
        key[name] = steady(files.get(name, ""))
    key["mounts"] = "\n".join(mounts_of(files["mountinfo"]))
    key["links"] = " ".join(sorted(line.split(":")[0].strip()
                                   for line in files["net/dev"].splitlines()[2:]))
    key["routes"] = str(len(files["net/route"].splitlines()))
    key["cgroup"] = " ".join(re.sub(r".*::", "", steady(line))
                             for line in files["cgroup"].splitlines() if line.startswith("0::"))
    key["descriptors"] = " ".join(sorted(f"{number}={kind_of_file(target)}"
                                         for number, target in descriptors.items()))
    for path, about in root_files.items():
        key[f"inside {path}"] = about
    return key


def steady(text: str) -> str:
    """Without the numbers that are chosen at random for each run."""
    text = re.sub(r"case-\d+", "case-N", text)
    text = re.sub(r"\b(rootfs|userspace-\w+)-[0-9a-f]{16}", r"\1-N", text)
    text = re.sub(r"\b(containers|hood|box)-[0-9a-f]+", r"\1-N", text)
    return re.sub(r"\bn[0-9a-f]{12}\b", "NONCE", text)


def kind_of_file(target: str) -> str:
    return re.sub(r"(pipe|socket):\[\d+\]", r"\1", target or "?")


def mounts_of(mountinfo: str) -> List[str]:
    """Mount point, type and options of each, and whether it is shared with others."""
    lines = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        propagation = [field.split(":")[0] for field in fields[6:]]
        lines.append(steady(" ".join([fields[4], after.split()[0], fields[5], *propagation])))
    return sorted(lines)


def answers_of(output: str, nonce: str) -> Tuple[Dict[str, str], str]:
    """What the probe has answered, and how its hold ended: '' if it never held."""
    answers: Dict[str, str] = {}
    held = ""
    for line in output.splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if not isinstance(answer, dict) or answer.pop("nonce", None) != nonce:
            continue
        verb = answer.pop("verb")
        if verb == "hold":
            held = answer["held"]
        else:
            answers[verb] = json.dumps(answer, sort_keys=True)
    return answers, held


# --- Comparing -------------------------------------------------------------------------------

Changes = Dict[str, Tuple[str, str]]


def changes(usual: Key, got: Key) -> Changes:
    return {name: (usual.get(name, ""), got.get(name, "")) for name in sorted({*usual, *got})
            if usual.get(name, "") != got.get(name, "")}


def meaning(name: str, usual: str, got: str) -> str:
    """Whether a container with this difference is isolated less than the usual one."""
    if name.startswith("status Cap"):
        more = int(got or "0", 16) & ~int(usual or "0", 16)
        return WEAKER if more else STRONGER
    if name in ("status NoNewPrivs", "status Seccomp", "status Seccomp_filters"):
        return WEAKER if int(got or 0) < int(usual or 0) else STRONGER
    if name == "status Groups":
        return WEAKER if set(got.split()) - set(usual.split()) else STRONGER
    if name == "descriptors":
        return WEAKER if set(got.split()) - set(usual.split()) else OTHER
    if name.startswith("asked "):
        return meaning_of_answers(usual, got)
    if name == "mounts":
        return meaning_of_mounts(usual.splitlines(), got.splitlines())
    if name in ("namespace cgroup", "cgroup"):
        return CGROUP
    if name.startswith("namespace ") or name == "root":
        return WEAKER if got == "host" else OTHER
    if name in ("root/etc/hosts", "root/etc/resolv.conf"):
        return COMFORT
    if name.startswith("inside /etc/") and "ENOENT" in (usual, got):
        return COMFORT
    if name == "links":
        return WEAKER if set(got.split()) - set(usual.split()) else STRONGER
    if name == "routes":
        return STRONGER if int(got or 0) < int(usual or 0) else OTHER
    if name in ("uid_map", "gid_map", "setgroups", "process group", "cwd"):
        return WEAKER
    return OTHER


REFUSED = ("EPERM", "ENOSYS", "EACCES")


def meaning_of_answers(usual: str, got: str) -> str:
    """outcomes: "mount=EPERM", ...: calls that were refused must still be refused."""
    def refused(text: str) -> set:
        return {one.split("=")[0] for one in json.loads(text or "{}").get("outcomes", [])
                if one.split("=")[1] in REFUSED}

    if not all("outcomes" in json.loads(text or "{}") for text in (usual, got)):
        return OTHER
    return WEAKER if refused(usual) - refused(got) else STRONGER


def meaning_of_mounts(usual: List[str], got: List[str]) -> str:
    """A mount that is missing uncovers something; one that is new, or writable, shows something."""
    differing = set(usual) ^ set(got)
    if all(line.startswith("/sys/fs/cgroup ") for line in differing):
        return CGROUP
    if all(line.startswith(("/etc/hosts ", "/etc/resolv.conf ")) for line in differing):
        return COMFORT
    return WEAKER
