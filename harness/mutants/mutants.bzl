"""The table of mutants: deliberately wrong stages, each with the row that has to catch it.

Bazel reads it to build them, and harness/mutants/table.py to test them: what follows "The table" is
Starlark and Python alike. A change replaces text that its file has exactly once.
"""

def change(file, old, new):
    return struct(file = "stages/" + file, old = old, new = new)

def mutant(name, stage, caught_by, why, changes, also = [], because = ""):
    return struct(name = name, stage = stage, files = {c.file: True for c in changes}.keys())

# --- The table ----------------------------------------------------------------------------------

_EXEC = "01_exec/process.cc"
_ROOT = "02_chroot/chroot.cc"
_COPY = "03_userspace/copy_tree.cc"
_OWN = "04_namespaces/namespaces.cc"
_INIT = "04_namespaces/init.cc"
_IDS = "05_userns/id_map.cc"
_MOUNTS = "06_pivot_root/mounts.cc"
_CGROUP = "07_cgroups/cgroup.cc"
_LIMITS = "07_cgroups/limits.cc"
_STACK = "08a_overlayfs/layer_stack.cc"
_UNPACK = "08a_overlayfs/unpack.cc"
_OVERLAY = "08a_overlayfs/overlay.cc"
_CAPABILITIES = "08b_seccomp/capabilities.cc"
_PROFILE = "08b_seccomp/profile.cc"
_FILTER = "08b_seccomp/seccomp_filter.cc"
_NETWORK = "08c_network/network.cc"
_BRIDGE = "08c_network/bridge.cc"
_RULES = "08c_network/nftables.cc"

# The built-in profiles were compiled, by the stage's own code, when the stage was built. These do it
# at each start: with mistakes in that code, and with a profile in which `old` is `new`.
_COMPILED_AT_START = change(_FILTER, """  if (granted == default_capabilities()) return {std::begin(compiled), std::end(compiled)};
  return compile_once(json, granted);""", """  (void)compiled;
  return compile_profile(json, granted);""")

def default_profile(old, new):
    return change(
        _FILTER,
        "return built_in(kDefaultProgram, kDefaultJson, granted);",
        """{
    std::string json = kDefaultJson;
    const std::string old = R"profile(""" + old + """)profile";
    return compile_profile(json.replace(json.find(old), old.size(), R"profile(""" + new +
        """)profile"), granted);
  }""",
    )

_NOT_BORN_IN_IT = change(
    _CGROUP,
    "clone_process(namespaces | CLONE_INTO_CGROUP, cgroup.directory())",
    "(errno = ENOSYS, -1)",
)

# Those that fail where the limits are not those of the container.
_ALL_LIMITS = [
    "cpus_half",
    "cpus_fifth",
    "cpus_more_than_one",
    "grandchildren_are_limited",
    "memory_limit_kills_all",
    "out_of_memory_is_told",
    "fork_bomb_is_contained",
]

