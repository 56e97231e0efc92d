#include "stages/11_oci/commands.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "common/check.h"
#include "common/descriptors.h"
#include "common/parse_number.h"
#include "common/printable.h"
#include "common/read_file.h"
#include "common/write_file.h"
#include "stages/04_namespaces/namespaces.h"
#include "stages/05_userns/id_map.h"
#include "stages/07_cgroups/cgroup.h"
#include "stages/11_oci/container.h"
#include "stages/11_oci/container_cgroup.h"

namespace box {
namespace {

using Json = nlohmann::ordered_json;

void print(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) == EOF || std::fflush(stdout) != 0) {
    throw Failure(errno, "write(stdout)");
  }
}

int parse_signal(const std::string& text) {
  if (const auto number = parse_number<int>(text)) {
    if (*number >= 1 && *number < NSIG) return *number;
  }
  const char* name = text.c_str();
  if (strncasecmp(name, "SIG", 3) == 0) name += 3;
  for (int signal = 1; signal < NSIG; ++signal) {
    const char* known = sigabbrev_np(signal);
    if (known != nullptr && strcasecmp(known, name) == 0) return signal;
  }
  throw Failure("unknown signal \"" + text + "\"");
}

// A container as it is now.
struct Found {
  StateFolder folder;
  ContainerState state;
  std::string status;
};

Found find(const std::string& root, const std::string& id) {
  StateFolder folder = StateFolder::open(root, id);
  ContainerState state = folder.read();
  std::string status = status_of(folder, state);
  return {std::move(folder), std::move(state), std::move(status)};
}

Found find(const Request& request) { return find(request.root, request.id); }

const std::string& cgroup_of(const Found& found) {
  if (found.state.cgroup.empty()) {
    throw Failure("container " + found.state.id + " has no cgroup of its own");
  }
  return found.state.cgroup;
}

void state(const Request& request) {
  const Found found = find(request);
  print(state_as_json(found.state, found.status) + "\n");
}

void kill_container(const Request& request) {
  const int signal = parse_signal(request.signal);
  const Found found = find(request);
  if (request.all && !found.state.cgroup.empty()) {
    // This kills all at once, however fast they fork and wherever below they are.
    const std::string kill_file = found.state.cgroup + "/cgroup.kill";  // since Linux 5.14
    if (signal == SIGKILL && file_exists(kill_file)) return write_file(kill_file, "1");
    for (const pid_t process : processes_in(found.state.cgroup)) (void)::kill(process, signal);
    return;
  }
  if (request.all && found.status == "stopped") return;  // as in runc
  const UniqueFd init = open_init(found.state);
  check(static_cast<int>(syscall(SYS_pidfd_send_signal, init.get(), signal, nullptr, 0)),
        "pidfd_send_signal({}, {})", found.state.pid, signal);
}

void remove(const Request& request) {
  try {
    StateFolder folder = StateFolder::open(request.root, request.id);
    delete_container(folder, request.force);
  } catch (const NoSuchContainer&) {
    if (!request.force) throw;
  }
}

// Those of `ids` that have not been removed meanwhile.
std::vector<Found> containers_called(const std::vector<std::string>& ids, const Request& request) {
  std::vector<Found> all;
  for (const auto& id : ids) {
    try {
      all.push_back(find(request.root, id));
    } catch (const Failure& failure) {
      trace(failure.what());
    }
  }
  return all;
}

void list(const Request& request) {
  const auto all = containers_called(StateFolder::ids_in(request.root), request);
  if (request.quiet) {
    for (const Found& one : all) print(one.state.id + "\n");
    return;
  }
  if (request.format == "json") {
    Json array = Json::array();
    for (const Found& one : all) array.push_back(json_of(one.state, one.status));
    return print(ascii_of(array) + "\n");
  }
  constexpr const char* kLine = "{:<20} {:<10} {:<10} {:<30} {}\n";
  print(fmt::format(fmt::runtime(kLine), "ID", "PID", "STATUS", "BUNDLE", "CREATED"));
  for (const Found& one : all) {
    const pid_t pid = one.status == "stopped" ? 0 : one.state.pid;
    print(fmt::format(fmt::runtime(kLine), one.state.id, pid, one.status,
                      printable(one.state.bundle), one.state.created));
  }
}

void ps(const Request& request) {
  const Found found = find(request);
  if (found.status == "stopped") throw Failure("container not running");
  const auto processes = found.state.cgroup.empty() ? std::vector<pid_t>{found.state.pid}
                                                    : processes_in(found.state.cgroup);
  if (request.format == "json") return print(Json(processes).dump() + "\n");
  print(fmt::format("{:>8} {}\n", "PID", "COMMAND"));
  for (const pid_t process : processes) {
    std::string words = read_file(fmt::format("/proc/{}/cmdline", process));
    std::replace(words.begin(), words.end(), '\0', ' ');
    print(fmt::format("{:>8} {}\n", process, printable(words)));  // the container chooses them
  }
}

void pause(const Request& request) {
  const Found found = find(request);
  if (found.status != "running" && found.status != "created") {
    throw Failure("cannot pause a container that is " + found.status);
  }
  freeze(cgroup_of(found), true);
}

