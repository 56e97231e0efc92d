"""What the rows of properties.py look at, and which of its two observations it is.

Each function reads a Look (scenes.py) and answers with `holds` or `violated`, both with what was
seen. Anything else is a ProbeBroke, which is an error and never a pass. What the host can see is
read from the host.
"""

from __future__ import annotations

import re
import signal
from typing import Callable, Dict, List

from harness.properties.model import NotStarted, NotTestable, ProbeBroke, Seen, holds, violated
from harness.properties.scenes import (CHANGES, FORWARDED, PROC_MAGIC, STRANGER, WORDS, Look,
                                       is_share, tell_run)

# --- Observations that several rows share -------------------------------------------------------


def hidden(ask: str, secret: str):
    """Is the text that is proved to be on the host kept from the probe?"""
    def observe(look: Look) -> Seen:
        answer = look.answer(ask)
        wanted = secret.format_map(look.names)
        if answer.get("text") == wanted:
            return violated(f"the probe read {wanted!r}")
        if answer.get("errno") in ("ENOENT", "EACCES", "EPERM", "EBADF", "ENOTDIR", "ENXIO"):
            return holds(f"the probe got {answer['errno']}")
        raise ProbeBroke(f"neither the text {wanted!r} nor an error: {answer}")
    return observe


def refused(ask: str, *errors: str):
    """Is what the probe tried refused by the kernel?"""
    def observe(look: Look) -> Seen:
        answer = look.answer(ask)
        if answer.get("ok"):
            return violated("the kernel did it")
        if answer.get("errno") in errors:
            return holds(f"the kernel said {answer['errno']}")
        raise ProbeBroke(f"neither done nor one of {', '.join(errors)}: {answer}")
    return observe


def allowed(ask: str, *errors: str):
    """Did what the probe tried succeed?"""
    def observe(look: Look) -> Seen:
        answer = look.answer(ask)
        if answer.get("ok"):
            return holds("it worked")
        if answer.get("errno") in errors:
            return violated(f"the kernel said {answer['errno']}")
        raise ProbeBroke(f"neither done nor one of {', '.join(errors)}: {answer}")
    return observe


def own_namespace(kind: str):
    """Is the probe in another namespace than the host, as /proc/PID/ns says on the host?"""
    def observe(look: Look) -> Seen:
        inside = look.fact("namespaces")[kind]
        outside = look.fact("host_namespaces")[kind]
        if not inside or not outside:
            raise ProbeBroke(f"/proc/PID/ns/{kind} cannot be read: {inside}, {outside}")
        if inside == outside:
            return violated(f"both are in {inside}")
        return holds(f"{inside}, the host is in {outside}")
    return observe


def proc_is_mounted(look: Look) -> Seen:
    answer = look.answer("proc")
    if answer.get("fs") == PROC_MAGIC:
        return holds("a procfs is mounted there")
    if answer.get("ok"):
        return violated(f"a directory of another file system, of type {answer['fs']:#x}")
    if answer.get("errno") == "ENOENT":
        return violated("there is no such directory")
    raise ProbeBroke(str(answer))


def text_is(got: str, right: Dict[str, str], wrong: Dict[str, str]) -> Seen:
    """One of the texts that mean it holds, or one of those that mean it does not."""
    if got in right:
        return holds(f"{got!r}: {right[got]}")
    if got in wrong:
        return violated(f"{got!r}: {wrong[got]}")
    raise ProbeBroke(f"{got!r} is none of {sorted(right) + sorted(wrong)}")


def never_ran(run: Dict) -> NotStarted:
    return NotStarted(f"the container never ran the command: {tell_run(run)}")


# --- Observations of one row each ---------------------------------------------------------------


def descriptors_are_closed(look: Look) -> Seen:
    descriptors = look.fact("descriptors")
    if descriptors is None:
        raise ProbeBroke("/proc/PID/fd cannot be read")
    more = {fd: path for fd, path in descriptors.items() if fd not in ("0", "1", "2")}
    if more:
        return violated(f"it also has {more}")
    return holds(f"it has {', '.join(sorted(descriptors))}")


def host_variable_is_hidden(look: Look) -> Seen:
    secret = f"HOST_SECRET=secret-{look.names['nonce']}"
    environ = look.fact("environ")
    if not any(environ):
        raise ProbeBroke("/proc/PID/environ is empty")
    if secret in environ:
        return violated(f"{secret} is in its environment")
    return holds(f"its environment is {[word for word in environ if word]}")


def path_is_the_containers(look: Look) -> Seen:
    values = [word[5:] for word in look.fact("environ") if word.startswith("PATH=")]
    host = f"{look.names['secret'][:-len('/secret')]}/bin"
    if any(host in value.split(":") for value in values):
        return violated(f"PATH is the host's: {values[0]}")
    if len(values) == 1 and "/bin" in values[0].split(":"):
        return holds(f"PATH is {values[0]}")
    raise ProbeBroke(f"PATH is {values}")


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
            return holds("/proc/PID/cwd is /proc/PID/root, and getcwd(2) says /")
        return violated(f"getcwd(2) says {look.answer('cwd')}")
    raise ProbeBroke(f"its working directory is {look.fact('cwd')}")


def is_pid_1(look: Look) -> Seen:
    numbers = look.fact("status").get("NSpid", "").split()
    # The first is the number on the agent's host.
    if len(numbers) >= 2 and numbers[-1] == "1":
        return holds(f"NSpid is {' '.join(numbers)}")
    if len(numbers) >= 1:
        return violated(f"NSpid is {' '.join(numbers)}")
    raise ProbeBroke("there is no NSpid")


def host_processes_are_hidden(look: Look) -> Seen:
    answer = look.answer("host_processes")
    if not answer.get("ok") or answer.get("seen", 0) < 1:
        raise ProbeBroke(str(answer))
    if answer["found"] > 0:
        return violated(f"the probe found {look.names['victim']} in the /proc {answer['mounted']}")
    return holds(f"of {answer['seen']} processes none is {look.names['victim']}")


