// For tests: prints what libraries_of() returns for each program named, one path per line.
#include <cstdio>

#include "common/run_main.h"
#include "stages/03_userspace/libraries.h"

namespace box {
namespace {

int run(CommandLine& line) {
  std::vector<std::string> programs;
  line.add_command(programs);
  line.parse();
  for (const auto& program : programs) {
    for (const auto& path : libraries_of(program)) std::printf("%s\n", path.c_str());
  }
  return 0;
}

}  // namespace
}  // namespace box

int main(int argc, char** argv) { return box::run_main(argc, argv, box::run); }
