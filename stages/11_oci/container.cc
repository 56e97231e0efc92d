#include "stages/11_oci/container.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "common/check.h"
#include "common/read_file.h"
#include "common/write_file.h"
#include "stages/07_cgroups/cgroup.h"
#include "stages/11_oci/hooks.h"
#include "stages/11_oci/start_gate.h"
#include "stages/11_oci/user_namespace.h"

namespace box {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLargestConfig = 4 << 20;

std::string real_bundle(const std::string& bundle) {
  std::error_code error;
  const fs::path real = fs::canonical(bundle, error);
  if (error) throw Failure("--bundle " + bundle + ": " + error.message());
  return real;
}

std::string read_config(const std::string& bundle) {
  const std::string path = bundle + "/config.json";
  const UniqueFd file(check_quietly(open(path.c_str(), O_RDONLY | O_CLOEXEC), "open({})", path));
  std::string text = read_to_end(file.get(), path, kLargestConfig);
  if (text.size() > kLargestConfig) throw Failure(path + " is larger than 4 MiB");
  return text;
}

Config parse(const std::string& text, const Request& request, const std::string& bundle) {
  try {
    Config config = parse_config(text, bundle);
    if (!config.process) throw Failure("process: is missing");
    take_ids_of_joined(config);
    return config;
  } catch (const Failure& failure) {
    throw Failure(request.bundle + "/config.json: " + failure.what(), failure.hint());
  }
}

// A hook that comes after the command has been started cannot undo that.
void run_late_hooks(const std::string& kind, const std::vector<Hook>& hooks,
                    const std::string& state) {
  for (const Hook& hook : hooks) {
    try {
      run_hooks(kind, {hook}, state);
    } catch (const Failure& failure) {
      warn(failure.what(), "");
    }
  }
}

void wait_for_end(const UniqueFd& process) {
  constexpr int kMost = 10'000;  // milliseconds
  pollfd event = {process.get(), POLLIN, 0};
  if (TEMP_FAILURE_RETRY(poll(&event, 1, kMost)) != 1) {
    throw Failure("the container was killed, and has not ended in 10 s");
  }
}

void end(const ContainerState& state) {
  const UniqueFd process(state.pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, state.pid, 0))
                                       : -1);
  if (process.get() == -1 || !is_alive(state)) return;
  (void)syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
  wait_for_end(process);
}

}  // namespace

NewContainer::NewContainer(const Request& request)
    : request_(request),
      bundle_(real_bundle(request.bundle)),
      text_(read_config(bundle_)),
      config_(parse(text_, request, bundle_)),
      folder_([&] {
        state_.cgroup = choose_cgroup(config_, request.id, request.cgroups);
        return StateFolder::make(request.root, request.id);
      }()) {
  for (const auto& property : config_.unknown) {
    log_failure(request, "warning", "config.json: " + property + " is unknown, and ignored");
  }
  state_.id = request.id;
  state_.version = config_.version;
  state_.bundle = bundle_;
  state_.rootfs = config_.rootfs;
  state_.created = time_as_text();
  state_.annotations = config_.annotations;
  try {
    folder_.lock();
    folder_.write_config(text_);
    folder_.write(state_);
  } catch (
      const std::exception&) {  // also of JSON that would have to name a path that is not UTF-8
    folder_.remove();
    throw;
  }
}

NewContainer::~NewContainer() {
  if (created_) return;
  try {
    if (hooks_ran_) {
      run_late_hooks("poststop", config_.hooks.poststop, state_for_hooks("stopped"));
    }
    folder_.remove();
  } catch (const Failure& failure) {
    warn(failure.what(), "delete --force tries again");
  }
}

const std::string& NewContainer::with_cgroup() {
  make_cgroup(state_.cgroup, config_.resources);
  return state_.cgroup;
}

void NewContainer::goes_on_as(pid_t child) {
  state_.pid = child;
  state_.began = start_time_of(child);
  folder_.write(state_);
}

void NewContainer::has_process(pid_t child) {
  goes_on_as(child);
  hooks_ran_ = true;
  // In the specification's lifecycle, "creating" ends with step 2, and hooks begin with step 3.
  run_hooks("prestart", config_.hooks.prestart, state_for_hooks("created"));
  run_hooks("createRuntime", config_.hooks.create_runtime, state_for_hooks("created"));
}

std::string NewContainer::state_for_hooks(const std::string& status) const {
  return state_as_json(state_, status);
}

void NewContainer::is_created() {
  state_.built = true;
  folder_.write(state_);
  write_pid_file(request_.pid_file, state_.pid);
  created_ = true;
}

void start(StateFolder& folder) {
  folder.lock();
  const ContainerState state = folder.read();
  const std::string status = status_of(folder, state);
  if (status == "stopped") throw Failure("cannot start a container that has stopped");
  if (status != "created") throw Failure("cannot start an already running container");
  const Hooks hooks = parse_config(folder.config(), state.bundle).hooks;
  ErrorPipe started = open_gate(folder);
  if (started.state_of_child(-1) != ErrorPipe::State::kStarted) {
    throw Failure("the container ended before its command was executed");
  }
  run_late_hooks("poststart", hooks.poststart, state_as_json(state, "running"));
}

void delete_container(StateFolder& folder, bool force) {
  // The process that builds it has the lock until the container has been built or has ended.
  if (force) end(folder.read());
  folder.lock();
  ContainerState state = folder.read();
  const std::string status = status_of(folder, state);
  if (force) {
    end(state);
  } else if (status != "stopped") {
    throw Failure("cannot delete container " + state.id + " that is not stopped: " + status);
  }
  // With a PID namespace of its own nothing is left; otherwise its other processes are.
  if (!state.cgroup.empty()) kill_and_remove_cgroup(state.cgroup);
  try {
    const Hooks hooks = parse_config(folder.config(), state.bundle).hooks;
    run_late_hooks("poststop", hooks.poststop, state_as_json(state, "stopped"));
  } catch (const Failure&) {  // the bundle, or a part of it, is gone: so are the hooks
  }
  folder.remove();
}

void write_pid_file(const std::string& path, pid_t process) {
  if (path.empty()) return;
  const std::string partial = path + ".new";
  const std::string text = std::to_string(process);
  const UniqueFd file(check_quietly(
      open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644),
      "--pid-file: open({})", partial));
  write_all(file.get(), text, partial);
  check_quietly(rename(partial.c_str(), path.c_str()), "--pid-file: rename({})", path);
}

}  // namespace box
