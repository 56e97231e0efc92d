#include "stages/08b_seccomp/seccomp_filter.h"

#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <functional>
#include <iterator>

#include "common/build_once.h"
#include "common/check.h"
#include "common/read_file.h"
#include "common/unique_fd.h"
#include "stages/08b_seccomp/builtin_profiles.h"
#include "stages/08b_seccomp/profile.h"

namespace box {
namespace {

constexpr std::size_t kLargestProfile = 1 << 20;

std::string read_profile(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  check_quietly(file.get(), "open()");
  std::string text = read_to_end(file.get(), "", kLargestProfile);
  if (text.size() > kLargestProfile) throw Failure("is larger than 1 MiB, too large for a profile");
  return text;
}

template <typename Bytes>
Bytes read_all(const std::string& path) {
  const std::string text = read_file(path);
  Bytes bytes;
  bytes.resize(text.size() / sizeof bytes[0]);
  std::copy(text.begin(), text.end(), reinterpret_cast<char*>(bytes.data()));
  return bytes;
}

void write_all(const std::string& path, const void* bytes, std::size_t size) {
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(size));
  if (!file.flush()) throw Failure(EIO, "write(" + path + ")");
}

// compile_profile(), once for each profile: for a profile as long as Docker's, libseccomp needs
// more time than the whole rest of a container's start.
BpfProgram compile_once(const std::string& json, CapabilitySet granted) {
  const std::string key =
      fmt::format("{}, capabilities {:#x}\n{}", compiler_of_profiles(), granted, json);
  BpfProgram program;
  try {
    const std::string folder =
        fmt::format("{}/seccomp-{:016x}", cache_directory(), std::hash<std::string>{}(key));
    build_once(folder, [&](const std::string& partial) {
      program = compile_profile(json, granted);
      write_all(partial + "/program", program.data(), program.size() * sizeof(sock_filter));
      write_all(partial + "/profile", key.data(), key.size());
    });
    // The hash is not secret, so another profile may have been crafted to have the same one.
    if (program.empty() && read_all<std::string>(folder + "/profile") == key) {
      program = read_all<BpfProgram>(folder + "/program");
    }
  } catch (const Failure&) {
    program.clear();  // there is no place for a cache; or the profile is invalid, which is reported
                      // below
  }
  return is_whole(program) ? program : compile_profile(json, granted);
}

template <std::size_t size>
BpfProgram built_in(const sock_filter (&compiled)[size], const char* json, CapabilitySet granted) {
  if (granted == default_capabilities()) return {std::begin(compiled), std::end(compiled)};
  return compile_once(json, granted);
}

BpfProgram program_of(const std::string& profile, CapabilitySet granted, unsigned& flags) {
  if (profile == "unconfined") return {};
  if (profile == "default") return built_in(kDefaultProgram, kDefaultJson, granted);
  if (profile == "strict") return built_in(kStrictProgram, kStrictJson, granted);
  try {
    const std::string json = read_profile(profile);
    BpfProgram program = compile_once(json, granted);
    flags = flags_of_profile(json);
    return program;
  } catch (const Failure& failure) {
    throw Failure("--seccomp " + profile + ": " + failure.what(), failure.hint());
  }
}

bool allows(const BpfProgram& program, int number) {
  const seccomp_data call = {number, seccomp_arch_native(), 0, {}};
  return evaluate(program, call) == SECCOMP_RET_ALLOW;
}

// Whether the filter kills some call of this machine's architecture whatever its arguments.
bool kills_calls(const BpfProgram& program) {
  constexpr int kMostCalls = 1024;
  for (int number = 0; number < kMostCalls; ++number) {
    const seccomp_data call = {number, seccomp_arch_native(), 0, {}};
    const std::uint32_t action = evaluate(program, call) & SECCOMP_RET_ACTION_FULL;
    if (action == SECCOMP_RET_KILL_THREAD || action == SECCOMP_RET_KILL_PROCESS) return true;
  }
  return false;
}

int load(const BpfProgram& program, unsigned flags) {
  const sock_fprog raw = {static_cast<unsigned short>(program.size()),
                          const_cast<sock_filter*>(program.data())};
  return check(static_cast<int>(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw)),
               "seccomp(SECCOMP_SET_MODE_FILTER, {} instructions)", program.size());
}

std::string seccomp_hint(const Failure& failure) {
  if (std::string(failure.what()).find("seccomp(") == std::string::npos ||
      access("/proc/sys/kernel/seccomp/actions_avail", F_OK) == 0) {
    return "";
  }
  return "this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)";
}

}  // namespace

SeccompOptions::SeccompOptions(CommandLine& line, const CapabilityOptions& capabilities) {
  line.add_option(
      "--seccomp", "PROFILE",
      "filter system calls: default, strict, unconfined, or a file in Docker's profile format",
      profile_);
  line.add_check(
      [this, &capabilities] { program = program_of(profile_, capabilities.granted, flags); });
  line.add_hint(seccomp_hint);
}

// In the cache is what needs no supervisor: stage 08b, which has none, uses it, too.
SeccompOptions::SeccompOptions(const std::string& json, CapabilitySet granted,
                               Supervisor supervisor)
    : program(supervisor == Supervisor::kNone ? compile_once(json, granted)
                                              : compile_profile(json, granted, supervisor)),
      flags(flags_of_profile(json)) {}

bool asks_supervisor(const BpfProgram& program) {
  return std::any_of(program.begin(), program.end(), [](const sock_filter& instruction) {
    return instruction.code == (BPF_RET | BPF_K) &&
           (instruction.k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_USER_NOTIF;
  });
}

SeccompFilter::SeccompFilter(const SeccompOptions& seccomp)
    : options_(seccomp), denied_(seccomp.program) {}

void SeccompFilter::install() const {
  const BpfProgram& program = options_.program;
  if (program.empty()) return;
  // The listener exists only after the filter is installed, so the filter must allow sending it.
  if (denied_.are_reported() && allows(program, SYS_sendmsg)) {
    denied_.send_to_reporter(
        load(with_listener(program), options_.flags | SECCOMP_FILTER_FLAG_NEW_LISTENER));
  } else {
    load(program, options_.flags);
  }
}

int SeccompFilter::install_for_supervisor(unsigned flags) const {
  return load(options_.program, options_.flags | flags | SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

int SeccompFilter::explain(int exit_status) const {
  if (options_.program.empty() || exit_status != 128 + SIGSYS) return exit_status;
  if (kills_calls(options_.program)) {
    warn("the command was killed by SIGSYS: it made a system call that the seccomp profile kills",
         "--verbose shows which calls are denied, but only the kernel's log shows one that kills");
  } else {
    warn(
        "the command was killed by SIGSYS: it made a system call of another architecture, as 32-bit"
        " programs do",
        "--seccomp FILE, where archMap names that architecture, or --seccomp unconfined");
  }
  return exit_status;
}

LastStep SeccompFilter::as_last_step() const {
  return {[this] { install(); }, {denied_.descriptor()}};
}

}  // namespace box
