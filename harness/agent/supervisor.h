// Starts the programs under test, and makes sure that none of their processes remains.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "harness/agent/process_table.h"
#include "harness/agent/refusal.h"

namespace box {

using Clock = std::chrono::steady_clock;

struct InheritedFile {
  int fd = -1;
  std::string path;
  bool writable = false;
};

struct Limit {
  int resource = 0;
  rlimit value = {};
};

struct StartRequest {
  std::vector<std::string> argv;
  std::string program;  // if it is not argv[0]
  std::vector<std::string> environment;
  std::string directory;
  std::string cgroup;       // a directory of /sys/fs/cgroup: joined while still the agent's user
  std::string input;        // the first content of its stdin
  bool close_input = true;  // after that, end-of-file; otherwise more may be written
  bool terminal = false;    // a pseudo-terminal instead of three pipes
  unsigned short rows = 24;
  unsigned short columns = 80;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::vector<gid_t> groups;
  std::vector<InheritedFile> files;  // extra descriptors, or in place of 0, 1 and 2
  std::vector<int> closed;           // of 0, 1 and 2
  std::vector<int> ignored;          // signals
  std::vector<int> blocked;
  std::vector<Limit> limits;
  std::vector<Refusal> refusals;  // the calls that the kernel refuses
  std::optional<int> nth;         // only the nth of those called `nth_of`, see NthCall
  std::string nth_of;
  std::optional<mode_t> umask;
  bool own_session = true;  // otherwise the agent's, which cannot have a terminal
  bool own_group = true;
  std::size_t output_limit = 256 * 1024;  // of each stream; a run that writes more is ended
  std::chrono::milliseconds time_limit{10000};
};

// One program that was started, and its result.
struct Run {
  int number = 0;
  pid_t pid = -1;
  std::optional<int> wait_status;  // once it has ended
  std::string output;
  std::string errors;
  std::string why = "running";  // "ended", "time limit", "output limit", "killed"
  std::size_t output_limit = 0;
  Clock::time_point deadline;
  Clock::time_point started;
  Clock::time_point ended;
  unsigned long long born = 0;  // see Process::started

  UniqueFd output_fd;  // the terminal's master, if there is one
  UniqueFd errors_fd;
  UniqueFd input_fd;
  std::string input;
  bool close_input = true;
  bool is_terminal = false;
  std::optional<NthCall> nth_call;

  [[nodiscard]] bool is_over() const { return wait_status.has_value(); }
};

class Supervisor {
 public:
  Supervisor();
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Throws Failure if the program cannot be started.
  Run& start(const StartRequest& request);
  // Throws Failure if there is none of this number.
  Run& run(int number);
  void write_input(Run& run, const std::string& text, bool close);

  // Descendants of this process that are not a run's first process. Orphans of a run become our
  // children, see PR_SET_CHILD_SUBREAPER in prctl(2).
  [[nodiscard]] std::vector<Process> processes_of_runs() const;

  // Kills the run, all its descendants and every orphan; returns the processes that still exist.
  std::vector<Process> finish(Run& run, const std::string& why);
  std::vector<Process> finish_all();
  void forget(int number) { runs_.erase(number); }

  // For the main loop: what to poll(2) for, and what to do after it.
  void add_events(std::vector<pollfd>& events) const;
  void handle(const std::vector<pollfd>& events);
  [[nodiscard]] std::optional<Clock::time_point> next_deadline() const;
  // Ends the runs that have taken too long or have written too much.
  void enforce_limits();

 private:
  void reap();
  void read_outputs(Run& run);
  void write_pending_input(Run& run);
  std::vector<Process> kill_until_gone(Run* run);

  std::map<int, std::unique_ptr<Run>> runs_;
  int next_number_ = 1;
  UniqueFd signals_;
};

}  // namespace box
