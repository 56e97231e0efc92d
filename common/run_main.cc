#include "common/run_main.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <string>

#include "common/check.h"

// libstdc++ calls this when nobody catches an exception, which no main() of ours lets happen. Its
// own one prints the exception's name, and brings a demangler of 45 KB into each static program for
// it.
namespace __gnu_cxx {
void __verbose_terminate_handler() { std::abort(); }
}  // namespace __gnu_cxx

namespace box {
namespace {

// Were 0, 1 or 2 closed, the next file that we open would take its number, and the command would
// inherit that file as its input or output.
void open_standard_files() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) == -1) check_quietly(open("/dev/null", O_RDWR), "open(/dev/null)");
  }
}

// `bazel run` starts us elsewhere, and says in this variable where the user is.
void go_where_the_user_is() {
  const char* directory = std::getenv("BUILD_WORKING_DIRECTORY");
  if (directory != nullptr) check_quietly(chdir(directory), "chdir({})", directory);
}

}  // namespace

int run_main(int argc, char** argv, const std::function<int(CommandLine&)>& run) {
  CommandLine line(argc, argv);
  name_program(line.program());
  try {
    open_standard_files();
    go_where_the_user_is();
    return run(line);
  } catch (const CommandLine::Answered&) {
    return 0;
  } catch (const Failure& failure) {
    warn(failure.what(), line.hint_for(failure));
    return failure.exit_status();
  } catch (const std::exception& e) {
    warn(e.what(), "");
    return kExitSetupFailed;
  }
}

}  // namespace box
