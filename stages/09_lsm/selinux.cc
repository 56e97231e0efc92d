#include "stages/09_lsm/selinux.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "common/check.h"
#include "common/read_file.h"
#include "stages/09_lsm/attributes.h"

namespace box {
namespace {

const std::string kSelinux = "/sys/fs/selinux/";
constexpr const char* kTypeOfFiles = "hood_container_file_t";  // in containers.cil
constexpr unsigned kCategories = 1024;  // c0 to c1023, in Debian's policy and in Fedora's
constexpr int kDraws = 100;

// Two different categories, of which there are 523,776 pairs.
std::string random_level() {
  unsigned drawn[2] = {};
  while (drawn[0] == drawn[1]) {
    check_quietly(getrandom(drawn, sizeof drawn, 0), "getrandom()");
    for (unsigned& category : drawn) category %= kCategories;
  }
  return fmt::format("s0:c{},c{}", std::min(drawn[0], drawn[1]), std::max(drawn[0], drawn[1]));
}

// What a file of selinuxfs replies to `question`; "" if it refuses.
std::string ask(const std::string& file, const std::string& question) {
  const UniqueFd fd(
      check_quietly(open((kSelinux + file).c_str(), O_RDWR | O_CLOEXEC), "open({})", file));
  std::string reply(4096, '\0');
  if (write(fd.get(), question.c_str(), question.size() + 1) == -1) return "";
  const auto size = read(fd.get(), reply.data(), reply.size());
  return size == -1 ? "" : reply.substr(0, static_cast<std::size_t>(size));
}

// Whether we may do that to a process with that label.
bool may(const std::string& label, const std::string& what, const std::string& permission) {
  const auto number = [](const std::string& text, int base) {
    return std::strtoul(text.c_str(), nullptr, base);
  };
  const std::string folder = kSelinux + "class/" + what;
  const std::string index = read_file(folder + "/index");
  const auto bit = number(read_file(folder + "/perms/" + permission), 10);
  if (bit == 0) return false;  // an older policy does not have it
  return (number(ask("access", own_label() + " " + label + " " + index), 16) &
          (1UL << (bit - 1))) != 0;
}

// Splits "user:role:…".
std::pair<std::string, std::string> user_and_role(const std::string& label) {
  const auto first = label.find(':');
  const auto second = label.find(':', first + 1);
  return {label.substr(0, first), label.substr(first + 1, second - first - 1)};
}

std::string or_else(const std::string& asked, const std::string& otherwise) {
  return asked.empty() ? otherwise : asked;
}

}  // namespace

bool LabelRequest::is_default() const {
  return !disabled && !is_whole() && user.empty() && role.empty() && type.empty() && level.empty();
}

bool has_selinux() {
  struct statfs fs = {};
  return statfs(kSelinux.c_str(), &fs) == 0 &&
         static_cast<std::uint32_t>(fs.f_type) == SELINUX_MAGIC &&  // signed on i386
         (fs.f_flags & ST_RDONLY) == 0;  // read-only, as other containers have it: not for us
}

// The level is ours as long as the socket is open: the kernel lets only one socket of a network
// namespace have an abstract name, and takes it back when the last process that has it ends, see
// unix(7). Returns -1 if another container has it.
UniqueFd claim_level(const std::string& level) {
  UniqueFd fd(check_quietly(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket(AF_UNIX)"));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string name = '\0' + ("containers-under-the-hood/level/" + level);
  if (name.size() > sizeof address.sun_path) return UniqueFd();
  std::memcpy(address.sun_path, name.data(), name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0) return fd;
  if (errno != EADDRINUSE) check_quietly(-1, "bind({})", level);
  return UniqueFd();
}

Labels labels_for(const LabelRequest& request) {
  Labels labels;
  if (request.is_whole()) {
    labels.process = request.process;
    labels.files = request.files;
    return labels;
  }
  std::string level = request.level;
  if (!level.empty()) labels.level = claim_level(level);  // several may ask for the same
  for (int i = 0; level.empty() || (request.level.empty() && labels.level.get() == -1); ++i) {
    if (i == kDraws) throw Failure("SELinux: all levels that were drawn are in use");
    level = random_level();
    labels.level = claim_level(level);
  }
  const auto [own_user, own_role] = user_and_role(own_label());
  const std::string user = or_else(request.user, own_user);
  labels.process = fmt::format("{}:{}:{}:{}", user, or_else(request.role, own_role),
                               or_else(request.type, kDefaultType), level);
  labels.files = fmt::format("{}:object_r:{}:{}", user, kTypeOfFiles, level);
  return labels;
}

bool is_in_policy(const std::string& label) { return !ask("context", label).empty(); }

bool may_change_to(const std::string& label) {
  if (read_file(kSelinux + "enforce") == "0") return true;
  return may(label, "process", "transition") && may(label, "process2", "nnp_transition");
}

std::string own_label() {
  const UniqueFd file = open_attribute(open_proc(), "current");
  char text[4096];
  const auto size = check_quietly(read(file.get(), text, sizeof text), "read(attr/current)");
  return {text, strnlen(text, static_cast<std::size_t>(size))};
}

void change_label_at_exec(const UniqueFd& proc, const std::string& label) {
  const UniqueFd file = open_attribute(proc, "exec");
  check(write(file.get(), label.data(), label.size()), "write(/proc/self/attr/exec, \"{}\")",
        label);
}

}  // namespace box
