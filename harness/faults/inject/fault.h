// A fault, and its place: one system call of one process of a family.
#pragma once

#include <string>

namespace box {

// The `nth` call named `call` that `process` makes. A process is named by its place in the family:
// "0" is the program, "0.1" its second child, "0.1.0" that one's first child.
struct Point {
  std::string process;
  std::string call;
  int nth = 0;
};

struct Fault {
  enum class Kind {
    // The call is not made and returns `result`, which is 0 or a negative errno; or, if that is
    // positive, a read or write moves so many bytes.
    kReturn,
    kKill,  // `victim` is killed before the kernel makes the call
  };
  Kind kind = Kind::kReturn;
  Point at;
  long result = 0;
  std::string victim;
};

// Each throws Failure if the text is not in this form.
Fault parse_failing_call(const std::string& text);  // PROCESS:CALL:NTH:ERRNO, as 0.0:mount:2:EPERM
Fault parse_short_call(const std::string& text);    // PROCESS:CALL:NTH:RESULT, as 0:write:1:0
Fault parse_kill(const std::string& text);          // VICTIM@PROCESS:CALL:NTH, as 0@0.1:read:1

}  // namespace box
