#include "stages/11_oci/state.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <memory>
#include <sstream>

#include "common/build_once.h"
#include "common/check.h"
#include "common/json_node.h"
#include "common/read_file.h"
#include "common/remove_tree.h"
#include "common/write_file.h"
#include "stages/05_userns/id_map.h"
#include "stages/11_oci/start_gate.h"

namespace box {
namespace {

constexpr const char* kState = "state.json";
constexpr const char* kConfig = "config.json";
constexpr std::size_t kLongestId = 255;  // NAME_MAX

UniqueFd open_folder(int where, const std::string& name) {
  return UniqueFd(::openat(where, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

// Files in a folder that others may write to could be replaced by theirs.
void check_that_it_is_ours(const UniqueFd& folder, const std::string& path) {
  struct stat st = {};
  check_quietly(fstat(folder.get(), &st), "fstat({})", path);
  if (st.st_uid != geteuid()) {
    throw Failure("the state folder " + path + " belongs to user " + std::to_string(st.st_uid));
  }
  if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    throw Failure("other users may write to the state folder " + path);
  }
}

// Nor in a folder that others may put in the place of ours.
void check_that_it_stays(const std::string& root) {
  std::error_code ignored;
  const auto above = std::filesystem::weakly_canonical(root, ignored).parent_path();
  const std::string part = replaceable_part_of(above, geteuid());
  if (part.empty()) return;
  throw Failure("the state folder " + root + ": another user may replace " + part);
}

UniqueFd open_root(const std::string& root) {
  check_that_it_stays(root);
  UniqueFd folder(open_folder(AT_FDCWD, root));
  if (folder.get() != -1) check_that_it_is_ours(folder, root);
  return folder;
}

UniqueFd make_root(const std::string& root) {
  check_that_it_stays(root);
  // mkdir -p
  for (std::size_t at = 1; at != std::string::npos;) {
    at = root.find('/', at + 1);
    const std::string part = root.substr(0, at);
    if (mkdir(part.c_str(), 0700) == -1 && errno != EEXIST) check_quietly(-1, "mkdir({})", part);
  }
  UniqueFd folder = open_root(root);
  check_quietly(folder.get(), "open({})", root);
  return folder;
}

constexpr std::size_t kStartTime = 19;  // the 22nd field, of which the first two are cut off

// The fields of /proc/PID/stat behind the name, which may contain anything but ends in the last
// ")": the first is the state. Empty if there is no such process.
std::vector<std::string> stat_of(pid_t process) {
  std::string text;
  try {
    text = read_file_if_there(fmt::format("/proc/{}/stat", process));
  } catch (const Failure& failure) {
    if (failure.error() != ESRCH) throw;  // it has ended since the file was opened
  }
  std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 1)));
  std::vector<std::string> words;
  for (std::string word; fields >> word;) words.push_back(word);
  return words;
}

}  // namespace

std::string time_as_text() {
  timespec now = {};
  check_quietly(clock_gettime(CLOCK_REALTIME, &now), "clock_gettime()");
  tm parts = {};
  (void)gmtime_r(&now.tv_sec, &parts);
  char text[sizeof "2000-01-01T00:00:00"];
  (void)std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:09}Z", text, now.tv_nsec);
}

void check_id(const std::string& id) {
  const auto is_allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '+' || c == '-' || c == '.';
  };
  if (id.empty() || id.size() > kLongestId || id == "." || id == ".." ||
      !std::all_of(id.begin(), id.end(), is_allowed)) {
    throw Failure("invalid container id '" + id + "': it is made of letters, digits and _+-.");
  }
}

std::string default_state_root(const std::string& program) {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (is_root_of_the_host() || runtime == nullptr || runtime[0] != '/') return "/run/" + program;
  return std::string(runtime) + "/" + program;
}

StateFolder StateFolder::make(const std::string& root, const std::string& id) {
  check_id(id);
  UniqueFd root_fd = make_root(root);
  const int made = mkdirat(root_fd.get(), id.c_str(), 0700);
  if (made == -1 && errno == EEXIST) {
    throw Failure("container with given ID already exists: " + id);
  }
  check_quietly(made, "mkdir({}/{})", root, id);
  UniqueFd folder = open_folder(root_fd.get(), id);
  if (folder.get() == -1) {
    const int error = errno;
    (void)unlinkat(root_fd.get(), id.c_str(), AT_REMOVEDIR);
    throw Failure(error, fmt::format("open({}/{})", root, id));
  }
  return {std::move(root_fd), std::move(folder), id};
}

StateFolder StateFolder::open(const std::string& root, const std::string& id) {
  check_id(id);
  UniqueFd root_fd = open_root(root);
  if (root_fd.get() == -1 && errno == ENOENT) throw NoSuchContainer(id);
  check_quietly(root_fd.get(), "open({})", root);
  UniqueFd folder = open_folder(root_fd.get(), id);
  if (folder.get() == -1 && errno == ENOENT) throw NoSuchContainer(id);
  check_quietly(folder.get(), "open({}/{})", root, id);
  check_that_it_is_ours(folder, root + "/" + id);
  return {std::move(root_fd), std::move(folder), id};
}

