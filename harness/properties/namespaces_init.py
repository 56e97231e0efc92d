"""Stage 04, PID 1: what ends with it and with the program under test, and --init."""

from __future__ import annotations

import contextlib
import time
from typing import Dict, List

from harness.properties.inside import need_strace
from harness.properties.look import Ask, Look, never_ran, tell_run
from harness.properties.model import SHELL, Control, Positive, Property
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import NotStarted, ProbeBroke, Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="container_dies_with_its_parent", since="04", scene=parent_killed,
            observe=nothing_outlives,
            holds="SIGKILL for the program ends all of the container",
            violated="the command goes on alone",
            lesson="SIGKILL cannot be forwarded; but the kernel can send a signal when a parent"
                   " dies.",
            man="2 prctl",
            mistake="No PR_SET_PDEATHSIG, or it was set before a change of user cleared it.",
            command=SHELL + " 'sleep 99' & kill -9 $!; ps -ef | grep sleep"),
        Property(
            name="death_with_the_parent_cannot_be_revoked", since="04",
            scene=parent_killed_after_revoking, observe=nothing_outlives,
            needs=("container_dies_with_its_parent",),
            holds="SIGKILL for the program ends all of the container, though the command has called"
                  " prctl(PR_SET_PDEATHSIG, 0)",
            violated="the command goes on alone",
            lesson="Whatever a process has asked of the kernel for itself, the program that it"
                   " executes can revoke.",
            man="2 prctl", mistake="Only PR_SET_PDEATHSIG ties the container to its parent.",
            command=SHELL + " 'python3 -c \"import ctypes, time; ctypes.CDLL(None).prctl(1, 0);"
                            " time.sleep(99)\"' & sleep 1; kill -9 $!; ps -ef | grep python3"),
        Property(
            name="early_death_is_noticed", since="04", scene=parent_killed_early,
            observe=nothing_outlives,
            earned_by=Positive(parent_killed),
            needs=("container_dies_with_its_parent",),
            holds="no container remains if the program is killed during the set-up",
            violated="the command starts all the same",
            lesson="If the parent dies before the child asks for the signal, the kernel sends"
                   " none.",
            man="2 prctl",
            mistake="After PR_SET_PDEATHSIG the child did not check whether its parent still"
                    " lives.",
            command="strace -f -e inject=prctl:delay_enter=1000000 " + SHELL + " 'sleep 99'"),
        Property(
            name="daemons_end_with_pid_1", since="04", scene=daemon, observe=nothing_outlives,
            needs=("own_pid_namespace",),
            holds="what the command left in the background ends with it", violated="it runs on",
            lesson="When PID 1 of a namespace ends, the kernel kills all the others.",
            man="7 pid_namespaces", mistake="There is no PID namespace, or its PID 1 goes on.",
            command=SHELL + " 'setsid sleep 99 &'; ps -ef | grep sleep"),
        Property(
            name="init_reaps_orphans", since="04", scene=with_init, observe=orphans_are_reaped,
            control=Control.OTHER_SCENE, control_scene=without_init,
            needs=("own_pid_namespace",),
            holds="with --init no zombie remains", violated="a zombie stays",
            lesson="Orphans become children of PID 1; if it does not wait for them, they stay.",
            man="2 wait",
            mistake="PID 1 waits for the command alone, and not for its other children.",
            command="{stage} --rootfs {root} --init -- /bin/sh -c '(sleep 1 &); sleep 2; ps'"),
        Property(
            name="init_reaps_all_orphans", since="04", scene=orphans_with_init,
            observe=orphans_are_reaped, control=Control.OTHER_SCENE,
            control_scene=orphans_without_init,
            needs=("own_pid_namespace",),
            holds="with --init no zombie remains when orphans end together",
            violated="some stay",
            lesson="Signals of one kind do not queue: one SIGCHLD may stand for many children.",
            man="7 signal", mistake="There is one waitpid(2) for each SIGCHLD, instead of a loop.",
            command="{stage} --rootfs {root} --init -- /bin/sh -c"
                    " '(for i in 1 2 3; do sleep 1 & done); sleep 2; ps'"),
        Property(
            name="init_is_pid_1", since="04", scene=with_init, observe=init_is_pid_1,
            control=Control.OTHER_SCENE, control_scene=without_init,
            needs=("own_pid_namespace",),
            holds="with --init the command is PID 2, and PID 1 its parent",
            violated="the command is PID 1",
            lesson="Most programs are not written to be PID 1.",
            man="7 pid_namespaces", mistake="--init is ignored.",
            command="{stage} --rootfs {root} --init -- /bin/sh -c 'echo $$ $PPID'"),
        Property(
            name="init_passes_signals_and_status", since="04", scene=terminated_with_init,
            observe=term_ends_the_command, control=Control.OTHER_SCENE,
            control_scene=terminated_without_init,
            holds="with --init SIGTERM ends a command without handlers, with 143",
            violated="nothing happens, or another status",
            lesson="The kernel discards signals for which PID 1 has no handler.",
            man="7 pid_namespaces",
            mistake="PID 1 does not forward the signal, or exits with a status of its own.",
            command="{stage} --rootfs {root} --init -- /bin/sleep 99 & kill $!; wait $!; echo $?"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


def parent_killed(stage: Stage) -> Look:
    """The program under test is killed with SIGKILL while the command runs."""
    return parent_killed_after(stage)


def parent_killed_after_revoking(stage: Stage) -> Look:
    """The same, after the command has told the kernel that it wants no such signal."""
    return parent_killed_after(stage, "no_death_signal")


def parent_killed_after(stage: Stage, *verbs: str) -> Look:
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", *verbs, "hold=1"))
    if stage.wait_for_hold(look, run, "run"):
        stage.find_probe(run)
        stage.signal("KILL", pid=stage.program_of(run))
        stage.end(look, run, "run")
        note_what_is_left(look)
        start_again(stage)
    return look


def note_what_is_left(look: Look) -> None:
    """As a fact, also about the program itself."""
    look.facts["left"], look.left = look.left, []
    if look.runs["run"]["why"] != "ended":
        look.facts["left"] = [f"the program itself: {tell_run({**look.runs['run'], 'stdout': ''})}"]


def start_again(stage: Stage) -> None:
    """A killed parent leaves what the kernel does not tie to a process, until the next start
    removes it."""
    stage.run(stage.probe("hello"))


def parent_killed_early(stage: Stage) -> Look:
    """The same, before the command runs: strace holds the child before it asks to die with us."""
    look = look_of(stage)
    need_strace(stage)
    stage.watch()
    command = stage.probe("hello", "hold=1")
    words = stage.words(command)
    run = stage.start_words(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=prctl", "-e",
                             f"inject=prctl:delay_enter={int(stage.seconds(300000))}:when=1",
                             *words],
                            program="/usr/bin/strace", close_stdin=False)
    parent = stage.wait_for_family(run["pid"])
    if parent is None:
        stage.end(look, run, "run", 0.0)
        look.problem = str(never_ran(look.runs["run"]))
        return look
    time.sleep(stage.seconds(0.1))
    with contextlib.suppress(NotStarted):  # it may have ended, and left its child alone
        stage.signal("KILL", pid=parent)
    end = time.monotonic() + stage.time_limit
    seen = 0
    while time.monotonic() < end:
        # A child of strace is a process that has survived; strace itself stays as long.
        left = [process for process in stage.agent.processes()
                if process["pid"] not in (run["pid"], parent) and process["state"] != "Z"]
        # A process that is seen once may be about to die, because on a busy machine our kill is
        # late.
        seen += any(process["argv"][:1] == command[:1] for process in left)
        if not left or seen == 5:
            break  # it has ended, or the command has started all the same
        time.sleep(0.01)
    look.facts["left"] = [f"{' '.join(process['argv'])}" for process in left]
    stage.end(look, run, "run", 0.0)
    look.left = []
    start_again(stage)
    return look


