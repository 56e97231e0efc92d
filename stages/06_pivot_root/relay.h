// Stage 06: copies between two terminals.
#pragma once

#include <poll.h>

#include <string>
#include <string_view>
#include <vector>

#include "common/unique_fd.h"

namespace box {

// Between our caller's terminal and the master of the container's. Each direction has one buffer,
// and we read more only after it has been written, so that a slow reader makes the writer wait. No
// call here waits.
class Relay {
 public:
  // `input` and `output` are those of our caller's terminal, and are not owned.
  Relay(int input, int output) : input_(input), output_(output) {}

  void connect(UniqueFd master);
  [[nodiscard]] bool is_connected() const { return master_.get() != -1; }
  [[nodiscard]] int master() const { return master_.get(); }

  // The descriptors to wait for; `keys`: whether keys may be read.
  void add_to(std::vector<pollfd>& events, bool keys) const;
  // Copies as much as possible without waiting, up to a limit, so that a container that writes all
  // the time does not keep its parent from other work. `ends_lines`: our caller's terminal shows
  // "\n" as "\r\n", as the container's has done already.
  void copy(bool keys, bool ends_lines);
  // The keys that copy() has read.
  [[nodiscard]] std::string_view typed() const { return typed_; }
  // Whether our caller's terminal is gone.
  [[nodiscard]] bool has_lost_caller() const { return caller_is_gone_; }
  // To be called when no process of the container is left: copies their last output. Returns
  // whether all of it has been copied.
  [[nodiscard]] bool drain(bool ends_lines);

  // Closes the master: the container's terminal is gone, and its processes get SIGHUP.
  void hang_up();

 private:
  void copy_keys(bool keys);
  // Returns whether there is nothing more to read for now.
  bool copy_output(bool ends_lines);
  // Writes as much of `bytes` as possible. Returns whether all of it has been written.
  bool write_some(int fd, std::string& bytes);

  int input_;
  int output_;
  UniqueFd master_;
  std::string to_master_;
  std::string to_output_;
  std::string typed_;
  bool held_return_ = false;  // a "\r" that is left out if "\n" comes next
  bool caller_is_gone_ = false;
};

// Appends `bytes` to `text`, without the "\r" of each "\r\n". One at the end waits in `held`.
void append_without_returns(std::string& text, std::string_view bytes, bool& held);

}  // namespace box
