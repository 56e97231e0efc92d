// Cleans up after us what the kernel would leave, even if we are killed with SIGKILL.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "common/unique_fd.h"

namespace box {

// A process that outlives us. It works while the container runs, and cleans up after we have
// finished or died: then it reads end-of-file from a socket whose other end only we have. Ctrl-C
// does not reach it.
class Janitor {
 public:
  // The janitor's tasks. All of these functions run in the janitor's process. If the janitor was
  // killed, its parent calls clean_up() itself; if both were killed, the next container's start
  // cleans up.
  class Work {
   public:
    virtual ~Work() = default;
    // The descriptors that it needs. All others are closed, because they belong to its parent.
    [[nodiscard]] virtual std::vector<int> descriptors() const { return {}; }
    // While the container runs: returns as soon as there is something to read from `parent`. Called
    // again after each note.
    virtual void serve(int parent, const std::string& note);
    // The container has ended: ends whatever occupies its ports. The parent waits for this.
    virtual void stop() {}
    // After that, for as long as it takes, because no process waits for it. `note` is the last one.
    virtual void clean_up(const std::string& note) = 0;
  };

  explicit Janitor(std::shared_ptr<Work> work);
  ~Janitor();  // waits for stop(), not for clean_up()
  Janitor(const Janitor&) = delete;
  Janitor& operator=(const Janitor&) = delete;

  // In the parent: tells the janitor what there is to clean up now, in place of the last note.
  // Throws Failure if the janitor has ended.
  void note(const std::string& text);

 private:
  [[noreturn]] void run(int parent);

  std::shared_ptr<Work> work_;
  UniqueFd socket_;
  std::string last_note_;
  pid_t pid_ = -1;
};

}  // namespace box
