#include "stages/08c_network/user_mode_network.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <sstream>
#include <utility>

#include "common/capability_sets.h"
#include "common/check.h"
#include "stages/08c_network/find_program.h"
#include "stages/08c_network/netlink.h"

namespace box {
namespace {

constexpr const char* kReady = "ready";  // the note after the container has its network
constexpr const char* kTun = "/dev/net/tun";
constexpr int kPatience = 10'000;  // milliseconds
constexpr int kReadyFd =
    3;  // slirp4netns reports on this descriptor that it is ready; pasta does so on its stdout

std::string socket_in(const std::string& folder) { return folder + "/socket"; }

// A name that no other process has or can guess.
std::string new_folder_name() {
  std::uint64_t number = 0;
  check_quietly(getrandom(&number, sizeof number, 0), "getrandom()");
  return fmt::format("/tmp/slirp4netns-{:016x}", number);
}

// Returns the last line that the helper wrote to `errors`; the lines before are about its log.
std::string last_line(const UniqueFd& errors) {
  char text[4096] = {};
  (void)!pread(errors.get(), text, sizeof text - 1, 0);
  std::istringstream lines(text);
  std::string last;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) last = line;
  }
  return last.empty() ? "it ended without a message" : last;
}

struct Helper {
  std::vector<std::string> words;
  int ready_fd;        // on which it reports that the network is ready
  std::string folder;  // for the socket of slirp4netns' API, or ""
  pid_t child = -1;    // whose namespaces it enters
  uid_t owner = 0;     // of these: root becomes that user
};

void remove_folder(const std::string& folder) {
  if (folder.empty()) return;
  (void)unlink(socket_in(folder).c_str());  // it may never have been made
  (void)rmdir(folder.c_str());
}

// Where pasta finds a namespace of `process`, in a mount namespace of its own.
constexpr const char* kShown = "/tmp";
std::string path_of(const char* kind, pid_t process) {
  return fmt::format("{}/{}-{}", kShown, process, kind);
}

// In the process that becomes pasta, as root: shows the namespaces of `process` at another place
// than /proc/PID/ns, where only a process may open them that may also look into `process`, see
// "Ptrace access mode checking" in ptrace(2). Their owner may not until that has become the
// command.
void show_namespaces(pid_t process) {
  check_quietly(unshare(CLONE_NEWNS), "unshare(CLONE_NEWNS)");
  check_quietly(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "mount(/, MS_PRIVATE)");
  check_quietly(mount("tmpfs", kShown, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755"),
                "mount(tmpfs, {})", kShown);
  for (const char* kind : {"user", "net"}) {
    const std::string from = fmt::format("/proc/{}/ns/{}", process, kind);
    const std::string to = path_of(kind, process);
    check_quietly(mknod(to.c_str(), S_IFREG | 0444, 0), "mknod({})", to);
    check_quietly(mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr), "mount({}, {})", from,
                  to);
  }
}

// In the process that becomes pasta, as root, after show_namespaces(): where only root may open
// /dev/net/tun, `user` has a device node of their own there.
void show_tun(uid_t user) {
  struct stat st = {};
  check_quietly(stat(kTun, &st), "stat({})", kTun);
  if ((st.st_mode & 0006) == 0006) return;
  const std::string own = fmt::format("{}/tun", kShown);
  check_quietly(mknod(own.c_str(), S_IFCHR | 0600, st.st_rdev), "mknod({})", own);
  check_quietly(chown(own.c_str(), user, user), "chown({})", own);
  check_quietly(mount(own.c_str(), kTun, nullptr, MS_BIND, nullptr), "mount({}, {})", own, kTun);
}