def host_processes_are_safe(look: Look) -> Seen:
    answer = look.answer("kill")
    if not look.fact("victim_lives"):
        return violated(f"process {look.names['victim_pid']} of the host was killed")
    if answer.get("errno") in ("ESRCH", "EPERM"):
        return holds(f"kill(2) said {answer['errno']}, and the host's process lives")
    raise ProbeBroke(str(answer))


def hostname_is_own(look: Look) -> Seen:
    name = look.answer("hostname").get("name", "")
    if name == look.names["hostname"]:
        return holds(f"{name!r}: what --hostname said")
    if name:
        return violated(f"{name!r}, not {look.names['hostname']!r}, which --hostname said")
    raise ProbeBroke("the name is empty")


def hostname_is_not_the_hosts(look: Look) -> Seen:
    name, host = look.answer("hostname").get("name", ""), look.fact("hostname")
    if name == host:
        return violated(f"{name!r}, which is the host's")
    if name:
        return holds(f"{name!r}, and the host is called {host!r}")
    raise ProbeBroke("the name is empty")


def hosts_name_is_kept(look: Look) -> Seen:
    before, during = look.fact("hostname_before"), look.fact("hostname_during")
    if not before or not during:
        raise ProbeBroke(f"the host's name cannot be read: {before!r}, {during!r}")
    if before == during:
        return holds(f"the host is still called {before}")
    return violated(f"the host was called {before}, and is called {during} now")


def hosts_new_name_is_hidden(look: Look) -> Seen:
    own = look.answer("hostname").get("name", "")
    return text_is(look.answer("hostname_again").get("name", ""),
                   {own: "the name that it had, though the host has another now"},
                   {look.names["host_hostname"] + "-new": "the name that the host has taken"})


def hostname_change_stays_inside(look: Look) -> Seen:
    if look.answer("set_hostname").get("errno") == "EPERM":
        return holds("sethostname(2) said EPERM")
    if not look.answer("set_hostname").get("ok"):
        raise ProbeBroke(f"sethostname(2): {look.answer('set_hostname')}")
    return text_is(look.fact("after")["hostname"],
                   {look.fact("hostname"): "the host kept its name"},
                   {f"inside-{look.names['nonce']}": "the container renamed the host"})


def sysv_made_inside_stays_inside(look: Look) -> Seen:
    if not look.answer("make_sysv").get("ok"):
        raise ProbeBroke(f"msgget(2): {look.answer('make_sysv')}")
    if look.fact("after")["sysv"]:
        return violated("the host's /proc/sysvipc/msg lists the container's queue")
    return holds("the host's /proc/sysvipc/msg does not list it")


def queue_made_inside_stays_inside(look: Look) -> Seen:
    if not look.answer("make_queue").get("ok"):
        raise ProbeBroke(f"mq_open(3): {look.answer('make_queue')}")
    if look.fact("after")["queue"]:
        return violated("the host's /dev/mqueue lists the container's queue")
    return holds("the host's /dev/mqueue does not list it")


def mount_stays_inside(look: Look) -> Seen:
    answer = look.answer("mount")
    if answer.get("errno") == "EPERM":
        return holds("mount(2) said EPERM")
    if not answer.get("ok"):
        raise ProbeBroke(f"the probe could not mount: {answer}")
    lines = look.fact("after")["mounts"]
    if lines:
        return violated(f"the host has it too: {lines[0]}")
    return holds("the host's mountinfo does not list the probe's mount")


def host_mount_stays_outside(look: Look) -> Seen:
    answer = look.answer("host_mount")
    if answer.get("text") == f"mount-{look.names['nonce']}":
        return violated("the probe read a file of what the host mounted later")
    if answer.get("errno") == "ENOENT":
        return holds("what the host mounted later is not there")
    raise ProbeBroke(str(answer))


def mounts_are_private(look: Look) -> Seen:
    look.check_that_it_is_there("shared")
    mounts = look.fact("all_mounts")
    if not mounts:
        raise ProbeBroke("the mounts of its namespace cannot be read")
    tagged = [line for line in mounts.splitlines() if " shared:" in line or " master:" in line]
    if tagged:
        return violated(f"{len(tagged)} mounts propagate: {tagged[0]}")
    return holds(f"none of {len(mounts.splitlines())} mounts has shared: or master:")


def root_inside_is_caller_outside(look: Look) -> Seen:
    uids = look.fact("status").get("Uid", "").split()
    uid_map = look.fact("uid_map")
    if uid_map == ["0", "0", "4294967295"]:
        return violated(f"uid_map is 0 0 4294967295: uid {uids[:1]} inside is the host's")
    if uid_map == ["0", str(look.uid), "1"] and uids == [str(look.uid)] * 4:
        return holds(f"uid_map is {' '.join(uid_map)}; for the host its uids are {uids}")
    if uid_map and uids:
        return violated(f"uid_map is {' '.join(uid_map)}; for the host its uids are {uids}")
    raise ProbeBroke(f"uid_map {uid_map}, Uid {uids}")


def group_inside_is_callers_outside(look: Look) -> Seen:
    gid_map = look.fact("gid_map")
    if gid_map == ["0", str(look.gid), "1"]:
        return holds(f"gid_map is {' '.join(gid_map)}")
    if gid_map:
        return violated(f"gid_map is {' '.join(gid_map)}")
    raise ProbeBroke("gid_map is empty")


def is_root_inside(look: Look) -> Seen:
    answer = look.answer("hello")
    if (answer.get("uid"), answer.get("gid")) == (0, 0):
        return holds("uid 0, gid 0")
    if "uid" in answer:
        return violated(f"uid {answer['uid']}, gid {answer['gid']}")
    raise ProbeBroke(str(answer))


def setgroups_is_denied(look: Look) -> Seen:
    return text_is(look.fact("setgroups"), {"deny": "/proc/PID/setgroups on the host"},
                   {"allow": "/proc/PID/setgroups on the host"})


