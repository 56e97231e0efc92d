#include "rootfs/builtin_rootfs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "common/build_once.h"
#include "common/check.h"
#include "common/interrupt.h"
#include "common/read_file.h"
#include "common/unique_fd.h"
#include "common/write_file.h"
#include "rootfs/rootfs_id.h"

namespace box {
namespace {

namespace fs = std::filesystem;

// Bazel puts rootfs/rootfs.tar and stages/NN_x/NN_x below the same directory.
std::string tar_path() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (error) throw Failure(error.value(), "readlink(/proc/self/exe)");
  return (program.parent_path() / "../../rootfs/rootfs.tar").lexically_normal();
}

std::string read_tar() {
  const std::string path = tar_path();
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() == -1) {
    throw Failure(errno, "the built-in root file system is not at " + path, kExitSetupFailed,
                  "start the stage where Bazel has built it, or choose a root with --rootfs DIR");
  }
  return read_to_end(file.get(), path);
}

// An entry's head, see "ustar" in tar(5).
struct TarHeader {
  char name[100];
  char mode[8];
  char uid[8];
  char gid[8];
  char size[12];
  char mtime[12];
  char checksum[8];
  char type;
  char target[100];
  char magic[8];
  char owner[32];
  char group[32];
  char device[16];
  char prefix[155];
  char padding[12];
};
static_assert(sizeof(TarHeader) == 512);

template <std::size_t size>
std::string text_in(const char (&field)[size]) {
  return {field, strnlen(field, size)};
}

template <std::size_t size>
std::size_t octal_in(const char (&field)[size]) {
  return std::stoul("0" + text_in(field), nullptr, 8);
}

void write_file_at(const std::string& path, std::string_view content, mode_t mode) {
  const UniqueFd file(
      check_quietly(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode),
                    "open({})", path));
  write_all(file.get(), content, path);
}

// make_rootfs.py has written it, so it contains only directories, files and symbolic links, and
// each directory before its content. We do not run tar(1) for it, because we do not control which
// one PATH leads to, and it would go on if we were killed.
void unpack(const std::string& tar, const std::string& directory) {
  TarHeader header;
  for (std::size_t at = 0; at + sizeof header <= tar.size();) {
    tar.copy(reinterpret_cast<char*>(&header), sizeof header, at);
    if (header.name[0] == '\0') return;  // the end
    throw_if_interrupted();
    const std::string prefix = text_in(header.prefix);
    const std::string path =
        directory + "/" + (prefix.empty() ? "" : prefix + "/") + text_in(header.name);
    const std::size_t size = octal_in(header.size);
    const auto mode = static_cast<mode_t>(octal_in(header.mode));
    if (header.type == '5') {
      check_quietly(mkdir(path.c_str(), mode), "mkdir({})", path);
    } else if (header.type == '2') {
      check_quietly(symlink(text_in(header.target).c_str(), path.c_str()), "symlink({})", path);
    } else {
      write_file_at(path, std::string_view(tar).substr(at + sizeof header, size), mode);
    }
    // What mkdir(2) and open(2) do not set: the set-ID and sticky bits, and those in the umask.
    if (header.type != '2') check_quietly(chmod(path.c_str(), mode), "chmod({})", path);
    at += sizeof header + (size + 511) / 512 * 512;
  }
  throw Failure(tar_path() + " is damaged", "build it again: bazel build //rootfs");
}

// Only root of the host may make device nodes, see mknod(2). For other users /dev stays empty until
// stage 06 mounts one.
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
    unpack(read_tar(), partial);
    make_device_nodes(partial);
  });
  return path;
}

}  // namespace box
