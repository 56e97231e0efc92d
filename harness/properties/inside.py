"""The scenes that several stages need. Most rows look at `inside`."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from typing import Callable, Dict, List, Sequence

from harness.agent_client import Json
from harness.properties.look import Look, tell_run
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import NotInKernel, NotTestable, ProbeBroke


def start_victim(stage: Stage) -> Json:
    """A process of the host, with a name that nothing else has."""
    victim = stage.start_helper([stage.names["victim"], "-", "hold=victim"],
                                program=stage.host_probe, **stage.circumstances())
    stage.agent.expect(victim["run"], "waiting", stage.seconds(2.0))
    return victim


def make_host_ipc(stage: Stage) -> None:
    """System V and POSIX queues of the host, which are then proved to be there."""
    verbs = [f"make_sysv={stage.names['sysv_key']}", f"make_queue=/{stage.nonce}",
             f"sysv={stage.names['sysv_key']}", f"queue=/{stage.nonce}"]
    done = stage.agent.run(["probe", stage.nonce, *verbs], program=stage.host_probe,
                           **stage.circumstances())
    answers = [json.loads(line) for line in done["stdout"].splitlines()]
    if len(answers) != 4 or not all(answer.get("ok") for answer in answers):
        raise ProbeBroke(f"the host's own IPC cannot be made: {tell_run(done)}")


def start_servers(stage: Stage) -> Json:
    """Two servers on the host, at its loopback and at an abstract socket. Both are proved to
    answer."""
    text = f"served-{stage.nonce}"
    port = stage.names["port"]
    verbs = [f"serve=127.0.0.1,{port},{text}", f"serve_abstract=box-{stage.nonce},{text}",
             f"connect=127.0.0.1,{port}", f"connect_abstract=box-{stage.nonce}", "hold=servers"]
    run = stage.start_helper([stage.names["victim"], "-", *verbs], program=stage.host_probe,
                             **stage.circumstances())
    seen = stage.agent.expect(run["run"], "waiting", stage.seconds(2.0))
    if seen["stdout"].count(f'"text":"{text}"') != 2:
        raise ProbeBroke(f"the host's servers do not answer: {tell_run(seen)}")
    return run


def missing_asks(stage: Stage) -> Dict[str, NotTestable]:
    """The asks that prove nothing on this host, because it lacks what they are about."""
    files = {"secret": stage.names["secret"], "private": f"{stage.root}/private",
             "stranger": f"{stage.root}/theirs", "chown": f"{stage.root}/theirs",
             "planted": f"{stage.root}/etc/planted"}
    places = stage.agent.stat(*files.values())
    why = "needs root on the host: "
    missing = {ask: NotTestable(f"{why}{os.path.relpath(path, stage.folder)} cannot be made")
               for ask, path in files.items() if "errno" in places[path]}
    if not stage.agent.has_own_host:
        missing["hostname_again"] = NotTestable(why + "its name must change")
        missing["host_mount"] = missing["mark"] = NotTestable(
            why + "something must be mounted")
    if stage.asks & {"int80_calls", "x32_calls", "newer_call"}:
        missing.update(missing_calls(stage))
    if not is_shared(stage, stage.root):
        missing["mount"] = missing["shared"] = NotTestable(why + "the mounts are not shared")
    return missing


def missing_calls(stage: Stage) -> Dict[str, NotTestable]:
    """System calls that this kernel does not have, for any caller."""
    verbs = [stage.table[ask].verb for ask in ("int80_calls", "x32_calls", "newer_call")]
    done = stage.agent.run(["probe", stage.nonce, *verbs], program=stage.host_probe,
                           **stage.circumstances())
    told = [stage.answers(done["stdout"]).get(verb, [{}])[0] for verb in verbs]
    missing: Dict[str, NotTestable] = {}
    if not told[0].get("outcomes"):  # the probe is not one for x86-64
        missing["int80_calls"] = NotInKernel("this processor has no int 0x80")
        missing["x32_calls"] = NotInKernel("this processor has no x32")
    elif "getpid=ok" not in told[0]["outcomes"]:
        missing["int80_calls"] = NotTestable("this kernel runs no 32-bit programs")
    if told[2].get("errno") == "ENOSYS":
        missing["newer_call"] = NotInKernel("this kernel is older than Linux 6.5")
    return missing


def is_shared(stage: Stage, path: str) -> bool:
    """Whether a mount at `path` would propagate to the peers of the host's."""
    text = stage.agent.read("/proc/self/mountinfo")["/proc/self/mountinfo"]["text"]
    lines = [line for line in text.splitlines()
             if (path + "/").startswith(line.split()[4].rstrip("/") + "/")]
    return " shared:" in max(lines, key=lambda line: len(line.split()[4]))