std::vector<std::string> StateFolder::ids_in(const std::string& root) {
  std::vector<std::string> ids;
  UniqueFd folder = open_root(root);
  if (folder.get() == -1 && errno == ENOENT) return ids;
  check_quietly(folder.get(), "open({})", root);
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(fdopendir(dup(folder.get())), closedir);
  if (entries == nullptr) check_quietly(-1, "opendir({})", root);
  while (const dirent* entry = readdir(entries.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") ids.push_back(name);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

void StateFolder::lock() {
  check_quietly(TEMP_FAILURE_RETRY(flock(folder_.get(), LOCK_EX)), "flock({})", id_);
  struct stat st = {};
  check_quietly(fstat(folder_.get(), &st), "fstat({})", id_);
  if (st.st_nlink == 0) throw NoSuchContainer(id_);
}

bool StateFolder::is_locked() const {
  // By an open file of its own, because a lock belongs to that.
  const UniqueFd other = open_folder(folder_.get(), ".");
  return flock(other.get(), LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK;
}

void StateFolder::write_file(const std::string& name, const std::string& text) const {
  const std::string partial = name + ".new";
  (void)unlinkat(folder_.get(), partial.c_str(), 0);  // of a runtime that was killed
  const UniqueFd file(check_quietly(
      openat(folder_.get(), partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600),
      "open({})", partial));
  write_all(file.get(), text, partial);
  check_quietly(renameat(folder_.get(), partial.c_str(), folder_.get(), name.c_str()), "rename({})",
                name);
}

void StateFolder::write(const ContainerState& state) const {
  const Json json = {{"id", state.id},           {"ociVersion", state.version},
                     {"bundle", state.bundle},   {"rootfs", state.rootfs},
                     {"created", state.created}, {"cgroup", state.cgroup},
                     {"pid", state.pid},         {"began", state.began},
                     {"built", state.built},     {"annotations", state.annotations}};
  write_file(kState, json.dump());
}

ContainerState StateFolder::read() const {
  const UniqueFd file(openat(folder_.get(), kState, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  ContainerState state;
  state.id = id_;
  if (file.get() == -1 && errno == ENOENT) return state;  // `create` was killed at its beginning
  check_quietly(file.get(), "open({})", kState);
  const Json json = parse_json(read_to_end(file.get(), kState));
  const JsonNode node(json, kState);
  state.version = node.at("ociVersion").text();
  state.bundle = node.at("bundle").text();
  state.rootfs = node.at("rootfs").text();
  state.created = node.at("created").text();
  state.cgroup = node.at("cgroup").text();
  state.pid = static_cast<pid_t>(node.at("pid").integer(0, INT32_MAX));
  state.began = node.at("began").number();
  state.built = node.at("built").is_true();
  for (const auto& [key, value] : node.at("annotations").members()) {
    state.annotations[key] = value.text();
  }
  return state;
}

void StateFolder::write_config(const std::string& text) const { write_file(kConfig, text); }

std::string StateFolder::config() const {
  const UniqueFd file(check_quietly(openat(folder_.get(), kConfig, O_RDONLY | O_CLOEXEC),
                                    "open({}/{})", id_, kConfig));
  return read_to_end(file.get(), kConfig);
}

bool StateFolder::is_waiting_for_start() const {
  const int there = faccessat(folder_.get(), kStartSocket, F_OK, AT_SYMLINK_NOFOLLOW);
  if (there == -1 && errno != ENOENT) check_quietly(-1, "access({})", kStartSocket);
  return there == 0;
}

void StateFolder::remove() {
  if (folder_.get() == -1) return;
  remove_tree_at(root_.get(), id_);
  close();
}

void StateFolder::close() {
  folder_.close();
  root_.close();
}

unsigned long long start_time_of(pid_t process) {
  const auto fields = stat_of(process);
  if (fields.size() <= kStartTime) throw Failure("no process " + std::to_string(process));
  return std::stoull(fields[kStartTime]);
}

bool is_alive(const ContainerState& state) {
  if (state.pid <= 0) return false;
  const auto fields = stat_of(state.pid);
  return fields.size() > kStartTime && fields[0] != "Z" && fields[0] != "X" &&
         fields[kStartTime] == std::to_string(state.began);
}

UniqueFd open_init(const ContainerState& state) {
  // The number may be another process's by the time that it is opened, so it is checked afterwards.
  UniqueFd process(state.pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, state.pid, 0)) : -1);
  if (process.get() == -1 || !is_alive(state)) throw Failure("container not running");
  return process;
}

std::string status_of(const StateFolder& folder, const ContainerState& state) {
  if (!state.built && folder.is_locked()) return "creating";
  if (!is_alive(state)) return "stopped";
  if (folder.is_waiting_for_start()) return "created";
  const std::string frozen = state.cgroup.empty() ? "" : read_file(state.cgroup + "/cgroup.freeze");
  return frozen == "1\n" ? "paused" : "running";
}

nlohmann::ordered_json json_of(const ContainerState& state, const std::string& status) {
  nlohmann::ordered_json json = {{"ociVersion", state.version.empty() ? "1.2.0" : state.version},
                                 {"id", state.id},
                                 {"pid", status == "stopped" ? 0 : state.pid},
                                 {"status", status},
                                 {"bundle", state.bundle},
                                 {"rootfs", state.rootfs},
                                 {"created", state.created},
                                 {"owner", ""}};
  if (!state.annotations.empty()) json["annotations"] = state.annotations;
  return json;
}

std::string state_as_json(const ContainerState& state, const std::string& status) {
  constexpr int kIndent = 2;
  return ascii_of(json_of(state, status), kIndent);
}

std::string ascii_of(const nlohmann::ordered_json& json, int indent) {
  return json.dump(indent, ' ', true);
}

}  // namespace box
