"""Verdicts that look bad and are explained: each with the reason, and no wider than that reason."""

from __future__ import annotations

import dataclasses
import re
from typing import Tuple

from harness.faults.case import Record


@dataclasses.dataclass(frozen=True)
class Known:
    verdict: str
    because: str
    kind: str = "fail"
    configuration: str = ""  # each of these is a regular expression for the whole text, "": any
    case: str = ""
    call: str = ""
    error: str = ""
    message: str = ""
    left: str = ""
    next_message: str = ""

    def explains(self, verdict: str, record: Record) -> bool:
        patterns = ((self.kind, record.kind), (self.configuration, record.configuration),
                    (self.case, record.case), (self.call, record.call),
                    (self.error, record.error), (self.message, record.stderr),
                    (self.left, "\n".join(record.left_for_good)),
                    (self.next_message, record.next_stderr))
        return verdict == self.verdict and all(
            not pattern or re.fullmatch(pattern, text) for pattern, text in patterns)


NO_KERNEL = "no kernel says so: "
ONCE_BEGUN = ("the command has begun when the parent can no longer watch it: it is killed, and the"
              " message says so")
NOT_PROMISED = ("stages 01 to 03 promise nothing for the time after their own death: die_with() of"
                " stage 04 is the first to do so")
THE_COMMANDS = ("a process that is killed in its execve(2) is the command already, as far as the"
                " kernel tells: 137 is the status of a command that was killed")
