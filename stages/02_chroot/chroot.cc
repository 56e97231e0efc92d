#include "stages/02_chroot/chroot.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "common/build_once.h"
#include "common/check.h"
#include "rootfs/builtin_rootfs.h"

namespace box {
namespace {

bool command_is_root_of_the_host = false;

}  // namespace

RootOptions::RootOptions(CommandLine& line) {
  line.add_option("--rootfs", "DIR", "use DIR as the root directory (default: the built-in one)",
                  directory);
}

void require_root() {
  command_is_root_of_the_host = geteuid() == 0;
  if (command_is_root_of_the_host) return;
  throw Failure(
      "this stage needs root: chroot(2) requires CAP_SYS_CHROOT",
      "bazel run --config=root //stages/..., or sudo; stages 05 and later do not need root");
}

std::string cache_of_roots() {
  if (geteuid() != 0 || command_is_root_of_the_host) return "";
  const std::string apart = cache_directory() + "/containers";
  if (mkdir(apart.c_str(), 0700) == -1 && errno != EEXIST) check_quietly(-1, "mkdir({})", apart);
  return apart;
}

std::string find_root(const RootOptions& rootfs) {
  if (rootfs.directory.empty()) return builtin_rootfs(cache_of_roots());
  std::error_code error;
  std::string path = std::filesystem::canonical(rootfs.directory, error);
  if (!error && !std::filesystem::is_directory(path)) {
    error = std::make_error_code(std::errc::not_a_directory);
  }
  if (error) throw Failure(error.value(), "--rootfs " + rootfs.directory);
  return path;
}

void change_root(const std::string& root) {
  // chroot(2) does not change the working directory. If that stayed outside, it would be a way out,
  // and getcwd(2) would return "(unreachable)/...". Entering the new root first closes this way:
  // "." is `root` before and after.
  check(chdir(root.c_str()), "chdir({})", root);
  check(chroot("."), "chroot(.)");
}

Environment container_environment(const std::string& stage) {
  Environment environment = {
      {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
      {"HOME", "/root"},
      {"container", stage},
      {"ENV", "/etc/profile"},  // the file that an interactive sh reads if it is not a login shell
  };
  if (const char* term = std::getenv("TERM")) environment["TERM"] = term;
  return environment;
}

}  // namespace box
