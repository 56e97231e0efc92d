"""The table: one row per isolation property.

A row says what is seen when the property holds and what is seen when it does not. Its `observe`
reads a Look (scenes.py) and answers with one of the two; anything else is a ProbeBroke, which is an
error and never a pass. What the host can see is read from the host.
"""

from __future__ import annotations

import signal
from typing import Callable, Dict, List

from harness.model import (ALL_SCENES, ROOT, USER, Control, NotStarted, NotTestable, ProbeBroke,
                           Property, Seen, holds, violated)
from harness.scenes import FORWARDED, PROC_MAGIC, STRANGER, WORDS, Look, tell_run

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


def file_system(ask: str, magic: int, name: str):
    """Is a file system of this kind mounted there?"""
    def observe(look: Look) -> Seen:
        answer = look.answer(ask)
        if answer.get("fs") == magic:
            return holds(f"{name} is mounted")
        if answer.get("ok"):
            return violated(f"a directory of another file system, of type {answer['fs']:#x}")
        if answer.get("errno") == "ENOENT":
            return violated("there is no such directory")
        raise ProbeBroke(str(answer))
    return observe


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
    return text_is(look.answer("hostname").get("name", ""),
                   {look.names["hostname"]: "what --hostname said"},
                   {look.names["host_hostname"]: "the host's name"})


def hosts_new_name_is_hidden(look: Look) -> Seen:
    if "hostname" not in look.fact("after"):
        raise NotTestable("the host's name must be changed for it")
    return text_is(look.answer("hostname_again").get("name", ""),
                   {look.names["hostname"]: "its own name, though the host has another now"},
                   {look.names["host_hostname"] + "-new": "the name that the host has taken"})


