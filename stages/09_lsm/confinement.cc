#include "stages/09_lsm/confinement.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "common/check.h"
#include "common/printable.h"
#include "stages/06_pivot_root/mounts.h"
#include "stages/09_lsm/apparmor.h"

namespace box {
namespace {

constexpr const char* kUnconfined = "unconfined";
constexpr std::size_t kLongestName = 255;
constexpr const char* kValues =
    "there are apparmor=PROFILE, apparmor=unconfined, label=type:TYPE, label=level:LEVEL,"
    " label=user:USER, label=role:ROLE and label=disable";
constexpr const char* kHowToLoad = "bazel run --config=root //stages/09_lsm:load";

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
                       ? kHowToLoad
                       : "sudo aa-status lists those that are; apparmor_parser(8) loads one");
  }
  return Failure(error, what, kExitSetupFailed,
                 "this program itself is confined by the profile " + own_profile() +
                     ", which does not allow that change");
}

// The container starts all the same if nothing was asked for. A user at a terminal should know; a
// program that reads our stderr does not expect this line.
void tell_that_there_is_no_wall(const Failure& why) {
  const std::string line =
      std::string("the container is not confined by a security module: ") + why.what();
  if (isatty(STDERR_FILENO) == 1) {
    warn(line, why.hint());
  } else {
    trace(line);
  }
}

std::string find_profile(const SecurityOptions& security) {
  const std::string& asked = security.apparmor;
  if (asked == kUnconfined) return "";
  if (!has_apparmor()) {
    if (asked.empty()) {
      if (security.label.is_default() && !has_selinux()) {
        tell_that_there_is_no_wall(Failure("this kernel uses neither AppArmor nor SELinux", ""));
      }
      return "";
    }
    throw Failure("--security-opt apparmor=" + asked + ": this kernel does not use AppArmor",
                  "boot it with apparmor=1 security=apparmor, or leave the option out");
  }
  const std::string profile = asked.empty() ? kDefaultProfile : asked;
  const int error = asked.empty() && !may_be_loaded(profile) ? ENOENT : test_profile(profile);
  if (error == 0) return profile;
  if (!asked.empty()) throw refusal(profile, error);
  if (security.label.is_default()) tell_that_there_is_no_wall(refusal(profile, error));
  return "";
}

// The value of label=…, one part of a label at a time.
void set_label(LabelRequest& label, const std::string& value) {
  if (value == "disable") {
    label.disabled = true;
    return;
  }
  const std::string key = value.substr(0, value.find(':'));
  const std::string text = value.substr(std::min(value.size(), key.size() + 1));
  std::string* const part = key == "type"    ? &label.type
                            : key == "level" ? &label.level
                            : key == "user"  ? &label.user
                            : key == "role"  ? &label.role
                                             : nullptr;
  const bool is_whole = key == "level" || text.find(':') == std::string::npos;
  if (part == nullptr || !is_name(text) || !is_whole) {
    throw Failure("is not a part of a label", kValues);
  }
  *part = text;
}

// Which part of a label the policy does not have.
std::string hint_for_label(const std::string& label) {
  const auto level = label.find(":s0:");
  if (level != std::string::npos && is_in_policy(label.substr(0, level) + ":s0")) {
    return "a level is s0, or s0:c1,c2 with categories from c0 to c1023";
  }
  return label.find(kDefaultType) != std::string::npos ? kHowToLoad
                                                       : "seinfo --type lists its types";
}

// Why SELinux would not let us start a command with these labels, if it would not.
std::optional<Failure> refusal(const Labels& labels, const LabelRequest& asked) {
  const bool is_our_type = labels.process.find(kDefaultType) != std::string::npos;
  for (const std::string& label : {labels.process, labels.files}) {
    if (label.empty() || is_in_policy(label)) continue;
    return Failure("SELinux: the loaded policy has no label " + label, hint_for_label(label));
  }
  // The engine's policy may need no_new_privs or not; if it does not allow the change, execve(2)
  // fails.
  if (asked.is_whole() || may_change_to(labels.process)) return std::nullopt;
  return Failure(
      "SELinux: the loaded policy does not let " + own_label() + " become " + labels.process,
      is_our_type
          ? "add its type to hood_container_starter in stages/09_lsm/containers.cil, and"
            " load that again"
          : "it needs: allow … process { transition }; allow … process2 { nnp_transition }");
}

Labels find_labels(const SecurityOptions& security) {
  const LabelRequest& asked = security.label;
  if (asked.disabled) return Labels();
  if (!has_selinux()) {
    if (asked.is_default()) return Labels();
    const std::string what =
        asked.is_whole() ? "the label " + asked.process + asked.files : "--security-opt label=…";
    throw Failure(what + ": this kernel does not use SELinux",
                  "boot it with security=selinux selinux=1, or leave the option out");
  }
  Labels labels = labels_for(asked);
  const std::optional<Failure> why = refusal(labels, asked);
  if (!why) return labels;
  if (!asked.is_default()) throw Failure(*why);
  if (security.apparmor.empty()) tell_that_there_is_no_wall(*why);
  return Labels();
}

}  // namespace

SecurityOptions::SecurityOptions(CommandLine& line) {
  const auto set = [this](const std::string& value) {
    const std::string key = value.substr(0, value.find('='));
    const std::string text = value.substr(std::min(value.size(), key.size() + 1));
    if (key == "label") return set_label(label, text);
    if (key != "apparmor") throw Failure("is not an option here", hint_for(key));
    if (!is_name(text)) throw Failure("is not the name of a profile", kValues);
    apparmor = text;
  };
  line.add_option("--security-opt", "apparmor=PROFILE",
                  "confine by this AppArmor profile (default: containers-under-the-hood, if it is"
                  " loaded), unconfined: by none; or with label=type:TYPE, label=level:LEVEL,"
                  " label=user:USER, label=role:ROLE by SELinux (default: hood_container_t and two"
                  " random categories, if its module is loaded), label=disable: not",
                  set);
}

Confinement::Confinement(const SecurityOptions& security)
    : profile_(find_profile(security)), labels_(find_labels(security)) {
  label_new_mounts(labels_.files);
}

Confinement::~Confinement() {
  if (!profile_.empty()) log_.show_denials(profile_);
  if (!labels_.process.empty()) log_.show_denials(labels_.process);
}

void Confinement::confine_command(const HostMounts& host) const {
  if (!profile_.empty()) change_profile_at_exec(host.proc, profile_);
  if (!labels_.process.empty()) change_label_at_exec(host.proc, labels_.process);
}

}  // namespace box
