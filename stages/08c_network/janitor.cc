#include "stages/08c_network/janitor.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <exception>

#include "common/check.h"

namespace box {

std::string Janitor::Leash::wait() const {
  std::string told;
  char part[256];
  ssize_t size = 0;
  while ((size = check_quietly(TEMP_FAILURE_RETRY(read(fd_, part, sizeof part)),
                               "read(the janitor's leash)")) > 0) {
    told.append(part, static_cast<std::size_t>(size));
  }
  return told;
}

Janitor::Janitor(const std::function<void(const Leash&)>& work) {
  int ends[2];
  check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
  const UniqueFd read_end(ends[0]);
  end_ = UniqueFd(ends[1]);
  pid_ = check_quietly(fork(), "fork()");
  if (pid_ != 0) return;

  trace_as("janitor");
  end_.close();    // else we would hold our own end-of-file back
  (void)setsid();  // out of the reach of the terminal's signals; a new process leads no group yet
  try {
    work(Leash(read_end.get()));
    _exit(0);
  } catch (const Failure& failure) {
    warn(failure.what(), failure.hint());
  } catch (const std::exception& e) {
    warn(e.what(), "");
  }
  _exit(1);
}

Janitor::~Janitor() {
  end_.close();
  (void)TEMP_FAILURE_RETRY(waitpid(pid_, nullptr, 0));  // that it has ended is all that counts
}

void Janitor::tell(const std::string& text) {
  check_quietly(write(end_.get(), text.data(), text.size()), "write(the janitor's leash)");
}

}  // namespace box
