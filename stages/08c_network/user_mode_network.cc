#include "stages/08c_network/user_mode_network.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <sstream>

#include "common/check.h"
#include "stages/08c_network/find_program.h"

namespace box {
namespace {

constexpr const char* kTun = "/dev/net/tun";
constexpr int kPatience = 10'000;  // milliseconds
constexpr int kReadyFd = 3;        // slirp4netns says here that it is ready; pasta on its stdout

std::string socket_in(const std::string& folder) { return folder + "/socket"; }

// A name that nobody else has or can foresee.
std::string new_folder_name() {
  std::uint64_t number = 0;
  check_quietly(getrandom(&number, sizeof number, 0), "getrandom()");
  return fmt::format("/tmp/slirp4netns-{:016x}", number);
}

// The last line that the helper wrote to `errors`: what comes before is about its log.
std::string last_line(const UniqueFd& errors) {
  char text[4096] = {};
  (void)!pread(errors.get(), text, sizeof text - 1, 0);
  std::istringstream lines(text);
  std::string last;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) last = line;
  }
  return last;
}

struct Helper {
  std::vector<std::string> words;
  int ready_fd;        // on which it says that the network is there
  std::string folder;  // for the socket of slirp4netns' API, or ""
};

// In the helper-to-be.
[[noreturn]] void become(const Helper& helper, int ready, int errors) {
  sigset_t none;
  sigemptyset(&none);
  (void)sigprocmask(SIG_SETMASK, &none, nullptr);  // our parent has some blocked, see Child
  (void)dup2(errors, STDERR_FILENO);
  (void)dup2(ready, STDOUT_FILENO);
  if (helper.ready_fd != STDOUT_FILENO) (void)dup2(STDOUT_FILENO, helper.ready_fd);
  const int null = open("/dev/null", O_RDWR);
  (void)dup2(null, STDIN_FILENO);
  if (helper.ready_fd != STDOUT_FILENO) (void)dup2(null, STDOUT_FILENO);
  (void)close_range(static_cast<unsigned>(std::max(helper.ready_fd, STDERR_FILENO)) + 1, ~0U, 0);
  std::vector<char*> argv;
  for (const auto& word : helper.words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(kExitNotFound);
}

// In the janitor: starts the helper, and kills it in the end.
void keep(const Helper& helper, UniqueFd& ready, const UniqueFd& errors,
          const Janitor::Leash& leash) {
  if (!helper.folder.empty()) {
    check_quietly(mkdir(helper.folder.c_str(), 0700), "mkdir({})", helper.folder);
  }
  const pid_t process = check_quietly(fork(), "fork()");
  if (process == 0) become(helper, ready.get(), errors.get());
  trace(fmt::format("{} = process {}", fmt::join(helper.words, " "), process));
  ready.close();  // if the helper ends, the parent shall read end-of-file

  const bool was_ready = !leash.wait().empty();
  const bool ended = waitpid(process, nullptr, WNOHANG) == process;
  if (!ended) {
    (void)kill(process, SIGKILL);
    (void)waitpid(process, nullptr, 0);
  }
  if (!helper.folder.empty()) {
    (void)unlink(socket_in(helper.folder).c_str());  // it may never have come to be
    (void)rmdir(helper.folder.c_str());
  }
  if (ended && was_ready) {
    warn(helper.words[0] + " ended before the container did: " + last_line(errors), "");
  }
}

// The API of slirp4netns: a connection for each request, JSON both ways.
void ask_slirp4netns(const std::string& path, const std::string& request) {
  const UniqueFd fd(
      check_quietly(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket(AF_UNIX)"));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  check_quietly(connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
                "connect({})", path);
  check_quietly(send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL), "send({})", path);
  check_quietly(shutdown(fd.get(), SHUT_WR), "shutdown({})", path);
  char answer[1024] = {};
  check_quietly(TEMP_FAILURE_RETRY(recv(fd.get(), answer, sizeof answer - 1, MSG_WAITALL)),
                "recv({})", path);
  trace(fmt::format("{} -> {}", request, answer));
  const std::string text = answer;
  if (text.find("\"return\"") == std::string::npos) {
    throw Failure("slirp4netns publishes no port: " + text);
  }
}

}  // namespace

void check_that_helper_is_possible(const std::string& helper) {
  if (find_program(helper).empty()) {
    throw Failure(fmt::format("--network {0}: there is no program {0}", helper),
                  fmt::format("sudo apt-get install {}, or do without: --network none",
                              helper == kPasta ? "passt" : helper));
  }
  const UniqueFd tun(open(kTun, O_RDWR | O_CLOEXEC));
  if (tun.get() != -1) return;
  const int error = errno;
  throw Failure(error, fmt::format("--network {}: open({})", helper, kTun), kExitSetupFailed,
                error == EACCES
                    ? fmt::format("everybody may have it: sudo chmod 0666 {}", kTun)
                    : "sudo modprobe tun; in Docker: docker run --device " + std::string(kTun));
}

