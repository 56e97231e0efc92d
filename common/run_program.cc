#include "common/run_program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "common/check.h"
#include "common/unique_fd.h"

namespace box {
namespace {

std::string read_all(int fd) {
  std::string text;
  char part[1024];
  ssize_t size = 0;
  while ((size = TEMP_FAILURE_RETRY(read(fd, part, sizeof part))) > 0) {
    text.append(part, static_cast<std::size_t>(size));
  }
  check_quietly(size, "read(the program's stderr)");
  return text;
}

// The rest repeats it: "tar: Error is not recoverable: exiting now".
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

void run_program(const std::vector<std::string>& words) {
  int ends[2];
  check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);

  // Without posix_spawn(3), which reports a missing /dev/null as if the program were missing.
  const UniqueFd nothing(check_quietly(open("/dev/null", O_RDONLY | O_CLOEXEC), "open(/dev/null)"));

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, nothing.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, write_end.get(), STDERR_FILENO);
  std::vector<char*> argv;
  for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_t child = -1;
  const int error = posix_spawnp(&child, argv[0], &files, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) throw Failure(error, words[0]);

  write_end.close();
  const std::string complaint = read_all(read_end.get());
  int status = 0;
  check_quietly(TEMP_FAILURE_RETRY(waitpid(child, &status, 0)), "waitpid({})", words[0]);
  trace(fmt::format("{} = {}", fmt::join(words, " "), WEXITSTATUS(status)));
  if (status == 0) return;
  if (!complaint.empty()) throw Failure(first_line(complaint));
  throw Failure(
      WIFSIGNALED(status)
          ? fmt::format("{} was killed by SIG{}", words[0], sigabbrev_np(WTERMSIG(status)))
          : fmt::format("{} failed with status {}", words[0], WEXITSTATUS(status)));
}

}  // namespace box