def has_capabilities(look: Look) -> Seen:
    capabilities = int(look.fact("status").get("CapEff", "") or "-1", 16)
    if capabilities == 0:
        return violated("CapEff is 0")
    # CAP_CHOWN, CAP_SYS_CHROOT and CAP_SYS_ADMIN, see linux/capability.h
    if all(capabilities >> bit & 1 for bit in (0, 18, 21)):
        return holds(f"CapEff is {capabilities:#x}")
    raise ProbeBroke(f"CapEff is {capabilities:#x}")


def hosts_files_keep_their_owner(look: Look) -> Seen:
    answer = look.answer("chown")
    owner = look.fact("after")["theirs"].get("uid")
    if owner == 0:
        return violated(f"chown(2) gave a file of uid {STRANGER} to root of the host")
    if owner == STRANGER and answer.get("errno") == "EPERM":
        return holds(f"chown(2) said EPERM; for the host its owner is still {STRANGER}")
    raise ProbeBroke(f"its owner is {owner}; {answer}")


def strangers_are_nobody(look: Look) -> Seen:
    return text_is(str(look.answer("stranger").get("uid")),
                   {"65534": f"what the host's {STRANGER} is inside"},
                   {str(STRANGER): "the host's uid"})


def files_belong_to_the_caller(look: Look) -> Seen:
    if not look.answer("mine").get("ok"):
        raise ProbeBroke(f"the probe could not make a file: {look.answer('mine')}")
    made = next(iter(look.fact("made").values()))
    if "uid" not in made:
        raise ProbeBroke(f"the host does not see the file: {made}")
    if made["uid"] == 0:
        return violated("root of the host owns it")
    if made["uid"] == look.uid:
        return holds(f"uid {made['uid']}, who started the container, owns it")
    raise ProbeBroke(f"uid {made['uid']} owns it")


def no_device_nodes(look: Look) -> Seen:
    seen = refused("mknod", "EPERM")(look)
    node = look.fact("after")["node"]
    if not seen.holds and node.get("rdev") != [1, 5]:
        raise ProbeBroke(f"the probe made a node that the host does not see: {node}")
    return seen


def old_root_is_gone(look: Look) -> Seen:
    look.check_that_it_is_there("mark")
    mounts = look.fact("all_mounts")
    if not mounts:
        raise ProbeBroke("the mounts of its namespace cannot be read")
    mark = [line for line in mounts.splitlines() if f"mark-{look.names['nonce']}" in line]
    if mark:
        return violated(f"its mount namespace still has a mount of the host's: {mark[0]}")
    return holds(f"of {len(mounts.splitlines())} mounts in its namespace none is the host's mark")


def dev_is_minimal(look: Look) -> Seen:
    answer = look.answer("dev")
    names = answer.get("names")
    if names is None:
        if answer.get("errno") == "ENOENT":
            return violated("there is no /dev")
        raise ProbeBroke(str(answer))
    usual = {"null", "zero", "full", "random", "urandom", "tty", "pts", "shm", "mqueue", "ptmx",
             "fd", "stdin", "stdout", "stderr", "console", "core"}
    if set(names) - usual:
        return violated(f"it also has {sorted(set(names) - usual)}")
    if {"null", "zero", "full", "random", "urandom", "tty"} <= set(names):
        return holds(f"it has {', '.join(sorted(names))}")
    return violated(f"it has only {sorted(names)}")


def dev_null_works(look: Look) -> Seen:
    answer = look.answer("dev_null")
    is_device = answer.get("mode", 0) & 0o170000 == 0o020000
    if is_device and (answer["major"], answer["minor"]) == (1, 3):
        if look.answer("dev_null_write").get("ok"):
            return holds("device 1:3, and it can be written")
        return violated(f"device 1:3, but {look.answer('dev_null_write')}")
    if answer.get("errno") == "ENOENT" or answer.get("ok"):
        return violated(f"it is no device: {answer.get('errno') or oct(answer['mode'])}")
    raise ProbeBroke(str(answer))


def planted_device_is_dead(look: Look) -> Seen:
    answer = look.answer("planted")
    if answer.get("errno") == "EACCES":
        return holds("open(2) of a device node in the root says EACCES")
    if answer.get("ok"):
        return violated("the probe opened a device node that came with the root")
    raise ProbeBroke(str(answer))


def kernel_files_are_masked(look: Look) -> Seen:
    host = look.fact("host")
    asked = {"/proc/keys": "keys", "/proc/timer_list": "timers", "/proc/interrupts": "interrupts"}
    there = [path for path in asked if host[path].get("text")]
    if not there:
        raise NotTestable(f"this kernel has none of {', '.join(asked)}")
    answers = {path: look.answer(asked[path]) for path in there}
    shown = [path for path, answer in answers.items() if answer.get("text")]
    if shown:
        return violated(f"the probe reads what the host has in {', '.join(shown)}")
    if all(answer.get("text") == "" or "errno" in answer for answer in answers.values()):
        return holds(f"{', '.join(there)}, which the host has, are empty")
    raise ProbeBroke(str(answers))


def firmware_is_masked(look: Look) -> Seen:
    if not look.fact("host_firmware").get("entries"):
        raise NotTestable("this machine has nothing in /sys/firmware")
    answer = look.answer("firmware")
    if answer.get("names"):
        return violated(f"the probe sees {answer['names']}")
    if answer.get("names") == [] or answer.get("errno") == "ENOENT":
        return holds("it is empty, though the host has something there")
    raise ProbeBroke(str(answer))


def mount_options(look: Look, point: str) -> List[str]:
    """The options of what is mounted at `point`, or [] if nothing is, as the host sees it."""
    options: List[str] = []
    for line in look.fact("mountinfo").splitlines():
        fields = line.split()
        if fields[4] == point:
            options = fields[5].split(",")
    return options


