// For tests, in place of a stage: prints where the root is.
//
//   BUILTIN=DIR build_userspace_for_test [--rootfs DIR] [--userspace KIND] [--with PROGRAM] -- x
#include <cstdio>
#include <cstdlib>

#include "common/run_main.h"
#include "stages/03_userspace/userspace.h"

namespace box {
namespace {

int run(CommandLine& line) {
  std::string rootfs;
  std::vector<std::string> command;
  line.add_option("--rootfs", "DIR", "help", rootfs);
  line.add_command(command);
  UserspaceOptions userspace(line);
  line.parse();
  std::printf("%s\n", build_userspace(userspace, rootfs, "", [] {
                        const char* builtin = std::getenv("BUILTIN");
                        if (builtin == nullptr) throw Failure("BUILTIN is not set");
                        return std::string(builtin);
                      }).c_str());
  return 0;
}

}  // namespace
}  // namespace box

int main(int argc, char** argv) { return box::run_main(argc, argv, box::run); }
