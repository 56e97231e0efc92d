"""Stage 07: limits, and who can leave or raise them."""

from __future__ import annotations

import time
from typing import Dict, List, Sequence

from harness.properties.inside import inside
from harness.properties.look import Ask, Look, never_ran, tell_run
from harness.properties.model import SHELL, Control, Positive, Property
from harness.properties.observing import own_namespace, stops_or, text_is
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import NotTestable, ProbeBroke, Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="own_cgroup_namespace", since="07", scene=inside,
            observe=own_namespace("cgroup"),
            holds="another cgroup namespace than the host's",
            violated="the host's cgroup namespace",
            lesson="A cgroup namespace hides which cgroup of the host a process is in.",
            man="7 cgroup_namespaces", mistake="CLONE_NEWCGROUP is missing.",
            command=SHELL + " 'ls -l /proc/self/ns/cgroup'"),
        Property(
            name="own_cgroup", since="07", scene=limits, observe=in_own_cgroup,
            holds="it is in another cgroup than its caller", violated="it is in the same one",
            lesson="Limits belong to a cgroup: a container without its own shares those of its"
                   " caller's session.",
            man="7 cgroups", mistake="Another process was moved, or none.",
            command=SHELL + " 'sleep 9' & cat /proc/$(pgrep -n sleep)/cgroup"),
        Property(
            name="cgroup_is_the_root_inside", since="07", scene=limits,
            observe=cgroup_is_the_root_inside,
            needs=("own_cgroup",),
            holds="/proc/self/cgroup is 0::/", violated="it shows a path of the host",
            lesson="The root of a cgroup namespace is the cgroup of the process that created it.",
            man="7 cgroup_namespaces",
            mistake="The namespace was created before the process joined its cgroup.",
            command=SHELL + " 'cat /proc/self/cgroup'"),
        Property(
            name="other_cgroups_are_hidden", since="07", scene=limits,
            observe=other_cgroups_are_hidden, control=Control.NONE,
            seen_failing="the mutant cgroups_of_the_host_shown",
            needs=("own_cgroup_namespace",),
            holds="/sys/fs/cgroup shows its own cgroup, or nothing",
            violated="it shows those of the host",
            lesson="The names of the host's cgroups reveal its users, sessions and services.",
            man="7 cgroup_namespaces", mistake="/sys/fs/cgroup still shows the host's hierarchy.",
            command=SHELL + " 'ls /sys/fs/cgroup'"),
        Property(
            name="limits_cannot_be_raised", since="07", scene=limits,
            observe=limit_cannot_be_raised, control=Control.NONE,
            seen_failing="a VM whose cgroup2 was mounted without nsdelegate",
            holds="root inside cannot write memory.max, in /sys/fs/cgroup or in a new mount of"
                  " cgroup2",
            violated="memory.max is what root inside wrote",
            lesson="A limit does not limit a process that can lift it.",
            man="7 cgroups",
            mistake="The mount is writable, and without nsdelegate a cgroup namespace is not a"
                    " boundary.",
            command="{stage} --rootfs {root} -m 64m -- /bin/sh -c 'echo max >"
                    " /sys/fs/cgroup/memory.max'"),
        Property(
            name="cgroup_cannot_be_left", since="07", scene=limits,
            observe=cgroup_cannot_be_left, control=Control.NONE,
            seen_failing="stage 06 while its /sys still had the host's cgroups in it",
            needs=("own_cgroup_namespace",),
            holds="root inside cannot move to another cgroup of its caller's",
            violated="it is in the other one",
            lesson="The owner of two cgroups may move processes between them, unless a cgroup"
                   " namespace separates them.",
            man="7 cgroups", mistake="There is no cgroup namespace.",
            command=SHELL + " 'umount /sys/fs/cgroup; mount -o remount,bind,rw /sys/fs/cgroup;"
                            " echo 1 > /sys/fs/cgroup/.../cgroup.procs'"),
        Property(
            name="memory_limit_kills_all", since="07", scene=memory_limit,
            observe=memory_limit_kills_all,
            needs=("own_cgroup",),
            holds="137, when a child of PID 1 needs more than --memory", violated="it goes on",
            lesson="The OOM killer kills one process, unless memory.oom.group is 1: then it kills"
                   " all of the cgroup.",
            man="7 cgroups", mistake="memory.max or memory.oom.group was not written.",
            command="{stage} --rootfs {root} -m 32m -- /bin/sh -c 'x=a; while :; do x=$x$x; done'"),
        Property(
            name="out_of_memory_is_told", since="07", scene=memory_limit,
            observe=out_of_memory_is_told,
            needs=("memory_limit_kills_all",),
            holds="\"out of memory\" on stderr", violated="137 without a message",
            lesson="137 alone may be any SIGKILL; memory.events counts those of the OOM killer.",
            man="7 cgroups", mistake="memory.events was not read, or only after the cgroup was"
                                     " removed.",
            command="{stage} --rootfs {root} -m 32m -- /bin/sh -c 'x=a; while :; do x=$x$x; done'"),
        Property(
            name="swap_is_limited", since="07", scene=limits, observe=swap_is_limited,
            needs=("own_cgroup",),
            holds="memory.swap.max is 0 with --memory", violated="it is max",
            lesson="memory.max does not count swap: at the limit the container would continue in"
                   " swap, slowly.",
            man="7 cgroups", mistake="memory.swap.max was not written.",
            command="{stage} --rootfs {root} -m 64m -- /bin/cat /sys/fs/cgroup/memory.swap.max"),
        Property(
            name="fork_bomb_is_contained", since="07", scene=pids_limit,
            observe=fork_bomb_is_contained,
            needs=("own_cgroup",),
            holds="at most 32 processes with --pids-limit 32, and none at the end",
            violated="there are more",
            lesson="All processes of the machine share one table: if one process fills it, no"
                   " other can fork.",
            man="7 cgroups", mistake="pids.max was not written.",
            command="{stage} --rootfs {root} --pids-limit 32 -- /bin/sh -c 'f() {{ f | f & }}; f;"
                    " sleep 1'"),
        Property(
            name="cgroup_is_removed", since="07", scene=limits, observe=cgroup_is_gone,
            holds="its cgroup is gone at the end", violated="it is still there",
            lesson="The kernel keeps a cgroup until a process removes it.",
            man="7 cgroups", mistake="rmdir(2) is missing, or came before the last process had"
                                     " ended.",
            command=SHELL + " true; ls /sys/fs/cgroup"),
        Property(
            name="killed_parents_cgroup_is_removed", since="07", scene=limits_parent_killed,
            observe=cgroup_is_gone,
            holds="the next start removes the cgroup of a start whose parent was killed",
            violated="it is still there",
            lesson="A killed process cannot clean up: the next one has to, and has to know what it"
                   " may remove.",
            man="2 flock", mistake="The program does not look for what an earlier start has left.",
            command=SHELL + " 'sleep 9' & kill -9 $!; " + SHELL + " true; ls /sys/fs/cgroup"),
        Property(
            name="no_limit_no_start", since="07", scene=limit_fails,
            observe=stops_or(runs_without_limit),
            earned_by=Positive(limits_parent_killed),
            holds="when a limit cannot be set, the command does not run",
            violated="it runs without",
            lesson="A container that starts with less isolation than asked for is worse than none.",
            man="7 cgroups",
            mistake="A failure to make the cgroup or to write the limit was ignored.",
            command="mount -o remount,ro /sys/fs/cgroup; {stage} --rootfs {root} -m 64m --"
                    " /bin/true"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


def need_cgroup(stage: Stage) -> None:
    if not stage.cgroup:
        raise NotTestable("it needs root, and cgroup v2 with the controllers cpu, memory and pids")


def limits_of(stage: Stage, *options: str) -> Sequence[str]:
    """Before stage 07 there are no such options."""
    return options if stage.at_least("07") else ()


def cgroups_of(stage: Stage, pids: Sequence[int]) -> Dict[int, str]:
    """Returns the cgroups of the host that these processes are in."""
    texts = stage.agent.read(*[f"/proc/{pid}/cgroup" for pid in pids])
    found = {}
    for pid in pids:
        for line in texts[f"/proc/{pid}/cgroup"].get("text", "").splitlines():
            if line.startswith("0::"):
                found[pid] = stage.names["cgroups"] + line[3:]
    return found


def grandchildren(stage: Stage) -> List[int]:
    """The processes that the probe's "burn" and "fork_bomb" have left."""
    return [process["pid"] for process in stage.agent.processes() if process["state"] != "Z"
            and process["argv"][1:2] == [stage.nonce] and process["argv"][0].endswith("child")]


def limits(stage: Stage) -> Look:
    """A cgroup with limits, which root inside tries to raise and to leave."""
    look = look_of(stage)
    need_cgroup(stage)
    look.facts["session"] = stage.cgroup
    stage.watch()
    run = stage.start(
        stage.probe("hello", "sleep_ms=1000",  # a process that is moved late has been moved by then
                    "read=/proc/self/cgroup", "list={cgroups}".format(**stage.names),
                    "write_to={cgroups}/memory.max,max".format(**stage.names),
                    "write_to_new_cgroup2=/tmp/new,memory.max,max", "hold=1",
                    "leave_cgroup={cgroups},{other}".format(**stage.names), "hold=2"),
        *limits_of(stage, "--cpus", "0.5", "--memory", "64m", "--pids-limit", "32"))
    if not stage.wait_for_hold(look, run, "run"):
        return look
    pid = stage.find_probe(run)["pid"]
    cgroup = cgroups_of(stage, [pid]).get(pid, "")
    files = ("memory.max", "memory.swap.max")
    texts = stage.agent.read(*[f"{cgroup}/{name}" for name in files])
    look.facts["cgroup"] = cgroup
    look.facts["limits"] = {name: texts[f"{cgroup}/{name}"].get("text", "").strip()
                            for name in files}
    stage.agent.write(run["run"], "\n")
    stage.expect(run, '"verb":"hold=2","held":"waiting"')
    look.facts["cgroup_at_the_end"] = cgroups_of(stage, [pid]).get(pid, "")
    stage.agent.write(run["run"], "\n", close=True)
    stage.end(look, run, "run")
    look.facts["cgroup_after"] = stage.agent.stat(cgroup)[cgroup]
    return look


def limits_parent_killed(stage: Stage) -> Look:
    """The program is killed with SIGKILL, and started again."""
    look = look_of(stage)
    need_cgroup(stage)
    options = limits_of(stage, "--memory", "64m")
    stage.watch()
    run = stage.start(stage.probe("hello", "sleep_ms=1000", "hold=1"), *options)
    if stage.wait_for_hold(look, run, "run"):
        pid = stage.find_probe(run)["pid"]
        cgroup = cgroups_of(stage, [pid]).get(pid, "")
        stage.signal("KILL", pid=stage.program_of(run))
        stage.end(look, run, "run")
        look.left = []
        look.runs["again"] = stage.run(stage.probe("hello"), *options)
        look.facts["cgroup"] = cgroup
        look.facts["cgroup_after"] = stage.agent.stat(cgroup)[cgroup]
    return look


def memory_limit(stage: Stage) -> Look:
    """A child of PID 1 asks for three times as much memory as the limit allows."""
    look = look_of(stage)
    need_cgroup(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "eat=96", "exit=37"),
                      *limits_of(stage, "--memory", "32m"))
    stage.end(look, run, "run")
    return look