def hostname_change_stays_inside(look: Look) -> Seen:
    if not look.answer("set_hostname").get("ok"):
        raise ProbeBroke(f"sethostname(2): {look.answer('set_hostname')}")
    return text_is(look.fact("after")["hostname"],
                   {look.names["host_hostname"] + "-new": "the host kept its name"},
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
    if gid_map == ["0", str(look.uid), "1"]:
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
    mounts = look.fact("all_mounts")
    if not mounts:
        raise ProbeBroke("the mounts of its namespace cannot be read")
    mark = [line for line in mounts.splitlines() if f"mark-{look.names['nonce']}" in line]
    if mark:
        return violated(f"its mount namespace still has a mount of the host's: {mark[0]}")
    return holds(f"none of the {len(mounts.splitlines())} mounts in its namespace is the host's mark")


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
    if (answer.get("major"), answer.get("minor")) == (1, 3) and answer["mode"] & 0o170000 == 0o020000:
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
    count = sum(answer["signal"] == signal.SIGINT for answer in look.answers.get("signal", []))
    if count == 1:
        return holds("one SIGINT")
    return violated(f"{count} SIGINT")


def terminal_is_given_back(look: Look) -> Seen:
    if not look.answers.get("spoil_terminal", [{}])[0].get("ok"):
        look.answer("hello")
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
    if run.get("exit") == 125 and "root" in run["stderr"]:
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
        return holds(f"the command's NSpid is {' '.join(numbers)}, its parent's {' '.join(parents)}")
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
    if any(answer.get("errno") == "ENOENT" for answer in answers):
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


# --- The table ----------------------------------------------------------------------------------

SHELL = "{stage} --rootfs {root} -- /bin/sh -c"

PROPERTIES: List[Property] = [
    Property(
        name="exit_status_is_the_commands", since="01", scene="inside",
        observe=ended_with_its_status,
        holds="37, when the command leaves with 37", violated="another status",
        lesson="Scripts and CI decide by the exit status alone.",
        man="2 wait", mistake="The wait status was returned: the exit status is in its second byte.",
        command="{stage} -- /bin/sh -c 'exit 37'; echo $?"),
    Property(
        name="killed_is_128_plus_signal", since="01", scene="killed",
        observe=exit_status_is("killed", 137),
        holds="137, when SIGKILL ended the command", violated="another status",
        lesson="Shells tell of a signal by 128 + its number; 137 is how one sees the OOM killer.",
        man="1 bash", mistake="Only WIFEXITED was asked for, not WIFSIGNALED.",
        command="{stage} -- /bin/sh -c 'kill -9 $$'; echo $?"),
    Property(
        name="not_found_is_127", since="01", scene="statuses",
        observe=exit_status_is("no command", 127),
        holds="127, when there is no such command", violated="another status",
        lesson="A wrong name is told apart from a command that fails.",
        man="1 bash", mistake="The errno of a failed exec(3) did not reach the parent.",
        command="{stage} -- /no-such-command; echo $?"),
    Property(
        name="not_executable_is_126", since="01", scene="statuses",
        observe=exit_status_is("not executable", 126),
        holds="126, when the command cannot be executed", violated="another status",
        lesson="126 says: it is there, look at its mode.",
        man="1 bash", mistake="ENOENT and EACCES were treated alike.",
        command="{stage} -- /etc/passwd; echo $?"),
    Property(
        name="wrong_option_is_125", since="01", scene="statuses", observe=wrong_option_stops,
        holds="125 for an option that there is not, and the command does not run",
        violated="the command runs, or another status",
        lesson="125 is the container's own failure, which no command should be blamed for.",
        man="1 docker-run", mistake="Unknown options are ignored.",
        command="{stage} --no-such-option -- /bin/true; echo $?"),
    Property(
        name="errors_are_told", since="01", scene="statuses", observe=errors_are_told,
        holds="one line on stderr, perhaps a hint", violated="silence, or a flood",
        lesson="Who cannot see what failed, guesses.",
        man="3 err", mistake="A failed call was not reported.",
        command="{stage} --no-such-option -- /bin/true"),
    Property(
        name="arguments_are_kept", since="01", scene="inside", asks=("arguments",),
        observe=arguments_are_kept,
        holds="the words arrive as they were given", violated="other words arrive",
        lesson="Spaces, quotes and stars in a word are nobody's business on the way.",
        man="2 execve", mistake="The words were joined and given to a shell.",
        command="{stage} -- /bin/echo 'a  b' '*'"),
    Property(
        name="stdin_arrives", since="01", scene="inside", observe=stdin_arrives,
        holds="the command reads what is written to stdin", violated="it reads nothing",
        lesson="Containers are used in pipes.",
        man="7 pipe", mistake="stdin was closed or replaced.",
        command="echo hello | {stage} -- /bin/cat",
        control=Control.NONE, seen_failing="stdin_from_null of harness/test_any_binary.py"),
    Property(
        name="env_option_works", since="01", scene="inside", observe=given_variable_arrives,
        holds="--env's variable is in the environment", violated="it is not",
        lesson="The environment is how containers are configured.",
        man="7 environ", mistake="--env is ignored, or set in the parent only.",
        command="{stage} -e A=1 -- /bin/sh -c 'echo $A'"),
    Property(
        name="workdir_option_works", since="01", scene="workdir", observe=workdir_is_used,
        holds="--workdir is the working directory", violated="another directory is",
        lesson="A relative path means something only from a known directory.",
        man="2 chdir", mistake="--workdir is ignored, or was entered before the root changed.",
        command="{stage} -w /tmp -- /bin/sh -c pwd"),
    Property(
        name="descriptors_are_closed", since="01", scene="inside", observe=descriptors_are_closed,
        holds="the command has the descriptors 0, 1 and 2", violated="it has more",
        lesson="A descriptor is a key: it opens a file of the host, past every root directory.",
        man="2 close_range", mistake="What the caller left open was inherited.",
        command="{stage} -- /bin/sh -c 'ls -l /proc/self/fd' 7</etc/passwd"),
    Property(
        name="inherited_directory_is_closed", since="01", scene="inside", asks=("secret_by_fd",),
        observe=hidden("secret_by_fd", "secret-{nonce}"),
        holds="a directory that the caller had open leads nowhere",
        violated="a file of the host is read through it",
        lesson="openat(2) from an inherited directory of the host walks the host.",
        man="2 openat", mistake="What the caller left open was inherited.",
        command="{stage} -- /bin/sh -c 'cat /proc/self/fd/8/etc/hostname' 8</"),
    Property(
        name="signal_mask_is_the_callers", since="01", scene="inside", observe=mask_is_clean,
        holds="no signal is blocked, as for the caller", violated="some are",
        lesson="The mask is inherited over exec(2): a command that cannot be stopped by SIGTERM.",
        man="2 sigprocmask", mistake="Signals were blocked in the parent, and never unblocked in the"
        " child.",
        command="{stage} -- /bin/grep SigBlk /proc/self/status"),
    Property(
        name="signals_are_forwarded", since="01", scene="signals", observe=signals_are_forwarded,
        holds="the command gets TERM, INT, HUP, QUIT, USR1 and USR2, once each",
        violated="it misses some, or gets some twice",
        lesson="Whoever stops a container signals the process that he started.",
        man="2 signalfd", mistake="The parent dies of the signal, or swallows it.",
        command="{stage} -- /bin/sh -c 'trap \"echo got it\" TERM; sleep 9 & wait' & kill $!"),
    Property(
        name="ignored_sigchld_does_no_harm", since="01", scene="sigchld_ignored",
        observe=status_survives,
        holds="the status arrives though the caller ignores SIGCHLD", violated="it is lost",
        lesson="With SIGCHLD ignored, the kernel reaps children itself, and their status is gone.",
        man="2 wait", mistake="The disposition that the caller left was trusted.",
        command="(trap '' CHLD; {stage} -- /bin/sh -c 'exit 37'; echo $?)"),
    Property(
        name="ctrl_c_arrives_once", since="01", scene="terminal", observe=ctrl_c_arrives_once,
        holds="Ctrl-C is one SIGINT for the command", violated="none, or two",
        lesson="The terminal signals its whole foreground process group: the command has it already.",
        man="7 signal", mistake="The parent forwards what the terminal has sent to both.",
        command="{stage} -- /bin/sh -c 'trap \"echo once\" INT; sleep 9'"),
    Property(
        name="terminal_is_given_back", since="01", scene="terminal",
        observe=terminal_is_given_back,
        holds="the terminal is as it was before", violated="it is as the command left it",
        lesson="An editor that dies leaves the terminal without echo.",
        man="3 termios", mistake="The terminal's modes were not saved.",
        command="{stage} -- /bin/sh -c 'stty raw -echo'"),
    Property(
        name="nothing_is_left", since="01", scene=ALL_SCENES, observe=nothing_is_left,
        control_scene="inside",
        holds="the host is as it was before", violated="something is new, or gone",
        lesson="A container that leaves something behind fills the host, one start after another.",
        man="7 namespaces", mistake="Not all was undone on every way out.",
        command="mount > before; {stage} -- /bin/true; mount | diff before -"),
    Property(
        name="needs_root_and_says_so", since="02", until="05", scene="anybody",
        observe=refusal_is_explained, identities=(USER,), control_identity=USER,
        holds="an ordinary user gets 125 and is told of root", violated="it runs",
        lesson="chroot(2) needs CAP_SYS_CHROOT: else a set-user-ID program could be fed a root of"
               " one's own.",
        man="2 chroot", mistake="The failure of a call was ignored, or not explained.",
        command="sudo -u nobody " + "{stage} --rootfs {root} -- /bin/true"),
    Property(
        name="no_chroot_no_start", since="02", scene="chroot_fails", asks=("secret",),
        observe=stops_or(hidden("secret", "secret-{nonce}")),
        holds="when the root cannot be changed, the command does not run",
        violated="it runs, and sees the host",
        lesson="A container that starts with less isolation than asked for is worse than none.",
        man="2 chroot", mistake="The result of chroot(2) was not looked at.",
        command="strace -f -e inject=chroot,pivot_root:error=EPERM {stage} --rootfs {root} -- /bin/ls"),
    Property(
        name="host_file_is_hidden", since="02", scene="inside", asks=("secret",),
        observe=hidden("secret", "secret-{nonce}"),
        holds="the file is not there", violated="the probe reads its text",
        lesson="A path is looked up from the process' root directory; what is not below it has no"
               " name.",
        man="2 chroot", mistake="The root directory was not changed.",
        command=SHELL + " 'cat /etc/hostname'"),
    Property(
        name="root_is_the_directory", since="02", scene="inside",
        observe=root_is_the_directory,
        holds="/proc/PID/root is the directory of --rootfs",
        violated="/proc/PID/root is the host's root",
        lesson="The root directory is a property of a process; the host reads it in /proc/PID/root.",
        man="5 proc", mistake="The command was started before the root was changed.",
        command=SHELL + " 'ls /'"),
    Property(
        name="cwd_is_inside", since="02", scene="inside", asks=("cwd",),
        observe=cwd_is_inside,
        holds="the working directory is the new root",
        violated="the working directory is where the host was",
        lesson="chroot(2) does not touch the working directory: left outside, it is a way out.",
        man="2 chroot", mistake="No chdir(2) into the new root.",
        command=SHELL + " 'pwd; ls'"),
    Property(
        name="dotdot_stops_at_the_root", since="02", scene="inside", asks=("secret_up",),
        observe=hidden("secret_up", "secret-{nonce}"),
        holds="'..' from the working directory does not lead out",
        violated="'..' leads to the host's file",
        lesson="The kernel stops '..' at the root directory, but only for who comes past it.",
        man="7 path_resolution", mistake="The working directory is outside of the root.",
        command=SHELL + " 'ls ../../../../../..'"),
    Property(
        name="absolute_link_stays_inside", since="02", scene="inside", asks=("secret_by_link",),
        observe=hidden("secret_by_link", "secret-{nonce}"),
        holds="a link to an absolute path of the host leads nowhere",
        violated="the link leads to the host's file",
        lesson="An absolute link is looked up from the root of who follows it, not of who made it.",
        man="7 symlink", mistake="The link was followed before the root was changed.",
        command=SHELL + " 'cat /link'"),
    Property(
        name="host_variable_is_hidden", since="02", scene="inside",
        observe=host_variable_is_hidden,
        holds="the host's variables are not in the environment",
        violated="a variable of the host's is in the environment",
        lesson="exec(2) hands on the whole environment unless told otherwise; tokens are kept there.",
        man="7 environ", mistake="The caller's environment was passed on.",
        command="env SECRET=1 " + SHELL + " env"),
    Property(
        name="path_is_the_containers", since="02", scene="inside",
        observe=path_is_the_containers,
        holds="PATH names folders of the container",
        violated="PATH names folders of the host",
        lesson="The host's PATH names folders that are not in the new root.",
        man="7 environ", mistake="PATH was not set for the new root.",
        command=SHELL + " 'echo $PATH'"),

    Property(
        name="own_pid_namespace", since="04", scene="inside", observe=own_namespace("pid"),
        holds="another PID namespace than the host's", violated="the host's PID namespace",
        lesson="A PID namespace has process numbers of its own.",
        man="7 pid_namespaces",
        mistake="unshare(CLONE_NEWPID) moves only the children of its caller, not the caller.",
        command=SHELL + " 'echo $$'"),
    Property(
        name="own_mount_namespace", since="04", scene="inside", observe=own_namespace("mnt"),
        holds="another mount namespace than the host's", violated="the host's mount namespace",
        lesson="A mount namespace has a list of mounts of its own.",
        man="7 mount_namespaces", mistake="CLONE_NEWNS is missing.",
        command=SHELL + " 'mount -t tmpfs x /mnt'; grep /mnt /proc/mounts"),
    Property(
        name="own_uts_namespace", since="04", scene="inside", observe=own_namespace("uts"),
        holds="another UTS namespace than the host's", violated="the host's UTS namespace",
        lesson="A UTS namespace has a host name of its own.",
        man="7 uts_namespaces", mistake="CLONE_NEWUTS is missing.",
        command=SHELL + " 'hostname inside'; hostname"),
    Property(
        name="own_ipc_namespace", since="04", scene="inside", observe=own_namespace("ipc"),
        holds="another IPC namespace than the host's", violated="the host's IPC namespace",
        lesson="System V IPC and POSIX queues have no paths: no root directory hides them.",
        man="7 ipc_namespaces", mistake="CLONE_NEWIPC is missing.",
        command="ipcmk -Q; " + SHELL + " 'ipcs -q'"),
    Property(
        name="command_is_pid_1", since="04", scene="inside", observe=is_pid_1,
        holds="the last number of NSpid is 1", violated="NSpid has no number 1 inside",
        lesson="The first process of a PID namespace is its init: with it all others end.",
        man="7 pid_namespaces", mistake="The command was forked once more than needed, or not born"
        " in the namespace.",
        command=SHELL + " 'echo $$'"),
    Property(
        name="proc_is_mounted", since="04", scene="inside", asks=("proc",),
        observe=file_system("proc", PROC_MAGIC, "procfs"),
        holds="/proc is a procfs", violated="/proc is an ordinary directory",
        lesson="ps(1) and many others read /proc; an empty one breaks them.",
        man="5 proc", mistake="No procfs was mounted in the new root.",
        command=SHELL + " 'ps'"),
    Property(
        name="host_processes_are_hidden", since="04", scene="inside", asks=("host_processes",),
        observe=host_processes_are_hidden,
        holds="a process of the host is not in /proc", violated="a process of the host is in /proc",
        lesson="A procfs shows the PID namespace of who mounted it.",
        man="7 pid_namespaces",
        mistake="/proc was mounted by a process of the host's PID namespace, or is the host's.",
        command=SHELL + " 'ps'"),
    Property(
        name="host_processes_are_safe", since="04", scene="inside", asks=("kill",),
        observe=host_processes_are_safe,
        holds="a process of the host cannot be signalled", violated="a process of the host is killed",
        lesson="What has no number in one's PID namespace cannot be signalled.",
        man="2 kill", mistake="The container shares the host's PID namespace.",
        command="sleep 100 & " + SHELL + " \"kill -9 $!\""),
    Property(
        name="hostname_is_own", since="04", scene="inside", asks=("hostname",),
        observe=hostname_is_own,
        holds="the name that --hostname gave", violated="the host's name",
        lesson="A container is told apart by its name, in prompts and in logs.",
        man="7 uts_namespaces", mistake="--hostname is not set in the new UTS namespace.",
        command="{stage} --rootfs {root} --hostname box -- /bin/hostname"),
    Property(
        name="hosts_new_name_is_hidden", since="04", scene="inside", asks=("hostname_again",),
        observe=hosts_new_name_is_hidden,
        holds="still its own name when the host changes its name",
        violated="the host's new name",
        lesson="The two names have nothing to do with each other.",
        man="7 uts_namespaces", mistake="CLONE_NEWUTS is missing.",
        command=SHELL + " 'sleep 5; hostname' & hostname other"),
    Property(
        name="hostname_change_stays_inside", since="04", scene="inside", asks=("set_hostname",),
        observe=hostname_change_stays_inside,
        holds="the host keeps its name when the container changes its own",
        violated="the host has the container's name",
        lesson="Whoever is root in a container may set its name: it must not be the host's.",
        man="2 sethostname", mistake="The name was set before the UTS namespace was made, or there is"
        " none.",
        command=SHELL + " 'hostname other'; hostname"),
    Property(
        name="sysv_ipc_is_hidden", since="04", scene="inside", asks=("sysv",),
        observe=refused("sysv", "ENOENT"),
        holds="a message queue of the host is not found", violated="the host's queue is found",
        lesson="System V IPC is found by a number, not by a path.",
        man="7 sysvipc", mistake="CLONE_NEWIPC is missing.",
        command="ipcmk -Q; " + SHELL + " 'ipcs -q'"),
    Property(
        name="sysv_ipc_stays_inside", since="04", scene="inside", asks=("make_sysv",),
        observe=sysv_made_inside_stays_inside,
        holds="the host does not list the container's queue", violated="the host lists it",
        lesson="With its namespace go all of its queues: nothing is left on the host.",
        man="7 ipc_namespaces", mistake="CLONE_NEWIPC is missing.",
        command=SHELL + " 'ipcmk -Q'; ipcs -q"),
    Property(
        name="posix_queue_is_hidden", since="04", scene="inside", asks=("queue",),
        observe=refused("queue", "ENOENT"),
        holds="a POSIX queue of the host is not found", violated="the host's queue is found",
        lesson="POSIX queues belong to the IPC namespace too, though they look like files.",
        man="7 mq_overview", mistake="CLONE_NEWIPC is missing.",
        command=SHELL + " 'ls /dev/mqueue'"),
    Property(
        name="posix_queue_stays_inside", since="04", scene="inside", asks=("make_queue",),
        observe=queue_made_inside_stays_inside,
        holds="the host does not list the container's POSIX queue", violated="the host lists it",
        lesson="Queues hold memory of the machine until somebody removes them.",
        man="7 mq_overview", mistake="CLONE_NEWIPC is missing.",
        command=SHELL + " 'touch /dev/mqueue/x'; ls /dev/mqueue"),
    Property(
        name="mount_stays_inside", since="04", scene="inside", asks=("mount",),
        observe=mount_stays_inside,
        holds="the host does not see what the container mounts", violated="the host sees it",
        lesson="A new mount namespace is a copy whose mounts are peers of the originals: what is"
               " mounted in one appears in the other, unless they are made private.",
        man="7 mount_namespaces", mistake="Mount propagation was left on.",
        command=SHELL + " 'mount -t tmpfs x /mnt'; grep x /proc/mounts"),
    Property(
        name="host_mount_stays_outside", since="04", scene="inside", asks=("host_mount",),
        observe=host_mount_stays_outside, identities=(ROOT, USER),
        holds="what the host mounts later does not appear", violated="it appears in the container",
        lesson="Propagation works in both directions; MS_SLAVE stops only one of them.",
        man="7 mount_namespaces", mistake="The mounts are slaves or shared, not private.",
        command=SHELL + " 'sleep 5; ls /mnt' & mount -t tmpfs x {root}/mnt"),
    Property(
        name="mounts_are_private", since="04", scene="inside", observe=mounts_are_private,
        holds="no mount of the namespace is shared or a slave", violated="some are",
        lesson="/proc/PID/mountinfo tells of each mount whether it propagates.",
        man="7 mount_namespaces", mistake="Not all mounts were made private: MS_REC is needed.",
        command=SHELL + " 'grep -E \"shared|master\" /proc/self/mountinfo'"),
    Property(
        name="container_dies_with_its_parent", since="04", scene="parent_killed",
        observe=nothing_outlives,
        holds="SIGKILL for the program ends all of the container",
        violated="the command goes on alone",
        lesson="Nobody can forward SIGKILL; the kernel can send one when a parent dies.",
        man="2 prctl", mistake="No PR_SET_PDEATHSIG, or it was set before a change of user cleared"
        " it.",
        command=SHELL + " 'sleep 99' & kill -9 $!; ps -ef | grep sleep"),
    Property(
        name="early_death_is_noticed", since="04", scene="parent_killed_early",
        observe=nothing_outlives,
        holds="no container remains of a program that is killed while it sets up",
        violated="the command starts all the same",
        lesson="A parent that dies before the child asks for its signal sends none.",
        man="2 prctl", mistake="After PR_SET_PDEATHSIG nobody asked whether the parent still lives.",
        command="strace -f -e inject=prctl:delay_enter=1000000 " + SHELL + " 'sleep 99'"),
    Property(
        name="daemons_end_with_pid_1", since="04", scene="daemon", observe=nothing_outlives,
        holds="what the command left in the background ends with it", violated="it runs on",
        lesson="When PID 1 of a namespace ends, the kernel kills all the others.",
        man="7 pid_namespaces", mistake="There is no PID namespace, or its PID 1 goes on.",
        command=SHELL + " 'setsid sleep 99 &'; ps -ef | grep sleep"),
    Property(
        name="init_reaps_orphans", since="04", scene="with_init", observe=orphans_are_reaped,
        control=Control.OTHER_SCENE, control_scene="without_init",
        holds="with --init no zombie stays", violated="a zombie stays",
        lesson="Orphans become children of PID 1; if it does not wait for them, they stay.",
        man="2 wait", mistake="Only the command is waited for, not whoever ends.",
        command="{stage} --rootfs {root} --init -- /bin/sh -c '(sleep 1 &); sleep 2; ps'"),
    Property(
        name="init_is_pid_1", since="04", scene="with_init", observe=init_is_pid_1,
        control=Control.OTHER_SCENE, control_scene="without_init",
        holds="with --init the command is PID 2, and PID 1 its parent",
        violated="the command is PID 1",
        lesson="Most programs are not written to be PID 1.",
        man="7 pid_namespaces", mistake="--init is ignored.",
        command="{stage} --rootfs {root} --init -- /bin/sh -c 'echo $$ $PPID'"),
    Property(
        name="init_passes_signals_and_status", since="04", scene="terminated_with_init",
        observe=term_ends_the_command, control=Control.OTHER_SCENE,
        control_scene="terminated_without_init",
        holds="with --init SIGTERM ends a command without handlers, with 143",
        violated="nothing happens, or another status",
        lesson="The kernel discards what PID 1 has no handler for.",
        man="7 pid_namespaces", mistake="PID 1 does not forward, or leaves with its own status.",
        command="{stage} --rootfs {root} --init -- /bin/sleep 99 & kill $!; wait $!; echo $?"),
    Property(
        name="no_namespaces_no_start", since="04", scene="namespaces_fail", asks=("hostname",),
        observe=stops_or(hostname_is_own),
        holds="when namespaces cannot be made, the command does not run",
        violated="it runs in the host's",
        lesson="A container that starts with less isolation than asked for is worse than none.",
        man="2 clone", mistake="The result of the call was not looked at.",
        command="strace -f -e inject=clone3,unshare:error=EPERM " + SHELL + " hostname"),
    Property(
        name="hostile_proc_stays_inside", since="04", scene="hostile_proc",
        observe=proc_stays_inside, control=Control.NONE,
        seen_failing="stage 04 with mount_proc() before change_root(), on root + /proc",
        holds="a root whose /proc is a link to the host's folder mounts nothing there",
        violated="procfs is mounted on the host's folder",
        lesson="A path below a root that a stranger made leads wherever he wants, for who is outside"
               " of it.",
        man="7 symlink", mistake="The root's /proc was named from outside of the root.",
        command="ln -sfn /srv {root}/proc; " + SHELL + " 'cat /proc/self/mountinfo'"),

    Property(
        name="no_root_needed", since="05", scene="anybody", observe=ran_with_status,
        identities=(USER,), control_identity=USER,
        holds="an ordinary user can start it", violated="he is refused",
        lesson="In a user namespace of one's own one may do what else only root may.",
        man="7 user_namespaces", mistake="Something still asks for root, or is done before the user"
        " namespace.",
        command="sudo -u nobody {stage} --rootfs {root} -- /bin/id"),
    Property(
        name="is_root_inside", since="05", scene="inside", observe=is_root_inside,
        control=Control.OTHER_SCENE, control_scene="without_container", control_identity=USER,
        holds="uid 0 and gid 0 inside", violated="another id",
        lesson="Programs that ask for uid 0 find it.",
        man="7 user_namespaces", mistake="The maps were written too late: ids without a map are"
        " 65534.",
        command=SHELL + " id"),
    Property(
        name="root_inside_has_capabilities", since="05", scene="inside", observe=has_capabilities,
        control=Control.OTHER_SCENE, control_scene="without_container", control_identity=USER,
        holds="CapEff has what root needs inside", violated="CapEff is 0",
        lesson="The first process of a user namespace has all capabilities in it; exec(2) keeps them"
               " only for uid 0.",
        man="7 capabilities", mistake="The command was executed before the maps made it uid 0.",
        command=SHELL + " 'grep CapEff /proc/self/status'"),
    Property(
        name="given_maps_are_used", since="05", scene="other_user", observe=maps_are_the_given,
        identities=(ROOT,),
        holds="uid_map and gid_map are what the options say", violated="they are others",
        lesson="A range of ids gives a container users of its own.",
        man="7 user_namespaces", mistake="--uid-map is ignored, or its columns are swapped.",
        command="{stage} --rootfs {root} --uid-map 0:100000:10 -- /bin/cat /proc/self/uid_map"),
    Property(
        name="given_user_runs_the_command", since="05", scene="other_user",
        observe=command_runs_as_given_user, identities=(ROOT,),
        holds="for the host the command runs as the ids that the maps give --user",
        violated="it runs as somebody else",
        lesson="--user names an id inside; the host sees the one outside.",
        man="2 setresuid", mistake="--user is ignored, or the gid was changed after the uid.",
        command="{stage} --rootfs {root} --uid-map 0:100000:10 --gid-map 0:200000:10 -u 5:6 --"
                " /bin/id"),
    Property(
        name="given_user_has_no_capabilities", since="05", scene="other_user",
        observe=has_no_capabilities, identities=(ROOT,), control=Control.OTHER_SCENE,
        control_scene="inside",
        holds="CapEff is 0 for who is not root inside", violated="it is not",
        lesson="exec(2) drops all capabilities of who is not uid 0.",
        man="7 capabilities", mistake="The command runs as uid 0 all the same.",
        command="{stage} --rootfs {root} --uid-map 0:100000:10 --gid-map 0:200000:10 -u 5:6 --"
                " /bin/grep CapEff /proc/self/status"),
    Property(
        name="own_user_namespace", since="05", scene="inside", observe=own_namespace("user"),
        holds="another user namespace than the host's", violated="the host's user namespace",
        lesson="A user namespace has ids and capabilities of its own.",
        man="7 user_namespaces", mistake="CLONE_NEWUSER is missing.",
        command=SHELL + " 'cat /proc/self/uid_map'"),
    Property(
        name="root_inside_is_caller_outside", since="05", scene="inside",
        observe=root_inside_is_caller_outside,
        holds="uid_map maps 0 to the caller, and to nobody else", violated="it maps more, or others",
        lesson="Root in the container is nobody special on the host.",
        man="7 user_namespaces", mistake="The map is missing, wide open, or its columns are swapped.",
        command=SHELL + " 'cat /proc/self/uid_map'"),
    Property(
        name="group_inside_is_callers_outside", since="05", scene="inside",
        observe=group_inside_is_callers_outside,
        holds="gid_map maps 0 to the caller's group, and to no other", violated="it maps more",
        lesson="Groups are mapped apart from users.",
        man="7 user_namespaces", mistake="gid_map was not written.",
        command=SHELL + " 'cat /proc/self/gid_map'"),
    Property(
        name="setgroups_is_denied", since="05", scene="inside", observe=setgroups_is_denied,
        holds="/proc/PID/setgroups is deny", violated="it is allow",
        lesson="A group can be a denial; who could drop it in a namespace of his own would get in.",
        man="7 user_namespaces", mistake="setgroups was left open before gid_map was written.",
        command=SHELL + " 'cat /proc/self/setgroups'"),
    Property(
        name="files_belong_to_the_caller", since="05", scene="inside", asks=("mine",),
        observe=files_belong_to_the_caller, identities=(USER,),
        holds="a file made by root inside belongs to the caller on the host",
        violated="it belongs to root of the host",
        lesson="What is on the disk is the id outside.",
        man="7 user_namespaces", mistake="No user namespace, or a map to somebody else.",
        command=SHELL + " 'touch /tmp/made'; ls -l {root}/tmp"),
    Property(
        name="hosts_files_keep_their_owner", since="05", scene="inside", asks=("chown",),
        observe=hosts_files_keep_their_owner,
        holds="a file of another user of the host cannot be given away",
        violated="root inside gives it to himself",
        lesson="A capability counts for the objects whose ids are mapped, and for no others.",
        man="7 user_namespaces", mistake="The container's capabilities are the host's.",
        command=SHELL + " 'chown 0 /theirs'"),
    Property(
        name="hosts_permissions_hold", since="05", scene="inside", asks=("private",),
        observe=hidden("private", "private-{nonce}"),
        holds="a private file of another user cannot be read", violated="root inside reads it",
        lesson="CAP_DAC_OVERRIDE, too, counts for mapped ids only.",
        man="7 capabilities", mistake="The container's capabilities are the host's.",
        command=SHELL + " 'cat /private'"),
    Property(
        name="strangers_are_nobody", since="05", scene="inside", asks=("stranger",),
        observe=strangers_are_nobody,
        holds="a user of the host without an id inside is 65534", violated="his uid is seen",
        lesson="Ids that are not mapped are shown as the overflow id.",
        man="7 user_namespaces", mistake="All ids of the host are mapped.",
        command=SHELL + " 'ls -ln /theirs'"),
    Property(
        name="no_user_beyond_the_map", since="05", scene="inside", asks=("setuid",),
        observe=refused("setuid", "EINVAL", "EPERM"),
        holds="setuid to an id that is not mapped is refused", violated="root inside becomes him",
        lesson="There is no way to become whom the map does not name.",
        man="2 setresuid", mistake="All ids of the host are mapped.",
        command=SHELL + " 'su -s /bin/sh stranger'"),
    Property(
        name="no_device_nodes", since="05", scene="inside", asks=("mknod",),
        observe=no_device_nodes,
        holds="mknod(2) of a device says EPERM", violated="there is a new device node",
        lesson="Who can make a device node can read the host's disk, past all permissions.",
        man="2 mknod", mistake="The container has CAP_MKNOD on the host.",
        command=SHELL + " 'mknod /tmp/disk b 8 0'"),

    Property(
        name="old_root_is_gone", since="06", scene="inside", observe=old_root_is_gone,
        holds="no mount of the host's is in its mount namespace", violated="they still are",
        lesson="chroot(2) hides the host's mounts; only pivot_root(2) and umount2(2) let them go.",
        man="2 pivot_root", mistake="The old root was not unmounted.",
        command=SHELL + " 'cat /proc/self/mountinfo'"),
    Property(
        name="second_chroot_leads_nowhere", since="06", scene="inside", asks=("by_chroot",),
        observe=hidden("by_chroot", "secret-{nonce}"),
        holds="root inside does not get out by a second chroot(2)",
        violated="it reads the host's file",
        lesson="A process outside of its root directory is stopped by no '..'; who may call"
               " chroot(2) can become one.",
        man="2 chroot", mistake="The root is still a chroot, with the host's tree around it.",
        command=SHELL + " 'mkdir /x; chroot /x ...'"),
    Property(
        name="kept_directory_leads_nowhere", since="06", scene="inside", asks=("by_descriptor",),
        observe=hidden("by_descriptor", "secret-{nonce}"),
        holds="root inside does not get out by a descriptor of '/' and a second chroot(2)",
        violated="it reads the host's file",
        lesson="A directory that is held open stays reachable when the root moves below it.",
        man="2 chroot", mistake="The root is still a chroot, with the host's tree around it.",
        command=SHELL + " 'exec 9</; ...'"),
    Property(
        name="kernel_files_are_masked", since="06", scene="inside",
        asks=("keys", "timers", "interrupts"), observe=kernel_files_are_masked,
        holds="/proc/keys, timer_list and interrupts are empty", violated="they tell of the host",
        lesson="Not all of /proc is about processes: some of it tells of the whole machine.",
        man="5 proc", mistake="The masks are missing, or were covered by /proc mounted later.",
        command=SHELL + " 'wc /proc/keys /proc/timer_list'"),
    Property(
        name="firmware_is_masked", since="06", scene="inside", asks=("firmware",),
        observe=firmware_is_masked,
        holds="/sys/firmware is empty", violated="it tells of the machine",
        lesson="/sys is the machine's, whoever mounts it.",
        man="5 sysfs", mistake="The masks are missing, or were covered by /sys mounted later.",
        command=SHELL + " 'ls /sys/firmware'"),
    Property(
        name="proc_paths_are_read_only", since="06", scene="inside",
        observe=proc_paths_are_read_only,
        holds="/proc/sys, /proc/irq and /proc/fs are mounted read-only", violated="they are not",
        lesson="Whoever is root outside too may change the whole machine through /proc/sys.",
        man="5 proc", mistake="The paths were not mounted once more, read-only.",
        command=SHELL + " 'grep /proc/ /proc/self/mountinfo'"),
    Property(
        name="sysctls_cannot_be_opened", since="06", scene="inside", asks=("sysctl",),
        observe=refused("sysctl", "EROFS"), identities=(ROOT,),
        holds="a file of /proc/sys cannot be opened to be written", violated="it can be",
        lesson="core_pattern names a program that the kernel runs as root of the host.",
        man="5 core", mistake="/proc/sys can be written.",
        command=SHELL + " 'true >> /proc/sys/kernel/core_pattern'"),
    Property(
        name="sys_is_read_only", since="06", scene="inside", observe=sys_is_read_only,
        holds="/sys is mounted read-only", violated="it can be written",
        lesson="Files of /sys switch the machine's hardware.",
        man="5 sysfs", mistake="/sys was mounted without MS_RDONLY.",
        command=SHELL + " 'grep /sys /proc/self/mountinfo'"),
    Property(
        name="dev_is_minimal", since="06", scene="inside", asks=("dev",), observe=dev_is_minimal,
        holds="/dev has what programs need, and no more", violated="it has more, or less",
        lesson="The host's /dev names its disks.",
        man="4 null", mistake="The root's own /dev is used, or the host's.",
        command=SHELL + " 'ls /dev'"),
    Property(
        name="dev_null_works", since="06", scene="inside", asks=("dev_null", "dev_null_write"),
        observe=dev_null_works,
        holds="/dev/null is the device 1:3", violated="it is missing, or a file",
        lesson="In a user namespace nobody may make a device node; but one may bind the host's.",
        man="4 null", mistake="/dev/null was made with open(2).",
        command=SHELL + " 'ls -l /dev/null'"),
    Property(
        name="planted_device_is_dead", since="06", scene="inside", asks=("planted",),
        observe=planted_device_is_dead, identities=(ROOT,),
        holds="a device node that came with the root cannot be opened", violated="it is opened",
        lesson="A stranger's root may bring a node of the host's disk.",
        man="2 mount", mistake="The root is mounted without MS_NODEV.",
        command="mknod {root}/disk b 8 0; " + SHELL + " 'head -c 1 /disk'"),
    Property(
        name="terminals_are_own", since="06", scene="inside", asks=("new_terminal",),
        observe=allowed("new_terminal", "ENOENT", "EACCES", "ENXIO", "ENODEV", "EIO"),
        holds="a new terminal can be opened", violated="there is no /dev/ptmx",
        lesson="A devpts of one's own numbers from 0 and shows no terminal of the host.",
        man="4 pts", mistake="No devpts was mounted, or there is no /dev/ptmx.",
        command=SHELL + " 'ls /dev/pts'"),
    Property(
        name="shared_memory_works", since="06", scene="inside", asks=("shm",),
        observe=allowed("shm", "ENOENT", "EACCES", "EROFS"),
        holds="/dev/shm can be written", violated="there is none",
        lesson="shm_open(3) makes its files there.",
        man="7 shm_overview", mistake="No tmpfs was mounted at /dev/shm.",
        command=SHELL + " 'echo 1 > /dev/shm/x'"),
    Property(
        name="dev_stdin_is_there", since="06", scene="inside", asks=("dev_fd",),
        observe=allowed("dev_fd", "ENOENT"),
        holds="/dev/stdin leads to descriptor 0", violated="there is none",
        lesson="Shell scripts name their descriptors as files.",
        man="4 fd", mistake="The links in /dev are missing.",
        command="echo hello | " + SHELL + " 'cat /dev/stdin'"),
    Property(
        name="volume_is_shown", since="06", scene="volumes", observe=volume_is_shown,
        holds="--volume shows a directory and a file of the host", violated="they are not there",
        lesson="A bind mount shows one thing in two places.",
        man="2 mount", mistake="--volume is ignored, or was mounted below the old root.",
        command="{stage} --rootfs {root} -v /srv:/data -- /bin/ls /data"),
    Property(
        name="volume_can_be_written", since="06", scene="volumes", observe=volume_can_be_written,
        holds="what is written there is on the host, and the caller's", violated="it is not",
        lesson="Volumes are how a container keeps something.",
        man="2 mount", mistake="The volume is read-only, or a copy.",
        command="{stage} --rootfs {root} -v $PWD:/data -- /bin/touch /data/new; ls -l new"),
    Property(
        name="read_only_volume_cannot_be_written", since="06", scene="volumes",
        observe=volume_is_read_only, control=Control.OTHER_SCENE,
        control_scene="volumes_writable",
        holds="a volume with :ro cannot be written", violated="it is written",
        lesson="MS_BIND ignores MS_RDONLY: it takes a second call.",
        man="2 mount", mistake="Read-only was asked for in the call that binds.",
        command="{stage} --rootfs {root} -v $PWD:/data:ro -- /bin/touch /data/new"),
    Property(
        name="volume_brings_no_device", since="06", scene="volumes",
        observe=volume_brings_no_device, identities=(ROOT,), control=Control.NONE,
        seen_failing="stage 06 with kNoDevices = 0",
        holds="a device node in a volume is dead, and set-user-ID has no effect",
        violated="it can be opened",
        lesson="A volume is for data: nodev and nosuid take the rest away.",
        man="2 mount", mistake="The volume is mounted without MS_NODEV and MS_NOSUID.",
        command="{stage} --rootfs {root} -v /dev:/data -- /bin/head -c 1 /data/zero"),
    Property(
        name="volume_stays_inside", since="06", scene="hostile_volume",
        observe=volume_stays_inside, control=Control.NONE,
        seen_failing="stage 06 with make_mount_point() before pivot_into(), on root + target",
        holds="a link in the root leads no volume out of it", violated="something is made outside",
        lesson="A path below a stranger's root leads wherever he wants, for who is outside of it.",
        man="7 symlink", mistake="The mount point was made from outside of the root.",
        command="ln -s /srv {root}/x; {stage} --rootfs {root} -v /tmp:/x/y -- /bin/true; ls /srv"),
    Property(
        name="read_only_root_cannot_be_written", since="06", scene="read_only",
        asks=("root_write",), observe=refused("root_write", "EROFS"),
        control=Control.OTHER_SCENE, control_scene="inside",
        holds="with --read-only nothing can be written to /", violated="a file is made",
        lesson="A container that cannot change its root leaves an attacker no place to stay.",
        man="2 mount_setattr", mistake="--read-only is ignored.",
        command="{stage} --rootfs {root} --read-only -- /bin/touch /new"),
    Property(
        name="no_pivot_no_start", since="06", scene="pivot_root_fails", asks=("by_chroot",),
        observe=stops_or(hidden("by_chroot", "secret-{nonce}")),
        holds="when pivot_root(2) fails, the command does not run",
        violated="it runs in what a second chroot leads out of",
        lesson="A container that starts with less isolation than asked for is worse than none.",
        man="2 pivot_root", mistake="The result of pivot_root(2) was not looked at.",
        command="strace -f -e inject=pivot_root:error=EPERM " + SHELL + " ls"),
]

BY_NAME: Dict[str, Property] = {row.name: row for row in PROPERTIES}
