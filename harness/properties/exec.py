"""Stage 01: a command is started and waited for."""

from __future__ import annotations

import re
import signal
import time
from typing import Dict, List, Sequence

from harness.agent_client import AgentError
from harness.properties.inside import held_with, inside, started_by
from harness.properties.lacking import NO_OPTION
from harness.properties.look import Ask, Look, Turn, never_ran, tell_run
from harness.properties.model import ALL_SCENES, Control, Positive, Property
from harness.properties.observing import hidden, text_is
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import NotStarted, ProbeBroke, Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="exit_status_is_the_commands", since="01", scene=inside,
            observe=ended_with_its_status,
            holds="37, when the command exits with 37", violated="another status",
            lesson="Scripts and CI systems decide by the exit status alone.",
            man="2 wait", mistake="The program returned the wait status; the exit status is its"
                                  " second byte.",
            command="{stage} -- /bin/sh -c 'exit 37'; echo $?"),
        Property(
            name="killed_is_128_plus_signal", since="01", scene=killed,
            observe=exit_status_is("killed", 137),
            holds="137, when SIGKILL ended the command", violated="another status",
            lesson="Shells report a signal as 128 + its number; 137 is how the OOM killer is"
                   " recognised.",
            man="1 bash", mistake="Only WIFEXITED was asked for, not WIFSIGNALED.",
            command="{stage} -- /bin/sh -c 'kill -9 $$'; echo $?"),
        Property(
            name="not_found_is_127", since="01", scene=statuses,
            observe=exit_status_is("no command", 127),
            earned_by=Positive(inside),
            holds="127, when there is no such command", violated="another status",
            lesson="With 127, a script can tell a wrong name from a command that failed.",
            man="8 chroot", mistake="The errno of a failed exec(3) did not reach the parent.",
            command="{stage} -- /no-such-command; echo $?"),
        Property(
            name="not_executable_is_126", since="01", scene=statuses,
            observe=exit_status_is("not executable", 126),
            needs=("not_found_is_127",),
            earned_by=Positive(inside),
            holds="126, when the command cannot be executed", violated="another status",
            lesson="126 means that the file exists, but cannot be executed: look at its mode.",
            man="8 chroot", mistake="ENOENT and EACCES were treated alike.",
            command="{stage} -- /etc/passwd; echo $?"),
        Property(
            name="wrong_option_is_125", since="01", scene=wrong_option, observe=wrong_option_stops,
            earned_by=Positive(inside),
            holds="125 for an option that does not exist, and the command does not run",
            violated="the command runs, or another status",
            lesson="125 means that the container failed, so that nobody blames the command.",
            man="8 chroot", mistake="Unknown options are ignored.",
            command="{stage} --no-such-option -- /bin/true; echo $?"),
        Property(
            name="errors_are_told", since="01", scene=wrong_option, observe=errors_are_told,
            earned_by=Positive(inside),
            holds="one line on stderr, perhaps a hint", violated="silence, or a flood",
            lesson="Without a report, a user can only guess what failed.",
            man="3 err",
            mistake="Failures are not reported, or are left to the language: a stack trace.",
            command="{stage} --no-such-option -- /bin/true"),
        Property(
            name="arguments_are_kept", since="01", scene=hard_words, asks=("arguments",),
            observe=arguments_are_kept,
            holds="the words arrive as they were given", violated="other words arrive",
            lesson="A word keeps its spaces, quotes and asterisks, because no shell reads it on"
                   " the way.",
            man="2 execve", mistake="The words were joined and given to a shell.",
            command="{stage} -- /bin/echo 'a  b' '*'"),
        Property(
            name="stdin_arrives", since="01", scene=inside, observe=stdin_arrives,
            holds="the command reads what is written to stdin", violated="it reads nothing",
            lesson="Containers are used in pipes.",
            man="7 pipe", mistake="stdin was closed or replaced.",
            command="echo hello | {stage} -- /bin/cat",
            control=Control.NONE, seen_failing="stdin_from_null of harness/test_any_binary.py"),
        Property(
            name="env_option_works", since="01", scene=variable, observe=given_variable_arrives,
            holds="--env's variables are in the environment, also one that is there without it",
            violated="one is not, or has another value",
            lesson="Containers are configured by their environment.",
            man="7 environ",
            mistake="--env is ignored, set in the parent only, or does not replace what is there.",
            command="{stage} -e A=1 -- /bin/sh -c 'echo $A'"),
        Property(
            name="workdir_option_works", since="01", scene=workdir, observe=workdir_is_used,
            holds="--workdir is the working directory", violated="another directory is",
            lesson="A relative path means something only from a known directory.",
            man="2 chdir", mistake="--workdir is ignored, or was entered before the root changed.",
            command="{stage} -w /tmp -- /bin/sh -c pwd"),
        Property(
            name="missing_workdir_is_made", since="01", scene=workdir_made,
            observe=made_workdir_is_used, needs=("workdir_option_works",),
            holds="a --workdir that does not exist is made",
            violated="the command works elsewhere, or does not start",
            lesson="docker run makes it, too, so people use directories that no image contains.",
            man="2 mkdir", mistake="The directory was entered without being made.",
            command="{stage} -w /new/place -- /bin/sh -c pwd"),
        Property(
            name="descriptors_are_closed", since="01", scene=inside,
            observe=descriptors_are_closed,
            holds="the command has the descriptors 0, 1 and 2", violated="it has more",
            lesson="A descriptor gives access to its file of the host, whatever the root directory"
                   " is.",
            man="2 close_range", mistake="The command inherited what the caller left open.",
            command="{stage} -- /bin/sh -c 'ls -l /proc/self/fd' 7</etc/passwd"),
        Property(
            name="inherited_directory_is_closed", since="01", scene=inside, asks=("secret_by_fd",),
            observe=hidden("secret_by_fd", "secret-{nonce}"),
            needs=("descriptors_are_closed",),
            holds="a directory that the caller had open leads nowhere",
            violated="a file of the host is read through it",
            lesson="openat(2) with an inherited directory of the host reaches all files of the"
                   " host.",
            man="2 openat", mistake="The command inherited what the caller left open.",
            command="{stage} -- /bin/sh -c 'cat /proc/self/fd/8/etc/hostname' 8</"),
        Property(
            name="signal_mask_is_the_callers", since="01", scene=inside, observe=mask_is_clean,
            holds="no signal is blocked, as for the caller", violated="some are",
            lesson="exec(2) keeps the signal mask: SIGTERM does not stop a command that starts"
                   " with SIGTERM blocked.",
            man="2 sigprocmask",
            mistake="Signals were blocked in the parent, and never unblocked in the child.",
            command="{stage} -- /bin/grep SigBlk /proc/self/status"),
        Property(
            name="umask_is_the_containers", since="01", scene=careful_caller,
            observe=umask_is_022,
            holds="the umask is 0022 though the caller's is 0077", violated="the caller's",
            lesson="With its caller's umask, a container works for one user and fails for another.",
            man="2 umask", mistake="The program does not set the umask, so the command inherits"
                                   " the caller's.",
            command="(umask 077; {stage} -- /bin/sh -c umask)"),
        Property(
            name="personality_is_the_containers", since="01", scene=randomization_off,
            observe=personality_is_usual,
            holds="the personality is 0 though the caller's is not", violated="the caller's",
            lesson="The personality decides whether addresses are randomized: if the caller has"
                   " switched that off for a debugger, exploits against the command become easier.",
            man="2 personality", mistake="The program does not set the personality, so the command"
                                         " inherits it.",
            command="setarch -R {stage} -- /bin/cat /proc/self/personality"),
        Property(
            name="kill_0_stays_inside", since="01", scene=group_killed,
            observe=program_survives,
            holds="kill(0, SIGKILL) in the container leaves the program alone",
            violated="the program is killed, and everything else that its caller started in the"
                     " same group",
            lesson="kill(0) goes to a process group, whatever namespaces its members are in: a"
                   " script that starts a container would end with it.",
            man="2 kill", mistake="The command has stayed in its caller's process group.",
            command="{stage} -- /bin/sh -c 'kill -9 0'; echo still here"),
        Property(
            name="a_stop_is_no_end", since="01", scene=stopped, observe=status_survives,
            control=Control.NONE, seen_failing="the mutant stop_taken_for_the_end",
            needs=("exit_status_is_the_commands",),
            holds="a command that is stopped and continued ends with its own status",
            violated="the program ends when its command stops",
            lesson="Debuggers, `kill -STOP` and Ctrl-Z stop a process; wait(2) can report that,"
                   " too.",
            man="2 wait", mistake="The program passed WUNTRACED, but did not check WIFSTOPPED.",
            command="{stage} -- /bin/sh -c 'kill -STOP $$; exit 37'; echo $?"),
        Property(
            name="ignored_sigchld_does_no_harm", since="01", scene=sigchld_ignored,
            observe=status_survives,
            needs=("exit_status_is_the_commands",),
            holds="the status arrives though the caller ignores SIGCHLD", violated="it is lost",
            lesson="With SIGCHLD ignored, the kernel reaps children itself, and their status is"
                   " gone.",
            man="2 wait", mistake="The program relied on the disposition that its caller left.",
            command="(trap '' CHLD; {stage} -- /bin/sh -c 'exit 37'; echo $?)"),
        Property(
            name="nothing_is_left", since="01", scene=ALL_SCENES, observe=nothing_is_left,
            control_scene=inside,
            holds="the host is as it was before", violated="something is new, or gone",
            lesson="A container that leaves something behind fills the host, one start after"
                   " another.",
            man="7 namespaces", mistake="On some way out, the program did not undo everything.",
            command="mount > before; {stage} -- /bin/true; mount | diff before -"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


# Words that a shell, or splitting at spaces, would change.
WORDS = ["two words", "", "$HOME", "*", "quote\"'", "new\nline"]


def hard_words(stage: Stage) -> Look:
    look = look_of(stage)
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", stage.verb("arguments"), words=WORDS))
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


def variable(stage: Stage) -> Look:
    """Two: the program, or its caller, sets the second one as well."""
    return held_with(stage, [], "-e", f"GIVEN=given-{stage.nonce}",
                     "-e", f"HOME=/given-{stage.nonce}")


def statuses(stage: Stage) -> Look:
    """The exit statuses that are the program's own, not the command's."""
    look = look_of(stage)
    inside = stage.names["in"]
    stage.watch()
    look.runs["no command"] = stage.run([f"{inside}/no-such-command"])
    look.runs["not executable"] = stage.run([f"{inside}/not-executable"])
    look.left += stage.left_processes()
    return look


def wrong_option(stage: Stage) -> Look:
    """An option that does not exist."""
    look = look_of(stage)
    stage.watch()
    words = [stage.program, NO_OPTION, *stage.options(), "--", *stage.probe("hello", "exit=37")]
    look.runs["wrong option"] = stage.run_words(words)
    look.answers = stage.answers(look.runs["wrong option"]["stdout"])
    look.left += stage.left_processes()
    return look


def killed(stage: Stage) -> Look:
    """The command is killed from outside."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1"))
    if stage.wait_for_hold(look, run, "killed"):
        stage.signal("KILL", pid=stage.find_probe(run)["pid"])
        stage.end(look, run, "killed")
    return look


def sigchld_ignored(stage: Stage) -> Look:
    """The caller ignores SIGCHLD: the kernel would then throw the command's status away."""
    look = look_of(stage)
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", "exit=37"), ignore=["CHLD"])
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


def careful_caller(stage: Stage) -> Look:
    """Started with a umask that keeps others out."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1"), umask=0o077)
    if stage.wait_for_hold(look, run, "run"):
        look.facts.update(stage.facts_of_probe(run))
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


def randomization_off(stage: Stage) -> Look:
    """The caller has switched the randomization of addresses off."""
    return started_by(stage, "set_personality=0x40000", "personality")


def group_killed(stage: Stage) -> Look:
    """The command sends SIGKILL to its process group."""
    look = look_of(stage)
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", "kill=0,9", "exit=37"))
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


def stopped(stage: Stage) -> Look:
    """The command is stopped from outside, and continued."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1", "exit=37"))
    if stage.wait_for_hold(look, run, "run"):
        probe = stage.find_probe(run)["pid"]
        stage.signal("STOP", pid=probe)
        time.sleep(stage.seconds(0.1))
        try:
            stage.signal("CONT", pid=probe)
            stage.agent.write(run["run"], "\n", close=True)
        except AgentError:
            pass  # the program has ended, and its command with it
        stage.end(look, run, "run")
    return look


