// Stage 11: a container while `create` or `run` builds it.
#pragma once

#include <sys/types.h>

#include <string>

#include "stages/11_oci/config.h"
#include "stages/11_oci/request.h"
#include "stages/11_oci/state.h"

namespace box {

// Whatever fails before is_created(), the destructor leaves nothing behind: no folder, cgroup or
// process. If the runtime is killed, `delete --force` finds in the folder what is left.
class NewContainer {
 public:
  // In the parent: reads the config and claims the id. Everything that is wrong with the request is
  // found out before anything is made.
  explicit NewContainer(const Request& request);
  ~NewContainer();
  NewContainer(const NewContainer&) = delete;
  NewContainer& operator=(const NewContainer&) = delete;

  [[nodiscard]] const Config& config() const { return config_; }
  [[nodiscard]] const ConfigProcess& process() const { return *config_.process; }
  [[nodiscard]] StateFolder& folder() { return folder_; }
  [[nodiscard]] const std::string& cgroup() const { return state_.cgroup; }
  // Makes the cgroup; returns its path, "" if the container has none of its own.
  [[nodiscard]] const std::string& with_cgroup();

  // In the parent: notes the number of the child, and runs the hooks of this moment.
  void has_process(pid_t child);
  // In the parent: the number is another one now.
  void goes_on_as(pid_t child);
  // In the child.
  void close_in_child() { folder_.close(); }
  // The state that hooks get.
  [[nodiscard]] std::string state_for_hooks(const std::string& status) const;
  // In the parent: the container waits for `start`.
  void is_created();

 private:
  const Request& request_;
  std::string bundle_;
  std::string text_;  // of config.json
  Config config_;
  ContainerState state_;
  StateFolder folder_;
  bool created_ = false;
  bool hooks_ran_ = false;
};

// Runs the command of a container that waits, and the hooks that come after.
void start(StateFolder& folder);

// Removes what an ended container has left, and runs the hooks that come last. `force`: ends it
// first.
void delete_container(StateFolder& folder, bool force);

// The file of --pid-file: at once with its content. Does nothing if `path` is "".
void write_pid_file(const std::string& path, pid_t process);

}  // namespace box
