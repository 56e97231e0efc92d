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
#include <utility>

#include "common/check.h"
#include "common/write_file.h"
#include "stages/08c_network/bridge.h"
#include "stages/08c_network/resolv_conf.h"
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
  throw Failure("unknown network; choose none, host, bridge, pasta or slirp4netns");
}

// The kind of network that can publish a port for this caller.
NetworkKind kind_that_publishes() {
  if (geteuid() == 0) return NetworkKind::kBridge;
  return parse_kind(helper_that_works());
}

void add_ports(std::vector<PublishedPort>& ports, const std::vector<PublishedPort>& more) {
  for (const PublishedPort& port : more) {
    for (const PublishedPort& other : ports) {
      if (collide(port, other)) {
        throw Failure(fmt::format("port {} of the host is published twice", port.host));
      }
    }
    ports.push_back(port);
  }
}

// Other containers look this name up, and it is written to their /etc/hosts.
void check_that_it_is_a_name(const std::string& name) {
  const bool good = std::all_of(name.begin(), name.end(), [](unsigned char letter) {
    return std::isalnum(letter) != 0 || letter == '-' || letter == '_' || letter == '.';
  });
  if (!good) {
    throw Failure(
        fmt::format("--hostname {}: other containers at the bridge cannot look up this name", name),
        "use letters, digits, '-', '_' and '.'");
  }
}

std::string network_namespace_hint(const Failure& failure) {
  int most = -1;
  std::ifstream("/proc/sys/user/max_net_namespaces") >> most;
  if (failure.error() != ENOSPC || most != 0) return "";
  return "network namespaces are switched off here: "
         "sudo sysctl -w user.max_net_namespaces=10000";
}

// Replaces whatever is at `path` in the container's root: a link, a FIFO, a file of an image.
void replace_file(const std::string& path, const std::string& text) {
  if (unlink(path.c_str()) == -1 && errno != ENOENT) check(-1, "unlink({})", path);
  const UniqueFd file(
      check(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), "open({})", path));
  check_quietly(fchmod(file.get(), 0644), "fchmod({})", path);  // whatever the umask
  write_all(file.get(), text, path);
}

// The last group that is mapped, from /proc/self/gid_map.
std::uint32_t last_group(const HostMounts& host) {
  const UniqueFd file(openat(host.proc.get(), "self/gid_map", O_RDONLY | O_CLOEXEC));
  char text[4096] = {};
  (void)!read(file.get(), text, sizeof text - 1);
  std::istringstream lines(text);
  std::uint32_t last = 0;
  for (std::uint32_t inside, outside, count; lines >> inside >> outside >> count;) {
    last = std::max(last, inside + count - 1);
  }
  return last;
}

// Settings of the new namespace, separate from the host's. If they do not exist, or we may not
// write them, they keep their defaults, which do not weaken the container's isolation.
void set(const HostMounts& host, const char* name, const std::string& value) {
  const std::string path = std::string("sys/net/ipv4/") + name;
  const UniqueFd file(openat(host.proc.get(), path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() == -1) return;
  const ssize_t written = write(file.get(), value.data(), value.size());
  if (tracing()) trace(fmt::format("write(/proc/{}, \"{}\") = {}", path, value, written));
}

}  // namespace

