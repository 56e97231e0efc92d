"""Types a page's commands in the virtual machine, and reads what its terminals show."""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import Callable, Iterator, List, Sequence, Tuple

from harness.agent_client import Agent, AgentLost
from harness.vm.image import DEFAULT_KERNEL
from harness.vm.vm import Vm
from slides.transcript import CONTINUED, HOST, PROMPT, Step, is_prompt

PATIENCE = 120.0  # seconds for one command, in an emulated machine beside others
POLL = 0.02
ROWS, COLUMNS = 50, 100
PATH = "/box/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # in the machine

ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[()][0-9A-B]|\][^\x07]*\x07|[=>c78])")
# What busybox' shell says first: in each container the same, and not what the page is about.
BANNER = re.compile(r"\s*BusyBox v[^\n]*built-in shell[^\n]*\n[^\n]*built-in commands.\n\n?")

AT_PROMPT = re.compile(PROMPT.pattern.replace("(?: |$)", " ") + r"\Z")

# As a person's shell is, except for the name of the machine.
SHELL = ("bash", "--norc", "--noprofile", "--noediting")
EVERYBODY = {"PATH": PATH, "PS1": f"{HOST}:\\w\\$ ", "TERM": "dumb", "LC_ALL": "C.UTF-8"}

# Makes once what a login makes, because /box/call takes as long as ten commands. The sessions'
# cgroups are as /box/call has them, the ordinary user's delegated to that user, see cgroups(7).
SLICES = "/sys/fs/cgroup/user.slice"
ROOTS_SESSION = f"{SLICES}/user-0.slice/session-1.scope"
USERS_SESSION = f"{SLICES}/user-1000.slice/user@1000.service/session-2.scope"
ROOT = {"env": {**EVERYBODY, "HOME": "/root", "USER": "root"}, "cwd": "/root",
        "cgroup": ROOTS_SESSION}
USER = {"env": {**EVERYBODY, "HOME": "/home/user", "USER": "user", "LOGNAME": "user",
                "XDG_RUNTIME_DIR": "/run/user/1000"},
        "cwd": "/home/user", "cgroup": USERS_SESSION,
        "user": {"uid": 1000, "gid": 1000, "groups": [1000]}}

# What a block may change, and where its first state is kept: the homes, root's unpacked roots.
# The machine gets a name server, as hosts have one, though it is not reached: otherwise the page of
# each container at the bridge would show the warning that there is none.
KEPT = "/box-kept"
CACHE = "/var/cache/containers-under-the-hood"
FURNISH = f"""
mkdir {ROOTS_SESSION} {USERS_SESSION}
for file in . cgroup.procs cgroup.threads cgroup.subtree_control; do
  chown 1000:1000 {USERS_SESSION}/$file
done
# Root's containers have another built-in root than the stages before 05.
/box/call root 02_chroot true || exit
for name in root user; do /box/call $name 05_userns true || exit; done
echo nameserver 192.0.2.53 >/etc/resolv.conf
mkdir {KEPT}
cp -a /home/user {KEPT}/user; cp -a /root {KEPT}/root; cp -a {CACHE} {KEPT}/cache
grep -c . /proc/self/mountinfo >{KEPT}/mounts
sleep 0.1; touch {KEPT}/time
"""
# Starts as few programs as it can.
CLEAN = f"""
read name </proc/sys/kernel/hostname
[ "$name" = {HOST} ] || hostname {HOST}
read wanted <{KEPT}/mounts
mounts() {{ number=0; while read -r _ _ _ _ last _; do number=$((number + 1)); done; }}
mounts </proc/self/mountinfo
while [ "$number" -gt "$wanted" ]; do
  umount -l "$last" || break
  mounts </proc/self/mountinfo
done
for link in /sys/class/net/*; do
  [ "$link" = /sys/class/net/lo ] || ip link delete "${{link##*/}}"
done
set -- /tmp/* /tmp/.[!.]*
[ "$*" = '/tmp/* /tmp/.[!.]*' ] || rm -rf "$@"
if [ "$(find /home/user /root {CACHE} -newer {KEPT}/time -print -quit 2>&1)" ]; then
  rm -rf /home/user /root {CACHE}
  cp -a {KEPT}/user /home/user; cp -a {KEPT}/root /root; cp -a {KEPT}/cache {CACHE}
fi
"""


