// Signals that come to us and are meant for the command.
#pragma once

#include <signal.h>
#include <sys/types.h>

namespace box {

// What a user or a service manager sends to stop a container or to tell it something (docker run
// and bash forward them too), and SIGCHLD.
[[nodiscard]] sigset_t forwarded_signals_and_sigchld();

// The same, and what concerns a job and its terminal: those that wait_for() watches.
[[nodiscard]] sigset_t watched_signals();

// Sends `signal` on to `child`. One that came from the terminal (`code`, the si_code of
// sigaction(2), is SI_KERNEL) is for all of its process group, as the terminal would have done it;
// nothing is sent if it shares ours, because then it has the signal already.
void forward_signal(pid_t child, int signal, int code);

// The exit status that a shell gives for this status of wait(2).
[[nodiscard]] int exit_status_of(int wait_status);

}  // namespace box
