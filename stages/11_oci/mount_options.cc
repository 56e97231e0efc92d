#include "stages/11_oci/mount_options.h"

#include <algorithm>

#include "common/failure.h"

namespace box {
namespace {

struct Attribute {
  const char* name;
  unsigned set;
  unsigned clear;
};

// With an "r" in front they apply to the mounts below, too. The times of access are one value of
// several bits, which has to be cleared to be changed, see mount_setattr(2).
constexpr Attribute kAttributes[] = {
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
    {"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
    {"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"norelatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"atime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"nostrictatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
};

constexpr std::pair<const char*, unsigned long> kPropagations[] = {
    {"private", MS_PRIVATE},
    {"shared", MS_SHARED},
    {"slave", MS_SLAVE},
    {"unbindable", MS_UNBINDABLE},
};

// What holds anyway, or what only mount(8) itself is told.
constexpr const char* kNothing[] = {"defaults", "async",      "nomand",    "loud",
                                    "silent",   "noiversion", "nolazytime"};

// Of the file system as a whole, so not of a bind mount.
constexpr const char* kOfSuperblock[] = {"sync", "dirsync", "lazytime", "iversion"};

constexpr const char* kNotDone[] = {"remount", "mand"};

bool is_in(const char* const* first, const char* const* last, const std::string& word) {
  return std::find(first, last, word) != last;
}

void add(MountAttributes& attributes, const Attribute& attribute) {
  attributes.set = (attributes.set & ~attribute.clear) | attribute.set;
  attributes.clear = (attributes.clear & ~attribute.set) | attribute.clear;
}

const Attribute* attribute_called(const std::string& word) {
  const auto* found =
      std::find_if(std::begin(kAttributes), std::end(kAttributes),
                   [&](const Attribute& attribute) { return word == attribute.name; });
  return found == std::end(kAttributes) ? nullptr : found;
}

}  // namespace

unsigned long propagation_called(const std::string& word) {
  for (const auto& [name, flag] : kPropagations) {
    if (word == name) return flag;
    if (word == std::string("r") + name) return flag | MS_REC;
  }
  return 0;
}

void add_mount_option(ConfigMount& mount, const std::string& word) {
  if (const Attribute* attribute = attribute_called(word)) return add(mount.attributes, *attribute);
  if (const auto* attribute = word.starts_with('r') ? attribute_called(word.substr(1)) : nullptr) {
    return add(mount.below, *attribute);
  }
  if (const auto propagation = propagation_called(word); propagation != 0) {
    mount.propagation = propagation;
    return;
  }
  if (word == "bind" || word == "rbind") {
    mount.type = "bind";
    mount.recursive = word == "rbind";
    return;
  }
  if (word == "idmap" || word == "ridmap") {
    mount.maps_ids = true;
    mount.maps_ids_below = mount.maps_ids_below || word == "ridmap";
    return;
  }
  if (word == "tmpcopyup") {
    mount.copy_up = true;
    return;
  }
  if (is_in(std::begin(kNothing), std::end(kNothing), word)) return;
  if (is_in(std::begin(kNotDone), std::end(kNotDone), word)) {
    throw Failure("this runtime cannot do the option " + word);
  }
  const auto equals = word.find('=');
  mount.data.emplace_back(word.substr(0, equals),
                          equals == std::string::npos ? "" : word.substr(equals + 1));
}

std::vector<std::string> known_mount_options() {
  std::vector<std::string> names = {"bind", "rbind", "idmap", "ridmap", "tmpcopyup"};
  for (const Attribute& attribute : kAttributes) {
    names.emplace_back(attribute.name);
    names.push_back(std::string("r") + attribute.name);
  }
  for (const auto& [name, flag] : kPropagations) {
    names.emplace_back(name);
    names.push_back(std::string("r") + name);
  }
  names.insert(names.end(), std::begin(kNothing), std::end(kNothing));
  names.insert(names.end(), std::begin(kOfSuperblock), std::end(kOfSuperblock));
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace box
