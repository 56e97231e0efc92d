// The control for stage 01, "stage 00": runs a command as many do at first, with system(3), and so
// breaks what stage 01 promises. Each property of stage 01 has to be seen violated here.
//
// It knows no option: what stands before "--" is ignored.

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <string>

int main(int argc, char** argv) {
  // Words are joined, and taken apart again by the shell: elsewhere.
  std::string command;
  bool after_options = false;
  for (int i = 1; i < argc; ++i) {
    if (after_options) command += std::string(argv[i]) + " ";
    if (strcmp(argv[i], "--") == 0) after_options = true;
  }

  // "So that Ctrl-C does not kill us": nor anybody else, as the command inherits it.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2}) {
    sigaddset(&signals, signal);
  }
  sigprocmask(SIG_BLOCK, &signals, nullptr);

  // A file that nobody removes.
  const char* folder = getenv("TMPDIR");
  std::string log = std::string(folder != nullptr ? folder : "/tmp") + "/naive.XXXXXX";
  const int fd = mkstemp(log.data());
  (void)!write(fd, command.data(), command.size());

  // A wait status, not an exit status; of its 16 bits 8 arrive, and those are 0.
  return system(command.c_str());
}