def workdir(stage: Stage) -> Look:
    look = look_of(stage)
    directory = "/tmp" if stage.at_least("02") else f"{stage.root}/tmp"
    stage.names["workdir"] = directory
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("cwd"), "-w", directory)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


def workdir_made(stage: Stage) -> Look:
    """--workdir names what does not exist."""
    look = look_of(stage)
    stage.names["workdir"] = f"{stage.names['in']}/made-{stage.nonce}/place"
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", "cwd"), "-w", stage.names["workdir"])
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


# --- Observations ---------------------------------------------------------------------------------


def descriptors_are_closed(look: Look) -> Seen:
    descriptors = look.fact("descriptors")
    if descriptors is None:
        raise ProbeBroke("/proc/PID/fd cannot be read")
    more = {fd: path for fd, path in descriptors.items() if fd not in ("0", "1", "2")}
    if more:
        return violated("it also has " + ", ".join(f"{fd}, which is {path}"
                                                   for fd, path in more.items()))
    return holds(f"it has {', '.join(sorted(descriptors))}")


def mask_is_clean(look: Look) -> Seen:
    blocked = look.fact("status").get("SigBlk", "")
    if not blocked:
        raise ProbeBroke("there is no SigBlk")
    if int(blocked, 16) == 0:
        return holds("SigBlk is 0, as the caller's")
    return violated(f"SigBlk is {blocked}")