std::string installed_helper() {
  for (const char* helper : {kPasta, kSlirp4netns}) {
    if (!find_program(helper).empty()) return helper;
  }
  throw Failure("--publish: an ordinary user's network takes pasta or slirp4netns",
                "sudo apt-get install passt");
}

std::string name_server_of(const std::string& helper) {
  return helper == kPasta ? "169.254.1.1" : "10.0.2.3";
}

std::vector<std::string> pasta_command(pid_t child, const std::vector<PublishedPort>& ports,
                                       bool root) {
  std::vector<std::string> words = {
      find_program(kPasta), "--config-net", "--foreground", "--quiet",
      "--ns-ifname",        "eth0",         "--pid",        "/dev/stdout"};
  // What it offers beyond: the host's loopback, at the address of the gateway, and all ports of the
  // host's loopback that somebody listens at. That is what we are here to prevent.
  words.insert(words.end(), {"--no-map-gw", "--tcp-ns", "none", "--udp-ns", "none"});
  words.insert(words.end(), {"--dns-forward", name_server_of(kPasta)});
  // IPv4, as the others: who asks at ::1 first, which localhost is, would be accepted there and
  // then lose the connection if the server inside listens to IPv4 alone.
  bool any[2] = {};
  for (const PublishedPort& port : ports) {
    words.insert(words.end(), {port.udp ? "--udp-ports" : "--tcp-ports",
                               fmt::format("0.0.0.0/{}:{}", port.host, port.container)});
    any[port.udp ? 1 : 0] = true;
  }
  if (!any[0]) words.insert(words.end(), {"--tcp-ports", "none"});
  if (!any[1]) words.insert(words.end(), {"--udp-ports", "none"});
  // Root would become nobody, who may not enter the container's namespaces.
  if (root) words.insert(words.end(), {"--runas", "0"});
  words.push_back(std::to_string(child));
  return words;
}

std::vector<std::string> slirp4netns_command(pid_t child, const std::string& folder) {
  std::vector<std::string> words = {find_program(kSlirp4netns), "--configure", "--mtu=65520",
                                    "--disable-host-loopback",
                                    fmt::format("--ready-fd={}", kReadyFd)};
  if (!folder.empty()) words.push_back("--api-socket=" + socket_in(folder));
  words.insert(words.end(), {std::to_string(child), "eth0"});
  return words;
}

std::unique_ptr<Janitor> start_helper(const std::string& name, pid_t child,
                                      const std::vector<PublishedPort>& ports) {
  int ends[2];
  check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
  const UniqueFd is_ready(ends[0]);
  UniqueFd ready(ends[1]);
  // No pipe: nobody would read it, and a full one would stop the helper.
  const UniqueFd errors(check_quietly(memfd_create("errors", MFD_CLOEXEC), "memfd_create()"));

  Helper helper = {{}, STDOUT_FILENO, ""};
  if (name == kPasta) {
    helper.words = pasta_command(child, ports, geteuid() == 0);
  } else {
    helper.ready_fd = kReadyFd;
    if (!ports.empty()) helper.folder = new_folder_name();
    helper.words = slirp4netns_command(child, helper.folder);
  }
  auto janitor = std::make_unique<Janitor>(
      [&](const Janitor::Leash& leash) { keep(helper, ready, errors, leash); });
  ready.close();

  pollfd event = {is_ready.get(), POLLIN, 0};
  if (check_quietly(TEMP_FAILURE_RETRY(poll(&event, 1, kPatience)), "poll({})", name) == 0) {
    throw Failure(fmt::format("{} is not ready after {} s", name, kPatience / 1000));
  }
  char byte = 0;
  if (check_quietly(TEMP_FAILURE_RETRY(read(is_ready.get(), &byte, 1)), "read({})", name) == 0) {
    throw Failure(fmt::format("{}: {}", name, last_line(errors)));
  }
  janitor->tell("ready");
  if (!helper.folder.empty()) {
    for (const PublishedPort& port : ports) {
      ask_slirp4netns(socket_in(helper.folder),
                      fmt::format(R"({{"execute": "add_hostfwd", "arguments": {{"proto": "{}", )"
                                  R"("host_port": {}, "guest_port": {}}}}})",
                                  port.udp ? "udp" : "tcp", port.host, port.container));
    }
  }
  return janitor;
}

}  // namespace box
