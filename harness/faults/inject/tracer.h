// Runs a program under ptrace(2), sees each system call of its process, and of each process of its
// family until that one becomes another program, and makes one of them go wrong.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "harness/faults/inject/fault.h"
#include "harness/faults/inject/registers.h"

namespace box {

struct User {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};

// The log has a line for each thing that happened, with tabs between its fields:
//   call PROCESS NAME NTH RESULT TEXT     a call that has returned, or will not: "?"
//   fault PROCESS NAME NTH RESULT TEXT    the fault was brought about, here
//   missed PROCESS NAME NTH RESULT TEXT   the victim had ended already
//   exec PROCESS                          it has become another program, and is let go
//   end PROCESS exit|signal NUMBER
class Tracer {
 public:
  Tracer(std::optional<Fault> fault, std::FILE* log);

  // Returns the program's wait status, see wait(2). Once the fault has happened, all processes are
  // let go: they run at full speed, and their calls are not traced any more. Otherwise waits for
  // the last of the family, for `patience` seconds after the program's end.
  int run(const std::vector<std::string>& argv, const std::optional<User>& user, unsigned patience);

 private:
  struct Process {
    std::string name;  // empty until its parent's event tells whose child it is
    int children = 0;
    bool waits_for_name = false;
    bool in_call = false;
    std::string call;
    std::string text;  // its arguments
    int nth = 0;
    std::map<std::uint64_t, int> counts;
    bool fault_is_here = false;
    // To be put back.
    std::optional<std::pair<Argument, unsigned long>> argument;
  };

  void start(const std::vector<std::string>& argv, const std::optional<User>& user);
  void handle_stop(pid_t pid, int status);
  void handle_new_child(pid_t parent);
  void handle_exec(pid_t pid);
  void handle_call(pid_t pid);
  void enter_call(pid_t pid, Process& process);
  void leave_call(pid_t pid, Process& process, long result);
  [[nodiscard]] bool is_at(const Process& process) const;
  void bring_about(pid_t pid, Process& process);
  static void exchange(pid_t pid, Process& process, Argument argument, unsigned long value);
  bool kill_victim();
  void let_all_go();
  void go_on(pid_t pid, int signal = 0);
  void say(const char* what, const Process& process, const std::string& result);

  std::optional<Fault> fault_;
  std::FILE* log_;
  std::map<pid_t, Process> processes_;
  pid_t program_ = -1;
  int gate_ = -1;  // the program waits at its other end until we trace it
  bool letting_go_ = false;
};

}  // namespace box
