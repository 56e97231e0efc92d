"""Stage 02: a root directory of its own."""

from __future__ import annotations

import re
from typing import Dict, List

from harness.properties.exec import environ_of, workdir, workdir_is_used
from harness.properties.inside import failing, inside, unhindered
from harness.properties.look import Ask, Look, Turn, tell_run
from harness.properties.model import SHELL, Positive, Property
from harness.properties.observing import does_not_start, hidden, stops_or
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import ROOT, USER, ProbeBroke, Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="needs_root_and_says_so", since="02", until="05", scene=anybody,
            observe=refusal_is_explained, identities=(USER,), control_identity=USER,
            earned_by=Positive(anybody, identity=ROOT),
            holds="an ordinary user gets 125 and a message that root is needed",
            violated="it runs, or does not say so",
            lesson="chroot(2) needs CAP_SYS_CHROOT: otherwise a user could give a set-user-ID"
                   " program a root directory with files of their own.",
            man="2 chroot", mistake="The failure of a call was ignored, or not explained.",
            command="sudo -u nobody " + "{stage} --rootfs {root} -- /bin/true"),
        Property(
            name="no_chroot_no_start", since="02", scene=chroot_fails, asks=("secret",),
            observe=stops_or(hidden("secret", "secret-{nonce}")),
            earned_by=Positive(unhindered),
            holds="when the root cannot be changed, the command does not run",
            violated="it runs, and sees the host",
            lesson="A container that starts with less isolation than asked for is worse than none.",
            man="2 chroot", mistake="The result of chroot(2) was not checked.",
            command="strace -f -e inject=chroot,pivot_root:error=EPERM " + SHELL + " ls"),
        Property(
            name="host_file_is_hidden", since="02", scene=inside, asks=("secret",),
            observe=hidden("secret", "secret-{nonce}"),
            needs=("root_is_the_directory",),
            holds="the file is not there", violated="the probe reads its text",
            lesson="A path is looked up from the process's root directory; what is not below it has"
                   " no path.",
            man="2 chroot", mistake="The root directory was not changed.",
            command=SHELL + " 'cat /etc/hostname'"),
        Property(
            name="root_is_the_directory", since="02", scene=inside,
            observe=root_is_the_directory,
            holds="/proc/PID/root is the directory of --rootfs",
            violated="/proc/PID/root is the host's root",
            lesson="The root directory is an attribute of a process; the host reads it in"
                   " /proc/PID/root.",
            man="5 proc", mistake="The command was started before the root was changed.",
            command=SHELL + " 'ls /'"),
        Property(
            name="cwd_is_inside", since="02", scene=inside, asks=("cwd",),
            observe=cwd_is_inside,
            holds="the working directory is the new root",
            violated="the working directory is where the host was",
            lesson="chroot(2) does not change the working directory: if that stays outside, it is"
                   " a way out.",
            man="2 chroot", mistake="No chdir(2) into the new root.",
            command=SHELL + " 'pwd; ls'"),
        Property(
            name="dotdot_stops_at_the_root", since="02", scene=inside, asks=("secret_up",),
            observe=hidden("secret_up", "secret-{nonce}"),
            needs=("root_is_the_directory",),
            holds="'..' from the working directory does not lead out",
            violated="'..' leads to the host's file",
            lesson="'..' stops only at the root directory, and a path that begins outside never"
                   " passes it.",
            man="7 path_resolution", mistake="The working directory is outside the root.",
            command=SHELL + " 'ls ../../../../../..'"),
        Property(
            name="absolute_link_stays_inside", since="02", scene=inside, asks=("secret_by_link",),
            observe=hidden("secret_by_link", "secret-{nonce}"),
            needs=("root_is_the_directory",),
            holds="a link to an absolute path of the host leads nowhere",
            violated="the link leads to the host's file",
            lesson="An absolute link is looked up from the root of the process that follows it,"
                   " not of the one that made it.",
            man="7 symlink", mistake="The link was followed before the root was changed.",
            command=SHELL + " 'cat /link'"),
        Property(
            name="host_variable_is_hidden", since="02", scene=inside,
            observe=host_variable_is_hidden,
            holds="the host's variables are not in the environment",
            violated="a variable of the host's is in the environment",
            lesson="exec(2) passes on the whole environment, and people keep access tokens in it."
                   " HOME names a directory that the new root does not have.",
            man="7 environ", mistake="The caller's environment was passed on.",
            command="env SECRET=1 " + SHELL + " env"),
        Property(
            name="path_is_the_containers", since="02", scene=inside,
            observe=path_is_the_containers,
            holds="PATH names directories of the container",
            violated="PATH names directories of the host",
            lesson="The host's PATH names directories that the new root does not have.",
            man="7 environ", mistake="PATH was not set for the new root.",
            command=SHELL + " 'echo $PATH'"),
        Property(
            name="workdir_stays_inside", since="02", scene=workdir_link,
            observe=workdir_stays_inside, asks=("cwd",),
            earned_by=Positive(workdir, workdir_is_used),
            holds="a link in the root does not lead --workdir outside it",
            violated="the command works in a directory of the host",
            lesson="A process outside a root follows its links on the host; a process inside"
                   " follows them inside.",
            man="7 symlink", mistake="The working directory was entered before the root changed.",
            command="ln -s /srv {root}/x; {stage} --rootfs {root} -w /x -- /bin/touch made; ls"
                    " /srv"),
        Property(
            name="missing_root_stops", since="02", scene=root_missing,
            observe=missing_root_stops, earned_by=Positive(inside),
            holds="with a --rootfs that does not exist the command does not run",
            violated="it runs, in another root",
            lesson="chroot(\".\") enters whatever the working directory is: if chdir(2) has failed,"
                   " that is the caller's.",
            man="2 chdir", mistake="The result of chdir(2) was not checked.",
            command="cd {root} && {stage} --rootfs /no/such/root -- /bin/sh -c 'exit 37'; echo $?"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


def workdir_link(stage: Stage) -> Look:
    """--workdir names a link in the root, which leads to a directory of the host."""
    look = look_of(stage)
    outside = f"{stage.folder}/outside"
    stage.agent.make([{"kind": "link", "path": f"{stage.root}/escape", "text": outside}])
    stage.watch()
    directory = "/escape" if stage.at_least("02") else f"{stage.root}/escape"
    look.runs["run"] = stage.run(stage.probe("hello", "cwd", f"write=made-{stage.nonce}"),
                                 "-w", directory)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    look.facts["outside"] = stage.agent.list(outside)[outside].get("entries")
    stage.agent.ask("remove", paths=[f"{outside}/made-{stage.nonce}"])
    return look


def root_missing(stage: Stage) -> Look:
    """--rootfs names nothing; in the caller's working directory there is a root."""
    look = look_of(stage)
    stage.watch()
    options = ["--rootfs", f"{stage.folder}/missing"] if stage.at_least("02") else []
    look.runs["run"] = stage.run(["/probe", stage.nonce, "hello"] if stage.at_least("02") else
                                 stage.probe("hello"), *options, cwd=stage.root)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


def anybody(stage: Stage) -> Look:
    """Simply started, by root or by an ordinary user."""
    look = look_of(stage)
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", "exit=37"))
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


def chroot_fails(stage: Stage) -> Look:
    return failing(stage, "chroot,pivot_root", "secret")


# --- Observations ---------------------------------------------------------------------------------


def host_variable_is_hidden(look: Look) -> Seen:
    environ = environ_of(look)
    folder = look.names["secret"][:-len("/secret")]
    hosts = {f"HOST_SECRET=secret-{look.names['nonce']}", f"HOME={folder}/home",
             f"TMPDIR={folder}/temporary"}
    if hosts & set(environ):
        return violated(f"{', '.join(sorted(hosts & set(environ)))} is in its environment")
    return holds(f"its environment is {environ}")


def path_is_the_containers(look: Look) -> Seen:
    values = [word[5:] for word in environ_of(look) if word.startswith("PATH=")]
    host = f"{look.names['secret'][:-len('/secret')]}/bin"
    if any(host in value.split(":") for value in values):
        return violated(f"PATH is the host's: {values[0]}")
    if len(values) == 1 and "/bin" in values[0].split(":"):
        return holds(f"PATH is {values[0]}")
    return violated(f"PATH is {values[0]}" if values else "there is no PATH")


def root_is_the_directory(look: Look) -> Seen:
    if look.fact("marker").get("text") == look.names["nonce"]:
        return holds("through /proc/PID/root the host finds the marker file of the new root")
    places = look.fact("places")
    if places["PROBE/root"].get("ino") == places["/"].get("ino"):
        return violated("/proc/PID/root is the host's root directory")
    raise ProbeBroke(f"/proc/PID/root is {look.fact('root')}: {places}")


def cwd_is_inside(look: Look) -> Seen:
    places = look.fact("places")

    def place(name: str):
        return places[name].get("dev"), places[name].get("ino")

    host = look.names["secret"][:-len("/secret")] + "/cwd"
    if place("PROBE/cwd") == place(host):
        return violated(f"its working directory is still the host's {host}")
    if place("PROBE/cwd") == place("PROBE/root"):
        if look.answer("cwd").get("path") == "/":
            return holds("/proc/PID/cwd is /proc/PID/root, and getcwd(2) returns /")
        return violated(f"getcwd(2) says {look.answer('cwd')}")
    told = f"its working directory is {look.fact('cwd')}"
    if look.is_in_the_hosts_root():
        return violated(f"{told}, and its root the host's")
    raise ProbeBroke(told)


def workdir_stays_inside(look: Look) -> Seen:
    run, outside = look.run("run"), look.fact("outside")
    if outside:
        return violated(f"the command works in the host's directory: there is now {list(outside)}")
    if not look.answers.get("hello"):
        return does_not_start(run)
    if outside == {} and look.answer("cwd").get("ok"):
        return holds(f"it works in {look.answer('cwd')['path']}, which is not the host's directory")
    raise ProbeBroke(look.tell_runs())


def missing_root_stops(look: Look) -> Seen:
    if look.answers.get("hello"):
        return violated("the command runs, in the root that the caller works in")
    return does_not_start(look.run("run"))


def refusal_is_explained(look: Look) -> Seen:
    run = look.run("run")
    if look.answers.get("hello"):
        return violated("it runs without root")
    # The word, and neither chroot() nor a path.
    if run.get("exit") == 125 and re.search(r"(?<![\w/])root\b", run["stderr"]):
        return holds(tell_run(run))
    return violated(f"it does not run, with another status or without that word: {tell_run(run)}")


# --- What the probe is asked ----------------------------------------------------------------------

ASKS: Dict[str, Ask] = {
    "cwd": Ask("cwd", Turn.SELF),
    "secret": Ask("read={secret}", Turn.SECRET),
    "secret_up": Ask("read_up={secret}", Turn.SECRET),
    "secret_by_link": Ask("read={in}/link", Turn.SECRET),
}
