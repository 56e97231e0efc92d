#include "stages/05_userns/user_database.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "common/check.h"
#include "common/open_in_root.h"
#include "common/parse_number.h"
#include "common/unique_fd.h"

namespace box {
namespace {

constexpr std::size_t kMaxBytes = 1024 * 1024;

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// name:password:uid:gid:gecos:home:shell
std::optional<PasswdEntry> parse_passwd_line(std::string_view line) {
  const auto fields = split(line, ':');
  if (fields.size() < 4 || fields[0].empty()) return std::nullopt;
  const auto uid = parse_id(fields[2]);
  const auto gid = parse_id(fields[3]);
  if (!uid || !gid) return std::nullopt;
  return PasswdEntry{std::string(fields[0]), *uid, *gid,
                     std::string(fields.size() > 5 ? fields[5] : "")};
}

}  // namespace

std::optional<std::uint32_t> parse_id(std::string_view text) {
  const auto id = parse_number<std::uint32_t>(text);
  return id == UINT32_MAX ? std::nullopt : id;
}

std::optional<PasswdEntry> find_passwd_entry(std::string_view passwd, const std::string& user) {
  const auto number = parse_id(user);
  std::optional<PasswdEntry> by_number;
  for (const auto line : split(passwd, '\n')) {
    const auto entry = parse_passwd_line(line);
    if (entry && entry->name == user) return entry;
    if (entry && number && entry->uid == *number && !by_number) by_number = entry;
  }
  return by_number;
}

std::optional<gid_t> find_group(std::string_view group, const std::string& name) {
  for (const auto line : split(group, '\n')) {  // name:password:gid:members
    const auto fields = split(line, ':');
    if (fields.size() < 3 || fields[0].empty() || fields[0] != name) continue;
    if (const auto gid = parse_id(fields[2])) return *gid;
  }
  return std::nullopt;
}

std::vector<gid_t> groups_of(std::string_view group, const std::string& name) {
  std::vector<gid_t> groups;
  for (const auto line : split(group, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() < 4 || name.empty()) continue;
    const auto gid = parse_id(fields[2]);
    if (!gid) continue;
    for (const auto member : split(fields[3], ',')) {
      if (member == name) groups.push_back(*gid);
    }
  }
  return groups;
}

std::string read_database(const std::string& path) {
  constexpr const char* kHint = "-u UID[:GID] chooses another";
  // The working directory is the container's root.
  const UniqueFd file(open_in_root(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat st = {};
  if (file.get() == -1 && errno == ENOENT) return "";
  if (file.get() == -1 || fstat(file.get(), &st) == -1) {
    throw Failure(errno, "the container's " + path, kExitSetupFailed, kHint);
  }
  if (!S_ISREG(st.st_mode)) {
    throw Failure("the container's " + path + " is not a regular file", kHint);
  }
  std::string text(kMaxBytes, '\0');
  const auto size = check_quietly(TEMP_FAILURE_RETRY(read(file.get(), text.data(), text.size())),
                                  "read({})", path);
  text.resize(static_cast<std::size_t>(size));
  return text;
}

}  // namespace box
