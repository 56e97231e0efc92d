#include "stages/06_pivot_root/volume.h"

#include <linux/magic.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <sstream>
#include <string_view>

#include "common/check.h"
#include "common/mount_points.h"
#include "common/read_file.h"
#include "stages/05_userns/id_map.h"

namespace box {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, ',');) words.push_back(word);
  if (words.empty()) words.emplace_back();
  return words;
}

bool is_one_of(const std::string& word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// The mount point: absolute, normalized, and not one of the container's own mount points. A link in
// the container may still lead to one; make_mount_point() checks that.
std::string parse_target(const std::string& text, const char* name) {
  // Of slashes alone, the library leaves some.
  const bool only_slashes = text.find_first_not_of('/') == std::string::npos;
  std::string target = only_slashes ? "/" : fs::path(text).lexically_normal();
  if (target.size() > 1 && target.back() == '/') target.pop_back();
  if (target.empty() || target.front() != '/' || target == "/") {
    throw Failure(std::string(name) + " must be an absolute path below /");
  }
  for (const char* taken : {"/proc", "/sys"}) {
    if (is_in(target, taken)) {
      throw Failure(std::string("nothing may be mounted in ") + taken + " of the container");
    }
  }
  if (target == "/dev") throw Failure("the container has a /dev of its own; mount below it");
  return target;
}

// Options of docker run that volumes and tmpfs share.
bool set_common_option(Volume& volume, const std::string& word) {
  if (word == "ro" || word == "rw") {
    volume.read_only = word == "ro";
  } else if (word == "exec" || word == "noexec") {
    volume.no_exec = word == "noexec";
  } else {
    return is_one_of(word, {"nosuid", "nodev"});  // these always hold
  }
  return true;
}

void set_volume_option(Volume& volume, const std::string& word) {
  if (set_common_option(volume, word)) return;
  // Options that always hold, and some that Docker Desktop uses and others ignore.
  if (is_one_of(word, {"private", "rprivate", "cached", "delegated", "consistent"})) return;
  if (word == "idmap") {
    volume.idmap = true;
    return;
  }
  if (is_one_of(word, {"z", "Z"})) {
    if (access("/sys/fs/selinux/enforce", F_OK) != 0) return;  // without SELinux there is no label
    throw Failure(
        "this stage does not change a volume's label",
        "sudo chcon -R -t container_file_t " + volume.source + ", and leave :" + word + " out");
  }
  if (is_one_of(word, {"shared", "rshared", "slave", "rslave"})) {
    throw Failure("what the host mounts later does not appear in a container: leave :" + word +
                  " out");
  }
  throw Failure("'" + word +
                "' is not an option of a volume; choose from ro, rw, noexec, idmap, z and Z");
}

void set_tmpfs_option(Volume& tmpfs, const std::string& word) {
  if (set_common_option(tmpfs, word)) return;
  const auto equals = word.find('=');
  const std::string key = word.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
  const bool good = !value.empty() && std::all_of(value.begin(), value.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '%';
  });
  if (!is_one_of(key, {"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"}) || !good) {
    throw Failure("'" + word +
                  "' is not an option of a tmpfs; choose from ro, rw, exec, size=, mode=, uid= and"
                  " gid=");
  }
  tmpfs.tmpfs.emplace_back(key, value);
}

// The initramfs is in memory, so the mounts, of which there may be thousands, are hardly ever read.
void refuse_initramfs() {
  struct statfs root = {};
  check_quietly(statfs("/", &root), "statfs(/)");
  const auto type = static_cast<std::uint32_t>(root.f_type);  // signed on i386
  if (type != RAMFS_MAGIC && type != TMPFS_MAGIC) return;
  if (root_is_initramfs(read_file("/proc/self/mountinfo"))) {
    throw Failure("/ is the initramfs, which pivot_root(2) cannot leave",
                  "switch_root(8) to another file system first");
  }
}

}  // namespace

bool root_is_initramfs(const std::string& mountinfo) {
  std::istringstream lines(mountinfo);
  for (std::string line; std::getline(lines, line);) {
    if (line.find(" / / ") != std::string::npos && line.find(" - rootfs ") != std::string::npos) {
      return true;
    }
  }
  return false;
}

Volume parse_volume(const std::string& text) {
  const auto first = text.find(':');
  const auto second = first == std::string::npos ? first : text.find(':', first + 1);
  if (first == std::string::npos || first == 0) throw Failure("is not HOST:CONTAINER[:ro]");
  Volume volume;
  volume.source = text.substr(0, first);
  volume.target = parse_target(text.substr(first + 1, second - first - 1), "CONTAINER");
  if (second != std::string::npos) {
    for (const auto& word : split_at_commas(text.substr(second + 1))) {
      set_volume_option(volume, word);
    }
  }
  return volume;
}

Volume parse_tmpfs(const std::string& text) {
  const auto colon = text.find(':');
  Volume tmpfs;
  tmpfs.target = parse_target(text.substr(0, colon), "DIR");
  tmpfs.no_exec = true;
  tmpfs.tmpfs = {{"mode", "1777"}};  // as docker run makes it; a later mode overrides this
  if (colon != std::string::npos) {
    for (const auto& word : split_at_commas(text.substr(colon + 1))) set_tmpfs_option(tmpfs, word);
  }
  return tmpfs;
}

MountOptions::MountOptions(CommandLine& line) {
  line.add_option("-v,--volume", "HOST:CONTAINER[:ro,idmap]",
                  "show a file or directory of the host in the container",
                  [this](const std::string& text) {
                    Volume volume = parse_volume(text);
                    std::error_code error;
                    volume.source = fs::canonical(volume.source, error);
                    if (error) throw Failure(error.message());
                    if (volume.idmap && !is_root_of_the_host()) {
                      throw Failure("only the host's root can show files with other owners",
                                    "your own files already belong to root inside: leave :idmap"
                                    " out");
                    }
                    add(volume);
                  });
  line.add_option("--tmpfs", "DIR[:size=SIZE,...]",
                  "mount an empty directory that is kept in"
                  " memory",
                  [this](const std::string& text) { add(parse_tmpfs(text)); });
  line.add_flag("--read-only", read_only, "make the root file system read-only");
  line.add_check(refuse_initramfs);
}

void MountOptions::add(const Volume& volume) {
  for (const Volume& other : volumes) {
    if (other.target == volume.target) {
      throw Failure("something is mounted at " + volume.target + " already");
    }
  }
  volumes.push_back(volume);
}

}  // namespace box
