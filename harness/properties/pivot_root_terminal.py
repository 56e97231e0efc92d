"""Stage 06, the terminal: the container has another one than its caller."""

from __future__ import annotations

from typing import Dict, List

from harness.agent_client import AgentError
from harness.properties.look import Ask, Look, tell_run
from harness.properties.model import Property
from harness.properties.namespaces_init import start_again
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import (NotStarted, NotTestable, ProbeBroke, Seen, holds,
                                        violated)

SIZE = {"rows": 33, "columns": 77}


def rows() -> List[Property]:
    return [
        Property(
            name="terminal_is_its_own", since="06", scene=in_a_terminal,
            observe=terminal_is_its_own,
            holds="no descriptor of the command is its caller's terminal",
            violated="the command has its caller's terminal open",
            lesson="A process that has a terminal open reads what is typed there, changes its owner"
                   " and modes, and types into it with TIOCSTI.",
            man="7 pty",
            mistake="The command inherited the terminal, or only its input is another one.",
            command="tty; {stage} --rootfs {root} -- /bin/sh -c 'tty; ls -l /proc/self/fd'"),
        Property(
            name="terminal_is_that_of_its_session", since="06", scene=in_a_terminal,
            observe=terminal_is_that_of_its_session,
            needs=("terminal_is_its_own",),
            holds="the session of the command has a terminal, and another one than the caller's",
            violated="/dev/tty is the caller's terminal, or none",
            lesson="A process keeps its session's terminal when its descriptors are replaced:"
                   " /dev/tty opens it again.",
            man="2 setsid", mistake="setsid(2) or TIOCSCTTY is missing.",
            command="{stage} --rootfs {root} -- /bin/sh -c 'echo hello >/dev/tty'"),
        Property(
            name="terminal_survives_a_killed_parent", since="06", scene=killed_in_a_terminal,
            observe=terminal_is_sane,
            holds="after SIGKILL to the program, its caller's terminal echoes and reads lines",
            violated="it is as the command or the program left it",
            lesson="A destructor does not run when a process is killed: another process must"
                   " restore what outlives it.",
            man="3 termios", mistake="Only the parent knows the modes that the terminal had.",
            command="{stage} --rootfs {root} -- /bin/sh -c 'stty raw -echo; sleep 9'; kill -9 ..."),
        Property(
            name="typed_input_stays_inside", since="06", scene=types_in_a_terminal,
            observe=nothing_is_typed, needs=("terminal_is_its_own",),
            holds="what the command types by TIOCSTI does not arrive at its caller's terminal",
            violated="the caller's terminal has it as input: its shell would run it",
            lesson="TIOCSTI puts characters into a terminal's input, as if they had been typed:"
                   " CVE-2017-5226. A process may do that to the terminal of its session.",
            man="2 ioctl_tty",
            mistake="The terminal of the command's session is its caller's.",
            command="{stage} --rootfs {root} -- ./tiocsti 'echo typed'"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


def in_a_terminal(stage: Stage) -> Look:
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1"), terminal=SIZE)
    if stage.wait_for_hold(look, run, "run"):
        probe, caller = stage.find_probe(run)["pid"], stage.program_of(run)
        paths = {f"{who} {fd}": f"/proc/{pid}/fd/{fd}"
                 for who, pid in (("caller", caller), ("probe", probe)) for fd in range(3)}
        places = stage.agent.stat(*paths.values())
        look.facts["files"] = {name: places[path] for name, path in paths.items()}
        stats = stage.agent.read(f"/proc/{probe}/stat", f"/proc/{caller}/stat")
        look.facts["sessions"] = [
            stats[f"/proc/{pid}/stat"]["text"].rpartition(")")[2].split()[3:5]
            for pid in (probe, caller)]
        stage.agent.write(run["run"], "\n")
        stage.end(look, run, "run")
    return look


def killed_in_a_terminal(stage: Stage) -> Look:
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "spoil_terminal", "hold=1"), terminal=SIZE)
    if stage.wait_for_hold(look, run, "run"):
        try:
            stage.signal("KILL", pid=stage.program_of(run))
        except AgentError as error:
            raise ProbeBroke(f"the program cannot be killed: {error}") from error
        stage.agent.wait(run["run"], stage.time_limit)
        stage.left_processes()  # one of them may be the one that restores it
        look.facts["terminal"] = stage.agent.ask("terminal", run=run["run"])
        stage.end(look, run, "run", 0.0)
        start_again(stage)  # which removes what a killed parent could not
    return look


