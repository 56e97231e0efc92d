#include "stages/09_lsm/apparmor.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "common/check.h"
#include "common/read_file.h"
#include "stages/09_lsm/attributes.h"

namespace box {
namespace {

// Linux 5.8 was the first with a directory for AppArmor alone; before, the files were those of the
// one module that had them.
UniqueFd open_own(const UniqueFd& proc, const std::string& name) {
  UniqueFd file = open_attribute(proc, "apparmor/" + name);
  return file.get() == -1 ? open_attribute(proc, name) : std::move(file);
}

}  // namespace

bool has_apparmor() { return read_file("/sys/module/apparmor/parameters/enabled") == "Y\n"; }

bool may_be_loaded(const std::string& profile) {
  // A directory for each, called NAME.NUMBER, which every user may list.
  std::error_code error;
  const std::filesystem::directory_iterator profiles(
      "/sys/kernel/security/apparmor/policy/profiles", error);
  const auto is_it = [&](const auto& entry) { return entry.path().stem() == profile; };
  return error || std::any_of(begin(profiles), end(profiles), is_it);
}

int test_profile(const std::string& profile) {
  const UniqueFd file = open_own(open_proc(), "current");
  const std::string text = "permprofile " + profile;
  return write(file.get(), text.data(), text.size()) == -1 ? errno : 0;
}

std::string own_profile() {
  const UniqueFd file = open_own(open_proc(), "current");
  char text[4096];
  const auto size = check_quietly(read(file.get(), text, sizeof text), "read(attr/current)");
  const std::string label(text, static_cast<std::size_t>(size));
  return label.substr(0, label.find_first_of("\n"));
}

void change_profile_at_exec(const UniqueFd& proc, const std::string& profile) {
  const UniqueFd file = open_own(proc, "exec");
  const std::string text = "exec " + profile;
  check(write(file.get(), text.data(), text.size()), "write(/proc/self/attr/apparmor/exec, \"{}\")",
        text);
}

}  // namespace box
