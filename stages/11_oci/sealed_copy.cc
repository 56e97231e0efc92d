#include "stages/11_oci/sealed_copy.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "common/unique_fd.h"

namespace box {
namespace {

constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// Before run_main(), which turns Failures into messages.
[[noreturn]] void stop(const char* call) {
  std::fprintf(stderr, "11_oci: %s: %s\n", call, std::strerror(errno));
  std::exit(1);
}

// Since Linux 6.3 a file in memory may have to be declared executable, see memfd_create(2).
int make_file() {
  constexpr unsigned kExecutable = 0x10;  // MFD_EXEC
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  const int fd = memfd_create("11_oci", kFlags | kExecutable);
  return fd == -1 && errno == EINVAL ? memfd_create("11_oci", kFlags) : fd;
}

// Other commands, and an id that is one of these words, need not be told apart.
bool may_enter_a_container(char** argv) {
  for (; *argv != nullptr; ++argv) {
    for (const char* command : {"create", "exec", "run"}) {
      if (std::strcmp(*argv, command) == 0) return true;
    }
  }
  return false;
}

}  // namespace

void run_from_sealed_copy(char** argv) {
  if (!may_enter_a_container(argv)) return;
  const UniqueFd program(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (program.get() == -1) stop("open(/proc/self/exe)");
  if (fcntl(program.get(), F_GET_SEALS) == kSeals) return;
  // Beyond RLIMIT_FSIZE sendfile(2) has to fail, see common/run_main.cc.
  const auto file_size_handler = signal(SIGXFSZ, SIG_IGN);
  const UniqueFd copy(make_file());
  if (copy.get() == -1) stop("memfd_create()");
  struct stat st = {};
  if (fstat(program.get(), &st) == -1) stop("fstat(/proc/self/exe)");
  for (off_t left = st.st_size; left > 0;) {
    const ssize_t size = sendfile(copy.get(), program.get(), nullptr, static_cast<size_t>(left));
    if (size <= 0) stop("sendfile(/proc/self/exe)");
    left -= size;
  }
  // Stage 08b recognises by this time which build of the program has compiled a seccomp profile: a
  // copy with a time of its own would compile it once more.
  const timespec times[] = {st.st_atim, st.st_mtim};
  if (futimens(copy.get(), times) == -1) stop("futimens()");
  if (fcntl(copy.get(), F_ADD_SEALS, kSeals) == -1) stop("fcntl(F_ADD_SEALS)");
  (void)signal(SIGXFSZ, file_size_handler);
  (void)fexecve(copy.get(), argv, environ);
  stop("fexecve()");
}

}  // namespace box
