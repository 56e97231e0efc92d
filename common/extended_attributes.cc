#include "common/extended_attributes.h"

#include <sys/mman.h>
#include <sys/xattr.h>

#include "common/check.h"

namespace box {

bool keeps_user_attributes(const UniqueFd& file) {
  constexpr const char* kName = "user.box.test";
  return fsetxattr(file.get(), kName, "y", 1, 0) == 0 && fremovexattr(file.get(), kName) == 0;
}

bool tmpfs_keeps_user_attributes() {
  // A memfd is a file on a tmpfs, the only one that is certain to exist.
  return keeps_user_attributes(
      UniqueFd(check_quietly(memfd_create("attributes", MFD_CLOEXEC), "memfd_create()")));
}

}  // namespace box