void resume(const Request& request) {
  const Found found = find(request);
  if (found.status != "paused") throw Failure("cannot resume a container that is not paused");
  freeze(cgroup_of(found), false);
}

void update(const Request& request) {
  const Found found = find(request);
  if (found.status == "stopped") throw Failure("container not running");
  std::string text;
  if (request.resources == "-") {
    text = read_to_end(STDIN_FILENO, "stdin");
  } else {
    const UniqueFd file(check_quietly(open(request.resources.c_str(), O_RDONLY | O_CLOEXEC),
                                      "open({})", request.resources));
    text = read_to_end(file.get(), request.resources);
  }
  const Resources resources = parse_resources(text);
  // containerd passes on those that the config has.
  if (!resources.devices.empty() &&
      resources.devices !=
          parse_config(found.folder.config(), found.state.bundle).resources.devices) {
    throw Failure("devices: the rules of a container that runs are not changed");
  }
  set_resources(cgroup_of(found), resources);
}

// In runc's form, as far as cgroup v2 has it.
Json stats_of(const std::string& cgroup) {
  const auto number = [&](const char* file, const char* key) {
    return number_in(cgroup, file, key).value_or(0);
  };
  constexpr std::uint64_t kNanoseconds = 1000;
  return {
      {"cpu",
       {{"usage",
         {{"total", number("cpu.stat", "usage_usec") * kNanoseconds},
          {"kernel", number("cpu.stat", "system_usec") * kNanoseconds},
          {"user", number("cpu.stat", "user_usec") * kNanoseconds}}},
        {"throttling",
         {{"periods", number("cpu.stat", "nr_periods")},
          {"throttledPeriods", number("cpu.stat", "nr_throttled")},
          {"throttledTime", number("cpu.stat", "throttled_usec") * kNanoseconds}}}}},
      {"memory",
       {{"cache", number("memory.stat", "file")},
        {"usage", {{"limit", number("memory.max", "")}, {"usage", number("memory.current", "")}}}}},
      {"pids", {{"current", number("pids.current", "")}, {"limit", number("pids.max", "")}}},
  };
}

Json event_of(const Found& found) {
  return {{"type", "stats"}, {"id", found.state.id}, {"data", stats_of(cgroup_of(found))}};
}

// Until the container has ended, or only once.
void events(const Request& request) {
  const Found first = find(request);
  if (first.status == "stopped") throw Failure("container not running");
  print(event_of(first).dump() + "\n");
  while (!request.stats) {
    std::this_thread::sleep_for(std::chrono::duration<double>(request.interval));
    const std::vector<Found> now = containers_called({request.id}, request);
    if (now.empty() || now[0].status == "stopped") return;
    print(event_of(now[0]).dump() + "\n");
  }
}

void start_one(const Request& request) {
  StateFolder folder = StateFolder::open(request.root, request.id);
  start(folder);
}

int dispatch(const Request& request, const std::function<int(const Request&)>& build) {
  const std::string& command = request.command;
  if (command == "create" || command == "run") return build(request);
  if (command == "exec") return exec_in_container(request);
  const std::pair<const char*, void (*)(const Request&)> kCommands[] = {
      {"start", start_one}, {"state", state},   {"kill", kill_container}, {"delete", remove},
      {"list", list},       {"ps", ps},         {"pause", pause},         {"resume", resume},
      {"update", update},   {"events", events},
  };
  for (const auto& [name, run] : kCommands) {
    if (command == name) run(request);
  }
  if (command == "features") print_features();
  if (command == "spec") write_spec(request.bundle, request.for_ordinary_user);
  return 0;
}

}  // namespace

int run_command(int argc, char** argv, const std::function<int(const Request&)>& build) {
  constexpr int kFailed = 1;  // as runc's; 125 and the like are the engine's
  Request request;
  const auto report = [&](const std::string& message, const std::string& hint) {
    log_failure(request, "error", message);
    warn(message, hint);
    return kFailed;
  };
  try {
    parse_request(argc, argv, request);
    // What our caller has open would otherwise be open, too, while paths of the container's are
    // looked up.
    std::vector<int> preserved;
    for (int i = 0; i < request.preserved_fds; ++i) preserved.push_back(STDERR_FILENO + 1 + i);
    close_all_but(preserved);
    // Processes of the container that share its PID namespace must not look into ours before the
    // execve(2), see prctl(2) and ptrace(2).
    if (is_root_of_the_host()) (void)prctl(PR_SET_DUMPABLE, 0);
    return dispatch(request, build);
  } catch (const Failure& last) {
    const Failure& failure = first_failure() != nullptr ? *first_failure() : last;
    return report(failure.what(), failure.hint());
  } catch (const std::exception& error) {
    return report(error.what(), "");
  }
}

int run_created(const Request& request, StateFolder& folder, Child& child, OwnTerminal& terminal) {
  const auto remove = [&] {
    try {
      delete_container(folder, true);
    } catch (const Failure& failure) {
      warn(failure.what(), "delete --force tries again");
    }
  };
  int status = 0;
  try {
    start(folder);
    if (request.detach) return status;
    status = wait_for_pid_1(child, &terminal);
  } catch (const std::exception&) {
    remove();
    throw;
  }
  if (!request.keep) remove();
  return status;
}

}  // namespace box