def proc_paths_are_read_only(look: Look) -> Seen:
    options = {path: mount_options(look, path) for path in ("/proc/sys", "/proc/irq", "/proc/fs")}
    if all("ro" in mode for mode in options.values()):
        return holds(f"mountinfo on the host: {', '.join(options)} are mounted read-only")
    writable = [path for path, mode in options.items() if "ro" not in mode]
    return violated(f"mountinfo on the host: no read-only mount at {', '.join(writable)}")


def sys_is_read_only(look: Look) -> Seen:
    options = mount_options(look, "/sys")
    if "ro" in options:
        return holds(f"/sys is mounted {','.join(options)}")
    if "rw" in options:
        return violated(f"/sys is mounted {','.join(options)}")
    raise ProbeBroke(f"nothing is mounted at /sys: {look.fact('mountinfo')}")


def mask_is_clean(look: Look) -> Seen:
    blocked = look.fact("status").get("SigBlk", "")
    if not blocked:
        raise ProbeBroke("there is no SigBlk")
    if int(blocked, 16) == 0:
        return holds("SigBlk is 0, as the caller's")
    return violated(f"SigBlk is {blocked}")


def given_variable_arrives(look: Look) -> Seen:
    environ = look.fact("environ")
    if f"GIVEN=given-{look.names['nonce']}" in environ:
        return holds("--env's variable is in /proc/PID/environ")
    if any(environ):
        return violated(f"it is not in /proc/PID/environ: {[word for word in environ if word]}")
    raise ProbeBroke("/proc/PID/environ is empty")


def workdir_is_used(look: Look) -> Seen:
    if "cwd" not in look.answers:
        raise never_ran(look.run("run"))
    path = look.answer("cwd").get("path")
    if path == look.names["workdir"]:
        return holds(f"getcwd(2) says {path}")
    if path:
        return violated(f"getcwd(2) says {path}, not {look.names['workdir']}")
    raise ProbeBroke(str(look.answers))


def workdir_stays_inside(look: Look) -> Seen:
    run, outside = look.run("run"), look.fact("outside")
    if outside:
        return violated(f"the command works in the host's folder: there is now {list(outside)}")
    if not look.answers.get("hello"):
        if run["why"] == "ended" and run.get("exit", 0) != 0:
            return holds(f"it does not start: {tell_run(run)}")
        raise never_ran(run)
    if outside == {} and look.answer("cwd").get("ok"):
        return holds(f"it works in {look.answer('cwd')['path']}, which is not the host's folder")
    raise ProbeBroke(look.tell_runs())


def exit_status_is(run_name: str, status: int):
    """The status that the program has to leave with, whatever the command said."""
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
    run = look.run("terminal")
    if run.get("signal") == signal.SIGINT or run.get("exit") == 128 + signal.SIGINT:
        return violated("the program itself dies of it, though the command does not")
    count = sum(answer["signal"] == signal.SIGINT for answer in look.answers.get("signal", []))
    if count == 1:
        return holds("one SIGINT")
    return violated(f"{count} SIGINT")


def terminal_is_given_back(look: Look) -> Seen:
    if not look.answers.get("spoil_terminal", [{}])[0].get("ok"):
        look.answer("hello")
        if look.run("terminal").get("exit") != 37:
            raise NotStarted(f"it did not go on after Ctrl-C: {tell_run(look.run('terminal'))}")
        raise ProbeBroke(f"the probe did not spoil the terminal: {look.tell_runs()}")
    modes = look.fact("terminal")
    if modes["echo"] and modes["canonical"]:
        return holds("it echoes and takes lines again")
    return violated(f"its modes are as the command left them: {modes}")


def ran_with_status(look: Look) -> Seen:
    """Whoever started it, did the command run?"""
    run = look.run("run")
    if look.answers.get("hello") and run.get("exit") == 37:
        return holds("the command ran, and its exit status 37 is the program's")
    if not look.answers.get("hello") and run["why"] == "ended" and run.get("exit") != 0:
        return violated(f"it was refused: {tell_run(run)}")
    raise ProbeBroke(tell_run(run))


def refusal_is_explained(look: Look) -> Seen:
    run = look.run("run")
    if look.answers.get("hello"):
        return violated("it runs without root")
    # The word, and neither chroot() nor a path.
    if run.get("exit") == 125 and re.search(r"(?<![\w/])root\b", run["stderr"]):
        return holds(tell_run(run))
    raise never_ran(run)


def status_survives(look: Look) -> Seen:
    run = look.run("run")
    if not look.answers.get("hello"):
        raise never_ran(run)
    if run.get("exit") == 37:
        return holds("exit status 37")
    return violated(tell_run({**run, "stdout": ""}))


def nothing_outlives(look: Look) -> Seen:
    """Is any process of the container left?"""
    if look.problem:
        raise NotStarted(look.problem)
    left = look.fact("left")
    if left:
        return violated(f"still there: {left}")
    if look.runs["run"]["why"] not in ("ended", "killed"):
        raise ProbeBroke(look.tell_runs())
    return holds("no process is left")


def orphans_are_reaped(look: Look) -> Seen:
    zombies = look.fact("zombies")
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


def inits_program_is_hidden(look: Look) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    answer = look.answers.get("stat=/proc/1/exe", [{}])[0]
    if answer.get("ok"):
        return violated("stat(2) follows it")
    if answer.get("errno") in ("EACCES", "EPERM", "ENOENT"):
        return holds(f"stat(2) says {answer['errno']}")
    raise ProbeBroke(str(answer))


def term_ends_the_command(look: Look) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    run = look.run("run")
    if run["why"] == "ended" and run.get("exit") == 143:
        return holds("exit status 143, which is 128 + SIGTERM")
    return violated(f"after 0.4 s: {tell_run({**run, 'stdout': ''})}")


