// Tidies up after us what the kernel would leave, even when we are killed with SIGKILL.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "common/unique_fd.h"

namespace box {

// A process that does its work when we let go of it, or when we die: it then reads end-of-file from
// a pipe of which only we have the other end. Ctrl-C does not reach it.
//
// Should it be killed together with us, it leaves what it would have removed; the next container's
// start does.
class Janitor {
 public:
  class Leash {
   public:
    explicit Leash(int fd) : fd_(fd) {}
    // Waits until the parent lets go or dies; answers what it has been told until then.
    [[nodiscard]] std::string wait() const;

   private:
    int fd_;
  };

  // `work` runs in the new process, and calls wait(). If it throws, that is a warning on stderr.
  explicit Janitor(const std::function<void(const Leash&)>& work);
  ~Janitor();  // lets go, and waits until the work is done
  Janitor(const Janitor&) = delete;
  Janitor& operator=(const Janitor&) = delete;

  void tell(const std::string& text);

 private:
  UniqueFd end_;
  pid_t pid_ = -1;
};

}  // namespace box
