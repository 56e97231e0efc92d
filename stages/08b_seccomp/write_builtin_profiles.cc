// Runs during the build of the stage: compiles the built-in profiles, so that no start has to.
//
//   write_builtin_profiles NAME FILE...: writes builtin_profiles.h to stdout

#include <fmt/format.h>
#include <seccomp.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "common/failure.h"
#include "stages/08b_seccomp/profile.h"

namespace {

std::string read(const char* path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void write(const char* name, const std::string& json) {
  fmt::print("inline constexpr sock_filter k{}Program[] = {{\n", name);
  for (const auto& [code, jump_true, jump_false, k] :
       box::compile_profile(json, box::default_capabilities())) {
    fmt::print("    {{{:#x}, {}, {}, {:#x}}},\n", code, jump_true, jump_false, k);
  }
  fmt::print("}};\ninline constexpr const char* k{}Json = R\"profile({})profile\";\n", name, json);
}

}  // namespace

int main(int argc, char** argv) {
  // libseccomp asks the kernel which actions there are, but the filter is for another kernel than
  // the one that runs the build: a sandbox without seccomp(2), or an emulator. See
  // seccomp_api_set(3): 3 has SCMP_ACT_LOG and SCMP_ACT_KILL_PROCESS.
  seccomp_api_set(3);
  fmt::print("#pragma once\n\n#include <linux/filter.h>\n\n");
  for (int i = 1; i + 1 < argc; i += 2) {
    try {
      write(argv[i], read(argv[i + 1]));
    } catch (const box::Failure& failure) {
      fmt::print(stderr, "{}: {}\n", argv[i + 1], failure.what());
      return 1;
    }
  }
  return 0;
}