def maps_are_the_given(look: Look) -> Seen:
    maps = look.fact("uid_map"), look.fact("gid_map")
    if maps == (["0", "100000", "10"], ["0", "200000", "10"]):
        return holds("uid_map is 0 100000 10, gid_map is 0 200000 10")
    if maps[0] and maps[1]:
        return violated(f"uid_map is {' '.join(maps[0])}, gid_map is {' '.join(maps[1])}")
    raise ProbeBroke("the maps cannot be read")


def command_runs_as_given_user(look: Look) -> Seen:
    status = look.fact("status")
    ids = status.get("Uid", "").split(), status.get("Gid", "").split()
    if ids == (["100005"] * 4, ["200006"] * 4):
        return holds("for the host its uids are 100005, its gids 200006")
    if ids[0] and ids[1]:
        return violated(f"for the host its uids are {ids[0]}, its gids {ids[1]}")
    raise ProbeBroke("there is no Uid")


def has_no_capabilities(look: Look) -> Seen:
    capabilities = look.fact("status").get("CapEff", "")
    if not capabilities:
        raise ProbeBroke("there is no CapEff")
    if int(capabilities, 16) == 0:
        return holds("CapEff is 0")
    return violated(f"CapEff is {capabilities}")


def volume_is_shown(look: Look) -> Seen:
    wanted = f"volume-{look.names['nonce']}"
    answers = [look.answers.get(f"read={path}", [{}])[0] for path in ("/data/file", "/etc/single")]
    return files_are_shown(look, answers, wanted)


def files_are_shown(look: Look, answers: List[Dict], wanted: str) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    if all(answer.get("text") == wanted for answer in answers):
        return holds("the probe reads the host's file in the directory and on its own")
    if any(answer.get("errno") == "ENOENT" or answer.get("text") == "" for answer in answers):
        return violated(f"the probe got {answers}")
    raise ProbeBroke(str(answers))


def volume_can_be_written(look: Look) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    new = look.fact("new")
    answer = look.answers.get(f"write=/data/new-{look.names['nonce']}", [{}])[0]
    if answer.get("ok") and new.get("uid") == look.uid:
        return holds(f"the host has the new file, and it belongs to {look.uid}")
    if new.get("errno") == "ENOENT":
        return violated(f"the host does not have it: {answer}")
    return violated(f"on the host it belongs to {new.get('uid')}")


def volume_is_read_only(look: Look) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    answer = look.answers.get(f"write=/fixed/no-{look.names['nonce']}", [{}])[0]
    if "ino" in look.fact("fixed"):
        return violated("the host has the file that was written there")
    if answer.get("errno") == "EROFS":
        return holds("open(2) said EROFS, and the host has no new file")
    if answer.get("errno") == "ENOENT" or answer.get("ok"):
        return violated("there is no volume, or it is not the host's folder")
    raise ProbeBroke(str(answer))


def volume_brings_no_device(look: Look) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    answer = look.answers.get("read=/data/device", [{}])[0]
    if answer.get("ok"):
        return violated("a device node in the volume was opened")
    if answer.get("errno") == "EACCES" and "nosuid" in mount_options(look, "/data"):
        return holds("open(2) said EACCES, and the mount is nosuid")
    return violated(f"{answer}, mounted {mount_options(look, '/data')}")


def volume_stays_inside(look: Look) -> Seen:
    outside = look.fact("outside")
    if outside:
        return violated(f"on the host there is now {list(outside)} in the folder outside")
    run = look.run("run")
    if outside == {} and (look.fact("held") or run.get("exit", 0) != 0):
        return holds("nothing was made outside; " + ("it started" if look.facts["held"]
                                                     else tell_run(run)))
    raise ProbeBroke(look.tell_runs())


def proc_stays_inside(look: Look) -> Seen:
    run = look.run("run")
    if not look.facts["held"]:
        if run["why"] == "ended" and run.get("exit", 0) != 0:
            return holds(f"it does not start: {tell_run(run)}")
        raise ProbeBroke(tell_run(run))
    outside = look.names["secret"][:-len("secret")] + "outside"
    points = [line.split()[4] for line in (look.fact("all_mounts") or "").splitlines()]
    if outside in points:
        return violated(f"its mount namespace has a mount at {outside}")
    return holds(f"it started, and nothing is mounted at {outside}")


def stops_or(inner: Callable[[Look], Seen]):
    """When a call of the set-up fails, the command must not run, or be isolated all the same."""
    def observe(look: Look) -> Seen:
        run = look.run("run")
        if not look.answers.get("hello"):
            if run["why"] == "ended" and run.get("exit", 0) != 0:
                return holds(f"it does not start: {tell_run(run)}")
            raise ProbeBroke(tell_run(run))
        seen = inner(look)
        return Seen(seen.holds, f"the command runs; {seen.got}")
    return observe


def nothing_is_left(look: Look) -> Seen:
    if look.leaks:
        return violated("; ".join(look.leaks))
    return holds("mounts, cgroups, links, rules, processes, files, IPC and host name are as before")


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


def userspace_runs(look: Look) -> Seen:
    run = look.run("sh")
    if run.get("exit") == 37:
        return holds("sh ran: exit status 37")
    if run.get("exit") == 127:
        return violated(tell_run(run))
    raise never_ran(run)


def libraries_are_there(look: Look) -> Seen:
    libraries = look.fact("libraries")
    if len(libraries) < 2:
        raise NotTestable(f"the host's /bin/ls needs too few libraries: {libraries}")
    run = look.run("ls")
    if run.get("exit") == 0 and "tmp" in run["stdout"].split():
        return holds(f"/bin/ls runs; on the host it loads {', '.join(libraries)}")
    if run.get("exit") in (126, 127):
        return violated(tell_run(run))
    raise never_ran(run)


def links_stay_links(look: Look) -> Seen:
    link = next(iter(look.fact("link").values()))
    if link.get("mode", 0) & 0o170000 == 0o120000:
        return holds("it is a link in the new root, too")
    if link.get("mode", 0) & 0o170000 == 0o100000:
        return violated("the file that it leads to was copied in its place")
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    raise ProbeBroke(f"{link}; {look.tell_runs()}")