def umask_is_022(look: Look) -> Seen:
    umask = look.fact("status").get("Umask", "")
    if not umask:
        raise ProbeBroke("there is no Umask in /proc/PID/status")
    if int(umask, 8) == 0o022:
        return holds("Umask is 0022")
    return violated(f"Umask is {umask}")


def personality_is_usual(look: Look) -> Seen:
    told = look.answers.get("personality", [{}])[0]
    if not look.answers.get("hello") or "personality" not in told:  # or ended too early
        raise never_ran(look.run("run"))
    return text_is(hex(told["personality"]), {"0x0": "that of every program"},
                   {"0x40000": "ADDR_NO_RANDOMIZE, which the caller has set"})


def program_survives(look: Look) -> Seen:
    run = look.run("run")
    if not look.answers.get("hello"):
        raise never_ran(run)
    if run.get("signal") == signal.SIGKILL:
        return violated("the program was killed by SIGKILL, with its caller's process group")
    # PID 1 of a namespace survives it; any other command dies of it.
    if run["why"] == "ended" and "exit" in run:
        return holds(f"the program leaves by itself, with exit status {run['exit']}")
    raise ProbeBroke(tell_run({**run, "stdout": ""}))


def environ_of(look: Look) -> List[str]:
    environ = look.fact("environ")
    if environ is None:
        raise ProbeBroke("/proc/PID/environ cannot be read")
    return environ


