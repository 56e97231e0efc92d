"""Stage 01: what a learner writes, and in which order."""

from __future__ import annotations

from harness.learning.skeleton import Todo
from harness.learning.task import CORE, ROBUST, THEN, Example, Milestone, Task

TASK = Task(
    stage="01",
    goal="Start a command in a child process, wait for it, and end as it did.",
    examples=(
        Example("01_exec sh -c 'exit 3'; echo $?", "3"),
        Example("01_exec sh -c 'kill -9 $$'; echo $?", "137"),
        Example("01_exec no-such-command 2>/dev/null; echo $?", "127"),
        Example("01_exec --env COLOUR=blue sh -c 'echo $COLOUR'", "blue"),
        Example("01_exec sh -c 'ls /proc/self/fd | wc -l' 7</etc/passwd", "4"),
    ),
    toolkit=(
        ("ErrorPipe errors_", "`errors_.run_child(…)` in the child hands what it throws to the"
         " parent"),
        ("close_all_but({fd, …})", "closes every descriptor but 0, 1, 2 and these"),
        ("exec_failure(command, errno)", "the Failure with exit status 127 or 126, and a hint"),
        ("watched_signals(), forward_signal(…)", "the signals that the parent waits for, and how"
         " one is passed on"),
    ),
    todos=(
        Todo("process.cc", "Child::Child", 1,
             "fork by fork_call(), which returns as fork(2) does. In the child, live_as_child(body)"
             " never returns. In the parent, keep the number, and close the child's end of the"
             " error pipe. Later (milestone 4): block watched_signals() before the fork, and keep"
             " the mask of before; a process group for the child, from both sides.",
             "sigemptyset(&signals_before_);\n"
             "throw Failure(call + \": Child::Child() is not written yet\");"),
        Todo("process.cc", "exec_command", 1,
             "replace this process by the command, see execvp(3), with `environment` and what --env"
             " adds. If that fails, throw exec_failure(). Then (milestone 3): nothing of the caller"
             " stays open but 0, 1, 2, ErrorPipe::end_of_child() and what `last_step` names; and"
             " enter_workdir(), restore_signals(). ErrorPipe::announce_exec() and last_step.run()"
             " come last.",
             "if (last_step.run) last_step.run();\n"
             "enter_workdir(process.workdir);\n"
             "throw exec_failure(process.command[0], ENOSYS);"),
        Todo("wait_for.cc", "wait_for", 1,
             "until child.has_started(), what the child throws is thrown here. Then wait with"
             " child.new_status(), and return exit_status_of() it. Later (milestone 4): signals,"
             " which are blocked, are read from a signalfd(2) and forwarded; a child that has"
             " stopped, as by Ctrl-Z, has not ended, see JobControl.",
             "throw Failure(\"wait_for() is not written yet\");"),
    ),
    milestones=(
        Milestone(CORE, "The command runs, and its exit status is yours", (
            "exit_status_is_the_commands", "arguments_are_kept", "stdin_arrives",
            "env_option_works")),
        Milestone(CORE, "The caller learns what went wrong", (
            "killed_is_128_plus_signal", "not_found_is_127", "not_executable_is_126",
            "wrong_option_is_125", "errors_are_told")),
        Milestone(THEN, "Nothing of the caller's comes along by accident", (
            "descriptors_are_closed", "inherited_directory_is_closed",
            "signal_mask_is_the_callers", "umask_is_the_containers", "workdir_option_works")),
        Milestone(THEN, "Signals and the terminal", (
            "kill_0_stays_inside", "signals_are_forwarded", "ctrl_c_arrives_once",
            "terminal_is_given_back")),
        Milestone(ROBUST, "Odd callers, and nothing left behind"),
    ),
)
