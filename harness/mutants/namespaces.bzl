"""Mutants of stage 04: namespaces."""

load(":mutant.bzl", "change", "mutant")

_OWN = "04_namespaces/namespaces.cc"
_INIT = "04_namespaces/init.cc"
_TIME = "04_namespaces/time_namespace.cc"

MUTANTS = [
    mutant(
        name = "mounts_not_private",
        stage = "04_namespaces",
        caught_by = "mount_stays_inside",
        why = "a new mount namespace sounds private enough, and without systemd it is",
        changes = [
            change(
                _OWN,
                """check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "mount(/, MS_REC|MS_PRIVATE)");""",
                "",
            ),
        ],
        also = ["mounts_are_private", "host_mount_stays_outside", "nothing_is_left"],
        because = "peers are shown as such, propagate in both directions, and what is mounted stays",
    ),
    mutant(
        name = "mounts_are_slaves",
        stage = "04_namespaces",
        caught_by = "host_mount_stays_outside",
        why = "MS_SLAVE protects the host, and the author thought only of that",
        changes = [
            change(
                _OWN,
                """check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "mount(/, MS_REC|MS_PRIVATE)");""",
                """check(mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr), "mount(/, MS_SLAVE)");""",
            ),
        ],
        also = ["mounts_are_private"],
        because = "mountinfo lists a slave with master:",
    ),
    mutant(
        name = "private_too_late",
        stage = "04_namespaces",
        caught_by = "nothing_is_left",
        why = "the steps look independent of each other",
        changes = [
            change("04_namespaces/main.cc", """    make_mounts_private();
    set_hostname(isolation.hostname);
    enter_time_namespace(isolation.uptime);
    change_root(root);
    mount_proc();
""", """    set_hostname(isolation.hostname);
    enter_time_namespace(isolation.uptime);
    const UniqueFd host_root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    change_root(root);
    mount_proc();
    (void)!fchdir(host_root.get());
    (void)!chroot(".");
    make_mounts_private();
    change_root(root);
"""),
            change(
                "04_namespaces/main.cc",
                "#include \"common/run_main.h\"",
                "#include <fcntl.h>\n#include <unistd.h>\n#include \"common/run_main.h\"",
            ),
        ],
    ),
    mutant(
        name = "proc_of_the_host",
        stage = "04_namespaces",
        caught_by = "host_processes_are_hidden",
        why = "the host's /proc was mounted before there was a PID namespace, and is bound",
        changes = [
            change(
                "04_namespaces/main.cc",
                "#include \"common/run_main.h\"",
                "#include <fcntl.h>\n#include <sys/mount.h>\n#include \"common/run_main.h\"",
            ),
            change("04_namespaces/main.cc", """    change_root(root);
    mount_proc();
""", """    const UniqueFd proc(open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    change_root(root);
    (void)move_mount(proc.get(), "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH);
"""),
        ],
        also = ["failed_call_is_noticed"],
        because = "its open_tree(2) is not checked",
    ),
    mutant(
        name = "proc_named_from_outside",
        stage = "04_namespaces",
        caught_by = "hostile_proc_stays_inside",
        why = "root + \"/proc\" works as long as the root comes from a trusted source",
        changes = [
            change(
                "04_namespaces/main.cc",
                "#include \"common/run_main.h\"",
                "#include <sys/mount.h>\n#include \"common/run_main.h\"",
            ),
            change("04_namespaces/main.cc", """    change_root(root);
    mount_proc();
""", """    (void)mount("proc", (root + "/proc").c_str(), "proc",
                MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
    change_root(root);
"""),
        ],
        also = ["failed_call_is_noticed"],
        because = "its mount(2) is not checked",
    ),
    mutant(
        name = "proc_not_mounted",
        stage = "04_namespaces",
        caught_by = "proc_is_mounted",
        why = "only ps(1) and the like complain",
        changes = [change("04_namespaces/main.cc", "    mount_proc();\n", "")],
        also = ["proc_is_for_data"],
        because = "what is not mounted has no flags",
    ),
    mutant(
        name = "sethostname_before_clone",
        stage = "04_namespaces",
        caught_by = "hosts_name_is_kept",
        why = "the name of the container was set before the container had one",
        changes = [
            change("04_namespaces/main.cc", """    set_hostname(isolation.hostname);
""", ""),
            change(
                "04_namespaces/main.cc",
                "  const auto namespaces",
                """  set_hostname(isolation.hostname);
  const auto namespaces""",
            ),
        ],
        also = ["nothing_is_left"],
        because = "the host keeps that name after the container has ended",
    ),
    mutant(
        name = "hostname_ignored",
        stage = "04_namespaces",
        caught_by = "hostname_is_own",
        why = "--hostname was read, and then forgotten",
        changes = [
            change(
                "04_namespaces/main.cc",
                "set_hostname(isolation.hostname);",
                "set_hostname(line.program());",
            ),
        ],
    ),
    mutant(
        name = "hostname_only_if_given",
        stage = "04_namespaces",
        caught_by = "hostname_is_never_the_hosts",
        why = "a new UTS namespace starts as a copy, so it has a name already",
        changes = [
            change(
                "04_namespaces/main.cc",
                "    set_hostname(isolation.hostname);",
                "    if (isolation.hostname != line.program()) set_hostname(isolation.hostname);",
            ),
        ],
    ),
    mutant(
        name = "no_time_namespace",
        stage = "04_namespaces",
        caught_by = "own_time_namespace",
        why = "the date is the same everywhere, so there seems to be nothing to isolate",
        changes = [change("04_namespaces/main.cc", "    enter_time_namespace(isolation.uptime);\n", "")],
        also = ["uptime_starts_at_zero", "given_uptime_is_told"],
        because = "the clocks are the host's",
    ),
    mutant(
        name = "monotonic_clock_of_the_host",
        stage = "04_namespaces",
        caught_by = "uptime_starts_at_zero",
        why = "uptime(1) reports CLOCK_BOOTTIME, and then all seems well",
        changes = [change(_TIME, "\"monotonic\", CLOCK_MONOTONIC", "\"boottime\", CLOCK_BOOTTIME")],
        also = ["given_uptime_is_told"],
        because = "each clock has an offset of its own",
    ),
    mutant(
        name = "uptime_ignored",
        stage = "04_namespaces",
        caught_by = "given_uptime_is_told",
        why = "--uptime was read, and then forgotten",
        changes = [change("04_namespaces/main.cc", "enter_time_namespace(isolation.uptime);", "enter_time_namespace({});")],
    ),
    mutant(
        name = "tmp_of_the_host",
        stage = "04_namespaces",
        caught_by = "host_file_is_hidden",
        why = "as a convenience: files are exchanged through /tmp",
        changes = [
            change("04_namespaces/main.cc", "#include \"common/run_main.h\"", """#include <sys/mount.h>
#include "common/run_main.h\""""),
            change("04_namespaces/main.cc", "    change_root(root);\n", """    (void)mount("/tmp", (root + "/tmp").c_str(), nullptr, MS_BIND, nullptr);
    change_root(root);
"""),
        ],
        also = [
            "absolute_link_stays_inside",
            "dotdot_stops_at_the_root",
            "workdir_stays_inside",
            "copies_are_copies",
            "failed_call_is_noticed",
        ],
        because = "the files of the host that these rows look for are all in /tmp; its mount(2) is not checked",
    ),
    mutant(
        name = "no_mount_namespace",
        stage = "04_namespaces",
        caught_by = "own_mount_namespace",
        why = "mount(2) works without one, too",
        changes = [change("04_namespaces/main.cc", "CLONE_NEWNS | ", "")],
        also = ["mount_stays_inside", "host_mount_stays_outside", "nothing_is_left"],
        because = "there is one set of mounts then, and what is mounted stays",
    ),
    mutant(
        name = "waits_for_daemons",
        stage = "04_namespaces",
        caught_by = "daemons_end_with_pid_1",
        why = "an init has to wait for all of its children, as every description of it says",
        changes = [
            change("04_namespaces/main.cc", "if (isolation.init) become_init();", "become_init();"),
            change(_INIT, "#include \"common/check.h\"", "#include <cerrno>\n#include \"common/check.h\""),
            change(_INIT, """      if (ended == command) _exit(exit_status_of(status));
    }
""", """      if (ended == command) commands = exit_status_of(status);
    }
    if (ended == -1 && errno == ECHILD) _exit(commands);
"""),
            change(_INIT, "  while (true) {\n", "  int commands = 0;\n  while (true) {\n"),
        ],
        also = ["command_is_pid_1"],
        because = "only an init can wait for them, and so there always is one",
    ),
    mutant(
        name = "no_uts_namespace",
        stage = "04_namespaces",
        caught_by = "own_uts_namespace",
        why = "sethostname(2) works without one, too",
        changes = [change("04_namespaces/main.cc", "CLONE_NEWUTS | ", "")],
        also = [
            "hosts_name_is_kept",
            "hosts_new_name_is_hidden",
            "hostname_change_stays_inside",
            "nothing_is_left",
        ],
        because = "then there is only one name, and each row looks at one side",
    ),
    mutant(
        name = "no_ipc_namespace",
        stage = "04_namespaces",
        caught_by = "own_ipc_namespace",
        why = "most containers never use System V IPC",
        changes = [change("04_namespaces/main.cc", " | CLONE_NEWIPC;", ";")],
        also = [
            "sysv_ipc_is_hidden",
            "sysv_ipc_stays_inside",
            "posix_queue_is_hidden",
            "posix_queue_stays_inside",
        ],
        because = "there is one set of queues then, of two kinds, in both directions",
    ),
    mutant(
        name = "no_pid_namespace",
        stage = "04_namespaces",
        caught_by = "own_pid_namespace",
        why = "with a /proc of its own the container looks as if it had a PID namespace",
        changes = [change("04_namespaces/main.cc", "CLONE_NEWPID | ", "")],
        also = [
            "init_reaps_orphans",
            "init_reaps_all_orphans",
            "command_is_pid_1",
            "host_processes_are_hidden",
            "host_processes_are_safe",
            "kill_all_stays_inside",
            "daemons_end_with_pid_1",
            "init_is_pid_1",
        ],
        because = "without it there is no PID 1, and every process of the host has a number",
    ),
    mutant(
        name = "always_init",
        stage = "04_namespaces",
        caught_by = "command_is_pid_1",
        why = "unshare(2) moves only the children into the PID namespace, so the program forks" +
              " once more",
        changes = [
            change("04_namespaces/main.cc", "if (isolation.init) become_init();", "become_init();"),
        ],
    ),
    mutant(
        name = "fewer_namespaces",
        stage = "04_namespaces",
        caught_by = "no_namespaces_no_start",
        why = "as a convenience for hosts on which it fails",
        changes = [
            change(
                _OWN,
                "return static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof arguments));",
                """const auto pid = static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof arguments));
  return pid == -1 ? fork() : pid;""",
            ),
            change("04_namespaces/main.cc", "    enter_time_namespace(isolation.uptime);\n", """    try {
      enter_time_namespace(isolation.uptime);
    } catch (const Failure&) {
    }
"""),
        ],
        also = ["nothing_is_left", "failed_call_is_noticed"],
        because = "everything is then set up on the host; a fallback does not notice what failed",
    ),
    mutant(
        name = "no_death_signal",
        stage = "04_namespaces",
        caught_by = "container_dies_with_its_parent",
        why = "the author did not expect the parent to be killed",
        changes = [
            change("04_namespaces/main.cc", "    die_with(parent_pidfd);\n", ""),
            change(_OWN, "  const DeathWatch watch(child.pid(), companion);\n", ""),
        ],
        also = ["early_death_is_noticed", "death_with_the_parent_cannot_be_revoked"],
        because = "those rows are about the moment in which the signal is asked for, and about a command that does not want it",
    ),
    mutant(
        name = "death_signal_is_term",
        stage = "04_namespaces",
        caught_by = "container_dies_with_its_parent",
        why = "PID 1 does not get SIGTERM unless it asks for it",
        changes = [
            change(
                _OWN,
                "prctl(PR_SET_PDEATHSIG, SIGKILL), \"",
                "prctl(PR_SET_PDEATHSIG, SIGTERM), \"",
            ),
            change(_OWN, "  const DeathWatch watch(child.pid(), companion);\n", ""),
        ],
        also = ["death_with_the_parent_cannot_be_revoked"],
        because = "nothing else ends the container",
    ),
    mutant(
        name = "death_signal_only",
        stage = "04_namespaces",
        caught_by = "death_with_the_parent_cannot_be_revoked",
        why = "prctl(PR_SET_PDEATHSIG) is the only way that the manual describes",
        changes = [change(_OWN, "  const DeathWatch watch(child.pid(), companion);\n", "")],
    ),
    mutant(
        name = "death_not_looked_for",
        stage = "04_namespaces",
        caught_by = "early_death_is_noticed",
        why = "between clone(2) and prctl(2) there is only a moment",
        changes = [
            change(
                _OWN,
                "if (check_quietly(poll(&event, 1, 0), \"poll(parent)\") > 0) throw Failure(\"the parent died\");",
                "(void)event;",
            ),
            change(_OWN, "  const DeathWatch watch(child.pid(), companion);\n", ""),
            change("01_exec/process.cc", "  ErrorPipe::announce_exec();", """  (void)signal(SIGPIPE, SIG_IGN);
  try {
    ErrorPipe::announce_exec();
  } catch (const Failure&) {
  }"""),
        ],
        also = ["death_with_the_parent_cannot_be_revoked"],
        because = "a process that watches the parent would end this container, too, as would SIGPIPE",
    ),
    mutant(
        name = "init_does_not_reap",
        stage = "04_namespaces",
        caught_by = "init_reaps_orphans",
        why = "the program waits only for the child that it has started",
        changes = [
            change(_INIT, "waitpid(-1, &status, WNOHANG)", "waitpid(command, &status, WNOHANG)"),
        ],
        also = ["init_reaps_all_orphans"],
        because = "those that end together are orphans as well",
    ),
    mutant(
        name = "init_reaps_one_at_a_time",
        stage = "04_namespaces",
        caught_by = "init_reaps_all_orphans",
        why = "each child that ends sends its parent a SIGCHLD, says wait(2)",
        changes = [
            change(
                _INIT,
                "while ((ended = waitpid(-1, &status, WNOHANG)) > 0) {",
                "if ((ended = waitpid(-1, &status, WNOHANG)) > 0) {",
            ),
        ],
    ),
    mutant(
        name = "init_ignored",
        stage = "04_namespaces",
        caught_by = "init_is_pid_1",
        why = "--init was read, and then forgotten",
        changes = [change("04_namespaces/main.cc", "    if (isolation.init) become_init();\n", "")],
        also = [
            "init_reaps_orphans",
            "init_reaps_all_orphans",
            "init_passes_signals_and_status",
        ],
        because = "without an init, no process does",
    ),
    mutant(
        name = "init_exits_with_its_own_status",
        stage = "04_namespaces",
        caught_by = "init_passes_signals_and_status",
        why = "that the command was killed is lost on the way through a second process",
        changes = [change(_INIT, "_exit(exit_status_of(status));", "_exit(WEXITSTATUS(status));")],
    ),
    mutant(
        name = "init_does_not_forward",
        stage = "04_namespaces",
        caught_by = "init_passes_signals_and_status",
        why = "the parent forwards to its child, but that is the init now",
        changes = [
            change(
                _INIT,
                "forward_signal(command, static_cast<int>(info.ssi_signo), info.ssi_code);",
                "(void)forward_signal;",
            ),
        ],
    ),
    mutant(
        name = "proc_without_flags",
        stage = "04_namespaces",
        caught_by = "proc_is_for_data",
        why = "mount(8) asks for none",
        changes = [
            change(
                "04_namespaces/namespaces.cc",
                "mount(\"proc\", \"/proc\", \"proc\", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr)",
                "mount(\"proc\", \"/proc\", \"proc\", 0, nullptr)",
            ),
        ],
    ),
    mutant(
        name = "descriptors_closed_by_the_exec",
        stage = "04_namespaces",
        caught_by = "descriptors_lead_command_nowhere",
        why = "close-on-exec closes them in time, or so it seems",
        changes = [
            change(
                "01_exec/process.cc",
                "#include <sys/personality.h>",
                "#include <linux/close_range.h>\n#include <sys/personality.h>",
            ),
            change(
                "01_exec/process.cc",
                "close_all_but(still_needed);",
                "(void)close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);",
            ),
        ],
    ),
    mutant(
        name = "workdir_before_descriptors",
        stage = "04_namespaces",
        caught_by = "descriptors_lead_workdir_nowhere",
        why = "it is an option of the command, and closing comes at the very end",
        changes = [
            change("01_exec/process.cc", """  close_all_but(still_needed);
  enter_workdir(process.workdir);""", """  if (!process.workdir.empty()) {
    check(chdir(process.workdir.c_str()), "chdir({})", process.workdir);
  }
  close_all_but(still_needed);"""),
            change("01_exec/process.cc", "void enter_workdir(", "[[maybe_unused]] void enter_workdir("),
            change("01_exec/process.cc", "  (void)make_directories_in_root(open_root().get(), absolute(process.workdir));", """  if (chdir(process.workdir.c_str()) == 0) {
    check(chdir("/"), "chdir(/)");
    return;
  }
  (void)make_directories_in_root(open_root().get(), absolute(process.workdir));"""),
        ],
    ),
    mutant(
        name = "runs_inside",
        stage = "04_namespaces",
        caught_by = "program_cannot_run_inside",
        why = "no file of the container is the program that starts it, and so it cannot be started" +
              " there",
        changes = [change("common/run_main.cc", "    refuse_to_run_inside();\n", "")],
    ),
    mutant(
        name = "private_unchecked",
        stage = "04_namespaces",
        caught_by = "failed_call_is_noticed",
        why = "it has never failed",
        changes = [
            change(
                _OWN,
                """check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "mount(/, MS_REC|MS_PRIVATE)");""",
                """(void)mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);""",
            ),
        ],
        also = ["nothing_is_left"],
        because = "what is mounted after the call that failed stays on the host",
    ),
]
