#include "stages/08c_network/network.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "common/check.h"
#include "common/write_file.h"
#include "stages/08c_network/bridge.h"
#include "stages/08c_network/user_mode_network.h"

namespace box {
namespace {

struct NamedKind {
  const char* name;
  NetworkKind kind;
};

constexpr NamedKind kKinds[] = {
    {"none", NetworkKind::kNone},
    {"host", NetworkKind::kHost},
    {"bridge", NetworkKind::kBridge},
    {kPasta, NetworkKind::kPasta},
    {kSlirp4netns, NetworkKind::kSlirp4netns},
};

const char* name_of(NetworkKind kind) {
  for (const auto& named : kKinds) {
    if (named.kind == kind) return named.name;
  }
  return "";
}

NetworkKind parse_kind(const std::string& text) {
  for (const auto& named : kKinds) {
    if (text == named.name) return named.kind;
  }
  throw Failure("there are none, host, bridge, pasta and slirp4netns");
}

// What publishes a port for this caller.
NetworkKind kind_that_publishes() {
  if (geteuid() == 0) return NetworkKind::kBridge;
  return parse_kind(installed_helper());
}

void add_port(std::vector<PublishedPort>& ports, const PublishedPort& port) {
  for (const PublishedPort& other : ports) {
    if (other.host == port.host && other.udp == port.udp) {
      throw Failure(fmt::format("port {} of the host is published twice", port.host));
    }
  }
  ports.push_back(port);
}

// What other containers can look up, and what is written into their /etc/hosts.
void check_that_it_is_a_name(const std::string& name) {
  const bool good = std::all_of(name.begin(), name.end(), [](unsigned char letter) {
    return std::isalnum(letter) != 0 || letter == '-' || letter == '_' || letter == '.';
  });
  if (!good) {
    throw Failure(fmt::format("--hostname {}: others at the bridge cannot look this up", name),
                  "a name has letters, digits, '-', '_' and '.'");
  }
}

std::string network_namespace_hint(const Failure& failure) {
  int most = -1;
  std::ifstream("/proc/sys/user/max_net_namespaces") >> most;
  if (failure.error() != ENOSPC || most != 0) return "";
  return "network namespaces are switched off here: "
         "sudo sysctl -w user.max_net_namespaces=10000";
}

std::string read_text(const char* path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// Replaces whatever is at `path` in the container's root: a link, a FIFO, a file of an image.
void replace_file(const std::string& path, const std::string& text) {
  if (unlink(path.c_str()) == -1 && errno != ENOENT) check(-1, "unlink({})", path);
  const UniqueFd file(
      check(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), "open({})", path));
  check_quietly(write(file.get(), text.data(), text.size()), "write({})", path);
}

// ip link set lo up: a new namespace's loopback is down, and even 127.0.0.1 then leads nowhere.
void bring_up_loopback() {
  const UniqueFd any(
      check_quietly(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket(AF_INET)"));
  ifreq request = {};
  std::string("lo").copy(request.ifr_name, sizeof request.ifr_name - 1);
  request.ifr_flags = IFF_UP;
  check(ioctl(any.get(), SIOCSIFFLAGS, &request), "ioctl(SIOCSIFFLAGS, lo, UP)");
}

}  // namespace

std::string without_loopback(const std::string& host) {
  std::istringstream lines(host);
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key;
    std::string value;
    words >> key >> value;
    const bool loopback = value.rfind("127.", 0) == 0 || value.rfind("::1", 0) == 0;
    if (key != "nameserver" || !loopback) text += line + "\n";
  }
  return text;
}

Network::Network(CommandLine& line, const NamespaceOptions& own, MountOptions& mounts)
    : hostname_(own.hostname) {
  line.add_option(
      "--network", "none|host|bridge|pasta|slirp4netns",
      "none (the default): only lo; bridge: as root; pasta, slirp4netns: for everybody; "
      "host: no isolation",
      [this](const std::string& text) {
        kind_ = parse_kind(text);
        kind_given_ = true;
      });
  line.add_option(
      "-p,--publish", "HOST:CONTAINER[/udp]",
      "lead a port of the host to one of the container; without --network: by bridge "
      "as root, else by pasta or slirp4netns",
      [this](const std::string& text) { add_port(ports_, parse_published_port(text)); });
  line.add_check([this, &mounts] {
    choose_kind();
    prepare(mounts);
  });
  line.add_hint(network_namespace_hint);
}

void Network::choose_kind() {
  if (ports_.empty()) return;
  if (!kind_given_) kind_ = kind_that_publishes();
  if (kind_ == NetworkKind::kNone || kind_ == NetworkKind::kHost) {
    throw Failure(fmt::format("--publish is not for --network {}", name_of(kind_)),
                  kind_ == NetworkKind::kHost
                      ? "the container's ports are the host's already: leave --publish out"
                      : "leave --network out");
  }
}

void Network::prepare(MountOptions& mounts) {
  // Before the volumes that the user has asked for, which may cover them.
  const auto show = [&](const std::string& source, const std::string& target) {
    mounts.volumes.insert(mounts.volumes.begin(), {source, target, true});
  };
  switch (kind_) {
    case NetworkKind::kNone:
      break;
    case NetworkKind::kHost:
      warn(
          "--network host: the container has the host's network: its loopback, abstract sockets,"
          " ports and links",
          "");
      for (const char* path : {"/etc/hosts", "/etc/resolv.conf"}) {
        if (access(path, R_OK) == 0) show(path, path);
      }
      break;
    case NetworkKind::kBridge:
      check_that_a_bridge_is_possible();
      check_that_it_is_a_name(hostname_);
      if (alias_of({0, hostname_, ports_}).size() > kLongestAlias) {
        throw Failure(fmt::format("--publish: {} ports are too many for one container at the "
                                  "bridge",
                                  ports_.size()),
                      "publish fewer, or by --network pasta");
      }
      show(shared_hosts_file(), "/etc/hosts");
      // systemd-resolved is a name server at 127.0.0.53; this is where it says whom it asks.
      resolv_conf_ = without_loopback(read_text("/etc/resolv.conf"));
      if (resolv_conf_.find("nameserver") == std::string::npos) {
        resolv_conf_ += without_loopback(read_text("/run/systemd/resolve/resolv.conf"));
      }
      break;
    case NetworkKind::kPasta:
    case NetworkKind::kSlirp4netns:
      check_that_helper_is_possible(name_of(kind_));
      resolv_conf_ = "nameserver " + name_server_of(name_of(kind_)) + "\n";
      break;
  }
  // The helpers take the ports themselves: for them this only tells in time that one is taken.
  auto reserved = reserve(ports_);
  if (kind_ == NetworkKind::kBridge) reserved_ = std::move(reserved);
}

std::uint64_t Network::namespaces() const { return kind_ == NetworkKind::kHost ? 0 : CLONE_NEWNET; }

HostMounts Network::take_from_host(const MountOptions& mounts) const {
  if (kind_ == NetworkKind::kHost) return box::take_from_host(mounts);
  // /sys/class/net shows the links of the network namespace in which the sysfs was mounted, see
  // network_namespaces(7). For a new one the kernel wants that namespace to be ours, and, as with
  // /proc, another sysfs to be fully visible.
  return box::take_from_host(mounts, {new_mount("sysfs", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
                                                             MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC),
                                      {}});
}

void Network::set_up_inside() const {
  if (kind_ == NetworkKind::kHost) return;
  bring_up_loopback();
  if (mkdir("/etc", 0755) == -1 && errno != EEXIST) check(-1, "mkdir(/etc)");
  if (access("/etc", W_OK) == -1 && errno == EACCES) {
    // It belongs to an id that is not mapped: see capabilities(7), CAP_DAC_OVERRIDE does not help.
    if (kind_ != NetworkKind::kNone) {
      warn("/etc of this root is nobody's in the container: its resolv.conf stays as it is",
           "map the id of its owner, see --uid-map");
    }
    return;
  }
  replace_file("/etc/hosts", fmt::format("127.0.0.1\tlocalhost {}\n"
                                         "::1\tlocalhost ip6-localhost ip6-loopback\n",
                                         hostname_));
  replace_file("/etc/resolv.conf", resolv_conf_);
}

void Network::connect(pid_t child) {
  switch (kind_) {
    case NetworkKind::kNone:
    case NetworkKind::kHost:
      break;
    case NetworkKind::kBridge:
      janitor_ = join_bridge(child, {0, hostname_, ports_});
      break;
    case NetworkKind::kPasta:
    case NetworkKind::kSlirp4netns:
      janitor_ = start_helper(name_of(kind_), child, ports_);
      break;
  }
}

}  // namespace box