def given_variable_arrives(look: Look) -> Seen:
    environ = environ_of(look)
    given = {f"GIVEN=given-{look.names['nonce']}", f"HOME=/given-{look.names['nonce']}"}
    if given <= set(environ):
        return holds("--env's variables are in /proc/PID/environ")
    return violated(f"{', '.join(sorted(given - set(environ)))} is not in /proc/PID/environ:"
                    f" {environ}")


def workdir_is_used(look: Look) -> Seen:
    if "cwd" not in look.answers:
        raise never_ran(look.run("run"))
    path = look.answer("cwd").get("path")
    if path == look.names["workdir"]:
        return holds(f"getcwd(2) says {path}")
    if path:
        return violated(f"getcwd(2) says {path}, not {look.names['workdir']}")
    raise ProbeBroke(str(look.answers))


def made_workdir_is_used(look: Look) -> Seen:
    run = look.run("run")
    if not look.answers.get("hello"):
        return violated(f"it does not start: {tell_run(run)}")
    return workdir_is_used(look)


def exit_status_is(run_name: str, status: int):
    """Whether the program exits with the status that it has to return, whatever the command's
    was."""
    def observe(look: Look) -> Seen:
        if look.problem:
            raise NotStarted(look.problem)
        run = look.run(run_name)
        if run["why"] != "ended":
            raise never_ran(run)
        if run.get("exit") == status:
            return holds(f"exit status {status}")
        return violated(tell_run(run))
    return observe