TOO_LITTLE = "the kernel, the C library or libarchive needs more: there is no call that could fail"
FORCE = "(?s)11_oci: .*\nhint: delete --force tries again\n.*"
KNOWN: Tuple[Known, ...] = (
    Known("hang", NO_KERNEL + "wait4(2) of children that are there and may be waited for",
          call="wait4 .*", error="ECHILD"),
    Known("hang", NO_KERNEL + "wait4(2) with WNOHANG does not sleep: no signal interrupts it",
          configuration=".*-init|06|07|08b|08c-none", case=r"--fail 0\.0:wait4:.*", error="EINTR"),
    Known("hang", NO_KERNEL + "a process may always kill its child, until it has waited for it",
          call="(kill|pidfd_send_signal) .*", error="EPERM|ESRCH"),
    Known("hang", NO_KERNEL + "sigprocmask(2) fails only for a wrong first argument",
          call="rt_sigprocmask .*", error="EINVAL"),
    Known("hang", NO_KERNEL + "SECCOMP_IOCTL_NOTIF_SEND fails with EINVAL or ENOENT, if at all",
          configuration=".*-verbose", call="ioctl .*"),
    Known("ran, then 125", ONCE_BEGUN, call="(poll|wait4|read|signalfd4) .*"),
    Known("silent", THE_COMMANDS, kind="kill-other", call="execve .*"),
    Known("silent", "PID 1 makes these calls once it has forked the command's process, which may"
          " have announced its execve(2) by then: 137 is the status of both", kind="kill-other",
          configuration=".*-init|06|07|08b|08c-none", case=r"--kill 0\.0@0\.0:.*",
          call=r"(close_range|wait4|exit_group) .*|read \d+ 0x\w+ 128"),
    Known("silent", "the filter comes last, and it may forbid the write(2) that would announce the"
          " execve(2) after it", kind="kill-other", configuration="08[bc].*",
          call=r"(seccomp|sendmsg) .*|(ioctl 2 0x5401|write 2 08b_seccomp: child   execve)\b.*"),
    Known("left, not killed", NO_KERNEL + "see the hangs above: the test ends them",
          call="wait4 .*", error="EINTR|ECHILD"),
    Known("crash", TOO_LITTLE, kind="memory", case="RLIMIT_AS (1500|2500|3000) kB"
          "|RLIMIT_DATA (0|64|128|192) kB|RLIMIT_STACK 8 kB"),
    Known("crash", "the kernel leaves out up to 8 kB of the stack, at random: what is left can be"
          " the 8 kB of the case above", kind="memory", case="RLIMIT_STACK 16 kB"),
    Known("left, not killed", "what has crashed removes nothing", kind="memory",
          case="RLIMIT_STACK (8|16) kB"),
    Known("wrong message", "libraries need more stack", kind="memory", configuration="08.*",
          case="RLIMIT_STACK 16 kB"),
    Known("DIFF", NO_KERNEL + "a soft limit may always be raised as far as the hard one",
          call="prlimit64 0x0 0x2 .*"),
    Known("ran, then 125", ONCE_BEGUN + "; " + NO_KERNEL + "close_range(2) of a valid range",
          configuration=".*-init|06|07|08b|08c-none", case=r"--fail 0\.0:close_range:.*"),
    Known("FAIL-OPEN", "where the machine has no /sys, the container has none, and there is nothing"
          " in it to cover", kind="surroundings", case="no /sys"),
    Known("DIFF", NO_KERNEL + "a terminal is never full", configuration=".*-terminal",
          call="write .*", error="ENOSPC"),
    Known("DIFF", "the caller's terminal is gone if it fails, and the container is hung up",
          kind="fail|return", configuration=".*-terminal",
          call=r"(read \d+ \w+ 4096|write .*)", error="EIO|ENOMEM|0"),
    Known("DIFF", TOO_LITTLE + ", also the probe", kind="memory",
          case="RLIMIT_STACK (8|16|32|64) kB"),
    Known("ran, then 125", NO_KERNEL + "what has been written to a pipe can be read from it",
          kind="return", case=r"--return 0:read:\d+:0"),
    Known("ran, then 125", ONCE_BEGUN + "; the watcher, which die_with() makes superfluous until"
          " then, is started beside it", case=r"--fail 0:clone:\d+:.*|RLIMIT_NPROC \d"),
    Known("ran, then 125", ONCE_BEGUN, configuration=".*-terminal", call="(recvmsg|fcntl) .*"),
    Known("wrong message", "the reporter's own line of --verbose gives the reason",
          configuration=".*-verbose", case=r"--fail 0\.0:recvmsg:.*"),
    Known("wrong message", "libseccomp asks by this call whether the kernel has seccomp(2), and"
          " reports no errno", configuration="08.*", call="seccomp 0x0 0x1 0x0 .*"),
    Known("wrong message", NO_KERNEL + "recvmsg(2) from a socket pair does not fail with EIO",
          configuration=".*-terminal", call="recvmsg .*", error="EIO"),
    Known("wrong message", "the process that waits for `start` has nobody to tell before it has"
          " accepted the connection", configuration="11", call="(accept4|read|dup3) .*"),
    Known("wrong message", "whether the socket is there is all that `start` asks, and the state is"
          " in memory: it has no errors of a disk", configuration="11", error="EIO",
          call="faccessat2 .* start .*"),
    Known("silent", "it has announced its execve(2) when `start` tells it to go on",
          kind="kill-other", configuration="11",
          call="(rt_sigaction|rt_sigprocmask|umask|execve) .*"),
    Known("ran, then 125", ONCE_BEGUN, configuration="11", call="pidfd_open .*"),
    Known("fewer rights", "a user who is in no line of an empty /etc/group has no other groups",
          kind="return", configuration="05-user-maps", case=r".*:read:\d+:0", call="read .*"),
    Known("DIFF", "a user whose line is not in an empty /etc/passwd has no home", kind="return",
          configuration="11|08b.*", case=r".*:read:\d+:0", call="read .*"),
    Known("fewer rights", "the reporter's end is told: denied calls fail with ENOSYS from then on",
          configuration=".*-verbose", message="(?s).*: the reporter of denied calls failed; .*"),
    Known("fewer rights", "a helper's end is told: the container goes on with `lo` alone",
          kind="memory", configuration="08c-slirp-user",
          message="(?s).* ended before the container did.*"),
    Known("left, not killed", "what failed is the removal: it says so, and `delete --force` removes"
          " it", kind="fail|return|descriptors", configuration="11", message=FORCE),
    Known("wrong message", "what could not be removed is told, too", kind="descriptors",
          configuration="11", message=FORCE),
    Known("LEAK", "the killed container may not have ended when the next start looks for leftovers:"
          " the one after that removes its cgroup", kind="kill-restart",
          left=r"cgroup /sys/fs/cgroup/case-N/session/containers-under-the-hood-N"),
    Known("next start failed", "the killed container's pasta may not have ended yet, and has the"
          " port: the message says so", kind="kill-restart", configuration="08c-pasta.*",
          next_message="08c_network: pasta: Failed to bind any port for .*, exiting\n"),
    *(Known(verdict, NO_KERNEL + "a datagram is sent and received whole", kind="return",
            configuration="08c-(bridge|pasta.*|slirp.*)", call="(sendto|recvfrom) .*", error="0")
      for verdict in ("crash", "left, not killed", "fewer rights", "process left")),
    Known("process left", NOT_PROMISED, kind="kill|kill-restart", configuration="0[123].*"),
    Known("LEAK", NOT_PROMISED, kind="kill|kill-restart", configuration="0[123].*"),
)
