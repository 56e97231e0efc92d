"""Mutants of stage 01: fork, exec, wait."""

load(":mutant.bzl", "change", "mutant")

_EXEC = "01_exec/process.cc"
_SIGNALS = "01_exec/signals.cc"

MUTANTS = [
    mutant(
        name = "status_swallowed",
        stage = "01_exec",
        caught_by = "exit_status_is_the_commands",
        why = "the program only waits for the command to end, and drops its status",
        changes = [
            change("01_exec/main.cc", "return wait_for(child);", """(void)wait_for(child);
  return 0;"""),
        ],
        also = ["killed_is_128_plus_signal", "ignored_sigchld_does_no_harm", "a_stop_is_no_end"],
        because = "all three rows read the status with which the program leaves",
    ),
    mutant(
        name = "raw_wait_status",
        stage = "01_exec",
        caught_by = "exit_status_is_the_commands",
        why = "waitpid(2) calls it a status, but the exit status is only its second byte",
        changes = [
            change(
                _SIGNALS,
                "return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);",
                "return wait_status;",
            ),
        ],
        also = ["killed_is_128_plus_signal", "ignored_sigchld_does_no_harm", "a_stop_is_no_end"],
        because = "all three rows read the status with which the program leaves",
    ),
    mutant(
        name = "signal_as_exit_status",
        stage = "01_exec",
        caught_by = "killed_is_128_plus_signal",
        why = "WTERMSIG() looks like an exit status",
        changes = [change(_SIGNALS, "128 + WTERMSIG(wait_status)", "WTERMSIG(wait_status)")],
    ),
    mutant(
        name = "everything_is_126",
        stage = "01_exec",
        caught_by = "not_found_is_127",
        why = "all failures of exec seem alike",
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
        why = "tutorials exit with 127 when exec fails, whatever the reason",
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
        why = "most programs exit with 1 after an error, so the command may do so as well",
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
        why = "the exit status seems to say enough",
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
        why = "daemons do it, because without a terminal no user types",
        changes = [
            change(
                _EXEC,
                "close_all_but(still_needed);",
                """if (isatty(STDIN_FILENO) == 0) (void)dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
  close_all_but(still_needed);""",
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
        changes = [change(_EXEC, "enter_workdir(process.workdir);", "enter_workdir(\"\");")],
        also = ["missing_workdir_is_made"],
        because = "the option is not looked at, wherever it leads",
    ),
    mutant(
        name = "descriptors_inherited",
        stage = "01_exec",
        caught_by = "descriptors_are_closed",
        why = "the program closes what it has opened itself, not what its caller has opened",
        changes = [
            change(
                _EXEC,
                "close_all_but(still_needed);",
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
        why = "the signals were blocked so that they could be forwarded, but the code that" +
              " forwards them is missing",
        changes = [
            change(
                _SIGNALS,
                """    (void)kill(child, signal);
""",
                "",
            ),
        ],
    ),
    mutant(
        name = "ctrl_c_forwarded_too",
        stage = "01_exec",
        caught_by = "ctrl_c_arrives_once",
        why = "the terminal has sent it to the whole process group already",
        changes = [
            change("01_exec/wait_for.cc", "sent != 0) told(sent);", """sent != 0) {
        (void)kill(child_.pid(), sent);
        told(sent);
      }"""),
        ],
    ),
    mutant(
        name = "sigchld_trusted",
        stage = "01_exec",
        caught_by = "ignored_sigchld_does_no_harm",
        why = "the program does not ignore SIGCHLD itself, so its author does not expect that it" +
              " is ignored",
        changes = [change(_EXEC, "(void)signal(SIGCHLD, SIG_DFL);", "")],
    ),
    mutant(
        name = "terminal_not_restored",
        stage = "01_exec",
        caught_by = "terminal_is_given_back",
        why = "it works as long as commands restore the terminal themselves",
        changes = [change("01_exec/terminal.cc", "(void)tcsetattr(fd_.get(), TCSADRAIN, &our_modes_);", "")],
    ),
    mutant(
        name = "file_left_behind",
        stage = "01_exec",
        caught_by = "nothing_is_left",
        why = "the program makes a log, a lock or a socket, and never removes it",
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
    mutant(
        name = "group_of_the_caller",
        stage = "01_exec",
        caught_by = "kill_0_stays_inside",
        why = "fork(2) keeps the process group, and Ctrl-C then reaches both",
        changes = [
            change(_EXEC, "check_quietly(setpgid(0, 0), \"setpgid()\");", ""),
            change(_EXEC, "(void)setpgid(pid_, pid_);", ""),
        ],
        also = ["ctrl_c_arrives_once", "terminal_is_given_back"],
        because = "the terminal is lent to a process group that does not exist",
    ),
    mutant(
        name = "umask_of_the_caller",
        stage = "01_exec",
        caught_by = "umask_is_the_containers",
        why = "the program does not set the umask, so the command inherits the caller's, here 077",
        changes = [
            change(_EXEC, "#include <sys/personality.h>", "#include <sys/personality.h>\n#include <sys/stat.h>"),
            change(_EXEC, "  restore_signals();", "  restore_signals();\n  umask(077);"),
        ],
    ),
    mutant(
        name = "descriptor_3_inherited",
        stage = "01_exec",
        caught_by = "descriptors_are_closed",
        why = "off by one: 0, 1 and 2 are three",
        changes = [
            change(_EXEC, "close_all_but(still_needed);", """still_needed.push_back(3);
  close_all_but(still_needed);"""),
        ],
    ),
    mutant(
        name = "stop_taken_for_the_end",
        stage = "01_exec",
        caught_by = "a_stop_is_no_end",
        why = "waitpid(2) has returned, so the child seems to have ended",
        changes = [
            change("01_exec/wait_for.cc", "if (status && WIFSTOPPED(*status)) {", "if (!status) {"),
            change("01_exec/wait_for.cc", "companion_.child_has_stopped(WSTOPSIG(*status));", "return;"),
        ],
    ),
    mutant(
        name = "personality_inherited",
        stage = "01_exec",
        caught_by = "personality_is_the_containers",
        why = "what nobody sets is inherited, and few know that it is there",
        changes = [
            change(_EXEC, "check_quietly(personality(PER_LINUX), \"personality(PER_LINUX)\");", ""),
        ],
    ),
    mutant(
        name = "variables_only_added",
        stage = "01_exec",
        caught_by = "env_option_works",
        why = "std::map::insert() seems to set a value, and keeps the one that is there",
        changes = [
            change(
                _EXEC,
                "for (const auto& [key, value] : process.environment) environment[key] = value;",
                "environment.insert(process.environment.begin(), process.environment.end());",
            ),
        ],
    ),
]