// In the process that becomes pasta, as root: becomes `user`, who has all capabilities in the
// container's namespaces. Of root's, pasta keeps the one for ports below 1024.
void become_owner(uid_t user, int ready) {
  check_quietly(fchown(ready, user, user), "fchown(ready)");  // pasta opens it by its name
  check_quietly(prctl(PR_SET_KEEPCAPS, 1), "prctl(PR_SET_KEEPCAPS)");
  check_quietly(setgroups(0, nullptr), "setgroups(0)");
  check_quietly(setresgid(user, user, user), "setresgid({})", user);
  check_quietly(setresuid(user, user, user), "setresuid({})", user);
  constexpr std::uint64_t kOnly = 1U << CAP_NET_BIND_SERVICE;
  check_quietly(set_capabilities({.effective = kOnly, .permitted = kOnly, .inheritable = kOnly}),
                "capset(CAP_NET_BIND_SERVICE)");
  check_quietly(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0),
                "prctl(PR_CAP_AMBIENT_RAISE)");
}

// In the process that becomes the helper.
[[noreturn]] void execute(const Helper& helper, pid_t janitor, int ready, int errors) {
  sigset_t none;
  sigemptyset(&none);
  (void)sigprocmask(SIG_SETMASK, &none, nullptr);  // our parent has blocked some signals, see Child
  (void)dup2(errors, STDERR_FILENO);
  try {
    if (helper.owner != 0) {
      show_namespaces(helper.child);
      show_tun(helper.owner);
      become_owner(helper.owner, ready);
    }
    // The janitor ends it; if the janitor is killed, the kernel does. A change of user clears this.
    check_quietly(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl(PR_SET_PDEATHSIG)");
    if (check_quietly(dup2(ready, helper.ready_fd), "dup2(ready)") == ready) {
      check_quietly(fcntl(ready, F_SETFD, 0), "fcntl(ready)");
    }
  } catch (const Failure& failure) {
    (void)dprintf(STDERR_FILENO, "%s\n", failure.what());
    _exit(kExitNotFound);
  }
  if (getppid() != janitor) _exit(kExitNotFound);
  (void)close_range(static_cast<unsigned>(std::max(helper.ready_fd, STDERR_FILENO)) + 1, ~0U, 0);
  std::vector<char*> argv;
  for (const auto& word : helper.words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  (void)dprintf(STDERR_FILENO, "execve(): %s\n", strerrordesc_np(errno));
  _exit(kExitNotFound);
}

class HelperWork : public Janitor::Work {
 public:
  HelperWork(Helper helper, UniqueFd ready, UniqueFd errors)
      : helper_(std::move(helper)), ready_(std::move(ready)), errors_(std::move(errors)) {}

  [[nodiscard]] std::vector<int> descriptors() const override {
    return {ready_.get(), errors_.get()};
  }

  void serve(int parent, const std::string& note) override {
    if (process_ == -1 && !note.empty()) start();
    Work::serve(parent, note);
  }

  void stop() override {
    if (process_ <= 0) return;
    has_ended_ = waitpid(process_, nullptr, WNOHANG) == process_;
    if (has_ended_) {
      last_words_ = last_line(errors_);
      return;
    }
    // If we may not kill it, the kernel does when we end, see execute().
    if (kill(process_, SIGKILL) == 0) (void)waitpid(process_, nullptr, 0);
  }

  void clean_up(const std::string& note) override {
    remove_folder(helper_.folder);
    if (has_ended_ && note == kReady) {
      warn(helper_.words[0] + " ended before the container did: " + last_words_, "");
    }
  }

  // In the parent: closes the janitor's end of the pipe, so that we read end-of-file if the helper
  // ends.
  void close_ready() { ready_.close(); }
  [[nodiscard]] const UniqueFd& errors() const { return errors_; }

 private:
  // The parent, which waits at the pipe, reports a failure here.
  void start() {
    const pid_t janitor = getpid();
    process_ = fork();
    if (process_ == 0) execute(helper_, janitor, ready_.get(), errors_.get());
    if (process_ == -1) {
      (void)dprintf(errors_.get(), "fork(): %s\n", strerrordesc_np(errno));
      process_ = 0;
    }
    trace(fmt::format("{} = process {}", fmt::join(helper_.words, " "), process_));
    ready_.close();
  }

  Helper helper_;
  UniqueFd ready_;
  UniqueFd errors_;
  pid_t process_ = -1;  // 0: it could not be started
  bool has_ended_ = false;
  std::string last_words_;
};

// The API of slirp4netns: one connection for each request, with JSON in both directions.
void ask_slirp4netns(const std::string& path, const std::string& request) {
  const UniqueFd fd(
      check_quietly(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket(AF_UNIX)"));
  const timeval patience = {kPatience / 1000, 0};
  check_quietly(setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience),
                "setsockopt()");
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
    throw Failure("slirp4netns could not publish the port: " + text);
  }
}

std::string address_in(const PublishedPort& port) {
  return port.address.empty() ? "0.0.0.0" : port.address;
}

void publish(const std::string& path, const PublishedPort& port) {
  ask_slirp4netns(
      path, fmt::format(R"({{"execute": "add_hostfwd", "arguments": {{"proto": "{}", )"
                        R"("host_addr": "{}", "host_port": {}, "guest_port": {}}}}})",
                        port.udp ? "udp" : "tcp", address_in(port), port.host, port.container));
}

std::string hint_for_tun(int error) {
  if (error == EACCES) return fmt::format("allow all users to open it: sudo chmod 0666 {}", kTun);
  if (error == ENOENT || error == ENODEV || error == ENXIO) {
    return fmt::format("sudo modprobe tun; in Docker: docker run --device {}", kTun);
  }
  return "";
}

// pasta copies the host's addresses and routes, and older ones need a default route for that.
bool there_is_a_default_route() {
  const std::vector<Route> routes = RouteSocket().routes();
  return std::any_of(routes.begin(), routes.end(),
                     [](const Route& route) { return route.prefix_length == 0; });
}

std::string hint_for(const std::string& helper) {
  if (helper != kPasta || there_is_a_default_route()) return "";
  return "this host has no default route, which this version of pasta needs; --network slirp4netns"
         " does not";
}

}  // namespace

void check_that_helper_is_possible(const std::string& helper) {
  if (find_program(helper).empty()) {
    throw Failure(fmt::format("--network {0}: the program {0} is not installed", helper),
                  fmt::format("sudo apt-get install {}, or start the container without a network:"
                              " --network none",
                              helper == kPasta ? "passt" : helper));
  }
  const UniqueFd tun(open(kTun, O_RDWR | O_CLOEXEC));
  if (tun.get() != -1) return;
  const int error = errno;
  throw Failure(error, fmt::format("--network {}: open({})", helper, kTun), kExitSetupFailed,
                hint_for_tun(error));
}

std::string helper_that_works() {
  const bool pasta = !find_program(kPasta).empty();
  const bool slirp4netns = !find_program(kSlirp4netns).empty();
  if (pasta && (!slirp4netns || there_is_a_default_route())) return kPasta;
  if (slirp4netns) return kSlirp4netns;
  throw Failure("--publish: without root this needs pasta or slirp4netns",
                "sudo apt-get install passt");
}

std::string name_server_of(const std::string& helper) {
  return helper == kPasta ? "169.254.1.1" : "10.0.2.3";
}

std::vector<std::string> pasta_command(pid_t child, const std::vector<PublishedPort>& ports,
                                       std::optional<uid_t> owner) {
  std::vector<std::string> words = {
      find_program(kPasta), "--config-net", "--foreground", "--quiet",
      "--ns-ifname",        "eth0",         "--pid",        "/dev/stdout"};
  // By default pasta also offers the host's loopback at the gateway's address, and all open ports
  // of the host's loopback. These options switch that off.
  words.insert(words.end(), {"--no-map-gw", "--tcp-ns", "none", "--udp-ns", "none"});
  words.insert(words.end(), {"--dns-forward", name_server_of(kPasta)});
  // Only IPv4, as with the other networks: a client of localhost that tries ::1 first would be
  // accepted there, and then lose the connection if the server inside listens only on IPv4.
  bool any[2] = {};
  for (const PublishedPort& port : ports) {
    words.insert(words.end(),
                 {port.udp ? "--udp-ports" : "--tcp-ports",
                  fmt::format("{}/{}:{}", address_in(port), port.host, port.container)});
    any[port.udp ? 1 : 0] = true;
  }
  if (!any[0]) words.insert(words.end(), {"--tcp-ports", "none"});
  if (!any[1]) words.insert(words.end(), {"--udp-ports", "none"});
  if (owner.value_or(0) != 0) {
    words.insert(words.end(), {"--no-netns-quit", "--userns", path_of("user", child), "--netns",
                               path_of("net", child)});
    return words;
  }
  // If root starts it, pasta becomes the user nobody, which may not enter the container's
  // namespaces.
  if (owner) words.insert(words.end(), {"--runas", "0"});
  words.push_back(std::to_string(child));
  return words;
}

std::vector<std::string> slirp4netns_command(pid_t child, const std::string& folder) {
  // It parses packets from the container, so it runs in an empty mount namespace, without
  // capabilities, with a seccomp filter of its own.
  std::vector<std::string> words = {find_program(kSlirp4netns),
                                    "--configure",
                                    "--mtu=65520",
                                    "--disable-host-loopback",
                                    "--enable-sandbox",
                                    "--enable-seccomp",
                                    fmt::format("--ready-fd={}", kReadyFd)};
  if (!folder.empty()) words.push_back("--api-socket=" + socket_in(folder));
  words.insert(words.end(), {std::to_string(child), "eth0"});
  return words;
}

namespace {

// The user who has made the user namespace of `process`, and so has all capabilities in it.
uid_t owner_of_namespaces(pid_t process) {
  const std::string path = fmt::format("/proc/{}/ns/user", process);
  const UniqueFd fd(check_quietly(open(path.c_str(), O_RDONLY | O_CLOEXEC), "open({})", path));
  uid_t owner = 0;
  check_quietly(ioctl(fd.get(), NS_GET_OWNER_UID, &owner), "ioctl({}, NS_GET_OWNER_UID)", path);
  return owner;
}

void wait_until_ready(const UniqueFd& is_ready, const std::string& name, const UniqueFd& errors) {
  pollfd event = {is_ready.get(), POLLIN, 0};
  if (check_quietly(TEMP_FAILURE_RETRY(poll(&event, 1, kPatience)), "poll({})", name) == 0) {
    throw Failure(fmt::format("{} is not ready after {} s", name, kPatience / 1000));
  }
  char byte = 0;
  if (check_quietly(TEMP_FAILURE_RETRY(read(is_ready.get(), &byte, 1)), "read({})", name) == 0) {
    throw Failure(fmt::format("{}: {}", name, last_line(errors)), hint_for(name));
  }
}

}  // namespace

std::unique_ptr<Janitor> start_helper(const std::string& name, pid_t child,
                                      const std::vector<PublishedPort>& ports) {
  int ends[2];
  check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
  const UniqueFd is_ready(ends[0]);
  UniqueFd ready(ends[1]);
  // Not a pipe, because no process reads it after the start, and a full pipe would stop the helper.
  UniqueFd errors(check_quietly(memfd_create("errors", MFD_CLOEXEC), "memfd_create()"));

  Helper helper = {{}, STDOUT_FILENO, "", child};
  if (name == kPasta) {
    std::optional<uid_t> owner;
    if (geteuid() == 0) owner = helper.owner = owner_of_namespaces(child);
    helper.words = pasta_command(child, ports, owner);
  } else {
    helper.ready_fd = kReadyFd;
    if (!ports.empty()) helper.folder = new_folder_name();
    helper.words = slirp4netns_command(child, helper.folder);
  }
  const std::string folder = helper.folder;
  auto work = std::make_shared<HelperWork>(helper, std::move(ready), std::move(errors));
  auto janitor = std::make_unique<Janitor>(work);
  work->close_ready();
  if (!folder.empty()) check_quietly(mkdir(folder.c_str(), 0700), "mkdir({})", folder);
  janitor->note("start");

  wait_until_ready(is_ready, name, work->errors());
  if (!folder.empty()) {
    for (const PublishedPort& port : ports) publish(socket_in(folder), port);
    remove_folder(folder);  // it is not needed any more
  }
  janitor->note(kReady);
  return janitor;
}

}  // namespace box
