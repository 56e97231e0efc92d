#include "stages/09_lsm/confinement.h"

#include <algorithm>
#include <cerrno>

#include "common/check.h"
#include "common/printable.h"
#include "stages/09_lsm/apparmor.h"

namespace box {
namespace {

constexpr const char* kUnconfined = "unconfined";
constexpr std::size_t kLongestName = 255;
constexpr const char* kValues = "there are apparmor=PROFILE and apparmor=unconfined";

// What docker run has under this option, and what it is called here.
std::string hint_for(const std::string& key) {
  if (key == "seccomp") return "it is called --seccomp PROFILE";
  if (key == "no-new-privileges") return "it is the default; --no-new-privs=false switches it off";
  if (key == "systempaths") return "they are always covered";
  return kValues;
}

bool is_name(const std::string& text) {
  return !text.empty() && text.size() <= kLongestName && printable(text) == text;
}

// Why the kernel would not let us change to the profile.
Failure refusal(const std::string& profile, int error) {
  const std::string what = "--security-opt apparmor=" + profile;
  if (error == ENOENT) {
    return Failure(what + ": no profile of this name is loaded",
                   profile == kDefaultProfile
                       ? "bazel run --config=root //stages/09_lsm:load"
                       : "sudo aa-status lists those that are; apparmor_parser(8) loads one");
  }
  return Failure(error, what, kExitSetupFailed,
                 "this program itself is confined by the profile " + own_profile() +
                     ", which does not allow that change");
}

std::string find_profile(const std::string& asked) {
  if (asked == kUnconfined) return "";
  if (!has_apparmor()) {
    if (asked.empty()) {
      trace("no AppArmor in this kernel: the container is not confined by a security module");
      return "";
    }
    throw Failure("--security-opt apparmor=" + asked + ": this kernel does not use AppArmor",
                  "boot it with apparmor=1 security=apparmor, or leave the option out");
  }
  const std::string profile = asked.empty() ? kDefaultProfile : asked;
  const int error = asked.empty() && !may_be_loaded(profile) ? ENOENT : test_profile(profile);
  if (error == 0) return profile;
  if (!asked.empty()) throw refusal(profile, error);
  trace(std::string("AppArmor: ") + refusal(profile, error).what() +
        ": the container is not confined by a security module");
  return "";
}

}  // namespace

SecurityOptions::SecurityOptions(CommandLine& line) {
  line.add_option("--security-opt", "apparmor=PROFILE",
                  "confine by this AppArmor profile (default: containers-under-the-hood, if it is"
                  " loaded); unconfined: by none",
                  [this](const std::string& value) {
                    const std::string key = value.substr(0, value.find('='));
                    if (key != "apparmor") throw Failure("is not an option here", hint_for(key));
                    apparmor = value.substr(std::min(value.size(), key.size() + 1));
                    if (!is_name(apparmor)) throw Failure("is not the name of a profile", kValues);
                  });
}

Confinement::Confinement(const SecurityOptions& security)
    : profile_(find_profile(security.apparmor)) {}

Confinement::~Confinement() {
  if (!profile_.empty()) log_.show_denials(profile_);
}

void Confinement::confine_command(const HostMounts& host) const {
  if (!profile_.empty()) change_profile_at_exec(host.proc, profile_);
}

}  // namespace box