FEWEST = 16  # of the fork bomb's processes that a limit of 32 allows


def pids_limit(stage: Stage) -> Look:
    """A fork bomb, which ends by itself at 100 processes."""
    look = look_of(stage)
    need_cgroup(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "fork_bomb=100", "hold=1"),
                      *limits_of(stage, "--pids-limit", "32"))
    if stage.wait_for_hold(look, run, "run"):
        counts = [0, len(grandchildren(stage))]
        end = time.monotonic() + stage.time_limit
        # Until they grow no more; a slow machine has made none when we look first.
        while (counts[-1] != counts[-2] or counts[-1] < FEWEST) and time.monotonic() < end:
            time.sleep(0.3)
            counts.append(len(grandchildren(stage)))
        look.facts["processes"] = counts[-1]
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
        look.facts["left"] = look.left
        look.left = []
    return look


def limit_fails(stage: Stage) -> Look:
    """A limit is asked for where no process can make a cgroup."""
    look = look_of(stage)
    if not stage.agent.has_own_host:
        raise NotTestable("needs root on the host: the cgroups must become read-only")
    for line in stage.agent.ask("snapshot")["mounts"]:
        if " - cgroup2 " in line:
            stage.busybox("mount", "-o", "remount,bind,ro", line.split()[2])
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello"), *limits_of(stage, "--memory", "64m"),
                                 cgroup="")
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