def daemon(stage: Stage) -> Look:
    """The command leaves a process that ignores all signals and belongs to no session."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("daemon=30", "hello", "exit=37"))
    stage.end(look, run, "run")
    note_what_is_left(look)
    return look


ORPHANS = 5


def zombies_that_stay(stage: Stage, patience: float = 0.3) -> List[str]:
    """A process that has ended is a zombie for a moment, until its parent waits for it."""
    end = time.monotonic() + stage.seconds(patience)
    while True:
        zombies = [process["name"] for process in stage.agent.processes()
                   if process["state"] == "Z" and process["ppid"] != stage.agent.about["pid"]]
        if not zombies or time.monotonic() > end:
            return zombies
        time.sleep(0.02)


def orphan_in(stage: Stage, *options: str) -> Look:
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "orphan=1", "stat=/proc/1/exe", "hold=1", "exit=37"),
                      *options)
    if stage.wait_for_hold(look, run, "run"):
        time.sleep(stage.seconds(0.05))  # the orphan ends
        look.facts.update(stage.facts_of_probe(run))
        look.facts["parents"] = stage.status_of(look.facts["status"]["PPid"])
        look.facts["zombies"] = zombies_that_stay(stage)
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


def with_init(stage: Stage) -> Look:
    """An orphan ends, with --init."""
    return orphan_in(stage, "--init")


def without_init(stage: Stage) -> Look:
    """An orphan ends, and PID 1 is the probe, which does not reap."""
    return orphan_in(stage)


def orphans_together_in(stage: Stage, *options: str) -> Look:
    """PID 1 is stopped while its orphans are killed: it gets a single SIGCHLD for them all."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", f"orphans={ORPHANS}", "hold=1", "exit=37"), *options)
    if stage.wait_for_hold(look, run, "run"):
        orphans = [process for process in stage.agent.processes()
                   if process["argv"][1:2] == [stage.nonce]
                   and process["argv"][0].endswith("child")]
        parents = {process["ppid"] for process in orphans}
        if len(orphans) != ORPHANS or len(parents) != 1:
            raise ProbeBroke(f"there are {len(orphans)} orphans, of {len(parents)} parents")
        init = parents.pop()
        look.facts["fallen_to_the_host"] = init == stage.agent.about["pid"]
        stopped = [] if look.facts["fallen_to_the_host"] else [init]
        for pid in stopped:
            stage.signal("STOP", pid=pid)
        for process in orphans:
            stage.signal("KILL", pid=process["pid"])
        time.sleep(stage.seconds(0.05))  # they end
        for pid in stopped:
            stage.signal("CONT", pid=pid)
        look.facts["zombies"] = zombies_that_stay(stage, 1.0)
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