def inside(stage: Stage) -> Look:
    """For most of the rows: a container that does what it is asked to, is looked at, and goes
    on."""
    look = look_of(stage)
    victim = start_victim(stage)
    stage.names["victim_pid"] = str(victim["pid"])
    make_host_ipc(stage)
    start_servers(stage)
    look.missing = missing_asks(stage)
    look.facts["host"] = stage.agent.read("/proc/keys", "/proc/timer_list", "/proc/interrupts")
    if stage.agent.has_own_host:
        # A mount that only the host should have.
        stage.busybox("mount", "-t", "tmpfs", f"mark-{stage.nonce}", f"{stage.folder}/mark")
    stage.watch()
    files = [{"fd": 3, "path": "/"}, {"fd": 7, "path": stage.names["secret"]},
             {"fd": 8, "path": "/"}]
    wanted = [(ask, ask.verb.format_map(stage.names)) for key, ask in stage.table.items()
              if key in stage.asks | {"hello"}]
    early = [verb for ask, verb in wanted if not ask.late]
    late = [verb for ask, verb in wanted if ask.late]
    command = stage.probe(*early, "hold=1", *late, "hold=2", "exit=37")
    run = stage.start(command, files=files)
    if not stage.wait_for_hold(look, run, "inside"):
        return look
    look.facts.update(stage.facts_of_probe(run))
    made = f"{stage.root}/tmp/made-{stage.nonce}"
    look.facts["on_disk"] = stage.agent.stat(made)[made]
    look.facts["parent_status"] = stage.status_of(stage.program_of(run))
    # Through the container's own root, because from stage 08a on the directory of --rootfs does not
    # contain it.
    look.facts["made"] = stage.agent.stat(
        f"/proc/{look.facts['pid']}/root{stage.names['in']}/tmp/made-{stage.nonce}")
    look.facts["hostname"] = stage.agent.about["hostname"]
    if stage.agent.has_own_host:
        change_host(stage)
        look.facts["hostname"] = stage.names["host_hostname"] + "-new"
    stage.agent.write(run["run"], f"line-{stage.nonce}\n")
    seen = stage.expect_wait(run, '"verb":"hold=2","held":"waiting"')
    look.facts["after"] = look_at_host(stage)
    killed = stage.answers(seen["stdout"]).get(f"kill={victim['pid']},9", [{}])[0].get("ok")
    patience = stage.seconds(1.0) if killed or seen.get("silent") else 0.0
    look.facts["victim_lives"] = not stage.agent.wait(victim["run"], patience)["over"]
    stage.agent.write(run["run"], "\n", close=True)
    stage.end(look, run, "inside")
    undo_on_host(stage)
    return look


def change_host(stage: Stage) -> None:
    """Changes on the host that must not reach the container: another name, and a mount."""
    stage.busybox("hostname", stage.names["host_hostname"] + "-new")
    stage.busybox("mount", "-t", "tmpfs", stage.nonce, f"{stage.root}/mnt/host")
    stage.agent.make([{"path": f"{stage.root}/mnt/host/seen", "text": f"mount-{stage.nonce}"}])


def look_at_host(stage: Stage) -> Json:
    """What the container must not have changed on the host."""
    host = stage.agent.ask("snapshot")
    return {
        "hostname": host["hostname"][0],
        "sysv": any(line.split()[1] == stage.names["own_sysv_key"] for line in host["sysvipc"]),
        "queue": f"/dev/mqueue/own-{stage.nonce}" in host["posixipc"],
        "mounts": [line for line in host["mounts"] if f" {stage.root}/mnt/own " in line],
        "theirs": stage.agent.stat(f"{stage.root}/theirs").get(f"{stage.root}/theirs"),
        "node": stage.agent.stat(f"{stage.root}/tmp/node").get(f"{stage.root}/tmp/node"),
    }


