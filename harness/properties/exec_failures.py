"""Every stage: each system call that sets the container up fails once, and it must be noticed."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from harness.agent_client import Json
from harness.properties.inside import make_probe_that_is_found_anywhere
from harness.properties.look import Ask, Look
from harness.properties.model import Control, Property
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import (ROOT, NotStarted, NotTestable, ProbeBroke, Seen, holds,
                                        violated)


def rows() -> List[Property]:
    return [
        Property(
            name="failed_call_is_noticed", since="01", scene=each_call_fails,
            observe=nothing_is_lost, control=Control.NONE,
            seen_failing="the mutants private_unchecked, user_unchecked, root_unchecked,"
                         " mask_unchecked and bounding_set_unchecked",
            holds="whichever system call of the set-up fails, the command does not run, or it is"
                  " isolated nevertheless",
            violated="it runs with less than otherwise",
            lesson="Any call may fail: for lack of memory, because of a limit, or in another"
                   " container, whose filter denies it. What isolates must not be lost silently.",
            man="2 mount", mistake="The result of a call was not checked.",
            command="strace -f -e inject=mount,prctl,setgroups:error=EPERM:when=2"
                    " {stage} --rootfs {root} -- /bin/sh -c id"),
        Property(
            name="failed_call_for_an_option_is_noticed", since="06",
            scene=each_call_for_options_fails, observe=nothing_is_lost, identities=(ROOT,),
            control=Control.NONE,
            seen_failing="the mutants given_user_unchecked, workdir_unchecked and"
                         " read_only_unchecked",
            needs=("failed_call_is_noticed",),
            holds="that is so with --user, --workdir, --read-only and a volume with :ro as well",
            violated="it runs with less than otherwise",
            lesson="A user who asks for a read-only volume relies on it: a container that can write"
                   " there is worse than one that does not start.",
            man="2 mount_setattr", mistake="The result of a call was not checked.",
            command="strace -f -e inject=mount_setattr,setresuid:error=EPERM:when=2 {stage}"
                    " --rootfs {root} --user 1000 --read-only -v /tmp:/mnt:ro -- /bin/sh -c id"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------

# Calls that change what the command is, or may do. With clone(2), other rows deal.
SET_UP = ("capset", "chdir", "chroot", "close_range", "fchdir", "fsmount", "mount",
          "mount_setattr", "move_mount", "open_tree", "openat2", "pivot_root", "prctl", "seccomp",
          "setgid", "setgroups", "sethostname", "setns", "setresgid", "setresuid", "setuid",
          "umount2", "unshare")


def each_call_fails(stage: Stage) -> Look:
    return calls_fail(stage)


def each_call_for_options_fails(stage: Stage) -> Look:
    return calls_fail(stage, "--user", "1000", "--read-only", "--workdir", "/tmp",
                      "--volume", f"{stage.folder}/volume:/mnt/own:ro")


def calls_fail(stage: Stage, *options: str) -> Look:
    """One start in which all these calls are counted, then one for each, in which it fails. Where
    chdir(2) has failed, chroot(".") makes the caller's working directory the root."""
    look = look_of(stage)
    make_probe_that_is_found_anywhere(stage, stage.root, f"{stage.folder}/cwd")
    stage.watch()
    usual = start_without(stage, look, options, "usual")
    if usual is None:
        return look
    if UNSEEN in usual:
        raise ProbeBroke(usual[UNSEEN])
    calls = look.runs["usual"]["calls"]
    look.facts.update(calls=calls, lost="")
    for at, call in enumerate(calls):
        nth = calls[:at + 1].count(call)
        # Of some 40 that are the same, such as PR_CAPBSET_DROP, the first stands for all.
        if nth > 1 and call.startswith("prctl"):
            continue
        lost = lost_without(stage, look, options, usual, call, nth)
        if lost:  # once more: this machine may be slow, or an earlier start has changed the host
            usual = start_without(stage, look, options, "usual") or usual
            lost = lost_without(stage, look, options, usual, call, nth)
        if lost:
            look.facts["lost"] = f"{call} failed the {ordinal(nth)} time, and {lost}"
            break
    look.runs = {"usual": look.runs["usual"]}
    return look


def lost_without(stage: Stage, look: Look, options: Sequence[str], usual: Dict[str, Any], call: str,
                 nth: int) -> str:
    state = start_without(stage, look, options, "failed", call, nth)
    if state is None and look.runs["failed"]["why"] != "ended":
        return "it hangs"
    return what_is_lost(state, usual)