class TerminalError(Exception):
    """The block cannot be run. `line` is the place in it, from 0."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class Terminal:
    """A shell of an ordinary user or of root, and whatever is started from it."""

    def __init__(self, agent: Agent, is_root: bool) -> None:
        self.agent = agent
        self.is_root = is_root
        self.run = agent.start(SHELL, program="/bin/bash", time_limit=3600, close_stdin=False,
                               output_limit=1 << 20,
                               terminal={"rows": ROWS, "columns": COLUMNS},
                               **(ROOT if is_root else USER))["run"]
        self.prompt = ""
        self.read(0, None)

    def shown(self, wait: float = POLL) -> Tuple[str, bool]:
        """All of it so far, as a person sees it; whether the shell is over."""
        state = self.agent.wait(self.run, wait)
        text = re.sub(r"\r+\n", "\n", ESCAPE.sub("", state["stdout"]))
        return re.sub(r"[^\n]*\r", "", text), state["over"]  # what was written over

    def read(self, start: int, command: str | None) -> str:
        """Waits for the next prompt, and returns what is before it, without the typed command."""
        end = time.monotonic() + PATIENCE
        while True:
            text, over = self.shown()
            answer = without_echo(text[start:], command)
            if answer is not None:
                before, newline, last = answer.rpartition("\n")
                if last == CONTINUED:
                    return before + newline
                if prompt := AT_PROMPT.search(last):  # after what did not end its line, perhaps
                    self.prompt = prompt.group()
                    unended = last[:prompt.start()]
                    return before + newline + (unended and unended + "\n")
            if over:
                self.prompt = ""
                raise TerminalError(0, f"the shell has ended:\n{text[start:]}")
            if time.monotonic() > end:
                raise TerminalError(0, f"no prompt for {PATIENCE:g} s; shown is:\n{text[start:]}")

    def type(self, lines: Sequence[str]) -> List[str]:
        """Types a command, and returns what it wrote."""
        answer = ""
        for line in lines:
            start = len(self.shown(wait=0.0)[0])
            self.agent.write(self.run, line + "\n")
            answer = self.read(start, line)
        if BANNER.match(answer):
            answer = BANNER.sub("", answer, count=1)
        return [line.rstrip() for line in answer.expandtabs().split("\n")[:-1]]


def without_echo(text: str, command: str | None) -> str | None:
    """What comes after the echo of `command`, which may be broken where the terminal's line ends;
    None while it has not come."""
    if command is None:
        return text
    at = 0
    for character in command:
        while at < len(text) and text[at] in "\r\n" and text[at] != character:
            at += 1
        if at == len(text) or text[at] != character:
            return None
        at += 1
    newline = text.find("\n", at)
    return None if newline < 0 else text[newline + 1:]


class Machine:
    """The virtual machine with the stages, in which each block finds everything new. `boot` starts
    one in place of the last one."""

    def __init__(self, boot: Callable[[], Agent]) -> None:
        self.boot = boot
        self.start()

    def start(self) -> None:
        self.agent = self.boot()
        self.clean(FURNISH)

    def clean(self, script: str = CLEAN) -> None:
        self.agent.ask("finish_all")
        done = self.agent.run(["/bin/sh", "-c", script], time_limit=60,
                              env={"PATH": PATH})
        if done.get("exit") != 0:
            raise TerminalError(0, f"the machine cannot be made ready: {done}")

    def play(self, before: Sequence[str], steps: Sequence[Step]) -> List[Step]:
        """Runs a block: the same commands, with the prompts and the output of now."""
        try:
            return self.play_once(before, steps)
        except AgentLost:  # Under emulation a machine hangs, once in some thousand blocks.
            self.start()
            return self.play_once(before, steps)

    def play_once(self, before: Sequence[str], steps: Sequence[Step]) -> List[Step]:
        self.clean()
        terminals: List[Terminal] = []
        played: List[Step] = []
        for command in before:
            self.terminal_for(steps[0], terminals).type([command])
        for step in steps:
            try:
                played.append(self.play_one(step, terminals))
            except TerminalError as error:
                raise TerminalError(step.line, str(error)) from error
        return played

    def play_one(self, step: Step, terminals: List[Terminal]) -> Step:
        terminal = self.terminal_for(step, terminals)
        prompt = step.prompt if is_prompt(terminal.prompt, step.prompt) else terminal.prompt
        output = terminal.type(step.command) if any(step.command) else []
        return Step(prompt, step.command, output, step.line)

    def terminal_for(self, step: Step, terminals: List[Terminal]) -> Terminal:
        """On the host: one of this user, and a new one if all of the user's are in containers. In a
        container: the one with this prompt, or the last that is in a container."""
        if step.who == HOST:
            for terminal in terminals:
                if terminal.is_root == step.is_root and terminal.prompt.startswith(HOST):
                    return terminal
            terminals.append(Terminal(self.agent, step.is_root))
            return terminals[-1]
        inside = [one for one in terminals if not one.prompt.startswith(HOST)]
        if not inside:
            shows = ", ".join(one.prompt.strip() for one in terminals) or "nothing yet"
            raise TerminalError(step.line, f"no container is at its prompt; shown is: {shows}")
        same = [one for one in inside if is_prompt(one.prompt, step.prompt)]
        return (same or inside)[-1]


@contextlib.contextmanager
def machine(kernel: str = DEFAULT_KERNEL) -> Iterator[Machine]:
    """Starts one; it ends with the block."""
    stages = os.environ.get("HARNESS_STAGES", "").split()
    agent_program = os.environ["HARNESS_AGENT"]
    with contextlib.ExitStack() as running:
        def boot() -> Agent:
            running.close()
            vm = running.enter_context(Vm(kernel, programs=[*stages, agent_program]))
            return running.enter_context(Agent(agent_program, own_host=False, place=vm))
        yield Machine(boot)
