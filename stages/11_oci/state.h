// Stage 11: what the runtime knows about a container between two commands: a folder for each, with
// state.json, a copy of its config.json, and the socket at which it waits for `start`.
#pragma once

#include <sys/types.h>

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "common/failure.h"
#include "common/unique_fd.h"

namespace box {

struct ContainerState {
  std::string id;
  std::string version;  // of the config
  std::string bundle;
  std::string rootfs;
  std::string created;           // the time, by RFC 3339
  std::string cgroup;            // the directory, "" if it has none of its own
  pid_t pid = 0;                 // 0: not yet
  unsigned long long began = 0;  // when that process was started, see starttime in proc_pid_stat(5)
  bool built = false;            // `create` has come to its end
  std::map<std::string, std::string> annotations;
};

class NoSuchContainer : public Failure {
 public:
  explicit NoSuchContainer(const std::string& id)
      : Failure("container " + id + " does not exist") {}
};

// The current time by RFC 3339.
[[nodiscard]] std::string time_as_text();

// Throws Failure if `id` is not a name that may become that of a folder.
void check_id(const std::string& id);

// The default of --root: /run/PROGRAM, or a folder in $XDG_RUNTIME_DIR for a user who is not root
// on the host.
[[nodiscard]] std::string default_state_root(const std::string& program);

class StateFolder {
 public:
  // Makes the folder for a new container. Throws Failure if the id is taken, or if other users may
  // write to `root`, because they could then tell us to kill any process.
  [[nodiscard]] static StateFolder make(const std::string& root, const std::string& id);
  // Throws NoSuchContainer if there is none.
  [[nodiscard]] static StateFolder open(const std::string& root, const std::string& id);
  // The ids of all containers.
  [[nodiscard]] static std::vector<std::string> ids_in(const std::string& root);

  // Waits until no other command changes this container. Others cannot take the lock, because the
  // folder is ours alone. Throws NoSuchContainer if it has been removed in the meantime.
  void lock();
  // Without waiting: whether another command holds it.
  [[nodiscard]] bool is_locked() const;
  // Throws Failure.
  [[nodiscard]] ContainerState read() const;
  // By rename(2), so that a reader sees either the old text or the new one.
  void write(const ContainerState& state) const;
  void write_config(const std::string& text) const;
  [[nodiscard]] std::string config() const;
  [[nodiscard]] bool is_waiting_for_start() const;
  // With everything in it.
  void remove();
  void close();

  [[nodiscard]] int get() const { return folder_.get(); }

 private:
  StateFolder(UniqueFd root, UniqueFd folder, std::string id)
      : root_(std::move(root)), folder_(std::move(folder)), id_(std::move(id)) {}
  void write_file(const std::string& name, const std::string& text) const;

  UniqueFd root_;
  UniqueFd folder_;
  std::string id_;
};

// "creating", "created", "running", "paused" or "stopped".
[[nodiscard]] std::string status_of(const StateFolder& folder, const ContainerState& state);

// The container's state in the form of the specification, and for `list` with owner and time.
[[nodiscard]] nlohmann::ordered_json json_of(const ContainerState& state,
                                             const std::string& status);
[[nodiscard]] std::string state_as_json(const ContainerState& state, const std::string& status);
// The text of `json`, with all that is not printable ASCII escaped: the bundle's author chooses the
// annotations, and the text may be printed on a terminal.
[[nodiscard]] std::string ascii_of(const nlohmann::ordered_json& json, int indent = -1);

// Whether the process that `state` names still runs; another one with its number does not count.
[[nodiscard]] bool is_alive(const ContainerState& state);
// A pidfd of it. Throws Failure, "container not running".
[[nodiscard]] UniqueFd open_init(const ContainerState& state);
[[nodiscard]] unsigned long long start_time_of(pid_t process);

}  // namespace box