MUTANTS = [
    # 01: fork, exec, wait
    mutant(
        name = "status_swallowed",
        stage = "01_exec",
        caught_by = "exit_status_is_the_commands",
        why = "that the command has ended is all that one waited for",
        changes = [
            change("01_exec/main.cc", "return wait_for(child);", """(void)wait_for(child);
  return 0;"""),
        ],
        also = ["killed_is_128_plus_signal", "ignored_sigchld_does_no_harm"],
        because = "all three rows read the status with which the program leaves",
    ),
    mutant(
        name = "raw_wait_status",
        stage = "01_exec",
        caught_by = "exit_status_is_the_commands",
        why = "waitpid(2) calls it a status, but the exit status is in its second byte",
        changes = [
            change(
                _EXEC,
                "return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);",
                "return wait_status;",
            ),
        ],
        also = ["killed_is_128_plus_signal", "ignored_sigchld_does_no_harm"],
        because = "all three rows read the status with which the program leaves",
    ),
    mutant(
        name = "signal_as_exit_status",
        stage = "01_exec",
        caught_by = "killed_is_128_plus_signal",
        why = "WTERMSIG() looks like an exit status",
        changes = [change(_EXEC, "128 + WTERMSIG(wait_status)", "WTERMSIG(wait_status)")],
    ),
    mutant(
        name = "everything_is_126",
        stage = "01_exec",
        caught_by = "not_found_is_127",
        why = "a failed exec is a failed exec",
        changes = [
            change(
                _EXEC,
                "throw exec_failure(process.command[0], errno);",
                "throw Failure(errno, process.command[0], kExitCannotExecute);",
            ),
        ],
    ),
    mutant(
        name = "everything_is_127",
        stage = "01_exec",
        caught_by = "not_executable_is_126",
        why = "tutorials leave with 127 when exec fails, whatever the reason",
        changes = [
            change(
                _EXEC,
                "throw exec_failure(process.command[0], errno);",
                "throw Failure(errno, process.command[0], kExitNotFound);",
            ),
        ],
    ),
    mutant(
        name = "failures_exit_with_1",
        stage = "01_exec",
        caught_by = "wrong_option_is_125",
        why = "1 is what everybody leaves with, and so what the command might",
        changes = [change("01_exec/main.cc", "line.parse();", """try {
    line.parse();
  } catch (const Failure& failure) {
    throw Failure(0, failure.what(), 1);
  }""")],
    ),
    mutant(
        name = "failures_are_silent",
        stage = "01_exec",
        caught_by = "errors_are_told",
        why = "the status says that something failed",
        changes = [change("01_exec/main.cc", "line.parse();", """try {
    line.parse();
  } catch (const Failure& failure) {
    return failure.exit_status();
  }""")],
    ),
    mutant(
        name = "words_split_at_spaces",
        stage = "01_exec",
        caught_by = "arguments_are_kept",
        why = "the words were joined into a command line, which then had to be taken apart",
        changes = [
            change(
                _EXEC,
                "for (const auto& word : process.command) argv.push_back(const_cast<char*>(word.c_str()));",
                """std::vector<std::string> words;
  for (const auto& word : process.command) {
    for (std::size_t at = 0, end = 0; end != std::string::npos; at = end + 1) {
      end = word.find(' ', at);
      words.push_back(word.substr(at, end - at));
    }
  }
  for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));""",
            ),
        ],
    ),
    mutant(
        name = "stdin_from_null",
        stage = "01_exec",
        caught_by = "stdin_arrives",
        why = "as for a daemon: without a terminal nobody is there to type",
        changes = [
            change(
                _EXEC,
                "if (!process.workdir.empty()) {",
                """if (isatty(STDIN_FILENO) == 0) (void)dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
  if (!process.workdir.empty()) {""",
            ),
        ],
    ),
    mutant(
        name = "env_ignored",
        stage = "01_exec",
        caught_by = "env_option_works",
        why = "--env was read, and then forgotten",
        changes = [
            change(
                _EXEC,
                "for (const auto& [key, value] : process.environment) environment[key] = value;",
                "",
            ),
        ],
    ),
    mutant(
        name = "workdir_ignored",
        stage = "01_exec",
        caught_by = "workdir_option_works",
        why = "--workdir was read, and then forgotten",
        changes = [change(_EXEC, "if (!process.workdir.empty()) {", "if (false) {")],
    ),
    mutant(
        name = "descriptors_inherited",
        stage = "01_exec",
        caught_by = "descriptors_are_closed",
        why = "one closes what one has opened, not what the caller has",
        changes = [
            change(
                _EXEC,
                """check(close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC), "close_range(3, ~0, CLOEXEC)");""",
                "",
            ),
        ],
        also = ["inherited_directory_is_closed"],
        because = "a directory is a descriptor too",
    ),
    mutant(
        name = "sigchld_stays_blocked",
        stage = "01_exec",
        caught_by = "signal_mask_is_the_callers",
        why = "the parent needs SIGCHLD blocked, and the mask outlives exec",
        changes = [
            change(_EXEC, "trace_as(\"child\");", """trace_as("child");
      sigaddset(&signals_before_, SIGCHLD);"""),
        ],
    ),
    mutant(
        name = "signals_not_forwarded",
        stage = "01_exec",
        caught_by = "signals_are_forwarded",
        why = "the signals were blocked so as to be forwarded, which then nobody did",
        changes = [
            change(
                _EXEC,
                "if (!has_it_already) (void)kill(child, signal);",
                "(void)has_it_already;",
            ),
        ],
    ),
    mutant(
        name = "ctrl_c_forwarded_too",
        stage = "01_exec",
        caught_by = "ctrl_c_arrives_once",
        why = "the terminal has sent it to the whole process group already",
        changes = [
            change(_EXEC, "code == SI_KERNEL && getpgid(child) == getpgrp();", "code == -12345;"),
        ],
    ),
    mutant(
        name = "sigchld_trusted",
        stage = "01_exec",
        caught_by = "ignored_sigchld_does_no_harm",
        why = "who has not ignored SIGCHLD himself does not expect it to be",
        changes = [change(_EXEC, "(void)signal(SIGCHLD, SIG_DFL);", "")],
    ),
    mutant(
        name = "terminal_not_restored",
        stage = "01_exec",
        caught_by = "terminal_is_given_back",
        why = "it works as long as commands tidy up after themselves",
        changes = [change("01_exec/terminal.cc", """(void)tcsetpgrp(fd_, getpgrp());
  (void)tcsetattr(fd_, TCSADRAIN, &modes_);""", "(void)tcsetpgrp(fd_, getpgrp());")],
    ),
    mutant(
        name = "file_left_behind",
        stage = "01_exec",
        caught_by = "nothing_is_left",
        why = "a log, a lock or a socket that nobody removes",
        changes = [
            change(
                "01_exec/main.cc",
                "#include \"common/run_main.h\"",
                "#include <cstdlib>\n#include \"common/run_main.h\"",
            ),
            change("01_exec/main.cc", "line.parse();", """line.parse();
  const char* folder = std::getenv("TMPDIR");
  std::string log = std::string(folder != nullptr ? folder : "/tmp") + "/exec.XXXXXX";
  (void)!mkstemp(log.data());"""),
        ],
    ),

    # 02: another root directory
    mutant(
        name = "no_chdir",
        stage = "02_chroot",
        caught_by = "cwd_is_inside",
        why = "one expects chroot(2) to go there, as the command chroot(8) does",
        changes = [change(_ROOT, """check(chdir(root.c_str()), "chdir({})", root);
  check(chroot("."), "chroot(.)");""", """check(chroot(root.c_str()), "chroot({})", root);""")],
        also = ["dotdot_stops_at_the_root"],
        because = "from a working directory outside of the root, '..' never comes past the root",
    ),
    mutant(
        name = "root_not_asked_for",
        stage = "02_chroot",
        caught_by = "needs_root_and_says_so",
        why = "the kernel says what is wrong: Operation not permitted",
        changes = [change("02_chroot/main.cc", "  require_root();\n", "")],
    ),
    mutant(
        name = "chroot_unchecked",
        stage = "02_chroot",
        caught_by = "no_chroot_no_start",
        why = "it always works for root",
        changes = [
            change(_ROOT, """check(chroot("."), "chroot(.)");""", """(void)!chroot(".");"""),
        ],
    ),
    mutant(
        name = "path_of_the_host",
        stage = "02_chroot",
        caught_by = "path_is_the_containers",
        why = "on the same distribution the host's PATH happens to work",
        changes = [
            change(
                _ROOT,
                """if (const char* term""",
                """if (const char* path = std::getenv("PATH")) environment["PATH"] = path;
  if (const char* term""",
            ),
        ],
    ),
    mutant(
        name = "environment_leaked",
        stage = "02_chroot",
        caught_by = "host_variable_is_hidden",
        why = "execvp(3) passes it on by itself",
        changes = [
            change(
                _ROOT,
                """if (const char* term""",
                """for (const auto& [key, value] : host_environment()) environment.emplace(key, value);
  if (const char* term""",
            ),
        ],
    ),
    mutant(
        name = "workdir_before_root",
        stage = "02_chroot",
        caught_by = "workdir_stays_inside",
        why = "root + workdir is a fine path as long as the root is one's own",
        changes = [
            change(
                "02_chroot/main.cc",
                "#include \"common/run_main.h\"",
                "#include <fcntl.h>\n#include <unistd.h>\n#include \"common/run_main.h\"",
            ),
            change("02_chroot/main.cc", """    change_root(root);
""", """    const std::string path = root + process.workdir;
    const UniqueFd workdir(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    change_root(root);
    if (!process.workdir.empty() && fchdir(workdir.get()) == -1) throw Failure(errno, path);
    process.workdir.clear();
"""),
        ],
    ),

    # 03: a root of the host's programs
    mutant(
        name = "no_transitive_libraries",
        stage = "03_userspace",
        caught_by = "libraries_come_along",
        why = "the program names its libraries, and the libraries theirs",
        changes = [
            change(
                "03_userspace/libraries.cc",
                """for (std::size_t i = 0; i < loaded_.size(); ++i) {
    for""",
                """for (std::size_t i = 0; i < 1; ++i) {
    for""",
            ),
        ],
    ),
    mutant(
        name = "no_loader",
        stage = "03_userspace",
        caught_by = "hosts_programs_run",
        why = "the loader is no library, and so not in DT_NEEDED",
        changes = [
            change(
                "03_userspace/libraries.cc",
                "for (std::size_t i = 1; i < loaded_.size(); ++i) paths.push_back",
                "for (std::size_t i = 2; i < loaded_.size(); ++i) paths.push_back",
            ),
        ],
        also = ["libraries_come_along"],
        because = "without a loader no dynamic program runs",
    ),
    mutant(
        name = "links_followed",
        stage = "03_userspace",
        caught_by = "links_are_copied_as_links",
        why = "open(2) follows links, and so do cp and tar with the wrong option",
        changes = [
            change(
                _COPY,
                "S_ISLNK(st.st_mode) ? copy_link(from, to, st)",
                """S_ISLNK(st.st_mode)
                             ? (fs::is_regular_file(read_link(from.folder, from.name, from.path))
                                    ? copy_file({AT_FDCWD, read_link(from.folder, from.name, ""), ""}, to, st)
                                    : copy_link(from, to, st))""",
            ),
        ],
    ),
    mutant(
        name = "files_linked",
        stage = "03_userspace",
        caught_by = "copies_are_copies",
        why = "a hard link costs nothing",
        changes = [
            change(
                _COPY,
                "// O_NONBLOCK: should",
                """if (linkat(from.folder, from.name.c_str(), to.folder, to.name.c_str(), 0) == 0) return true;
  // O_NONBLOCK: should""",
            ),
        ],
    ),
    mutant(
        name = "links_lead_out_of_the_copy",
        stage = "03_userspace",
        caught_by = "copied_links_stay_inside",
        why = "a path below the new root is looked up on the host as long as one is there",
        changes = [
            change(
                _COPY,
                "how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;",
                """const std::string relative = "./" + folder;
  return UniqueFd(openat(root_fd_.get(), relative.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));""",
            ),
        ],
    ),

    # 04: namespaces
    mutant(
        name = "mounts_not_private",
        stage = "04_namespaces",
        caught_by = "mount_stays_inside",
        why = "a mount namespace of one's own sounds private enough, and without systemd it is",
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
        why = "MS_SLAVE protects the host, which is what one thought of",
        changes = [
            change(
                _OWN,
                """check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "mount(/, MS_REC|MS_PRIVATE)");""",
                """check(mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr), "mount(/, MS_SLAVE)");""",
            ),
        ],
        also = ["mounts_are_private"],
        because = "mountinfo says master: of a slave",
    ),
    mutant(
        name = "private_too_late",
        stage = "04_namespaces",
        caught_by = "nothing_is_left",
        why = "the steps look independent of each other",
        changes = [
            change("04_namespaces/main.cc", """    make_mounts_private();
    set_hostname(own.hostname);
    change_root(root);
    mount_proc();
""", """    set_hostname(own.hostname);
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
    ),
    mutant(
        name = "proc_named_from_outside",
        stage = "04_namespaces",
        caught_by = "hostile_proc_stays_inside",
        why = "root + \"/proc\" is a fine path as long as the root is one's own",
        changes = [
            change(
                "04_namespaces/main.cc",
                "#include \"common/run_main.h\"",
                "#include <sys/mount.h>\n#include \"common/run_main.h\"",
            ),
            change("04_namespaces/main.cc", """    change_root(root);
    mount_proc();
""", """    (void)mount("proc", (root + "/proc").c_str(), "proc", 0, nullptr);
    change_root(root);
"""),
        ],
    ),
    mutant(
        name = "proc_not_mounted",
        stage = "04_namespaces",
        caught_by = "proc_is_mounted",
        why = "nothing but ps(1) complains",
        changes = [change("04_namespaces/main.cc", "    mount_proc();\n", "")],
    ),
    mutant(
        name = "sethostname_before_clone",
        stage = "04_namespaces",
        caught_by = "hosts_name_is_kept",
        why = "the name of the container was set before the container had one",
        changes = [
            change("04_namespaces/main.cc", """    set_hostname(own.hostname);
""", ""),
            change(
                "04_namespaces/main.cc",
                "  const auto namespaces",
                """  set_hostname(own.hostname);
  const auto namespaces""",
            ),
        ],
        also = ["nothing_is_left"],
        because = "the host is still called so when the container has ended",
    ),
    mutant(
        name = "hostname_ignored",
        stage = "04_namespaces",
        caught_by = "hostname_is_own",
        why = "--hostname was read, and then forgotten",
        changes = [
            change(
                "04_namespaces/main.cc",
                "set_hostname(own.hostname);",
                "set_hostname(line.program());",
            ),
        ],
    ),
    mutant(
        name = "hostname_only_if_given",
        stage = "04_namespaces",
        caught_by = "hostname_is_never_the_hosts",
        why = "a new UTS namespace starts as a copy, and so with a name",
        changes = [
            change(
                "04_namespaces/main.cc",
                "    set_hostname(own.hostname);",
                "    if (own.hostname != line.program()) set_hostname(own.hostname);",
            ),
        ],
    ),
    mutant(
        name = "tmp_of_the_host",
        stage = "04_namespaces",
        caught_by = "host_file_is_hidden",
        why = "as a convenience: files come in and go out by /tmp",
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
        ],
        because = "the files of the host that these rows look for are all in /tmp",
    ),
    mutant(
        name = "no_mount_namespace",
        stage = "04_namespaces",
        caught_by = "own_mount_namespace",
        why = "mount(2) works without, too",
        changes = [change("04_namespaces/main.cc", "CLONE_NEWNS | ", "")],
        also = ["mount_stays_inside", "host_mount_stays_outside", "nothing_is_left"],
        because = "there is one set of mounts then, and what is mounted stays",
    ),
    mutant(
        name = "waits_for_daemons",
        stage = "04_namespaces",
        caught_by = "daemons_end_with_pid_1",
        why = "an init has to wait for all of its children, one has read",
        changes = [
            change("04_namespaces/main.cc", "if (own.init) become_init();", "become_init();"),
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
        why = "sethostname(2) works without, too",
        changes = [change("04_namespaces/main.cc", "CLONE_NEWUTS | ", "")],
        also = [
            "hosts_name_is_kept",
            "hosts_new_name_is_hidden",
            "hostname_change_stays_inside",
            "nothing_is_left",
        ],
        because = "there is one name then, and each row asks one side of it",
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
        why = "with a /proc of its own it looks as if there were one",
        changes = [change("04_namespaces/main.cc", "CLONE_NEWPID | ", "")],
        also = [
            "command_is_pid_1",
            "host_processes_are_hidden",
            "host_processes_are_safe",
            "daemons_end_with_pid_1",
            "init_is_pid_1",
        ],
        because = "without it there is no PID 1, and every process of the host has a number",
    ),
    mutant(
        name = "always_init",
        stage = "04_namespaces",
        caught_by = "command_is_pid_1",
        why = "unshare(2) moves only the children into the PID namespace, and so one forks once more",
        changes = [
            change("04_namespaces/main.cc", "if (own.init) become_init();", "become_init();"),
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
        ],
        also = ["nothing_is_left"],
        because = "what is then set up is set up on the host",
    ),
    mutant(
        name = "no_death_signal",
        stage = "04_namespaces",
        caught_by = "container_dies_with_its_parent",
        why = "a parent that is killed cannot tidy up",
        changes = [change("04_namespaces/main.cc", "    die_with(parent);\n", "")],
        also = ["early_death_is_noticed"],
        because = "that row is about the moment in which the signal is asked for",
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
        ],
    ),
    mutant(
        name = "death_not_looked_for",
        stage = "04_namespaces",
        caught_by = "early_death_is_noticed",
        why = "between clone(2) and prctl(2) there is only a moment",
        changes = [
            change(
                _OWN,
                "if (check_quietly(poll(&event, 1, 0), \"poll(parent)\") > 0) throw Failure(\"the parent has died\");",
                "(void)event;",
            ),
        ],
    ),
    mutant(
        name = "init_does_not_reap",
        stage = "04_namespaces",
        caught_by = "init_reaps_orphans",
        why = "one waits for the child that one has started",
        changes = [
            change(_INIT, "waitpid(-1, &status, WNOHANG)", "waitpid(command, &status, WNOHANG)"),
        ],
    ),
    mutant(
        name = "init_ignored",
        stage = "04_namespaces",
        caught_by = "init_is_pid_1",
        why = "--init was read, and then forgotten",
        changes = [change("04_namespaces/main.cc", "    if (own.init) become_init();\n", "")],
        also = ["init_reaps_orphans", "init_passes_signals_and_status"],
        because = "there is no init that could",
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
        why = "the parent forwards to its child: which is the init now",
        changes = [
            change(
                _INIT,
                "forward_signal(command, static_cast<int>(info.ssi_signo), info.ssi_code);",
                "(void)forward_signal;",
            ),
        ],
    ),

    # 05: a user namespace
    mutant(
        name = "setgroups_left_open",
        stage = "05_userns",
        caught_by = "setgroups_is_denied",
        why = "the kernel does not ask root to deny it",
        changes = [
            change(
                _IDS,
                "if (ids.gid_map.size() == 1 && ids.gid_map[0].count == 1) {",
                "if (!root) {",
            ),
        ],
    ),
    mutant(
        name = "uid_and_gid_maps_swapped",
        stage = "05_userns",
        caught_by = "given_maps_are_used",
        why = "for a user whose uid and gid are the same nobody sees it",
        changes = [
            change(
                _IDS,
                """write_file(process + "uid_map", lines_of(ids.uid_map));""",
                """write_file(process + "uid_map", lines_of(ids.gid_map));""",
            ),
            change(
                _IDS,
                """write_file(process + "gid_map", lines_of(ids.gid_map));""",
                """write_file(process + "gid_map", lines_of(ids.uid_map));""",
            ),
        ],
        also = ["given_user_runs_the_command"],
        because = "the ids on the host are those inside, mapped",
    ),
    mutant(
        name = "one_id_too_many",
        stage = "05_userns",
        caught_by = "root_inside_is_caller_outside",
        why = "root may map whatever he likes",
        changes = [
            change(
                _IDS,
                "if (uid_map.empty()) uid_map = {{.inside = 0, .outside = geteuid(), .count = 1}};",
                "if (uid_map.empty()) uid_map = {{.inside = 0, .outside = geteuid(), .count = geteuid() == 0 ? 2U : 1U}};",
            ),
        ],
    ),
    mutant(
        name = "all_ids_mapped",
        stage = "05_userns",
        caught_by = "no_user_beyond_the_map",
        why = "so that files of the host have their owners inside, too",
        changes = [
            change(
                _IDS,
                "if (uid_map.empty()) uid_map = {{.inside = 0, .outside = geteuid(), .count = 1}};",
                "if (uid_map.empty()) uid_map = {{.inside = 0, .outside = geteuid(), .count = geteuid() == 0 ? UINT32_MAX : 1U}};",
            ),
        ],
        also = ["root_inside_is_caller_outside", "strangers_are_nobody"],
        because = "who has an id inside is in the map, and is seen by it",
    ),
    mutant(
        name = "group_of_others",
        stage = "05_userns",
        caught_by = "group_inside_is_callers_outside",
        why = "a group for all containers, as a convenience",
        changes = [
            change(
                _IDS,
                "if (gid_map.empty()) gid_map = {{.inside = 0, .outside = getegid(), .count = 1}};",
                "if (gid_map.empty()) gid_map = {{.inside = 0, .outside = getegid() == 0 ? 100U : getegid(), .count = 1}};",
            ),
        ],
    ),
    mutant(
        name = "maps_written_late",
        stage = "05_userns",
        caught_by = "given_user_runs_the_command",
        why = "the child did not wait, and could not become a user who had no id yet",
        changes = [
            change(
                "05_userns/main.cc",
                "#include \"common/run_main.h\"",
                "#include <unistd.h>\n#include \"common/run_main.h\"",
            ),
            change("05_userns/main.cc", """    handshake.wait_for_parent();
""", ""),
            change("05_userns/main.cc", """    become_root(ids);
    mount_proc();
    become_user(ids);
""", """    mount_proc();
    try {
      become_root(ids);
      become_user(ids);
    } catch (const Failure&) {
    }
    handshake.wait_for_parent();
"""),
            change("05_userns/main.cc", """  write_id_maps(child.pid(), ids);
""", """  usleep(300 * 1000);
  write_id_maps(child.pid(), ids);
"""),
        ],
    ),
    mutant(
        name = "init_shows_itself",
        stage = "05_userns",
        caught_by = "init_hides_the_hosts_program",
        why = "that PID 1 is a program of the host is easily forgotten",
        changes = [
            change(_INIT, "check(prctl(PR_SET_DUMPABLE, 0), \"prctl(PR_SET_DUMPABLE, 0)\");", ""),
        ],
    ),
    mutant(
        name = "capabilities_dropped",
        stage = "05_userns",
        caught_by = "root_inside_has_capabilities",
        why = "to be on the safe side, all of them; those inside a user namespace are not the host's",
        changes = [
            change("05_userns/main.cc", "#include \"common/run_main.h\"", """#include <linux/securebits.h>
#include <sys/prctl.h>
#include "common/run_main.h\""""),
            change("05_userns/main.cc", "    become_user(ids);\n", """    become_user(ids);
    (void)prctl(PR_SET_SECUREBITS, SECBIT_NOROOT);
"""),
        ],
    ),
    mutant(
        name = "user_ignored",
        stage = "05_userns",
        caught_by = "given_user_runs_the_command",
        why = "--user was read, and then forgotten",
        changes = [change("05_userns/main.cc", "    become_user(ids);\n", "")],
        also = ["given_user_has_no_capabilities"],
        because = "exec(2) keeps the capabilities of uid 0, which it still is",
    ),
    mutant(
        name = "group_after_user",
        stage = "05_userns",
        caught_by = "given_user_runs_the_command",
        why = "the new user may not change his group any more, and nobody looked",
        changes = [
            change(
                _IDS,
                """check(setresgid(ids.group, ids.group, ids.group), "setresgid({0}, {0}, {0})", ids.group);
  check(setresuid(ids.user, ids.user, ids.user), "setresuid({0}, {0}, {0})", ids.user);""",
                """check(setresuid(ids.user, ids.user, ids.user), "setresuid({0}, {0}, {0})", ids.user);
  (void)!setresgid(ids.group, ids.group, ids.group);""",
            ),
        ],
    ),
    mutant(
        name = "no_user_namespace_for_root",
        stage = "05_userns",
        caught_by = "own_user_namespace",
        why = "root does not need one",
        changes = [
            change(
                "05_userns/main.cc",
                "#include \"common/run_main.h\"",
                "#include <unistd.h>\n#include \"common/run_main.h\"",
            ),
            change(
                "05_userns/main.cc",
                "const auto namespaces = CLONE_NEWUSER | ",
                "const auto namespaces = (geteuid() == 0 ? 0 : CLONE_NEWUSER) | ",
            ),
            change("05_userns/main.cc", """  write_id_maps(child.pid(), ids);
""", """  if (geteuid() != 0) write_id_maps(child.pid(), ids);
"""),
        ],
        also = [
            "root_inside_is_caller_outside",
            "group_inside_is_callers_outside",
            "setgroups_is_denied",
            "hosts_files_keep_their_owner",
            "hosts_permissions_hold",
            "strangers_are_nobody",
            "no_user_beyond_the_map",
            "no_device_nodes",
            "given_maps_are_used",
            "given_user_runs_the_command",
            "init_hides_the_hosts_program",
        ],
        because = "root without a user namespace is the host's root: each row asks one thing that he may",
    ),

    # 06: pivot_root
    mutant(
        name = "old_root_left",
        stage = "06_pivot_root",
        caught_by = "old_root_is_gone",
        why = "the command does not see it any more",
        changes = [
            change(_MOUNTS, """check(umount2(".", MNT_DETACH), "umount2(., MNT_DETACH)");""", ""),
        ],
        also = [
            "second_chroot_leads_nowhere",
            "kept_directory_leads_nowhere",
            "dotdot_stops_at_the_root",
        ],
        because = "what is mounted can be climbed into: '..' at the root leads to what lies on top",
    ),
    mutant(
        name = "old_root_kept_open",
        stage = "06_pivot_root",
        caught_by = "descriptors_are_closed",
        why = "a descriptor for the way back, which the command inherits",
        changes = [
            change(
                "06_pivot_root/main.cc",
                "#include \"common/run_main.h\"",
                "#include <fcntl.h>\n#include \"common/run_main.h\"",
            ),
            change("06_pivot_root/main.cc", """    pivot_into(take_root(root));
""", """    const int old_root = open("/", O_RDONLY | O_DIRECTORY);
    (void)fcntl(old_root, F_DUPFD, 100);
    pivot_into(take_root(root));
"""),
            change(
                _EXEC,
                "close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC)",
                "close_range(STDERR_FILENO + 1, 99, CLOSE_RANGE_CLOEXEC)",
            ),
        ],
    ),
    mutant(
        name = "chroot_after_failed_pivot",
        stage = "06_pivot_root",
        caught_by = "no_pivot_no_start",
        why = "as a convenience: pivot_root(2) fails on an initramfs",
        changes = [
            change(
                _MOUNTS,
                """check(syscall(SYS_pivot_root, ".", "."), "pivot_root(., .)");""",
                """if (syscall(SYS_pivot_root, ".", ".") == -1) {
    check(chroot("."), "chroot(.)");
    return;
  }""",
            ),
        ],
    ),
    mutant(
        name = "still_a_chroot",
        stage = "06_pivot_root",
        caught_by = "namespaces_root_is_its_root",
        why = "the root is a mount now, which looks as if it were all",
        changes = [
            change(
                _MOUNTS,
                """check(syscall(SYS_pivot_root, ".", "."), "pivot_root(., .)");
  check(umount2(".", MNT_DETACH), "umount2(., MNT_DETACH)");""",
                """check(chroot("."), "chroot(.)");""",
            ),
        ],
        also = ["no_pivot_no_start"],
        because = "it never calls what is made to fail there",
    ),
    mutant(
        name = "masks_before_proc",
        stage = "06_pivot_root",
        caught_by = "kernel_files_are_masked",
        why = "what is not there needs no mask: /proc and /sys were mounted afterwards",
        changes = [
            change("06_pivot_root/main.cc", """    attach(host);
    protect_kernel_paths();
""", """    protect_kernel_paths();
    attach(host);
"""),
        ],
        also = ["firmware_is_masked", "proc_paths_are_read_only", "sysctls_cannot_be_opened"],
        because = "one step masks and protects all of them",
    ),
    mutant(
        name = "interrupts_shown",
        stage = "06_pivot_root",
        caught_by = "kernel_files_are_masked",
        why = "the list was typed by hand",
        changes = [
            change(_MOUNTS, "\"/proc/interrupts\", ", ""),
            change(_MOUNTS, "\"/proc/timer_list\", ", ""),
            change(_MOUNTS, "\"/proc/keys\",        ", ""),
        ],
    ),
    mutant(
        name = "firmware_shown",
        stage = "06_pivot_root",
        caught_by = "firmware_is_masked",
        why = "one thinks of /proc only",
        changes = [change(_MOUNTS, "\"/sys/firmware\",    ", "")],
    ),
    mutant(
        name = "irq_writable",
        stage = "06_pivot_root",
        caught_by = "proc_paths_are_read_only",
        why = "the list was typed by hand",
        changes = [change(_MOUNTS, "\"/proc/irq\", ", "")],
    ),
    mutant(
        name = "sysctls_writable",
        stage = "06_pivot_root",
        caught_by = "sysctls_cannot_be_opened",
        why = "some programs set sysctls of their own network namespace",
        changes = [change(_MOUNTS, "\"/proc/sys\", ", "")],
        also = ["proc_paths_are_read_only"],
        because = "mountinfo shows what open(2) allows",
    ),
    mutant(
        name = "sys_writable",
        stage = "06_pivot_root",
        caught_by = "sys_is_read_only",
        why = "it is only a copy of a mount",
        changes = [
            change(
                _MOUNTS,
                """copy_mount("/sys", kDataOnly | MOUNT_ATTR_RDONLY)""",
                """copy_mount("/sys", kDataOnly)""",
            ),
        ],
    ),
    mutant(
        name = "dev_of_the_host",
        stage = "06_pivot_root",
        caught_by = "dev_is_minimal",
        why = "all that programs need is in it",
        changes = [
            change(
                _MOUNTS,
                "host.sys = copy_mount",
                """host.devices.emplace_back("", copy_mount("/dev", MOUNT_ATTR_NOSUID));
  host.sys = copy_mount""",
            ),
            change(_MOUNTS, """attach_at(new_mount("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                      {{"mode", "0755"}, {"size", "64k"}}),
            "/dev");""", """attach_at(devices[0].second, "/dev");
  return;"""),
        ],
        also = ["nothing_is_left"],
        because = "what the command writes to /dev/shm is the host's",
    ),
    mutant(
        name = "no_random",
        stage = "06_pivot_root",
        caught_by = "dev_is_minimal",
        why = "one thought of null, zero and tty",
        changes = [change(_MOUNTS, "\"random\", \"urandom\", ", "")],
    ),
    mutant(
        name = "null_is_a_file",
        stage = "06_pivot_root",
        caught_by = "dev_null_works",
        why = "open(2) with O_CREAT makes what is missing, and echo is content with it",
        changes = [change(_MOUNTS, """    make_file("/dev/" + name);
    attach_at(mount, "/dev/" + name);""", """    make_file("/dev/" + name);
    if (name != "null") attach_at(mount, "/dev/" + name);""")],
        also = ["kernel_files_are_masked"],
        because = "the masks are /dev/null, and who reads them reads what was written there",
    ),
    mutant(
        name = "no_devpts",
        stage = "06_pivot_root",
        caught_by = "terminals_are_own",
        why = "nothing but tmux and sshd complains",
        changes = [
            change(_MOUNTS, """attach_at(new_mount("devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                      {{"mode", "0620"}, {"ptmxmode", "0666"}}),
            "/dev/pts");""", ""),
        ],
    ),
    mutant(
        name = "no_shared_memory",
        stage = "06_pivot_root",
        caught_by = "shared_memory_works",
        why = "nothing but databases and browsers complains",
        changes = [
            change(
                _MOUNTS,
                """  make_directory("/dev/shm");
  attach_at(new_mount("tmpfs", kDataOnly, {{"mode", "1777"}, {"size", "64m"}}), "/dev/shm");""",
                "",
            ),
        ],
    ),
    mutant(
        name = "no_standard_links",
        stage = "06_pivot_root",
        caught_by = "dev_stdin_is_there",
        why = "they are no devices, and so easily forgotten",
        changes = [change(_MOUNTS, """{"/proc/self/fd/0", "/dev/stdin"},""", "")],
    ),
    mutant(
        name = "devices_of_the_root_work",
        stage = "06_pivot_root",
        caught_by = "planted_device_is_dead",
        why = "the root is one's own directory, why should it be mounted nodev",
        changes = [change(_MOUNTS, "copy_mount(root, MOUNT_ATTR_NODEV)", "copy_mount(root, 0)")],
    ),
    mutant(
        name = "volumes_are_folders",
        stage = "06_pivot_root",
        caught_by = "volume_is_shown",
        why = "that one may bind a single file is little known",
        changes = [
            change(
                _MOUNTS,
                "attach_at(mount, volume.target, MOVE_MOUNT_T_SYMLINKS);",
                "if (is_directory(mount.get())) attach_at(mount, volume.target, MOVE_MOUNT_T_SYMLINKS);",
            ),
        ],
    ),
    mutant(
        name = "volumes_ignored",
        stage = "06_pivot_root",
        caught_by = "volume_is_shown",
        why = "they were attached below the old root, and went with it",
        changes = [
            change(
                _MOUNTS,
                "attach_at(mount, volume.target, MOVE_MOUNT_T_SYMLINKS);",
                "(void)mount;",
            ),
        ],
        also = [
            "volume_can_be_written",
            "read_only_volume_cannot_be_written",
            "volume_brings_no_device",
        ],
        because = "of a volume that is not there nothing is known",
    ),
    mutant(
        name = "volume_never_read_only",
        stage = "06_pivot_root",
        caught_by = "read_only_volume_cannot_be_written",
        why = "mount(2) ignores MS_RDONLY beside MS_BIND",
        changes = [
            change(
                _MOUNTS,
                "kNoDevices | (volume.read_only ? MOUNT_ATTR_RDONLY : 0U)",
                "kNoDevices",
            ),
        ],
    ),
    mutant(
        name = "volume_always_read_only",
        stage = "06_pivot_root",
        caught_by = "volume_can_be_written",
        why = "to be on the safe side",
        changes = [
            change(
                _MOUNTS,
                "kNoDevices | (volume.read_only ? MOUNT_ATTR_RDONLY : 0U)",
                "kNoDevices | MOUNT_ATTR_RDONLY",
            ),
        ],
    ),
    mutant(
        name = "volume_brings_devices",
        stage = "06_pivot_root",
        caught_by = "volume_brings_no_device",
        why = "a bind mount is as the original: that is what it is for",
        changes = [
            change(
                _MOUNTS,
                "kNoDevices | (volume.read_only ? MOUNT_ATTR_RDONLY : 0U)",
                "volume.read_only ? MOUNT_ATTR_RDONLY : 0U",
            ),
        ],
    ),
    mutant(
        name = "volume_point_made_from_outside",
        stage = "06_pivot_root",
        caught_by = "volume_stays_inside",
        why = "root + target is a fine path as long as the root is one's own",
        changes = [
            change(
                "06_pivot_root/main.cc",
                "#include \"common/run_main.h\"",
                "#include <filesystem>\n#include \"common/run_main.h\"",
            ),
            change("06_pivot_root/main.cc", """    pivot_into(take_root(root));
""", """    for (const auto& volume : mounts.volumes) {
      std::error_code ignored;
      if (std::filesystem::is_directory(volume.source)) {
        std::filesystem::create_directories(root + volume.target, ignored);
      }
    }
    pivot_into(take_root(root));
"""),
        ],
        also = ["nothing_is_left"],
        because = "what is made outside stays there",
    ),
    mutant(
        name = "read_only_ignored",
        stage = "06_pivot_root",
        caught_by = "read_only_root_cannot_be_written",
        why = "--read-only was read, and then forgotten",
        changes = [
            change("06_pivot_root/main.cc", """    if (mounts.read_only) make_root_read_only();
""", ""),
        ],
    ),

    # 07: cgroups
    mutant(
        name = "inner_pid_written",
        stage = "07_cgroups",
        caught_by = "own_cgroup",
        why = "getpid() inside is not what the host calls the process; with --init it is 2",
        changes = [
            _NOT_BORN_IN_IT,
            change(_CGROUP, "    if (moved > 0) cgroup.add(moved);", """    try {
      if (moved > 0) cgroup.add(2);
    } catch (const Failure&) {
    }"""),
        ],
        also = _ALL_LIMITS + [
            "swap_is_limited",
            "limits_cannot_be_raised",
            "cgroup_is_removed",
            "killed_parents_cgroup_is_removed",
        ],
        because = "the limits are those of a cgroup that nobody is in",
    ),
    mutant(
        name = "joined_after_exec",
        stage = "07_cgroups",
        caught_by = "grandchildren_are_limited",
        why = "the parent knows the child's number from then on, and the command has hardly begun",
        changes = [
            change(
                "07_cgroups/main.cc",
                "#include \"common/run_main.h\"",
                "#include <unistd.h>\n#include <fstream>\n#include \"common/run_main.h\"",
            ),
            change("07_cgroups/main.cc", "start_child_in(namespaces, cgroup, [&]", "start_child_in(namespaces, [&]"),
            change("07_cgroups/main.cc", "  handshake.let_child_go_on();", """  handshake.let_child_go_on();
  if (limits.any()) {
    for (std::string name = "07"; name.rfind("07", 0) == 0; usleep(1000)) {
      std::ifstream("/proc/" + std::to_string(child.pid()) + "/comm") >> name;
    }
    usleep(300000);
    cgroup.add(child.pid());
  }"""),
        ],
        also = [row for row in _ALL_LIMITS if row != "grandchildren_are_limited"] + [
            "cgroup_is_the_root_inside",
        ],
        because = "whoever was forked before is not moved, and the namespace is made before",
    ),
    mutant(
        name = "namespace_before_cgroup",
        stage = "07_cgroups",
        caught_by = "cgroup_is_the_root_inside",
        why = "all other namespaces are made by a flag of clone3(2); then the parent moves the child",
        changes = [
            _NOT_BORN_IN_IT,
            change("07_cgroups/main.cc", "CLONE_NEWUSER |", "CLONE_NEWUSER | CLONE_NEWCGROUP |"),
            change(_CGROUP, "check(unshare(CLONE_NEWCGROUP), \"unshare(CLONE_NEWCGROUP)\");", ""),
        ],
    ),
    mutant(
        name = "cgroups_of_the_host_shown",
        stage = "07_cgroups",
        caught_by = "other_cgroups_are_hidden",
        why = "/proc/self/cgroup hides them already",
        changes = [
            change(_CGROUP, "MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC),\n            kInside);", "MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC),\n            \"/run\");"),
        ],
    ),
    mutant(
        name = "period_wrong",
        stage = "07_cgroups",
        caught_by = "cpus_half",
        why = "a second is a natural period, and has six zeros",
        changes = [change(_LIMITS, "std::lround(cpus * kPeriod), kPeriod)", "std::lround(cpus * kPeriod), 10 * kPeriod)")],
        also = ["cpus_fifth", "cpus_more_than_one"],
        because = "each of them has a tenth of its share",
    ),
    mutant(
        name = "one_cpu_at_most",
        stage = "07_cgroups",
        caught_by = "cpus_more_than_one",
        why = "how could a container run for longer than the period is",
        changes = [change(_LIMITS, "std::lround(cpus * kPeriod)", "std::lround(std::fmin(cpus, 1) * kPeriod)")],
    ),
    mutant(
        name = "swap_not_limited",
        stage = "07_cgroups",
        caught_by = "swap_is_limited",
        why = "docker run --memory gives as much swap as memory",
        changes = [change(_CGROUP, "set(\"memory.swap.max\", \"0\")", "set(\"memory.swap.max\", \"\")")],
    ),
    mutant(
        name = "one_process_killed",
        stage = "07_cgroups",
        caught_by = "memory_limit_kills_all",
        why = "the OOM killer kills, that is what it is called after",
        changes = [change(_CGROUP, "set(\"memory.oom.group\", \"1\");", "")],
    ),
    mutant(
        name = "killed_without_a_word",
        stage = "07_cgroups",
        caught_by = "out_of_memory_is_told",
        why = "137 says it all",
        changes = [change(_CGROUP, "    tell_of_out_of_memory();\n", "")],
    ),
    mutant(
        name = "controllers_not_enabled",
        stage = "07_cgroups",
        caught_by = "fork_bomb_is_contained",
        why = "cgroup.controllers lists them, so they must be there; and what is missing is skipped",
        changes = [
            change(_CGROUP, "    hand_on(parent, options.controllers());\n", "    (void)hand_on;\n"),
            change(
                _CGROUP,
                "if (!value.empty()) write_file(",
                "if (!value.empty() && access((path_ + \"/\" + file).c_str(), F_OK) == 0) write_file(",
            ),
        ],
        also = [row for row in _ALL_LIMITS if row != "fork_bomb_is_contained"] + [
            "swap_is_limited",
            "limits_cannot_be_raised",
        ],
        because = "without controllers a cgroup is but a name",
    ),
    mutant(
        name = "limit_ignored",
        stage = "07_cgroups",
        caught_by = "no_limit_no_start",
        why = "a container without a limit is better than none",
        changes = [change(_CGROUP, "    if (options.any()) throw;\n", "")],
    ),
    mutant(
        name = "cgroup_left",
        stage = "07_cgroups",
        caught_by = "cgroup_is_removed",
        why = "namespaces and mounts go by themselves, why not cgroups",
        changes = [
            change(_CGROUP, "Cgroup::~Cgroup() { remove(); }", "Cgroup::~Cgroup() = default;"),
            change(_CGROUP, "    remove();\n  }\n  return exit_status;", """    if (access((path_ + "/memory.max").c_str(), F_OK) == -1) remove();
  }
  return exit_status;"""),
        ],
        also = ["nothing_is_left"],
        because = "both look for it",
    ),
    mutant(
        name = "leftovers_stay",
        stage = "07_cgroups",
        caught_by = "killed_parents_cgroup_is_removed",
        why = "one removes what one has made; the killed do not",
        changes = [
            change(_CGROUP, "    remove_leftovers(parent);\n", "    if (!hierarchy.nsdelegate) remove_leftovers(parent);\n"),
        ],
        also = ["nothing_is_left"],
        because = "both look for it",
    ),

    # 08a: overlayfs
    mutant(
        name = "one_layer_needs_no_overlay",
        stage = "08a_overlayfs",
        caught_by = "rootfs_is_not_changed",
        why = "there is nothing to lay over each other",
        changes = [
            change(
                "08a_overlayfs/main.cc",
                "pivot_into(mount_overlay(open));",
                """const bool plain = layers.folders.size() == 1 && !layers.upper;
    pivot_into(plain ? take_root(layers.folders[0]) : mount_overlay(open));""",
            ),
        ],
        also = ["next_container_starts_afresh", "writes_are_not_shared"],
        because = "what is written to the root itself stays there, for all to see",
    ),
    mutant(
        name = "upper_is_shared",
        stage = "08a_overlayfs",
        caught_by = "next_container_starts_afresh",
        why = "one upper folder is enough, as long as one starts one container",
        changes = [
            change(_STACK, "} else if (!tmpfs_keeps_user_attributes()) {", "} else {"),
            change(_STACK, """  remove_left(uppers);
  std::string path = uppers + "/XXXXXX";
  check_quietly(mkdtemp(path.data()) == nullptr ? -1 : 0, "mkdtemp({})", path);
  UpperFolder folder(path, lock(path), true);
  need_attributes(folder.lock_, path,""", """  UpperFolder folder(uppers, open_folder(uppers), false);
  need_attributes(folder.lock_, uppers,"""),
        ],
        also = ["writes_are_not_shared"],
        because = "two containers at once share it as two in turn do",
    ),
    mutant(
        name = "upper_left_behind",
        stage = "08a_overlayfs",
        caught_by = "nothing_is_left",
        why = "a temporary folder, and /tmp is cleared at the next boot",
        changes = [
            change(_STACK, "} else if (!tmpfs_keeps_user_attributes()) {", "} else {"),
            change(_STACK, """  remove_left(uppers);
  std::string path = uppers + "/XXXXXX";""", """  std::string path = "/tmp/upper-XXXXXX";"""),
            change(
                _STACK,
                "UpperFolder folder(path, lock(path), true);",
                "UpperFolder folder(path, lock(path), false);",
            ),
        ],
    ),
    mutant(
        name = "scratch_left_mounted",
        stage = "08a_overlayfs",
        caught_by = "old_root_is_gone",
        why = "it lies on the old root, which is unmounted: but then the tmpfs is, in its place",
        changes = [
            change(
                _OVERLAY,
                """check(umount2(".", MNT_DETACH), "umount2(the tmpfs, MNT_DETACH)");""",
                "",
            ),
        ],
        also = [
            "second_chroot_leads_nowhere",
            "kept_directory_leads_nowhere",
            "dotdot_stops_at_the_root",
        ],
        because = "what is mounted can be climbed into: '..' at the root leads to what lies on top",
    ),
    mutant(
        name = "no_userxattr",
        stage = "08a_overlayfs",
        caught_by = "changes_are_seen_inside",
        why = "overlayfs is mounted without it wherever one looks it up",
        changes = [change(_OVERLAY, "options = {{\"userxattr\", \"\"}};", "options;")],
        also = ["opaque_folder_hides_all_below"],
        because = "the opaque mark of a layer is such an attribute, too",
    ),
    mutant(
        name = "keep_ignored",
        stage = "08a_overlayfs",
        caught_by = "kept_layer_is_found_again",
        why = "--keep was read, and then forgotten",
        changes = [change(_STACK, "  if (!options.keep.empty()) {\n", "  if (false) {\n")],
        also = ["kept_layer_has_one_user"],
        because = "nobody is kept from a folder that nobody uses",
    ),
    mutant(
        name = "keep_not_locked",
        stage = "08a_overlayfs",
        caught_by = "kept_layer_has_one_user",
        why = "overlayfs itself only warns of it, in the kernel's log",
        changes = [
            change(
                _STACK,
                "if (flock(folder.get(), LOCK_EX | LOCK_NB) == 0) return folder;",
                "return folder;",
            ),
        ],
    ),
    mutant(
        name = "layers_upside_down",
        stage = "08a_overlayfs",
        caught_by = "later_layer_lies_above",
        why = "lowerdir names the uppermost first, and who types --layer the lowest",
        changes = [
            change(
                _STACK,
                "layers.folders.push_back(fs::is_directory(path) ? path : unpack_tar(path));",
                """layers.folders.insert(layers.folders.begin() + 1,
                          fs::is_directory(path) ? path : unpack_tar(path));""",
            ),
        ],
    ),
    mutant(
        name = "whiteouts_unpacked",
        stage = "08a_overlayfs",
        caught_by = "whiteout_hides_a_file",
        why = "a tar is unpacked by tar",
        changes = [
            change(
                _UNPACK,
                "if (name.starts_with(kWhiteout)) return",
                "if (name.starts_with(kReserved)) return",
            ),
        ],
    ),
    mutant(
        name = "opaque_ignored",
        stage = "08a_overlayfs",
        caught_by = "opaque_folder_hides_all_below",
        why = "one thinks of .wh.NAME only",
        changes = [
            change(
                _UNPACK,
                "if (name == kOpaque) set_opaque(make_folders(folder), folder);",
                "",
            ),
        ],
    ),
    mutant(
        name = "opaque_for_the_hosts_root",
        stage = "08a_overlayfs",
        caught_by = "opaque_folder_hides_all_below",
        why = "overlayfs.rst says trusted.overlay.opaque; userxattr comes later in it",
        changes = [
            change(
                _UNPACK,
                "fsetxattr(folder.get(), \"user.overlay.opaque\"",
                "fsetxattr(folder.get(), \"trusted.overlay.opaque\"",
            ),
        ],
        also = ["whiteout_hides_a_file"],
        because = "an ordinary user may not set it at all: the layer cannot be unpacked",
    ),
    mutant(
        name = "links_lead_out_of_the_layer",
        stage = "08a_overlayfs",
        caught_by = "hostile_layer_stays_inside",
        why = "names are looked up from the layer's folder, but links from the host's root",
        changes = [
            change(_UNPACK, "how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;", ""),
        ],
    ),
    mutant(
        name = "digest_is_a_name",
        stage = "08a_overlayfs",
        caught_by = "tampered_layer_is_refused",
        why = "it finds the file, and that the file has it goes without saying",
        changes = [
            change(
                _STACK,
                "if (unpack_layer(file, blob.path, partial).sha256 != blob.sha256) {",
                "(void)unpack_layer(file, blob.path, partial);\n      if (false) {",
            ),
        ],
    ),
    mutant(
        name = "image_env_ignored",
        stage = "08a_overlayfs",
        caught_by = "image_says_what_runs",
        why = "the command was there, and ran",
        changes = [
            change(
                _STACK,
                "process.environment.insert(image->environment.begin(), image->environment.end());",
                "",
            ),
        ],
    ),

    # 08b: capabilities and system calls
    mutant(
        name = "capabilities_kept",
        stage = "08b_seccomp",
        caught_by = "effective_set_is_small",
        why = "root of a user namespace is said to be harmless",
        changes = [change("08b_seccomp/main.cc", "drop_privileges(capabilities, find_user(layering, ids, process));", """capabilities.granted = all_capabilities();
    drop_privileges(capabilities, find_user(layering, ids, process));""")],
        also = ["bounding_set_is_small", "capabilities_can_be_dropped"],
        because = "who keeps everything keeps it in all sets, whatever is dropped",
    ),
    mutant(
        name = "bounding_set_full",
        stage = "08b_seccomp",
        caught_by = "bounding_set_is_small",
        why = "capset(2) looks as if it set all there is",
        changes = [
            change(
                _CAPABILITIES,
                """check_quietly(prctl(PR_CAPBSET_DROP, capability), "prctl(PR_CAPBSET_DROP, {})", capability);""",
                "",
            ),
        ],
        also = ["capabilities_can_be_dropped"],
        because = "--cap-drop ALL is to empty the bounding set, too",
    ),
    mutant(
        name = "inheritable_kept",
        stage = "08b_seccomp",
        caught_by = "inheritable_set_is_empty",
        why = "Docker set it until CVE-2022-24769",
        changes = [change(_CAPABILITIES, "{{low, low, 0}, {high, high, 0}}", "{{low, low, low}, {high, high, high}}")],
    ),
    mutant(
        name = "ambient_kept",
        stage = "08b_seccomp",
        caught_by = "ambient_set_is_empty",
        why = "with them other users keep what --cap-add grants",
        changes = [
            change(_CAPABILITIES, "{{low, low, 0}, {high, high, 0}}", "{{low, low, low}, {high, high, high}}"),
            change(_CAPABILITIES, """  check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0),
        "prctl(PR_CAP_AMBIENT_CLEAR_ALL)");""", """  for (int capability = 0; kernel_knows(capability); ++capability) {
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
  }"""),
        ],
        also = ["inheritable_set_is_empty", "given_user_has_no_capabilities"],
        because = "ambient is only what is inheritable, and is kept by who is not root",
    ),
    mutant(
        name = "cap_drop_ignored",
        stage = "08b_seccomp",
        caught_by = "capabilities_can_be_dropped",
        why = "ALL is no name of a capability",
        changes = [change(_CAPABILITIES, "return drop_all ? added :", "return")],
    ),
    mutant(
        name = "cap_add_ignored",
        stage = "08b_seccomp",
        caught_by = "capability_can_be_added",
        why = "--cap-add was read, and then forgotten",
        changes = [change(_CAPABILITIES, "(default_capabilities() & ~dropped) | added", "(default_capabilities() & ~dropped)")],
    ),
    mutant(
        name = "sys_admin_granted",
        stage = "08b_seccomp",
        caught_by = "masks_cannot_be_lifted",
        why = "without it mount(8) does not work",
        changes = [
            change("08b_seccomp/capability_names.cc", "    CAP_CHOWN, ", "    CAP_SYS_ADMIN, CAP_CHOWN, "),
            _COMPILED_AT_START,
        ],
        also = [
            "bounding_set_is_small",
            "effective_set_is_small",
            "forbidden_calls_are_denied",
            "clone3_is_not_there",
            "no_namespaces_inside",
        ],
        because = "the profile follows the capabilities, as Docker's does",
    ),
    mutant(
        name = "new_privileges",
        stage = "08b_seccomp",
        caught_by = "set_user_id_gives_nothing",
        why = "seccomp(2) is content with CAP_SYS_ADMIN",
        changes = [
            change(_CAPABILITIES, "capabilities.no_new_privs ? 0 : only(CAP_SYS_ADMIN)", "only(CAP_SYS_ADMIN)"),
            change(_CAPABILITIES, """check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS, 1)");""", ""),
        ],
        also = ["no_new_privs_is_set"],
        because = "the kernel says it, and does it",
    ),
    mutant(
        name = "no_filter",
        stage = "08b_seccomp",
        caught_by = "filter_is_installed",
        why = "capabilities are dropped, what else is there to do",
        changes = [change("08b_seccomp/main.cc", ", [&] { filter.install(); });", ");")],
        also = [
            "clone3_is_not_there",
            "forbidden_calls_are_denied",
            "int80_calls_are_killed",
            "newer_calls_are_not_there",
            "no_filter_no_start",
            "no_namespaces_inside",
            "profile_of_a_file_is_used",
            "socket_families_are_few",
            "strict_profile_denies_more",
            "terminal_cannot_be_typed_into",
            "terminal_input_has_no_disguise",
            "x32_calls_are_killed",
        ],
        because = "all of them need a filter",
    ),
    mutant(
        name = "filter_in_the_parent",
        stage = "08b_seccomp",
        caught_by = "parent_has_no_filter",
        why = "a filter is inherited, and so one thinks of whom it shall not bind last",
        changes = [
            change("08b_seccomp/main.cc", "using namespace box;", "#include <sys/prctl.h>\nusing namespace box;"),
            change("08b_seccomp/main.cc", "  handshake.let_child_go_on();", """  (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  filter.install();
  handshake.let_child_go_on();"""),
        ],
        also = ["strict_profile_denies_more", "strict_profile_runs_a_shell"],
        because = "under the strict profile the parent itself cannot go on",
    ),
    mutant(
        name = "filter_too_early",
        stage = "08b_seccomp",
        caught_by = "filter_is_the_last_call",
        why = "no_new_privs and the filter are set up together in every tutorial",
        changes = [
            change("08b_seccomp/main.cc", ", [&] { filter.install(); });", ");"),
            change("08b_seccomp/main.cc", "    if (own.init) become_init();", """    filter.install();
    if (own.init) become_init();"""),
        ],
        also = ["profile_of_a_file_is_used"],
        because = "what does not start uses no profile",
    ),
    mutant(
        name = "filter_optional",
        stage = "08b_seccomp",
        caught_by = "no_filter_no_start",
        why = "not every kernel has seccomp",
        changes = [
            change(_FILTER, """  return check(static_cast<int>(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw)),
               "seccomp(SECCOMP_SET_MODE_FILTER, {} instructions)", program.size());""", "  return static_cast<int>(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw));"),
        ],
    ),
    mutant(
        name = "architecture_not_checked",
        stage = "08b_seccomp",
        caught_by = "int80_calls_are_killed",
        why = "the first filters of every tutorial look at the number alone",
        changes = [
            change(_PROFILE, "SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS", "SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW"),
            _COMPILED_AT_START,
        ],
        also = ["x32_calls_are_killed"],
        because = "x32 is an architecture of its own",
    ),
    mutant(
        name = "x32_allowed",
        stage = "08b_seccomp",
        caught_by = "x32_calls_are_killed",
        why = "it is the same architecture, and Docker allows it",
        changes = [
            change(_PROFILE, "if (listed.empty()) return {native};", "if (listed.empty()) return {native, SCMP_ARCH_X32};"),
            _COMPILED_AT_START,
        ],
    ),
    mutant(
        name = "clone3_allowed",
        stage = "08b_seccomp",
        caught_by = "clone3_is_not_there",
        why = "threads need it",
        changes = [default_profile("\"clone3\"", "\"uselib\"")],
    ),
    mutant(
        name = "clone3_denied_with_eperm",
        stage = "08b_seccomp",
        caught_by = "clone3_is_not_there",
        why = "it was Docker's first answer, and no thread started any more",
        changes = [default_profile("\"errnoRet\": 38", "\"errnoRet\": 1")],
    ),
    mutant(
        name = "newer_calls_allowed",
        stage = "08b_seccomp",
        caught_by = "newer_calls_are_not_there",
        why = "a list of what is denied knows only what there was",
        changes = [default_profile("\"newestSyscall\": \"set_mempolicy_home_node\",", "")],
    ),
    mutant(
        name = "tiocsti_in_64_bits",
        stage = "08b_seccomp",
        caught_by = "terminal_input_has_no_disguise",
        why = "SCMP_CMP_EQ is what one uses to compare",
        changes = [
            default_profile(
                "\"op\": \"SCMP_CMP_MASKED_EQ\", \"value\": 4294967295, \"valueTwo\": 21522",
                "\"op\": \"SCMP_CMP_EQ\", \"value\": 21522",
            ),
        ],
    ),
    mutant(
        name = "tiocsti_allowed",
        stage = "08b_seccomp",
        caught_by = "terminal_cannot_be_typed_into",
        why = "ioctl is allowed",
        changes = [default_profile("21522", "21532")],
        also = ["terminal_input_has_no_disguise"],
        because = "what is allowed is allowed in disguise",
    ),
    mutant(
        name = "vsock_in_64_bits",
        stage = "08b_seccomp",
        caught_by = "socket_families_are_few",
        why = "Docker's profile compares so",
        changes = [
            default_profile(
                "\"op\": \"SCMP_CMP_MASKED_EQ\", \"value\": 4294967295, \"valueTwo\": 40",
                "\"op\": \"SCMP_CMP_EQ\", \"value\": 40",
            ),
        ],
    ),
    mutant(
        name = "namespaces_by_clone",
        stage = "08b_seccomp",
        caught_by = "no_namespaces_inside",
        why = "unshare is denied, and clone has to be allowed",
        changes = [
            default_profile(
                "\"value\": 268435456, \"valueTwo\": 268435456",
                "\"value\": 67108864, \"valueTwo\": 67108864",
            ),
        ],
    ),
    mutant(
        name = "keyrings_allowed",
        stage = "08b_seccomp",
        caught_by = "forbidden_calls_are_denied",
        why = "the list was typed by hand",
        changes = [default_profile("\"add_key\", \"request_key\", \"keyctl\"", "\"uselib\"")],
    ),
    mutant(
        name = "strict_is_default",
        stage = "08b_seccomp",
        caught_by = "strict_profile_denies_more",
        why = "one profile was thought to be enough",
        changes = [change(_FILTER, "built_in(kStrictProgram, kStrictJson, granted)", "built_in(kDefaultProgram, kDefaultJson, granted)")],
    ),
    mutant(
        name = "strict_without_pipes",
        stage = "08b_seccomp",
        caught_by = "strict_profile_runs_a_shell",
        why = "the list was made with strace of a program that needs none",
        changes = [change(_FILTER, "return built_in(kStrictProgram, kStrictJson, granted);", """{
    std::string json = kStrictJson;
    const std::string old = "\\"pipe\\", \\"pipe2\\", ";
    return compile_profile(json.replace(json.find(old), old.size(), ""), granted);
  }""")],
    ),
    mutant(
        name = "profile_file_ignored",
        stage = "08b_seccomp",
        caught_by = "profile_of_a_file_is_used",
        why = "--seccomp knew two names, and took the rest for one of them",
        changes = [change(_FILTER, "return compile_once(read_profile(profile), granted);", "return built_in(kDefaultProgram, kDefaultJson, granted);")],
    ),

    # 08c: a network namespace, and ways out of it
    mutant(
        name = "hosts_network",
        stage = "08c_network",
        caught_by = "own_network_namespace",
        why = "it works, and at once: the host's network is there",
        changes = [
            change("08c_network/main.cc", "namespaces | network.namespaces()", "namespaces"),
            change("08c_network/main.cc", "network.take_from_host(mounts)", "take_from_host(mounts)"),
            change(_NETWORK, "  bring_up_loopback();", ""),
        ],
        also = [
            "hosts_loopback_is_refused",
            "abstract_sockets_are_refused",
            "links_are_own",
            "published_port_is_reached",
            "containers_meet_by_name",
            "gateway_is_not_the_host",
            "nothing_is_left",
        ],
        because = "all of these are the network namespace's, and without it the bridge joins the host to itself",
    ),
    mutant(
        name = "lo_stays_down",
        stage = "08c_network",
        caught_by = "loopback_works",
        why = "one never had to bring it up by hand",
        changes = [change(_NETWORK, "  bring_up_loopback();", "")],
    ),
    mutant(
        name = "sys_of_the_hosts_network",
        stage = "08c_network",
        caught_by = "links_are_own",
        why = "/sys was there already",
        changes = [
            change("08c_network/main.cc", "network.take_from_host(mounts)", "take_from_host(mounts)"),
        ],
    ),
    mutant(
        name = "published_from_outside_only",
        stage = "08c_network",
        caught_by = "published_port_is_reached",
        why = "it was tried from another machine",
        changes = [change(_RULES, "type nat hook output priority -100\n    fib daddr type local jump published", "type nat hook output priority -100")],
    ),
    mutant(
        name = "loopback_open",
        stage = "08c_network",
        caught_by = "no_packet_to_hosts_loopback",
        why = "published ports work at localhost now, and that is all one looks at",
        changes = [change(_RULES, "ip daddr 127.0.0.0/8 drop comment", "ip daddr 127.0.0.0/8 accept comment")],
    ),
    mutant(
        name = "hosts_file_replaced",
        stage = "08c_network",
        caught_by = "containers_meet_by_name",
        why = "a new file and a rename is how one writes a file safely; but a mount keeps the old one",
        changes = [change(_BRIDGE, "  const UniqueFd file(\n      check_quietly(open(path.c_str()", "  (void)unlink(path.c_str());\n  const UniqueFd file(\n      check_quietly(open(path.c_str()")],
    ),
    mutant(
        name = "rules_left",
        stage = "08c_network",
        caught_by = "nothing_is_left",
        why = "the links are gone, so what harm can rules do",
        changes = [change(_BRIDGE, "  remove_ruleset();", "")],
    ),
    mutant(
        name = "bridge_left",
        stage = "08c_network",
        caught_by = "nothing_is_left",
        why = "the veth pair goes by itself, and who else was there",
        changes = [change(_BRIDGE, "  remove_link(host, kBridge);", "")],
    ),
    mutant(
        name = "janitor_asleep",
        stage = "08c_network",
        caught_by = "nothing_is_left",
        why = "the kernel takes a namespace's links, so there seems to be nothing to do",
        changes = [change(_BRIDGE, "leave_bridge(leash.wait());", "(void)leash.wait();")],
    ),
    mutant(
        name = "pasta_maps_the_gateway",
        stage = "08c_network",
        caught_by = "gateway_is_not_the_host",
        why = "it is what pasta does by default",
        changes = [change("08c_network/user_mode_network.cc", "\"--no-map-gw\", ", "")],
    ),
]