void bring_up_loopback() {
  const UniqueFd any(
      check_quietly(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket(AF_INET)"));
  ifreq request = {};
  std::string("lo").copy(request.ifr_name, sizeof request.ifr_name - 1);
  request.ifr_flags = IFF_UP;
  check(ioctl(any.get(), SIOCSIFFLAGS, &request), "ioctl(SIOCSIFFLAGS, lo, UP)");
}

NetworkOptions::NetworkOptions(CommandLine& line, const NamespaceOptions& namespaces)
    : hostname(namespaces.hostname) {
  line.add_option(
      "--network", "none|host|bridge|pasta|slirp4netns",
      "none (the default): only lo; bridge: needs root; pasta, slirp4netns: for any user; "
      "host: no isolation",
      [this](const std::string& text) {
        kind = parse_kind(text);
        kind_given_ = true;
      });
  line.add_option(
      "-p,--publish", "[[ADDRESS:]HOST:]CONTAINER[/udp]",
      "publish a container port, or a range of them, on the host; without --network: by bridge "
      "as root, otherwise by pasta or slirp4netns",
      [this](const std::string& text) { add_ports(ports, parse_published_ports(text)); });
  line.add_check([this] {
    choose_kind();
    check();
  });
  line.add_hint(network_namespace_hint);
}

void NetworkOptions::choose_kind() {
  if (ports.empty()) return;
  if (!kind_given_) kind = kind_that_publishes();
  if (kind == NetworkKind::kNone || kind == NetworkKind::kHost) {
    throw Failure(fmt::format("--publish does not work with --network {}", name_of(kind)),
                  kind == NetworkKind::kHost
                      ? "the container's ports are the host's already: leave --publish out"
                      : "leave --network out");
  }
}

void NetworkOptions::check() const {
  switch (kind) {
    case NetworkKind::kNone:
      break;
    case NetworkKind::kHost:
      warn(
          "--network host: the container shares the host's network: its loopback, abstract sockets,"
          " ports and links",
          "");
      break;
    case NetworkKind::kBridge:
      check_that_a_bridge_is_possible();
      check_that_it_is_a_name(hostname);
      if (alias_of({0, 0, hostname, ports}).size() > kLongestAlias) {
        throw Failure(fmt::format("--publish: {} ports are too many for one container at the "
                                  "bridge",
                                  ports.size()),
                      "publish them as a range, or use --network pasta");
      }
      break;
    case NetworkKind::kPasta:
    case NetworkKind::kSlirp4netns:
      check_that_helper_is_possible(name_of(kind));
      break;
  }
}

Network::Network(const NetworkOptions& options) : options_(options), ports_(options.ports) {
  auto sockets = reserve(ports_);
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    if (options.ports[i].host == ports_[i].host && options.ports[i].last_host == 0) continue;
    warn(fmt::format("port {} of the container is published as {}", ports_[i].container,
                     text_of(ports_[i])),
         "");
  }
  if (options.kind == NetworkKind::kBridge) {
    hosts_file_ = shared_hosts_file();
    resolv_conf_ = resolv_conf_of_bridge();
    sockets_ = std::move(sockets);
  } else if (options.kind != NetworkKind::kNone && options.kind != NetworkKind::kHost) {
    // The helpers bind the ports themselves; binding them here has only checked in time whether one
    // is taken.
    resolv_conf_ = resolv_conf_of_helper(name_server_of(name_of(options.kind)));
  }
}

std::uint64_t Network::namespaces() const {
  return options_.kind == NetworkKind::kHost ? 0 : CLONE_NEWNET;
}

HostMounts Network::take_from_host(MountOptions mounts, MountsByPath& shown) const {
  // Before the volumes that the user has asked for, which may cover them.
  const auto show = [&](const std::string& source, const std::string& target) {
    Volume volume;
    volume.source = source;
    volume.target = target;
    volume.read_only = true;
    mounts.volumes.insert(mounts.volumes.begin(), volume);
  };
  if (options_.kind == NetworkKind::kBridge) show(hosts_file_, "/etc/hosts");
  if (options_.kind == NetworkKind::kHost) {
    for (const char* path : {"/etc/hosts", "/etc/resolv.conf"}) {
      if (access(path, R_OK) == 0) show(path, path);
    }
    return box::take_from_host(mounts, shown);
  }
  // /sys/class/net shows the links of the network namespace in which the sysfs was mounted, see
  // network_namespaces(7). For a new one the kernel requires that namespace to be ours, and, as
  // with /proc, another sysfs to be fully visible.
  return box::take_from_host(mounts, shown,
                             {new_mount("sysfs", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
                                                     MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC),
                              {}});
}

void Network::set_up_inside(const HostMounts& host) const {
  if (options_.kind == NetworkKind::kHost) return;
  bring_up_loopback();
  // As with docker run, all ports are the container's own, and ping(8) works for all its users.
  set(host, "ip_unprivileged_port_start", "0");
  set(host, "ping_group_range", fmt::format("0 {}", last_group(host)));
  if (mkdir("/etc", 0755) == 0) {
    check_quietly(chmod("/etc", 0755), "chmod(/etc)");  // whatever the umask
  } else if (errno != EEXIST) {
    check(-1, "mkdir(/etc)");
  }
  if (access("/etc", W_OK) == -1) {
    if (errno != EACCES) check_quietly(-1, "access(/etc)");
    // It belongs to an id that is not mapped, and for such files CAP_DAC_OVERRIDE does not help,
    // see capabilities(7).
    if (options_.kind != NetworkKind::kNone) {
      warn(
          "/etc of this root belongs to an id that is not mapped, so its resolv.conf stays as it"
          " is",
          "map the id of its owner with --uid-map");
    }
    return;
  }
  replace_file("/etc/hosts", fmt::format("127.0.0.1\tlocalhost {}\n"
                                         "::1\tlocalhost ip6-localhost ip6-loopback\n",
                                         options_.hostname));
  replace_file("/etc/resolv.conf", resolv_conf_);
}

void Network::connect(pid_t child) {
  switch (options_.kind) {
    case NetworkKind::kNone:
    case NetworkKind::kHost:
      break;
    case NetworkKind::kBridge:
      janitor_ = join_bridge(child, {0, 0, options_.hostname, ports_}, std::move(sockets_));
      break;
    case NetworkKind::kPasta:
    case NetworkKind::kSlirp4netns:
      janitor_ = start_helper(name_of(options_.kind), child, ports_);
      break;
  }
}

}  // namespace box