# --- Observations ---------------------------------------------------------------------------------


def in_own_cgroup(look: Look) -> Seen:
    cgroup, session = look.fact("cgroup"), look.fact("session")
    if not cgroup:
        raise ProbeBroke("/proc/PID/cgroup cannot be read on the host")
    if cgroup == session:
        return violated(f"it is in {session}, like the process that started it")
    return holds(f"it is in {cgroup}; the process that started it is in {session}")


def cgroup_is_the_root_inside(look: Look) -> Seen:
    look.fact("cgroup")
    text = look.answers.get("read=/proc/self/cgroup", [{}])[0].get("text", "")
    paths = [line[3:] for line in text.splitlines() if line.startswith("0::")]
    if paths == ["/"]:
        return holds("/proc/self/cgroup is 0::/")
    if len(paths) == 1:
        return violated(f"/proc/self/cgroup is 0::{paths[0]}")
    raise ProbeBroke(f"/proc/self/cgroup is {text!r}")


def other_cgroups_are_hidden(look: Look) -> Seen:
    look.fact("cgroup")
    answer = look.answers.get(f"list={look.names['cgroups']}", [{}])[0]
    names = answer.get("names", [])
    if look.names["delegated"] in names:
        return violated(f"it sees {look.names['delegated']}, a cgroup of the host")
    if "cgroup.procs" in names:
        return holds(f"/sys/fs/cgroup shows one cgroup, without {look.names['delegated']}")
    if names == [] or answer.get("errno") == "ENOENT":
        return holds(f"/sys/fs/cgroup shows nothing: {answer.get('errno', 'it is empty')}")
    raise ProbeBroke(str(answer))