def copies_are_copies(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    answer = next((given[0] for verb, given in look.answers.items() if verb.startswith("write=")),
                  {})
    if not answer.get("ok"):
        raise ProbeBroke(f"the probe could not write to the copy: {answer}")
    was, text = look.fact("host_file_was"), look.fact("host_file")
    if text == was:
        return holds("the host's file is as it was")
    return violated(f"the host's file is now {text!r}")


def copied_links_stay_inside(look: Look) -> Seen:
    if not look.fact("same_file") or list(look.fact("outside") or []) != ["kept"]:
        return violated("the host's file was replaced, or there is another: "
                        f"{look.fact('outside')}")
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    answer = next((given[0] for verb, given in look.answers.items() if verb.startswith("read=")),
                  {})
    if answer.get("text") == look.fact("text"):
        return holds("the link leads to a copy in the new root, and the host's file is as it was")
    raise ProbeBroke(f"{answer}; {look.tell_runs()}")


def in_own_cgroup(look: Look) -> Seen:
    cgroup, session = look.fact("cgroup"), look.fact("session")
    if not cgroup:
        raise ProbeBroke("/proc/PID/cgroup cannot be read on the host")
    if cgroup == session:
        return violated(f"it is in {session}, as who started it")
    return holds(f"it is in {cgroup}; who started it is in {session}")


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
    if limit == str(64 << 20) and all("errno" in answer for answer in tried):
        return holds(f"on the host, memory.max is still {limit};"
                     f" the kernel said {tried[0]['errno']} and {tried[1]['errno']}")
    raise ProbeBroke(f"memory.max is {limit}; {tried}")


def cgroup_cannot_be_left(look: Look) -> Seen:
    before, after = look.fact("cgroup"), look.fact("cgroup_at_the_end")
    answer = look.answers.get("leave_cgroup={cgroups},{other}".format(**look.names), [{}])[0]
    if after == look.names["other"]:
        return violated(f"it has moved to {after}")
    if before and before == after and "errno" in answer:
        return holds(f"it is still in {after}; the kernel said {answer['errno']}")
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
        raise NotTestable("this kernel counts no swap: there is no memory.swap.max")
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
    raise ProbeBroke(tell_run(run))


def out_of_memory_is_told(look: Look) -> Seen:
    run = look.run("run")
    if not look.answers.get("hello"):
        raise never_ran(run)
    if run["why"] == "ended" and "out of memory" in run["stderr"].lower():
        return holds(f"stderr is {run['stderr']!r}")
    if run["why"] == "ended":
        return violated(f"nothing of it on stderr: {tell_run(run)}")
    raise ProbeBroke(tell_run(run))


def fork_bomb_is_contained(look: Look) -> Seen:
    count, left = look.fact("processes"), look.fact("left")
    if left:
        return violated(f"{count} processes; at the end there are still {len(left)}")
    if count > 32:
        return violated(f"{count} processes, though it ends by itself at 100")
    if count >= 16:
        return holds(f"{count} processes and PID 1, and none is left")
    raise ProbeBroke(f"the bomb made only {count} processes")


def cpu_share_is(share: str):
    """Did the container use so much CPU time as --cpus says, within a tenth?"""
    def observe(look: Look) -> Seen:
        used = look.fact("used")[share]
        if float(share) + 0.3 > look.fact("cpus"):
            raise NotTestable(f"this machine has only {look.fact('cpus')} CPUs")
        told = f"its processes used {used:.3f} CPUs over 3 s, as /proc/PID/stat says on the host"
        if is_share(used, share):
            return holds(told)
        return violated(told)
    return observe


def grandchildren_are_limited(look: Look) -> Seen:
    cgroups, used = look.fact("cgroups"), look.fact("used")["0.5"]
    if look.fact("session") in cgroups:
        return violated(f"they are in {', '.join(cgroups)}: that of who started it")
    if len(cgroups) != 1:
        raise ProbeBroke(f"they are in {cgroups}")
    if used > 0.55:
        return violated(f"they are in {cgroups[0]}, and use {used:.3f} CPUs")
    return holds(f"they are in {cgroups[0]}, and use {used:.3f} CPUs together")


def runs_without_limit(look: Look) -> Seen:
    return violated("and it has no limit")


def text_of(answers: Dict, verb: str) -> Dict:
    """The probe's only answer to a verb of one scene, or {}."""
    return answers.get(verb, [{}])[0]


def lower_is_unchanged(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    refused_verbs = [verb for verb in CHANGES.values() if not text_of(look.answers, verb).get("ok")]
    before, after = look.fact("before"), look.fact("after")
    if before != after:
        changed = [path for path, what in before.items() if after[path] != what]
        return violated(f"changed on the host: {', '.join(changed)}")
    if len(refused_verbs) == len(CHANGES):
        raise ProbeBroke("the probe could not change anything")
    return holds("its files have the same texts, modes, owners and inode numbers")


def changes_are_seen(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    failed = {verb: text_of(look.answers, verb).get("errno") for verb in CHANGES.values()
              if not text_of(look.answers, verb).get("ok")}
    if failed:
        return violated(f"refused: {failed}")
    nonce = look.names["nonce"]
    written = text_of(look.answers, "read=/lower/written").get("text", "")
    renamed = text_of(look.answers, "read=/lower/new").get("text", "")
    names = sorted(text_of(look.answers, "list=/lower").get("names", []))
    if (written.startswith(nonce) and renamed.startswith(f"renamed-{nonce}")
            and names == ["closed", "folder", "new", "written"]
            and text_of(look.answers, "list=/lower/folder").get("names") == []):
        return holds(f"written, removed, renamed; the folder has {', '.join(names)}")
    return violated(f"the folder has {names}; {written!r}, {renamed!r}")


def second_finds(look: Look, found: Callable[[str], Seen], missing: Callable[[str], Seen]) -> Seen:
    """Does the second container find the file that the first has written?"""
    if look.problem:
        raise NotStarted(look.problem)
    verb = f"left-{look.names['nonce']}"
    if not text_of(look.fact("first"), f"write=/{verb}").get("ok"):
        raise never_ran(look.run("first"))
    if not look.fact("second").get("hello"):
        raise never_ran(look.run("second"))
    answer = text_of(look.fact("second"), f"read=/{verb}")
    if answer.get("text") == look.names["nonce"]:
        return found("the second container reads what the first has written")
    if answer.get("errno") == "ENOENT":
        return missing("for the second container the first one's file is not there")
    raise ProbeBroke(str(answer))


def second_starts_afresh(look: Look) -> Seen:
    return second_finds(look, violated, holds)


def second_goes_on(look: Look) -> Seen:
    return second_finds(look, holds, violated)


def second_is_refused(look: Look) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    run = look.run("second")
    if look.fact("second").get("hello"):
        return violated("a second container runs meanwhile")
    if run["why"] == "ended" and run.get("exit") == 125 and run["stderr"]:
        return holds(tell_run(run))
    return violated(tell_run(run))


def later_layer_is_above(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    nonce = look.names["nonce"]
    return text_is(text_of(look.answers, "read=/common").get("text", ""),
                   {f"high-{nonce}": "what the layer that was named last has"},
                   {f"low-{nonce}": "what the layer below has", "": "the file is not there"})


def names_seen(look: Look, folder: str) -> List[str]:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    names = sorted(text_of(look.answers, f"list={folder}").get("names", []))
    if "added" not in text_of(look.answers, "list=/lower").get("names", []):
        raise ProbeBroke(f"the layer is not there: {look.answers}")
    return names


def whiteout_hides(look: Look) -> Seen:
    names = names_seen(look, "/lower")
    if "removed" in names:
        return violated(f"it is still there: {names}")
    if any(name.startswith(".wh.") for name in names):
        return violated(f"the tar's own mark is there: {names}")
    return holds(f"the folder has {', '.join(names)}")


def opaque_hides(look: Look) -> Seen:
    names = names_seen(look, "/lower/folder")
    if names == ["new"]:
        return holds("the folder has what the layer has, and no more")
    if "file" in names or any(name.startswith(".wh.") for name in names):
        return violated(f"the folder has {names}")
    raise ProbeBroke(f"the folder has {names}")


def layer_stays_inside(look: Look) -> Seen:
    outside, run = look.fact("outside"), look.run("run")
    if outside:
        return violated(f"on the host there is now {list(outside)} in the folder outside")
    if outside == {} and (look.answers.get("hello") or run.get("exit") == 125):
        return holds(f"nothing was made outside; {tell_run({**run, 'stdout': ''})}")
    raise ProbeBroke(look.tell_runs())


def image_is_obeyed(look: Look) -> Seen:
    cwd, environ = look.answer("cwd").get("path"), look.fact("environ")
    variable = f"OF_THE_IMAGE=image-{look.names['nonce']}"
    if cwd == "/tmp" and variable in environ:
        return holds("the image's command runs, in its folder, with its variable")
    return violated(f"it runs in {cwd}, with {[word for word in environ if word]}")


def tampered_layer_is_refused(look: Look) -> Seen:
    run = look.run("run")
    if look.answers.get("hello"):
        return violated("the command runs")
    if run["why"] == "ended" and run.get("exit") == 125 and run["stderr"]:
        return holds(tell_run(run))
    raise never_ran(run)


# --- Capabilities and system calls --------------------------------------------------------------

# Docker's fourteen, as docker run sets them.
DOCKERS_CAPABILITIES = 0xA80425FB
CAP_SYS_TIME = 25


def capabilities_of(look: Look, name: str) -> int:
    """One of the five sets of capabilities(7), as /proc/PID/status on the host has it."""
    text = look.fact("status").get(name, "")
    if not text:
        raise ProbeBroke(f"there is no {name}")
    return int(text, 16)


def at_most(allowed: int, *sets: str):
    """Have these sets of capabilities nothing but `allowed`?"""
    def observe(look: Look) -> Seen:
        values = {name: capabilities_of(look, name) for name in sets}
        told = ", ".join(f"{name} is {value:#x}" for name, value in values.items())
        if any(value & ~allowed for value in values.values()):
            return violated(told)
        return holds(told)
    return observe


def capability_is_added(look: Look) -> Seen:
    effective = capabilities_of(look, "CapEff")
    if effective >> CAP_SYS_TIME & 1:
        return holds(f"CapEff is {effective:#x}, with CAP_SYS_TIME")
    return violated(f"CapEff is {effective:#x}, without CAP_SYS_TIME")


def no_new_privileges(look: Look) -> Seen:
    return text_is(look.fact("status").get("NoNewPrivs", ""),
                   {"1": "NoNewPrivs of /proc/PID/status on the host"},
                   {"0": "NoNewPrivs of /proc/PID/status on the host"})


def tell_filters(status: Dict[str, str]) -> str:
    return f"Seccomp {status.get('Seccomp')}, Seccomp_filters {status.get('Seccomp_filters')}"


def filters_of(status: Dict[str, str]) -> int:
    """How many filters a process has. Before Linux 5.9 only whether it has any is known."""
    if "Seccomp" not in status:
        raise ProbeBroke("there is no Seccomp in /proc/PID/status")
    return int(status.get("Seccomp_filters") or status["Seccomp"] == "2")


def filter_is_installed(look: Look) -> Seen:
    inside, host = look.fact("status"), look.fact("host_status")
    if filters_of(inside) > filters_of(host) and inside["Seccomp"] == "2":
        return holds(f"{tell_filters(inside)}; the host has {filters_of(host)}")
    return violated(tell_filters(inside))


def parent_has_no_filter(look: Look) -> Seen:
    parent, host = look.fact("parent_status"), look.fact("host_status")
    if filters_of(parent) > filters_of(host):
        return violated(f"the program that started it has: {tell_filters(parent)}")
    return holds(f"the program that started it: {tell_filters(parent)}")


def outcomes_of(look: Look, ask: str) -> Dict[str, str]:
    """What became of each call: an errno, "ok", or "killed"."""
    outcomes = dict(text.split("=") for text in look.answer(ask).get("outcomes", []))
    if not outcomes or "?" in outcomes.values():
        raise ProbeBroke(str(look.answer(ask)))
    return outcomes


def all_are(ask: str, *good: str):
    """Ended all of these calls in one of these ways?"""
    def observe(look: Look) -> Seen:
        outcomes = outcomes_of(look, ask)
        others = [f"{name}: {outcome}" for name, outcome in outcomes.items() if outcome not in good]
        if others:
            return violated(f"{len(others)} of {len(outcomes)} got through: {', '.join(others)}")
        return holds(f"all {len(outcomes)}: {', '.join(sorted(set(outcomes.values())))}")
    return observe


def says_no_such_call(ask: str):
    """Is a system call that this kernel has denied with ENOSYS?"""
    def observe(look: Look) -> Seen:
        error = look.answer(ask).get("errno")
        if error == "ENOSYS":
            return holds("ENOSYS, as from a kernel that does not have it")
        if error in ("EINVAL", "EBADF", "EFAULT", "EPERM"):
            return violated(error)
        raise ProbeBroke(str(look.answer(ask)))
    return observe


def terminal_input_is_denied(ask: str):
    """Of what is no terminal the kernel says ENOTTY: then the call has come as far."""
    def observe(look: Look) -> Seen:
        error = look.answer(ask).get("errno", "ok")
        return text_is(error, {"EPERM": "the filter's", "EACCES": "the filter's"},
                       {"ENOTTY": "the kernel's", "EIO": "the kernel's"})
    return observe


def set_user_id_is_dead(look: Look) -> Seen:
    told = look.answers.get("effective_user", [{}])[0]
    if look.problem:
        raise NotStarted(look.problem)
    if told.get("euid") == 0:
        return violated("it became root of the container")
    if told.get("euid") == told.get("uid") == 5:
        return holds("it stayed uid 5")
    raise ProbeBroke(str(look.answers))


def strict_denies_more(look: Look) -> Seen:
    error = look.answer("sysv").get("errno")
    if error in ("EPERM", "ENOSYS"):
        return holds(f"msgget(2) said {error}")
    if error == "ENOENT" or look.answer("sysv").get("ok"):
        return violated("msgget(2) is allowed")
    raise ProbeBroke(str(look.answer("sysv")))


def strict_runs_a_shell(look: Look) -> Seen:
    run = look.run("sh")
    if run.get("exit") == 37:
        return holds("the shell, a pipe and sed ran")
    if run["why"] == "ended":
        return violated(tell_run(run))
    raise never_ran(run)


def file_is_used(look: Look) -> Seen:
    error = look.answer("set_hostname").get("errno")
    if error == "ENOTCONN":
        return holds("sethostname(2) says ENOTCONN, as the profile wants")
    if error == "EPERM" or look.answer("set_hostname").get("ok"):
        return violated(f"sethostname(2): {look.answer('set_hostname')}")
    raise ProbeBroke(str(look.answer("set_hostname")))


def nothing_follows_the_filter(look: Look) -> Seen:
    run = look.run("run")
    if look.answers.get("hello") and run.get("exit") == 37:
        return holds("it started, though its filter kills who builds containers")
    if run["why"] == "ended" and run.get("exit") != 0:
        return violated(f"it went on building the container: {tell_run(run)}")
    raise never_ran(run)


# --- The network --------------------------------------------------------------------------------

# What connect(2) says where nobody answers, see ip(7) and unix(7).
NOBODY_THERE = ("ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH", "EINPROGRESS", "ETIMEDOUT",
                "ENOENT")


def was_served(answer: Dict, text: str, good: Callable[[str], Seen],
               bad: Callable[[str], Seen]) -> Seen:
    if answer.get("text") == text:
        return good(f"{text!r} was read")
    if answer.get("errno") in NOBODY_THERE:
        return bad(f"connect(2) said {answer['errno']}")
    if answer.get("errno") == "EAGAIN" and good is holds:  # somebody holds the port, no more
        return bad("who took the connection said nothing")
    raise ProbeBroke(f"neither {text!r} nor that nobody is there: {answer}")


def host_does_not_answer(ask: str):
    """Is a server of the host's, which answers on the host, out of reach for the probe?"""
    def observe(look: Look) -> Seen:
        text = f"served-{look.names['nonce']}"
        return was_served(look.answer(ask), text, violated, holds)
    return observe


def asked_one_is_reached(look: Look) -> Seen:
    return was_served(look.fact("asked"), look.fact("text"), holds, violated)


def asked_one_is_not_reached(look: Look) -> Seen:
    return was_served(look.fact("asked"), look.fact("text"), violated, holds)


def links_are_own(look: Look) -> Seen:
    names = look.answer("links").get("names")
    if names == ["lo"]:
        return holds("/sys/class/net shows lo and nothing else")
    if names:
        return violated(f"/sys/class/net shows {', '.join(sorted(names))}")
    raise ProbeBroke(str(look.answer("links")))


def no_forged_packet_arrives(look: Look) -> Seen:
    caught, verb = look.fact("caught"), f"forge={look.names['port']}"
    if caught.startswith(look.names["nonce"][:8]):
        return violated("a socket of the host's, bound to 127.0.0.1, got the container's packet")
    sent = look.answers.get(verb, [{}])[0]
    if sent.get("errno") == "EPERM":
        return holds("it may not send packets of its own making, see packet(7)")
    if not sent.get("ok"):
        raise ProbeBroke(f"the packet was not sent: {look.answers.get(verb)}")
    if caught == "nothing":
        return holds("it was sent, and did not arrive")
    raise ProbeBroke(f"something else arrived: {caught!r}")
