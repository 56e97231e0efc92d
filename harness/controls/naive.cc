// The control for stage 01, "stage 00": fork, exec and wait as a beginner writes them, without
// anything that stage 01 promises. Each property of stage 01 has to be seen violated here.
//
// It has no options: all words before "--" are ignored.

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sstream>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  // The words are joined, and taken apart again elsewhere.
  std::string command;
  bool after_options = false;
  for (int i = 1; i < argc; ++i) {
    if (after_options) command += std::string(argv[i]) + " ";
    if (strcmp(argv[i], "--") == 0) after_options = true;
  }
  std::istringstream text(command);
  std::vector<std::string> words;
  for (std::string word; text >> word;) words.push_back(word);
  std::vector<char*> pointers;
  for (auto& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);

  // "So that Ctrl-C does not kill us": nor does it kill the command, which inherits this.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2}) {
    sigaddset(&signals, signal);
  }
  sigprocmask(SIG_BLOCK, &signals, nullptr);

  // A file that is never removed.
  const char* folder = getenv("TMPDIR");
  std::string log = std::string(folder != nullptr ? folder : "/tmp") + "/naive.XXXXXX";
  const int fd = mkstemp(log.data());
  (void)!write(fd, command.data(), command.size());

  const pid_t child = fork();
  if (child == 0) {
    execvp(pointers[0], pointers.data());
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;  // a wait status: of its 16 bits 8 arrive, and those are 0 except after a signal
}
