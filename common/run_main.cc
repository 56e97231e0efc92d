#include "common/run_main.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <sstream>
#include <string>

#include "common/check.h"
#include "common/error_pipe.h"
#include "common/read_file.h"
#include "common/unique_fd.h"

// libstdc++ calls this for an exception that is not caught, which no main() of ours lets happen.
// The default handler prints the exception's name, and for that it links a demangler of 45 KB into
// each static program.
namespace __gnu_cxx {
void __verbose_terminate_handler() { std::abort(); }
}  // namespace __gnu_cxx

namespace box {
namespace {

// If 0, 1 or 2 is closed, the next file that we open gets that number, and the command would
// inherit the file as its input or output.
void open_standard_files() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) == -1) check_quietly(open("/dev/null", O_RDWR), "open(/dev/null)");
  }
}

// Whether the mount that contains our program's file is in our mount namespace, see
// proc_pid_mountinfo(5).
bool is_in_our_mounts() {
  const UniqueFd program(
      check_quietly(open("/proc/self/exe", O_PATH | O_CLOEXEC), "open(/proc/self/exe)"));
  std::istringstream info(read_file("/proc/self/fdinfo/" + std::to_string(program.get())));
  std::string id;
  for (std::string word; info >> word && id.empty();) {
    if (word == "mnt_id:") info >> id;
  }
  std::istringstream mounts(read_file("/proc/self/mountinfo"));
  for (std::string line; std::getline(mounts, line);) {
    if (line.substr(0, line.find(' ')) == id) return true;
  }
  return false;
}

// Whether our program is a copy in memory that can no longer be written to, see memfd_create(2).
bool is_sealed_copy() {
  const UniqueFd program(
      check_quietly(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "open(/proc/self/exe)"));
  const int seals = fcntl(program.get(), F_GET_SEALS);
  if (seals == -1 && errno == EINVAL) return false;  // no file in memory
  check_quietly(seals, "fcntl(/proc/self/exe, F_GET_SEALS)");
  return (seals & F_SEAL_WRITE) != 0;
}

// In a hostile root the command may be a link to /proc/self/exe, or a script that begins with
// "#!/proc/self/exe". During our execve(2), that is our own program: it would run inside the
// container, as a file of the host that the container's root could change (CVE-2019-5736). That is
// no danger if it is a sealed copy, as the program of stage 11 is.
void refuse_to_run_inside() {
  char path[PATH_MAX] = {};
  struct stat ours = {};
  struct stat named = {};
  if (readlink("/proc/self/exe", path, sizeof path - 1) == -1) return;  // there is no /proc
  check_quietly(stat("/proc/self/exe", &ours), "stat(/proc/self/exe)");
  // The usual case, checked without reading the mounts, of which there may be thousands.
  if (stat(path, &named) == 0 && named.st_dev == ours.st_dev && named.st_ino == ours.st_ino) return;
  if (!is_in_our_mounts() && !is_sealed_copy()) {
    throw Failure(std::string("this program's file is outside this container: ") + path);
  }
}

// Beyond RLIMIT_FSIZE write(2) has to fail, instead of ending us with SIGXFSZ, so that we can
// report it and clean up.
sighandler_t file_size_handler = SIG_DFL;
void survive_file_size_limit() { file_size_handler = signal(SIGXFSZ, SIG_IGN); }

// The words of our command line, which the kernel has put one after the other, see execve(2).
struct {
  char* begin = nullptr;
  std::size_t size = 0;
} own_words;

void remember_own_words(int argc, char** argv) {
  if (argc == 0) return;
  char* end = argv[0];
  for (int i = 0; i < argc && argv[i] == end; ++i) end += std::strlen(end) + 1;
  own_words = {argv[0], static_cast<std::size_t>(end - argv[0])};
}

// `bazel run` starts us in another directory, and sets this variable to the user's.
void go_where_the_user_is() {
  const char* directory = std::getenv("BUILD_WORKING_DIRECTORY");
  if (directory != nullptr) check_quietly(chdir(directory), "chdir({})", directory);
}

}  // namespace

int run_main(int argc, char** argv, const std::function<int(CommandLine&)>& run) {
  CommandLine line(argc, argv);
  remember_own_words(argc, argv);
  name_program(line.program());
  try {
    refuse_to_run_inside();
    open_standard_files();
    survive_file_size_limit();
    // Our files get exactly the mode that we ask for, and the command inherits the usual umask of a
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

void show_as(const std::string& name) {
  if (own_words.begin == nullptr) return;
  std::memset(own_words.begin, 0, own_words.size);
  (void)name.copy(own_words.begin, own_words.size - 1);
}

void restore_signals() {
  if (signal(SIGXFSZ, file_size_handler) == SIG_ERR) check_quietly(-1, "signal(SIGXFSZ)");
}

}  // namespace box