def types_in_a_terminal(stage: Stage) -> Look:
    """The command types into every terminal that it can reach, while nothing reads what its
    caller types."""
    look = look_of(stage)
    let_commands_type(stage)
    stage.watch()
    text = f"typed-{stage.nonce}"
    verb = f"type={text}"
    run = stage.start(stage.probe("hello", "hold=1", verb, "sleep_ms=1000"), terminal=SIZE)
    if stage.wait_for_hold(look, run, "run"):
        input_of_caller = f"/proc/{stage.program_of(run)}/fd/0"
        stage.agent.write(run["run"], "\n")
        stage.expect(run, f'"verb":"{verb}"')
        # Not more than that: a second read(2) would say EAGAIN, and the first one be lost.
        look.facts["input"] = stage.agent.ask("read", paths=[input_of_caller],
                                              limit=len(text))[input_of_caller]
        stage.end(look, run, "run")
    return look


def let_commands_type(stage: Stage) -> None:
    """Since Linux 6.2 TIOCSTI can be switched off, for everybody."""
    switch = "/proc/sys/dev/tty/legacy_tiocsti"
    if stage.agent.read(switch)[switch].get("text", "1").strip() == "1":
        return
    if not stage.agent.place.tests_all:  # the switch is the machine's
        raise NotTestable("dev.tty.legacy_tiocsti is 0: no process types by TIOCSTI")
    stage.busybox("sh", "-c", f"echo 1 >{switch}")


# --- Observations ---------------------------------------------------------------------------------


def terminal_is_its_own(look: Look) -> Seen:
    look.answer("hello")
    files = look.fact("files")
    device = {name: (place["dev"], place["ino"], place["rdev"]) for name, place in files.items()}
    same = [name for name in device if name.startswith("probe") and device[name]
            == device["caller 0"]]
    if same:
        return violated(f"{', '.join(same)} is the terminal that the program was started in")
    if any(place["rdev"][0] != files["caller 0"]["rdev"][0] for place in files.values()):
        return violated("its input or output is no terminal at all")
    return holds("0, 1 and 2 are a terminal that is in another file system")


def terminal_is_that_of_its_session(look: Look) -> Seen:
    look.answer("hello")
    (session, terminal), (callers_session, _) = look.fact("sessions")
    if session == callers_session:
        return violated("the command is in its caller's session")
    if terminal == "0":
        return violated("its session has no terminal")
    return holds("a session of its own, which has a terminal")


def terminal_is_sane(look: Look) -> Seen:
    look.answer("hello")
    modes = look.fact("terminal")
    if modes["echo"] and modes["canonical"]:
        return holds("it echoes and reads lines again")
    return violated(f"its modes are {modes}")


def nothing_is_typed(look: Look) -> Seen:
    text = f"typed-{look.names['nonce']}"
    look.answer("hello")
    typed_into = look.answers.get(f"type={text}", [{}])[0].get("typed_into")
    told = f"the command typed into {typed_into} of 5"
    found = look.fact("input")
    if text in found.get("text", ""):
        return violated(f"{told}; the caller's terminal has the input {text!r}")
    if typed_into is None:  # such as a command that is stopped, as a job in the background is
        raise NotStarted(f"the command did not come to type: {tell_run(look.run('run'))}")
    if found.get("errno") not in (None, "EAGAIN"):
        raise ProbeBroke(f"{told}; the caller's terminal: {found}")
    return holds(f"{told}, and the caller's terminal has no input")


# --- What the probe is asked ----------------------------------------------------------------------

ASKS: Dict[str, Ask] = {}
