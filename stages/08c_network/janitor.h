// Removes after us what the kernel would leave, even when we are killed with SIGKILL.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "common/unique_fd.h"

namespace box {

// A process that outlives us. It works while the container runs, and cleans up when we have
// finished or died: then a socket whose other end only we have is at its end. Ctrl-C does not reach
// it.
class Janitor {
 public:
  // What it does. All of this runs in the janitor's process. If the janitor has been killed, its
  // parent does clean_up() itself; should both be killed, the next container's start does.
  class Work {
   public:
    virtual ~Work() = default;
    // The descriptors that it needs: all others are closed, for they are its parent's.
    [[nodiscard]] virtual std::vector<int> descriptors() const { return {}; }
    // While the container runs: returns as soon as there is something to read from `parent`. Called
    // again after each note.
    virtual void serve(int parent, const std::string& note);
    // The container has ended: what occupies its ports has to go at once. The parent waits for it.
    virtual void stop() {}
    // After that, for as long as it takes: nobody waits. `note` is the last one.
    virtual void clean_up(const std::string& note) = 0;
  };

  explicit Janitor(std::shared_ptr<Work> work);
  ~Janitor();  // waits for stop(), not for clean_up()
  Janitor(const Janitor&) = delete;
  Janitor& operator=(const Janitor&) = delete;

  // In the parent: what there is to clean up by now, in place of the last note. Throws Failure if
  // the janitor has ended.
  void note(const std::string& text);

 private:
  [[noreturn]] void run(int parent);

  std::shared_ptr<Work> work_;
  UniqueFd socket_;
  std::string last_note_;
  pid_t pid_ = -1;
};

}  // namespace box