def undo_on_host(stage: Stage) -> None:
    """Removes what the scene itself did to the host, so that what then remains is a leak."""
    # The probe's own queues are on the host only where there is no IPC namespace.
    stage.agent.run(["probe", stage.nonce, f"remove_sysv={stage.names['own_sysv_key']}",
                     f"remove_queue=/own-{stage.nonce}"], program=stage.host_probe)
    if not stage.agent.has_own_host:
        return
    stage.busybox("hostname", stage.names["host_hostname"])
    for kind in ("host", "own"):
        point = f"{stage.root}/mnt/{kind}"
        if any(f" {point} " in line for line in stage.agent.ask("snapshot")["mounts"]):
            stage.busybox("umount", "-l", point)
    if any(f" {stage.root}/tmp/proc " in line for line in stage.agent.ask("snapshot")["mounts"]):
        stage.busybox("umount", "-l", f"{stage.root}/tmp/proc")


def need_strace(stage: Stage) -> None:
    if "errno" in stage.agent.stat("/usr/bin/strace")["/usr/bin/strace"]:
        raise NotTestable("it needs strace: apt-get install strace")


# The flags with which clone(2) and unshare(2) make namespaces; without CLONE_NEWTIME, for which
# clone(2) has no bit.
NEW_NAMESPACES = 0x7E020000
PR_SET_SECCOMP = 22

# A call may be one of several ways to the same thing, and do other things as well: clone(2) forks,
# and a filter cannot look at clone3(2)'s flags. Then it fails as on a kernel that does not have it.
REFUSALS: Dict[str, List[Json]] = {
    "clone": [{"call": "clone", "argument": 0, "any_of": NEW_NAMESPACES}],
    "clone3": [{"call": "clone3", "error": errno.ENOSYS}],
    "unshare": [{"call": "unshare", "argument": 0, "any_of": NEW_NAMESPACES | 0x80}],
    "": [{"call": "prctl", "argument": 0, "equals": 0xFFFFFFFF}],  # a filter as for the others
    "seccomp": [{"call": "seccomp", "error": errno.EINVAL},
                {"call": "prctl", "argument": 0, "equals": PR_SET_SECCOMP,
                 "error": errno.EINVAL}],
}


def started_by(stage: Stage, verb: str, *verbs: str) -> Look:
    """The caller is a probe, which does `verb` and becomes the program under test."""
    look = look_of(stage)
    words = ["probe", stage.nonce, verb, "execute", "--",
             *stage.words(stage.probe("hello", *verbs, "exit=37"))]
    stage.watch()
    look.runs["run"] = {**stage.run_words(words, program=stage.host_probe), "said_by_caller": verb}
    look.answers = stage.answers(look.runs["run"]["stdout"])
    if not look.answers.get(verb, [{}])[0].get("ok"):
        raise ProbeBroke(f"the caller could not prepare itself: {tell_run(look.runs['run'])}")
    return look


def make_probe_that_is_found_anywhere(stage: Stage, *roots: str) -> None:
    """At stage.host_probe, in these roots and on the host: wherever the command then runs."""
    for root in roots:
        stage.busybox("mkdir", "-p", root + stage.folder, f"{root}/proc")
        stage.busybox("cp", stage.host_probe, root + stage.host_probe)


def failing(stage: Stage, calls: str, *asks: str) -> Look:
    """The kernel refuses `calls`: does the container start all the same?"""
    look = look_of(stage)
    verbs = [stage.verb(ask) for ask in asks]
    make_probe_that_is_found_anywhere(stage, stage.root)
    words = stage.words([stage.host_probe, stage.nonce, "hello", *verbs, "hold=1", "exit=37"])
    refused = [one for call in calls.split(",") for one in REFUSALS.get(call, [{"call": call}])]
    stage.watch()
    run = stage.start_words(words, refuse=refused, close_stdin=False)
    if stage.wait_for_hold(look, run, "run"):
        with contextlib.suppress(ProbeBroke):  # what went wrong may have covered the host's /proc
            look.facts.update(stage.facts_of_probe(run))
        look.facts["program_status"] = stage.status_of(run["pid"])
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


def unhindered(stage: Stage) -> Look:
    """As in failing(), but nothing is refused: a program that does not start now, either, has
    proved nothing."""
    return failing(stage, "")


def held_with(stage: Stage, verbs: Sequence[str], *options: str,
              meanwhile: Callable[[], Json] = dict) -> Look:
    """Started with `options`, and looked at while the probe holds, after `verbs`. What else is to
    be seen then, `meanwhile` returns."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", *verbs, "hold=1"), *options)
    if stage.wait_for_hold(look, run, "run"):
        look.facts.update(stage.facts_of_probe(run))
        look.facts.update(meanwhile())
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look
