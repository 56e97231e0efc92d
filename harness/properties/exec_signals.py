"""Stage 01, signals and the terminal: what reaches the command, and what is given back."""

from __future__ import annotations

import signal
import time
from typing import Dict, List

from harness.agent_client import AgentError
from harness.properties.look import Ask, Look, tell_run
from harness.properties.model import Property
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import NotStarted, ProbeBroke, Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="signals_are_forwarded", since="01", scene=signals,
            observe=signals_are_forwarded,
            holds="the command gets TERM, INT, HUP, QUIT, USR1 and USR2, once each",
            violated="it misses some, or gets some twice",
            lesson="To stop a container, users signal the process that they started.",
            man="2 signalfd", mistake="The parent dies of the signal, or swallows it.",
            command="{stage} -- /bin/sh -c 'trap \"echo got it\" TERM; sleep 9 & wait' & kill $!"),
        Property(
            name="ctrl_c_arrives_once", since="01", scene=terminal, observe=ctrl_c_arrives_once,
            holds="Ctrl-C is one SIGINT for the command", violated="none, or two",
            lesson="The terminal signals its whole foreground process group, so the command has"
                   " the signal already.",
            man="7 signal", mistake="The parent forwards what the terminal has sent to both.",
            command="{stage} -- /bin/sh -c 'trap \"echo once\" INT; sleep 9'"),
        Property(
            name="terminal_is_given_back", since="01", scene=terminal,
            observe=terminal_is_given_back,
            needs=("ctrl_c_arrives_once",),
            holds="the terminal is as it was before", violated="it is as the command left it",
            lesson="An editor that dies leaves the terminal without echo.",
            man="3 termios", mistake="The terminal's modes were not saved.",
            command="{stage} -- /bin/sh -c 'stty raw -echo'"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


FORWARDED = ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2")


def signals(stage: Stage) -> Look:
    """Each signal that stops or notifies a process, sent to the program under test."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "trap=10", "exit=37"))
    ready = stage.expect_wait(run, '"trap":"ready"')
    if not ready["found"]:
        stage.tell_why_not_started(look, run, "signals")
        return look
    program = stage.program_of(run)
    for name in FORWARDED:
        try:
            stage.signal(name, pid=program)
        except AgentError:
            break  # it has died of the one before
    for name in FORWARDED:
        number = getattr(signal, f"SIG{name}")
        if not stage.expect(run, f'"signal":{number}}}', stage.seconds(0.4))["found"]:
            break
    stage.agent.write(run["run"], "x", close=True)
    stage.end(look, run, "signals", stage.seconds(0.5))
    return look


def terminal(stage: Stage) -> Look:
    """In a terminal: Ctrl-C, and a command that leaves the terminal in a bad state."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "trap=10", "spoil_terminal", "exit=37"),
                      terminal={"rows": 33, "columns": 77})
    ready = stage.expect_wait(run, '"trap":"ready"')
    if not ready["found"]:
        stage.tell_why_not_started(look, run, "terminal")
        return look
    program = stage.program_of(run)
    # While it is stopped, the program cannot forward the signal before the command has received its
    # own; if two of one kind are pending for a process, the kernel delivers one.
    stage.signal("STOP", pid=program)
    stage.agent.write(run["run"], "\x03")
    stage.expect(run, '"verb":"signal"', stage.seconds(0.3))
    try:
        stage.signal("CONT", pid=program)
    except AgentError:
        pass  # the signal has ended it
    time.sleep(stage.seconds(0.05))  # a second one, if there is one, comes at once
    look.facts["ended_first"] = not is_asleep(stage, program)
    stage.agent.write(run["run"], "\n")
    ended = stage.agent.wait(run["run"], stage.time_limit)
    if ended["over"]:
        look.facts["terminal"] = stage.agent.ask("terminal", run=run["run"])
    stage.end(look, run, "terminal", 0.0)
    return look


def is_asleep(stage: Stage, pid: int) -> bool:
    """Waits until a process has done all that a signal made it do: it sleeps again, or has ended.
    """
    end = time.monotonic() + stage.seconds(1.0)
    asleep = 0
    while asleep < 2 and time.monotonic() < end:
        status = stage.status_of(pid)
        if status.get("State", "Z")[0] == "Z":
            return False
        pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
        asleep = asleep + 1 if status["State"][0] == "S" and not pending else 0
        time.sleep(0.01)
    return True


# --- Observations ---------------------------------------------------------------------------------


def signals_are_forwarded(look: Look) -> Seen:
    look.answer("hello")
    numbers = {int(getattr(signal, f"SIG{name}")): name for name in FORWARDED}
    told = [answer["signal"] for answer in look.answers.get("signal", [])]
    missing = [name for number, name in numbers.items() if number not in told]
    twice = [name for number, name in numbers.items() if told.count(number) > 1]
    if missing:
        return violated(f"the command never got {', '.join(missing)};"
                        f" {tell_run({**look.run('signals'), 'stdout': ''})}")
    if twice:
        return violated(f"the command got {', '.join(twice)} more than once")
    return holds(f"the command got each of {', '.join(FORWARDED)} once")


def ctrl_c_arrives_once(look: Look) -> Seen:
    look.answer("hello")
    if look.fact("ended_first"):
        return violated("the signal ends the program itself, but not the command: "
                        + tell_run({**look.run("terminal"), "stdout": ""}),
                        "The program does with the terminal's signal what every process does: it"
                        " dies, and nobody waits for the command.")
    count = sum(answer["signal"] == signal.SIGINT for answer in look.answers.get("signal", []))
    if count == 1:
        return holds("one SIGINT")
    return violated(f"{count} SIGINT")


def terminal_is_given_back(look: Look) -> Seen:
    look.answer("hello")
    if look.fact("ended_first"):
        raise NotStarted(f"it did not go on after Ctrl-C: {tell_run(look.run('terminal'))}")
    if not look.answers.get("spoil_terminal", [{}])[0].get("ok"):
        if look.run("terminal").get("exit") != 37:
            raise NotStarted(f"the command did not come to its end: {look.tell_runs()}")
        raise ProbeBroke(f"the probe did not spoil the terminal: {look.tell_runs()}")
    modes = look.fact("terminal")
    if modes["echo"] and modes["canonical"]:
        return holds("it echoes and takes lines again")
    return violated(f"its modes are as the command left them: {modes}")


ASKS: Dict[str, Ask] = {}  # the probe is asked what the scene says, and nothing more