def orphans_with_init(stage: Stage) -> Look:
    """Several orphans end at once, with --init."""
    return orphans_together_in(stage, "--init")


def orphans_without_init(stage: Stage) -> Look:
    """The same, and PID 1 is the probe, which does not reap."""
    return orphans_together_in(stage)


def terminated_in(stage: Stage, *options: str) -> Look:
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1"), *options)
    if stage.wait_for_hold(look, run, "run"):
        stage.signal("TERM", pid=stage.program_of(run))
        stage.end(look, run, "run", stage.seconds(0.4))
        look.left = []
    return look


def terminated_with_init(stage: Stage) -> Look:
    """A command without handlers is asked to end, with --init."""
    return terminated_in(stage, "--init")


def terminated_without_init(stage: Stage) -> Look:
    """The same without --init: the kernel discards signals for which PID 1 has no handler."""
    return terminated_in(stage)


# --- Observations ---------------------------------------------------------------------------------


def nothing_outlives(look: Look) -> Seen:
    """Is any process of the container left?"""
    if look.problem:
        raise NotStarted(look.problem)
    left = look.fact("left")
    if left:
        return violated(f"still there: {left}")
    if look.runs["run"]["why"] not in ("ended", "killed"):  # it was ended for what it did
        raise NotStarted(look.tell_runs())
    return holds("no process is left")


def orphans_are_reaped(look: Look) -> Seen:
    zombies = look.fact("zombies")
    number = look.facts.get("status", {}).get("NSpid", "").split()
    if look.facts.get("fallen_to_the_host") or len(number) == 1:
        return violated("their new parent is PID 1 of the host: the container has none")
    if zombies:
        return violated(f"zombies: {zombies}")
    return holds("the orphan has ended, and there is no zombie")


def init_is_pid_1(look: Look) -> Seen:
    numbers = look.fact("status").get("NSpid", "").split()
    parents = look.fact("parents").get("NSpid", "").split()
    if numbers[-1:] == ["2"] and parents[-1:] == ["1"] and len(numbers) == len(parents):
        return holds(f"NSpid is {' '.join(numbers)}, that of its parent {' '.join(parents)}")
    if numbers:
        return violated(f"the command's NSpid is {' '.join(numbers)}")
    raise ProbeBroke("there is no NSpid")


def term_ends_the_command(look: Look) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    run = look.run("run")
    if run["why"] == "ended" and run.get("exit") == 143:
        return holds("exit status 143, which is 128 + SIGTERM")
    return violated(f"after 0.4 s: {tell_run({**run, 'stdout': ''})}")


ASKS: Dict[str, Ask] = {}  # the probe is asked only what the scene says
