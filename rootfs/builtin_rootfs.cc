#include "rootfs/builtin_rootfs.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <filesystem>

#include "common/build_once.h"
#include "common/check.h"
#include "common/run_program.h"
#include "rootfs/rootfs_id.h"

namespace box {
namespace {

namespace fs = std::filesystem;

// Bazel puts rootfs/rootfs.tar and stages/NN_x/NN_x below the same folder.
std::string find_tar() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const fs::path tar = (program.parent_path() / "../../rootfs/rootfs.tar").lexically_normal();
  if (error || !fs::exists(tar, error)) {
    throw Failure("the built-in root file system is not at " + tar.string(),
                  "start the stage where Bazel has built it, or choose a root with --rootfs DIR");
  }
  return tar;
}

void unpack(const std::string& tar, const std::string& directory) {
  try {
    run_program(
        {"tar", "--extract", "--preserve-permissions", "--file", tar, "--directory", directory});
  } catch (const Failure&) {
    // tar says "Wrote only 4608 of 10240 bytes", and not why.
    std::error_code error;
    if (fs::space(directory, error).available < fs::file_size(tar, error)) {
      throw Failure(ENOSPC, "tar --extract --directory " + directory);
    }
    throw;
  }
}

// Only root of the host may make device nodes, see mknod(2). For everybody else /dev stays empty
// until stage 06 mounts one.
void make_device_nodes(const std::string& directory) {
  const struct {
    const char* name;
    unsigned minor;
  } kMemoryDevices[] = {{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}};
  const auto make = [&](const std::string& name, dev_t device) {
    const std::string path = directory + "/dev/" + name;
    if (mknod(path.c_str(), S_IFCHR, device) == 0) {
      check_quietly(chmod(path.c_str(), 0666), "chmod({})", path);  // mknod() obeys the umask
    } else if (errno != EPERM) {
      check_quietly(-1, "mknod({})", path);
    }
  };
  for (const auto& device : kMemoryDevices) make(device.name, makedev(1, device.minor));
  make("tty", makedev(5, 0));
}

}  // namespace

std::string builtin_rootfs(const std::string& cache) {
  const std::string path = (cache.empty() ? cache_directory() : cache) + "/rootfs-" + kRootfsId;
  build_once(path, [](const std::string& partial) {
    unpack(find_tar(), partial);
    make_device_nodes(partial);
  });
  return path;
}

}  // namespace box