def wrong_option_stops(look: Look) -> Seen:
    run = look.run("wrong option")
    if run["why"] != "ended":
        raise never_ran(run)
    if "hello" in look.answers:
        return violated(f"the command ran all the same: {tell_run({**run, 'stdout': ''})}")
    if run.get("exit") == 125:
        return holds("exit status 125, and the command did not run")
    return violated(tell_run(run))


def errors_are_told(look: Look) -> Seen:
    run = look.run("wrong option")
    if run["why"] != "ended":
        raise never_ran(run)
    lines = run["stderr"].splitlines()
    told = [line for line in lines if not line.startswith("hint: ")]
    if not lines:
        return violated("stderr is empty")
    if len(told) == 1 and ": " in told[0]:
        return holds(f"{lines}")
    return violated(f"stderr is {lines}")


def status_survives(look: Look) -> Seen:
    run = look.run("run")
    if not look.answers.get("hello"):
        raise never_ran(run)
    if run.get("exit") == 37:
        return holds("exit status 37")
    return violated(tell_run({**run, "stdout": ""}))


def nothing_is_left(look: Look) -> Seen:
    if look.leaks:
        return violated(told_once(look.leaks))
    return holds("mounts, cgroups, links, rules, processes, files, IPC and host name are as before")


MOST_TOLD = 4


def told_once(leaks: Sequence[str]) -> str:
    """The same thing may be left by many starts, under names that differ by a number."""
    kinds = {re.sub(r"\(in the scene \w+\)|[0-9a-f]{12}|\d+", "N", leak): leak for leak in leaks}
    told = list(kinds.values())[:MOST_TOLD]
    more = f"; and {len(leaks) - len(told)} more" if len(leaks) > len(told) else ""
    return "; ".join(told) + more


def ended_with_its_status(look: Look) -> Seen:
    run = look.run("inside")
    if not look.answers:
        look.answer("hello")
    if run.get("exit") == 37:
        return holds("exit status 37")
    if run["over"] and run["why"] == "ended":
        return violated(tell_run({**run, "stdout": ""}))
    raise ProbeBroke(tell_run(run))


def arguments_are_kept(look: Look) -> Seen:
    words = look.answer("arguments").get("words")
    if words == WORDS:
        return holds(f"{words}")
    if words is not None:
        return violated(f"{words}")
    raise ProbeBroke(str(look.answer("arguments")))


def stdin_arrives(look: Look) -> Seen:
    answers = look.answers.get("hold=1", [])
    if look.problem or not answers:
        look.answer("hello")
        raise ProbeBroke("the probe did not hold")
    if len(answers) < 2:
        return violated("the probe still waits for the line that was written to stdin")
    return text_is(answers[1]["line"], {f"line-{look.names['nonce']}": "what was written to stdin"},
                   {"": "end-of-file"})


# --- What the probe is asked ----------------------------------------------------------------------

ASKS: Dict[str, Ask] = {
    "hello": Ask("hello", Turn.SELF),  # with which every scene begins
    "arguments": Ask("arguments", Turn.SELF),
    "secret_by_fd": Ask("read_from=8,{secret}"),
}
