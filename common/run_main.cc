#include "common/run_main.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <string>

#include "common/check.h"
#include "common/error_pipe.h"
#include "common/unique_fd.h"

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

// Whether the mount that our program's file was found in is one of ours, see proc_pid_mountinfo(5).
bool is_in_our_mounts() {
  const UniqueFd program(open("/proc/self/exe", O_PATH | O_CLOEXEC));
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(program.get()));
  std::string id;
  for (std::string word; info >> word && id.empty();) {
    if (word == "mnt_id:") info >> id;
  }
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    if (line.substr(0, line.find(' ')) == id) return true;
  }
  return false;
}

// A hostile root may have a command that is a link to /proc/self/exe, or a script that begins with
// "#!/proc/self/exe". While we become the command, that is our own program: it would run inside, as
// a file of the host that the container's root could change (CVE-2019-5736).
void refuse_to_run_inside() {
  char path[PATH_MAX] = {};
  struct stat ours = {};
  struct stat named = {};
  if (readlink("/proc/self/exe", path, sizeof path - 1) == -1) return;  // there is no /proc
  check_quietly(stat("/proc/self/exe", &ours), "stat(/proc/self/exe)");
  // The usual case, and quick: there may be thousands of mounts.
  if (stat(path, &named) == 0 && named.st_dev == ours.st_dev && named.st_ino == ours.st_ino) return;
  if (!is_in_our_mounts()) {
    throw Failure(std::string("this program's file is outside this container: ") + path);
  }
}

// Beyond RLIMIT_FSIZE write(2) shall fail, so that we can say so and tidy up.
sighandler_t file_size_handler = SIG_DFL;
void survive_file_size_limit() { file_size_handler = signal(SIGXFSZ, SIG_IGN); }

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
    refuse_to_run_inside();
    open_standard_files();
    survive_file_size_limit();
    // What we make has the mode that we say, and the command inherits what it has in each
    // container.
    umask(022);
    go_where_the_user_is();
    return run(line);
  } catch (const CommandLine::Answered&) {
    return 0;
  } catch (const Failure& last) {
    const Failure& failure = first_failure() != nullptr ? *first_failure() : last;
    warn(failure.what(), line.hint_for(failure));
    return failure.exit_status();
  } catch (const std::exception& e) {
    warn(e.what(), "");
    return kExitSetupFailed;
  }
}

void restore_signals() { (void)signal(SIGXFSZ, file_size_handler); }

}  // namespace box
