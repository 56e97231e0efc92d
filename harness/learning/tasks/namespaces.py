"""Stage 04: what a learner writes, and in which order."""

from __future__ import annotations

from harness.learning.skeleton import Todo
from harness.learning.task import CORE, ROBUST, THEN, Example, Milestone, Task
from harness.learning.tasks.chroot import ROOT

TASK = Task(
    stage="04",
    goal="Give the command its own processes, host name, mounts, System V IPC and uptime, for as"
         " long as its parent lives.",
    examples=(
        Example("04_namespaces sh -c 'echo $$'", "1", ROOT),
        Example("04_namespaces --hostname box hostname", "box", ROOT),
        Example("04_namespaces sh -c 'hostname renamed; hostname'", "renamed", ROOT),
        Example("04_namespaces --uptime 90 cut -d. -f1 /proc/uptime", "90", ROOT),
        Example("04_namespaces --init sh -c 'echo $$'", "2", ROOT),
        Example("04_namespaces cat /proc/mounts",
                "proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0", ROOT),
    ),
    toolkit=(
        ("Child {\"clone3(…)\", [] { return …; }, body}", "a child made by a call of your own,"
         " which"
         " returns as fork(2) does"),
        ("names_of(flags)", "\"CLONE_NEWPID|CLONE_NEWUTS\", for messages"),
        ("forwarded_signals_and_sigchld(), forward_signal(…)", "for a PID 1 that passes signals"
         " on"),
        ("close_all_but({fd, …})", "a helper process must hold no pipe of others open"),
    ),
    todos=(
        Todo("namespaces.cc", "clone_process", 1,
             "fork(2) with `flags`: clone3(2) by syscall(2) with SIGCHLD as exit_signal (glibc has"
             " no wrapper), and `cgroup` in its field for stage 07.",
             "return fork();"),
        Todo("namespaces.cc", "start_child_in", 1,
             "a Child whose fork_call is clone_process(namespaces).",
             "return start_child(body);"),
        Todo("namespaces.cc", "set_hostname", 2, "sethostname(2)."),
        Todo("time_namespace.cc", "enter_time_namespace", 2,
             "unshare(2) with CLONE_NEWTIME, then write offset_of() each clock to"
             " /proc/self/timens_offsets, then setns(2) with kForChildren: see time_namespaces(7)."
             " A kernel without them is an error only if an uptime was given."),
        Todo("namespaces.cc", "make_mounts_private", 3,
             "mount(2) with MS_REC and MS_PRIVATE on \"/\": see mount_namespaces(7), SHARED"
             " SUBTREES."),
        Todo("namespaces.cc", "mount_proc", 3,
             "make the folder /proc unless it is there, and mount a new proc on it: no set-user-ID,"
             " no devices, no programs."),
        Todo("namespaces.cc", "open_this_process", 4,
             "pidfd_open(2) of this process, by syscall(2).",
             "return UniqueFd();"),
        Todo("namespaces.cc", "die_with", 4,
             "ask for a SIGKILL when the parent dies, see PR_SET_PDEATHSIG in prctl(2). It may have"
             " died before: then throw. getppid(2) cannot tell; a pidfd can, see pidfd_open(2)."),
        Todo("init.cc", "become_init", 5,
             "block forwarded_signals_and_sigchld(), fork, and return in the child with the mask of"
             " before. The parent stays as PID 1: not dumpable (PR_SET_DUMPABLE), holding nothing"
             " open; it forwards signals, reaps all that end, and leaves with the command's"
             " status."),
        Todo("death_watch.cc", "DeathWatch::DeathWatch", 6,
             "a process of our own, beside us, that has a pidfd of us and one of `container`: when"
             " we end first, it kills the container by pidfd_send_signal(2). It holds nothing else"
             " open, blocks all signals, and has a session of its own.",
             "watcher_ = 0;"),
        Todo("death_watch.cc", "DeathWatch::~DeathWatch", 6,
             "end the watcher, and reap it. Take care: kill(0, …) and kill(-1, …) reach many."),
    ),
    milestones=(
        Milestone(CORE, "Born in new namespaces", (
            "own_pid_namespace", "own_uts_namespace", "own_ipc_namespace", "own_mount_namespace",
            "command_is_pid_1")),
        Milestone(CORE, "A host name, an uptime and System V IPC of its own", (
            "own_time_namespace", "uptime_starts_at_zero", "given_uptime_is_told",
            "hostname_is_own", "hostname_is_never_the_hosts", "hosts_name_is_kept",
            "hosts_new_name_is_hidden", "hostname_change_stays_inside", "sysv_ipc_is_hidden",
            "sysv_ipc_stays_inside", "posix_queue_is_hidden", "posix_queue_stays_inside")),
        Milestone(CORE, "Mounts of its own, and a /proc", (
            "mounts_are_private", "mount_stays_inside", "host_mount_stays_outside",
            "proc_is_mounted", "host_processes_are_hidden", "host_processes_are_safe")),
        Milestone(THEN, "No container outlives its parent", (
            "container_dies_with_its_parent", "early_death_is_noticed", "daemons_end_with_pid_1")),
        Milestone(THEN, "--init: a PID 1 that does its duty", (
            "init_is_pid_1", "init_passes_signals_and_status", "init_reaps_orphans",
            "init_reaps_all_orphans")),
        Milestone(ROBUST, "Also against a hostile command, and on a machine that refuses"),
    ),
)
