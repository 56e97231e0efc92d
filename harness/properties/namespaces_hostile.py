"""Stage 04: ways out by /proc, and what reaches the host's processes all the same."""

from __future__ import annotations

from typing import Dict, List

from harness.properties.exec import workdir, workdir_is_used
from harness.properties.inside import inside, start_victim
from harness.properties.look import Ask, Look, never_ran, tell_run
from harness.properties.model import SHELL, Control, Positive, Property
from harness.properties.observing import mount_options
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import NotStarted, NotTestable, ProbeBroke, Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="kill_all_stays_inside", since="04", scene=all_killed,
            observe=host_survives, needs=("own_pid_namespace",),
            holds="kill(-1, SIGKILL) in the container reaches no process of the host",
            violated="a process of the host is killed",
            lesson="kill(-1) goes to all processes that the sender may signal and can see: a PID"
                   " namespace decides what it can see.",
            man="2 kill", mistake="There is no PID namespace.",
            command=SHELL + " 'kill -9 -1'"),
        Property(
            name="proc_is_for_data", since="04", scene=inside,
            observe=proc_is_nosuid_nodev_noexec, needs=("proc_is_mounted",),
            holds="/proc is mounted nosuid, nodev and noexec", violated="one of them is missing",
            lesson="No program is started from /proc and no device is opened there, so the mount"
                   " can forbid both.",
            man="2 mount", mistake="/proc was mounted without flags.",
            command=SHELL + " 'grep /proc /proc/self/mountinfo'"),
        Property(
            name="descriptors_lead_workdir_nowhere", since="04", scene=by_descriptors,
            observe=workdir_leads_nowhere, control=Control.NONE,
            seen_failing="the mutant workdir_before_descriptors",
            earned_by=Positive(workdir, workdir_is_used),
            holds="--workdir /proc/self/fd/N is never a directory of the host, whatever N is",
            violated="from its working directory the command reads a file of the host",
            lesson="/proc/self/fd gives each open descriptor a name. A directory of the host that"
                   " is still open when the working directory is entered is a way out"
                   " (CVE-2024-21626).",
            man="5 proc_pid_fd", mistake="Descriptors are closed by the exec, after the chdir.",
            command="{stage} --rootfs {root} -w /proc/self/fd/3 -- /bin/cat ../../etc/hostname"
                    " 3</"),
        Property(
            name="descriptors_lead_command_nowhere", since="04", scene=by_descriptors,
            observe=command_leads_nowhere, control=Control.NONE,
            seen_failing="the mutant descriptors_closed_by_the_exec",
            holds="a command /proc/self/fd/N/../PROGRAM is not a program of the host",
            violated="the host's program runs inside",
            lesson="Close-on-exec acts after the path of the command has been looked up.",
            man="2 execve", mistake="Descriptors are closed by the exec, and not before.",
            command="{stage} --rootfs {root} -- /proc/self/fd/3/bin/busybox id 3</"),
        Property(
            name="program_cannot_run_inside", since="04", scene=itself,
            observe=it_does_not_run_inside, control=Control.NONE,
            seen_failing="the mutant runs_inside",
            holds="a link to /proc/self/exe does not start the stage's own file inside",
            violated="it runs",
            lesson="The program that starts a container is a file of the host. If it runs inside,"
                   " root there may change it through /proc/1/exe: CVE-2019-5736.",
            man="5 proc_pid_exe", mistake="The program does not check where its own file is.",
            command="ln -s /proc/self/exe {root}/x; {stage} --rootfs {root} -- /x --version"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------

NUMBERS = range(3, 12)  # of descriptors, some of which a program that starts a container has open


def all_killed(stage: Stage) -> Look:
    """The command sends SIGKILL to all that it can see, and the host has a process."""
    look = look_of(stage)
    if not stage.agent.has_own_host:
        raise NotTestable("needs root on the host: a program that fails would kill all of yours")
    victim = start_victim(stage)
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", "kill=-1,9", "exit=37"))
    look.answers = stage.answers(look.runs["run"]["stdout"])
    look.facts["victim_lives"] = not stage.agent.wait(victim["run"], 0.0)["over"]
    return look


def by_descriptors(stage: Stage) -> Look:
    """The caller has directories of the host open: do their names in /proc lead anywhere?"""
    look = look_of(stage)
    files = [{"fd": fd, "path": "/"} for fd in (3, 5, 8)]
    secret, program = stage.names["secret"], stage.host_probe
    stage.watch()
    for number in NUMBERS:
        climb = f"/proc/self/fd/{number}/" + "../" * 12
        look.runs[f"workdir {number}"] = stage.run(
            stage.probe("read=" + "../" * 12 + secret[1:]), "-w", f"/proc/self/fd/{number}",
            files=files)
        look.runs[f"command {number}"] = stage.run([climb + program[1:], stage.nonce, "hello"],
                                                   files=files)
    look.runs["run"] = stage.run(stage.probe("hello", "exit=37"), files=files)
    look.facts["answers"] = {name: stage.answers(run["stdout"]) for name, run in look.runs.items()}
    return look


def itself(stage: Stage) -> Look:
    """A link in the root to what the process that follows it executes: the program under test."""
    look = look_of(stage)
    stage.agent.make([{"kind": "link", "path": f"{stage.root}/itself", "text": "/proc/self/exe"}])
    stage.watch()
    look.runs["outside"] = stage.run_words([stage.program, "--version"])
    look.runs["inside"] = stage.run(["/itself", "--version"])
    look.runs["run"] = stage.run(stage.probe("hello", "exit=37"))
    return look


# --- Observations ---------------------------------------------------------------------------------


def started(look: Look) -> None:
    """Raises NotStarted if even an ordinary command does not run."""
    if look.run("run").get("exit") != 37:
        raise never_ran(look.run("run"))


def host_survives(look: Look) -> Seen:
    run = look.run("run")
    if not look.answers.get("hello"):
        raise never_ran(run)
    if not look.fact("victim_lives"):
        return violated(f"{look.names['victim']}, a process of the host, was killed")
    if "signal" in run:
        return violated(f"the program that started the container was killed: {tell_run(run)}")
    return holds(f"{look.names['victim']}, a process of the host, lives")


def proc_is_nosuid_nodev_noexec(look: Look) -> Seen:
    options = mount_options(look, "/proc")
    missing = [flag for flag in ("nosuid", "nodev", "noexec") if flag not in options]
    if not look.fact("all_mounts"):
        raise ProbeBroke("its mounts cannot be read")
    if missing:
        return violated(f"/proc is mounted {','.join(options) or 'not at all'}")
    return holds(f"/proc is mounted {','.join(options)}")


def workdir_leads_nowhere(look: Look) -> Seen:
    started(look)
    secret = f"secret-{look.names['nonce']}"
    for name, answers in look.fact("answers").items():
        texts = [answer.get("text") for told in answers.values() for answer in told]
        if secret in texts:
            return violated(f"it reads {look.names['secret']} of the host with {name}")
    return holds(f"none of {len(NUMBERS)} leads to the host's file")


def command_leads_nowhere(look: Look) -> Seen:
    started(look)
    for number in NUMBERS:
        if look.fact("answers")[f"command {number}"].get("hello"):
            return violated(f"with {number} the host's {look.names['secret'][:-6]}probe runs")
    return holds(f"none of {len(NUMBERS)} leads to a program of the host")


def it_does_not_run_inside(look: Look) -> Seen:
    started(look)
    inside_, outside = look.run("inside"), look.run("outside")
    # A program may begin with its own name, which is another one there.
    texts = [run["stdout"].partition(" ")[2] for run in (inside_, outside)]
    if outside.get("exit") == 0 and texts[1] and texts[0] == texts[1]:
        return violated(f"inside, it says {inside_['stdout']!r}, as outside")
    if inside_.get("exit", 0) != 0:
        return holds(tell_run(inside_))
    if outside.get("exit") != 0:
        raise NotStarted(f"outside, it does not run either: {tell_run(outside)}")
    raise ProbeBroke(look.tell_runs())


ASKS: Dict[str, Ask] = {}  # the probe is asked what the scenes say, and nothing more