UNSEEN = "the host does not see the command any more"


def what_is_lost(now: Optional[Dict[str, Any]], usual: Dict[str, Any]) -> str:
    if now is None or UNSEEN in now or UNSEEN in usual:
        return f"{UNSEEN}: {now[UNSEEN]}" if now and UNSEEN in now else ""
    return "; ".join(difference(key, now[key], usual[key]) for key in usual
                     if is_worse(key, now[key], usual[key]))


def is_worse(key: str, now: Any, usual: Any) -> bool:
    """Fewer capabilities are none the worse; and what is otherwise lost shows elsewhere."""
    if key.startswith("Cap"):
        return int(now, 16) & ~int(usual, 16) != 0
    return now != usual


def difference(key: str, now: Any, usual: Any) -> str:
    if not isinstance(usual, list) or not isinstance(now, list):
        return f"{key} is {now}, otherwise {usual}"
    more, less = (", ".join(map(str, sorted(set(one) - set(other)))) or "nothing"
                  for one, other in ((now, usual), (usual, now)))
    return f"{key}: {more} instead of {less}"


def ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def start_without(stage: Stage, look: Look, options: Sequence[str], name: str, call: str = "",
                  nth: int = 0) -> Optional[Dict[str, Any]]:
    """Starts a container, whose `nth` call of this name fails with EPERM. Returns what the host
    sees of the command, or None if it did not run."""
    words = stage.words([stage.host_probe, stage.nonce, "hello", "hostname", "hold=1", "exit=37"],
                        *options)
    refused = [call.partition("(")[0]] if call else SET_UP
    run = stage.start_words(words, close_stdin=False, nth=nth, nth_of=call,
                            refuse=[{"call": one} for one in refused])
    if not stage.wait_for_hold(look, run, name):
        if call:
            look.problem = ""
        return None
    try:
        state = state_of(stage.facts_of_probe(run))
    except NotStarted:  # it was ended while it ran, which is noticed as well
        state = None
    except ProbeBroke as error:  # such as a /proc that now covers the host's
        state = {UNSEEN: str(error)}
    stage.agent.write(run["run"], "\n", close=True)
    stage.end(look, run, name)
    if state is not None and UNSEEN not in state:
        names = stage.answers(look.runs[name]["stdout"]).get("hostname", [{}])
        state["host name"] = ("the host's" if names[0].get("text") == hostname_of(stage)
                              else "its own")
    return state


def hostname_of(stage: Stage) -> str:
    return (stage.names["host_hostname"] if stage.agent.has_own_host
            else stage.agent.about["hostname"])


def state_of(facts: Json) -> Dict[str, Any]:
    """What is the same in each start of a container, and is lost if its set-up is lost."""
    status = facts["status"]
    state: Dict[str, Any] = {key: status.get(key) for key in (
        "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs",
        "Seccomp")}
    state["namespaces of its own"] = sorted(
        kind for kind, name in facts["namespaces"].items()
        if name != facts["host_namespaces"][kind])
    for name in ("uid_map", "gid_map"):  # from which id on may differ from start to start
        state[name] = facts[name][0::3] + facts[name][2::3]
    state.update({name: facts[name] for name in ("setgroups", "root", "cwd", "environ")})
    state["descriptors"] = sorted(facts["descriptors"] or ())
    state["mounts"] = mounts_in(facts["mountinfo"])
    return state


def mounts_in(mountinfo: str) -> List[str]:
    """Where something is mounted, with which options, and to whom it propagates; see
    proc_pid_mountinfo(5). Not from where: that may have a new name each time. Nor how often: what a
    start leaves on the host, the next one sees."""
    lines = set()
    for fields in map(str.split, mountinfo.splitlines()):
        end = fields.index("-")
        propagates = sorted(word.partition(":")[0] for word in fields[6:end])
        lines.add(" ".join([fields[4], fields[5], *propagates, fields[end + 1]]))
    return sorted(lines)


# --- Observations ---------------------------------------------------------------------------------


def nothing_is_lost(look: Look) -> Seen:
    calls = look.fact("calls")
    if look.facts["lost"]:
        return violated(look.facts["lost"])
    if not calls:
        raise NotTestable("it makes none of the calls that can be made to fail here")
    return holds(f"{len(calls)} calls: each one that failed was noticed, or did no harm")


ASKS: Dict[str, Ask] = {}
