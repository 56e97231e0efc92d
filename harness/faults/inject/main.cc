// Runs a program and makes one system call of one of its processes go wrong:
//
//   inject --log LOG --fail 0.0:mount:2:EPERM -- PROGRAM ARG...
//
// strace(1) can do so, too, but counts in each process and hits all of them. This names one process
// by its place in the family: "0" is PROGRAM, "0.1" its second child. Ends as PROGRAM has ended.

#include <fmt/format.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <sstream>

#include "common/check.h"
#include "harness/faults/inject/tracer.h"

namespace box {
namespace {

constexpr const char* kUsage =
    "Usage: inject [OPTION]... -- PROGRAM [ARG...]\n"
    "  --fail PROCESS:CALL:NTH:ERRNO      this call is not made, and fails\n"
    "  --return PROCESS:CALL:NTH:0        this call is not made, and returns 0\n"
    "  --return PROCESS:CALL:NTH:BYTES    this read or write is asked for so many bytes only\n"
    "  --kill VICTIM@PROCESS:CALL:NTH     VICTIM is killed at this call, before it is made\n"
    "  --user UID:GID[,GROUP...]          PROGRAM's user and groups\n"
    "  --log FILE                         what happened, a line each; default: stderr\n"
    "  --patience SECONDS                 see descendants' calls for so long after PROGRAM's end\n";

struct Options {
  std::optional<Fault> fault;
  std::optional<User> user;
  std::string log;
  unsigned patience = 3;
  std::vector<std::string> argv;
};

User parse_user(const std::string& text) {
  User user;
  std::istringstream in(text);
  char colon = 0;
  if (!(in >> user.uid >> colon >> user.gid) || colon != ':') {
    throw Failure("'" + text + "' is not of the form UID:GID[,GROUP...]");
  }
  user.groups.push_back(user.gid);
  for (gid_t group = 0; in >> colon >> group;) user.groups.push_back(group);
  return user;
}

Options parse(int argc, char** argv) {
  const option kOptions[] = {
      {"fail", required_argument, nullptr, 'f'}, {"return", required_argument, nullptr, 'r'},
      {"kill", required_argument, nullptr, 'k'}, {"user", required_argument, nullptr, 'u'},
      {"log", required_argument, nullptr, 'l'},  {"patience", required_argument, nullptr, 'p'},
      {"help", no_argument, nullptr, 'h'},       {}};
  Options options;
  for (int letter = 0; (letter = getopt_long(argc, argv, "+", kOptions, nullptr)) != -1;) {
    switch (letter) {
      case 'f':
        options.fault = parse_failing_call(optarg);
        break;
      case 'r':
        options.fault = parse_short_call(optarg);
        break;
      case 'k':
        options.fault = parse_kill(optarg);
        break;
      case 'u':
        options.user = parse_user(optarg);
        break;
      case 'l':
        options.log = optarg;
        break;
      case 'p':
        options.patience = static_cast<unsigned>(std::stoul(optarg));
        break;
      case 'h':
        fmt::print("{}", kUsage);
        exit(0);
      default:
        throw Failure("see inject --help");
    }
  }
  options.argv.assign(argv + optind, argv + argc);
  if (options.argv.empty()) throw Failure("no program given, see inject --help");
  return options;
}

// The caller must not be able to tell us from the program.
[[noreturn]] void end_like(int status) {
  if (WIFSIGNALED(status)) {
    const rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)signal(WTERMSIG(status), SIG_DFL);
    (void)raise(WTERMSIG(status));
  }
  exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int run(int argc, char** argv) {
  const Options options = parse(argc, argv);
  using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;
  File log(stderr, [](std::FILE*) { return 0; });
  if (!options.log.empty()) {
    log = File(std::fopen(options.log.c_str(), "we"), std::fclose);
    if (log == nullptr) check_quietly(-1, "open({})", options.log);
  }
  const int status =
      Tracer(options.fault, log.get()).run(options.argv, options.user, options.patience);
  log.reset();
  end_like(status);
}

}  // namespace
}  // namespace box

int main(int argc, char** argv) {
  box::name_program("inject");
  try {
    return box::run(argc, argv);
  } catch (const std::exception& error) {
    box::warn(error.what(), "");
    return 125;
  }
}
