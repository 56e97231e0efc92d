#include "stages/05_userns/handshake.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/check.h"

namespace box {

Handshake::Handshake() {
  int ends[2];
  check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
  read_end_ = UniqueFd(ends[0]);
  write_end_ = UniqueFd(ends[1]);
}

void Handshake::wait_for_parent() {
  write_end_.close();  // else we would hold our own end-of-file back
  char byte = 0;
  const auto size = check_quietly(TEMP_FAILURE_RETRY(read(read_end_.get(), &byte, 1)),
                                  "read(the parent's handshake)");
  if (size == 0) throw Failure("the parent has given up");
}

void Handshake::let_child_go_on() {
  // Our copy of the read end stays open until here: a child that has died shall not cost us a
  // SIGPIPE.
  check_quietly(write(write_end_.get(), "", 1), "write(the child's handshake)");
}

}  // namespace box