def limit_cannot_be_raised(look: Look) -> Seen:
    look.fact("cgroup")
    tried = [look.answers.get(verb, [{}])[0] for verb in (
        f"write_to={look.names['cgroups']}/memory.max,max",
        "write_to_new_cgroup2=/tmp/new,memory.max,max")]
    limit = look.fact("limits")["memory.max"]
    if limit in ("", "max"):
        return violated(f"on the host, memory.max is {limit or 'not there'}: {tried}")
    told = " and ".join(answer.get("errno", "that it did something else") for answer in tried)
    return holds(f"on the host, memory.max is still {limit}; the kernel returned {told}")


def cgroup_cannot_be_left(look: Look) -> Seen:
    before, after = look.fact("cgroup"), look.fact("cgroup_at_the_end")
    answer = look.answers.get("leave_cgroup={cgroups},{other}".format(**look.names), [{}])[0]
    if after == look.names["other"]:
        return violated(f"it has moved to {after}")
    if before and before == after and "errno" in answer:
        return holds(f"it is still in {after}; the kernel returned {answer['errno']}")
    raise ProbeBroke(f"first in {before}, then in {after}: {answer}")


def cgroup_is_gone(look: Look) -> Seen:
    after = look.fact("cgroup_after")
    if after.get("errno") == "ENOENT":
        return holds(f"{look.fact('cgroup')} is gone")
    if "ino" in after:
        return violated(f"{look.fact('cgroup')} is still there")
    raise ProbeBroke(str(after))


def swap_is_limited(look: Look) -> Seen:
    limit = look.fact("limits")["memory.swap.max"]
    if not look.fact("limits")["memory.max"]:
        return violated("its cgroup has no limit of memory at all")
    if not limit:
        raise NotTestable("this kernel does not count swap: there is no memory.swap.max")
    return text_is(limit, {"0": "memory.swap.max on the host"},
                   {"max": "memory.swap.max on the host: it goes on in the swap"})


def memory_limit_kills_all(look: Look) -> Seen:
    run = look.run("run")
    if not look.answers.get("hello"):
        raise never_ran(run)
    if run.get("exit") == 137:
        return holds("exit status 137: PID 1 was killed, though not PID 1 but its child ate")
    eaten = look.answers.get("eat=96", [{}])[0]
    if run.get("exit") == 37 and eaten.get("ok"):
        return violated("it got 96 MiB")
    if run.get("exit") == 37 and eaten.get("died"):
        return violated("one process was killed, and the others went on")
    return violated(f"it does not end with 137: {tell_run({**run, 'stdout': ''})}")


def out_of_memory_is_told(look: Look) -> Seen:
    run = look.run("run")
    if not look.answers.get("hello"):
        raise never_ran(run)
    if run["why"] == "ended" and "out of memory" in run["stderr"].lower():
        return holds(f"stderr is {run['stderr']!r}")
    if run["why"] == "ended":
        return violated(f"stderr does not mention it: {tell_run(run)}")
    raise ProbeBroke(tell_run(run))


def fork_bomb_is_contained(look: Look) -> Seen:
    count, left = look.fact("processes"), look.fact("left")
    if left:
        return violated(f"{count} processes; at the end there are still {len(left)}")
    if count > 32:
        return violated(f"{count} processes, though it ends by itself at 100")
    if count >= FEWEST:
        return holds(f"{count} processes and PID 1, and none is left")
    raise ProbeBroke(f"the bomb made only {count} processes")


def runs_without_limit(look: Look) -> Seen:
    return violated("and it has no limit")


ASKS: Dict[str, Ask] = {}  # the probe is asked only what the scene says
