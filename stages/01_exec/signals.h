// Signals that reach us and are meant for the command.
#pragma once

#include <signal.h>
#include <sys/types.h>

namespace box {

// The signals that a user or a service manager sends to stop or to notify a container (docker run
// and bash forward them too), and SIGCHLD.
[[nodiscard]] sigset_t forwarded_signals_and_sigchld();

// The same, and the signals that concern a job and its terminal: all that wait_for() watches.
[[nodiscard]] sigset_t watched_signals();

// Forwards `signal` to `child`. A signal from the terminal (`code`, the si_code of sigaction(2), is
// SI_KERNEL) goes to the child's whole process group, as the terminal would have sent it; nothing
// is sent if the child shares our group, because then it has the signal already.
void forward_signal(pid_t child, int signal, int code);

// From now on no signal is ignored or blocked. Both would outlive execve(2), and a shell cannot
// trap what was ignored when it began.
void forget_callers_signals();

// The exit status that a shell gives for this status of wait(2).
[[nodiscard]] int exit_status_of(int wait_status);

}  // namespace box
