#include "stages/09_lsm/attributes.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/vfs.h>

#include <cerrno>

#include "common/check.h"
#include "common/open_in_root.h"

namespace box {

UniqueFd open_attribute(const UniqueFd& proc, const std::string& name) {
  const std::string path = "self/attr/" + name;
  UniqueFd file(open_in_root(proc.get(), path, O_RDWR, RESOLVE_NO_XDEV));
  if (file.get() == -1 && errno == ENOENT) return file;
  check_quietly(file.get(), "open(/proc/{})", path);
  struct statfs fs = {};
  check_quietly(fstatfs(file.get(), &fs), "fstatfs(/proc/{})", path);
  if (fs.f_type != PROC_SUPER_MAGIC) throw Failure("/proc/" + path + " is not the kernel's");
  return file;
}

UniqueFd open_proc() {
  return UniqueFd(check_quietly(open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC), "open(/proc)"));
}

}  // namespace box
