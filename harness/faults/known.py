"""Cases that look bad and are explained: each with the reason, and no wider than that reason."""

from __future__ import annotations

import dataclasses
import re
from typing import Tuple

from harness.faults.case import Record


@dataclasses.dataclass(frozen=True)
class Known:
    because: str
    kind: str = "fail"
    configuration: str = ""  # each of these is a regular expression for the whole text, "": any
    case: str = ""
    call: str = ""
    error: str = ""

    def explains(self, record: Record) -> bool:
        patterns = ((self.kind, record.kind), (self.configuration, record.configuration),
                    (self.case, record.case), (self.call, record.call), (self.error, record.error))
        return all(not pattern or re.fullmatch(pattern, text) for pattern, text in patterns)


NO_KERNEL = "no kernel says so: "
KNOWN: Tuple[Known, ...] = (
    Known(NO_KERNEL + "wait4(2) of children that are there and may be waited for",
          call="wait4 .*", error="ECHILD"),
    Known(NO_KERNEL + "wait4(2) with WNOHANG does not sleep, so that no signal interrupts it",
          configuration=".*-init|06|07|08b|08c-none", case=r"--fail 0\.0:wait4:.*", error="EINTR"),
    Known(NO_KERNEL + "a process may always send SIGKILL to its child, until it has waited for it",
          call="(kill|pidfd_send_signal) .*"),
    Known("the kernel or the C library cannot start a program in so little: it ends before main()",
          kind="memory", case="RLIMIT_AS (1500|2500) kB|RLIMIT_DATA (0|64|128|192) kB"
          "|RLIMIT_STACK 8 kB", call=""),
    Known("stages 01 to 03 promise nothing for the time after their own death: die_with() of stage"
          " 04 is the first to do so", kind="kill", configuration="0[123].*"),
)
