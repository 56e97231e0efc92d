// Stage 07: where the cgroups are, by /proc/self/mountinfo and /proc/self/cgroup, between which the
// input has a 0; and how the kernel writes paths there.
#include "common/mount_points.h"
#include "harness/fuzz/fuzz.h"
#include "stages/07_cgroups/hierarchy.h"

namespace {

using box::fuzz::require;

// As the kernel does, see mangle() in fs/proc_namespace.c.
std::string encode_path(std::string_view path) {
  std::string text;
  for (const char c : path) {
    if (c == ' ') {
      text += "\\040";
    } else if (c == '\t') {
      text += "\\011";
    } else if (c == '\n') {
      text += "\\012";
    } else if (c == '\\') {
      text += "\\134";
    } else {
      text += c;
    }
  }
  return text;
}

// A mount point can have any character in its name but a 0.
void check_mount_point(const std::string& name) {
  const std::string path = "/" + name;
  const std::string encoded = encode_path(path);
  require(box::decode_path(encoded) == path, "a path is decoded to what it was");
  const auto found = box::parse_hierarchy(
      "35 24 0:30 / " + encoded + " rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n", "0::/\n");
  require(found && found->mount_point == path && found->own == path,
          "the hierarchy is where it is mounted, whatever its name is");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parts = box::fuzz::split(box::fuzz::text_of(data, size), '\0');
  const std::string& mountinfo = parts.front();
  const std::string& cgroup = parts.back();
  require(box::decode_path(mountinfo).size() <= mountinfo.size(), "what is decoded is not longer");
  if (const auto found = box::parse_hierarchy(mountinfo, cgroup)) {
    require(found->own.starts_with(found->mount_point), "our cgroup is below the mount point");
    // The kernel writes no mount point with "..".
    require(found->own.find("/../", found->mount_point.size()) == std::string::npos,
            "our cgroup is not outside of it");
  }
  check_mount_point(cgroup);
  return 0;
}
