#include "stages/08a_overlayfs/image_user.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <sstream>
#include <string>
#include <vector>

#include "common/check.h"
#include "common/unique_fd.h"

namespace box {
namespace {

constexpr std::size_t kMostBytes = 1024 * 1024;
constexpr const char* kHint = "-u UID[:GID] chooses another";

// "" if it is not there. It is the image's: it may be a FIFO, or endless.
std::string read_database(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat st = {};
  if (file.get() == -1 && errno == ENOENT) return "";
  if (file.get() == -1 || fstat(file.get(), &st) == -1)
    throw Failure(errno, "the image's " + path, kExitSetupFailed, kHint);
  if (!S_ISREG(st.st_mode)) throw Failure("the image's " + path + " is no regular file", kHint);
  std::string text(kMostBytes, '\0');
  const auto size = check_quietly(TEMP_FAILURE_RETRY(read(file.get(), text.data(), text.size())),
                                  "read({})", path);
  text.resize(static_cast<std::size_t>(size));
  return text;
}

bool parse_id(const std::string& text, std::uint32_t& id) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, id);
  return error == std::errc() && stop == end && id != UINT32_MAX;
}

// The first line of passwd(5) or group(5) with this text in this field, taken apart.
std::vector<std::string> find_line(const std::string& path, std::size_t field,
                                   const std::string& text) {
  std::istringstream lines(read_database(path));
  for (std::string line; std::getline(lines, line);) {
    std::vector<std::string> fields;
    std::istringstream words(line);
    for (std::string word; std::getline(words, word, ':');) fields.push_back(word);
    if (fields.size() > field && fields[field] == text) return fields;
  }
  return {};
}

}  // namespace

IdOptions find_user(const LayerOptions& options, const IdOptions& ids, ProcessOptions& process) {
  IdOptions found = ids;
  if (!options.image || options.image->user.empty() || ids.user_given) return found;
  const std::string& text = options.image->user;
  const auto colon = text.find(':');
  const std::string user = text.substr(0, colon);
  const std::string group = colon == std::string::npos ? "" : text.substr(colon + 1);

  const bool is_number = parse_id(user, found.user);
  // name:password:uid:gid:gecos:home:shell, see passwd(5)
  const auto passwd = find_line("/etc/passwd", is_number ? 2 : 0, user);
  if (!is_number && (passwd.size() < 4 || !parse_id(passwd[2], found.user))) {
    throw Failure("the image's user " + user + " is not in its /etc/passwd", kHint);
  }
  if (passwd.size() >= 4) (void)parse_id(passwd[3], found.group);
  if (passwd.size() >= 6) process.environment.try_emplace("HOME", passwd[5]);
  if (!group.empty() && !parse_id(group, found.group)) {
    const auto line = find_line("/etc/group", 0, group);
    if (line.size() < 3 || !parse_id(line[2], found.group)) {
      throw Failure("the image's group " + group + " is not in its /etc/group", kHint);
    }
  }
  found.user_given = true;
  found.check_that_user_is_mapped("the image's user " + text);
  return found;
}

}  // namespace box
