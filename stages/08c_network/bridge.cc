#include "stages/08c_network/bridge.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <sstream>
#include <utility>

#include "common/check.h"
#include "common/read_file.h"
#include "stages/08c_network/bridge_lock.h"
#include "stages/08c_network/find_program.h"
#include "stages/08c_network/forwarding.h"
#include "stages/08c_network/links.h"
#include "stages/08c_network/nftables.h"
#include "stages/08c_network/port_proxy.h"

namespace box {
namespace {

constexpr const char* kOtherNetwork = "use another network: --network pasta";

Failure pool_is_in_use(const std::string& by) {
  return Failure(fmt::format("{} is in use already, by {}", kSubnet, by), kOtherNetwork);
}

std::string name_of(int link, const std::vector<Link>& links) {
  for (const Link& other : links) {
    if (other.index == link) return other.name;
  }
  return "a route";
}

// The pool must be unused: otherwise packets for its present owner would go to our bridge.
void check_that_the_pool_is_free(RouteSocket& host) {
  const in_addr_t pool = ntohl(inet_addr("10.79.0.0"));
  ifaddrs* all = nullptr;
  check_quietly(getifaddrs(&all), "getifaddrs()");
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(all, freeifaddrs);
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET) continue;
    const auto* address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
    const in_addr_t network = ntohl(address->sin_addr.s_addr) >> (32 - kPrefixLength);
    if (network == pool >> (32 - kPrefixLength)) throw pool_is_in_use(one->ifa_name);
  }
  for (const Route& route : host.routes()) {
    // Two routes that each cover half of all addresses are a default route, as VPNs make it.
    if (route.prefix_length <= 1) continue;
    const int common = 32 - std::min(route.prefix_length, kPrefixLength);
    if (route.destination >> common == pool >> common) {
      throw pool_is_in_use(name_of(route.link, host.links()));
    }
  }
}

// A link of this name that we did not make stays as it is.
void check_that_the_name_is_free(RouteSocket& host) {
  if (host.index_of(kBridge) == 0) return;
  throw Failure(
      fmt::format("there is already a link {}, which this program did not make", kBridge),
      fmt::format("rename it:  ip link set {} name NAME;  or {}", kBridge, kOtherNetwork));
}

// Makes the bridge, still down. Its containers use only IPv4: over IPv6 one of them could announce
// itself to the host as a router (CVE-2020-13401).
void make_bridge(RouteSocket& host) {
  check_that_the_name_is_free(host);
  check_that_the_pool_is_free(host);
  make_bridge_link(host, kBridge, mac_address_of(0));
  set_ipv6(kBridge, "disable_ipv6", "1");
  set_ipv6(kBridge, "accept_ra", "0");
  set_ipv4(kBridge, "rp_filter", "1");  // drop packets whose source address belongs to another link
  set_ipv4(kBridge, "accept_redirects", "0");
  add_address(host, host.index_of(kBridge), address_of(0), kPrefixLength);
}

// Uses the first number that no link has. Both ends are down.
int connect_to_bridge(RouteSocket& host, int bridge, pid_t child) {
  for (int number = 1; number <= kMostContainers; ++number) {
    const int result = make_veth_pair(host, link_name(number), outer_mac_address_of(number), bridge,
                                      mac_address_of(number), child);
    if (result == -1 && errno == EEXIST) continue;
    check(result, "rtnetlink(NEWLINK {}, veth, its peer is eth0 of process {})", link_name(number),
          child);
    return number;
  }
  throw Failure(fmt::format("all {} addresses of {} are taken", kMostContainers, kSubnet),
                "end a container; ip link show master " + std::string(kBridge) + " lists them");
}

// The end on the host. It has no IPv4 address, and with IPv6 off the kernel does not give it one
// either.
void set_up_outside(RouteSocket& host, const Container& container) {
  const std::string name = link_name(container.number);
  set_ipv6(name, "disable_ipv6", "1");
  set_alias(host, container.link, alias_of(container));
  turn_hairpin_on(host, container.link);
  bring_up(host, container.link, name);
}

// In the container's namespace: its address, and the way out.
void set_up_inside(pid_t child, int number) {
  in_network_of(child, [number] {
    RouteSocket inside;
    const int link = inside.index_of("eth0");
    set_ipv6("eth0", "disable_ipv6", "1");
    bring_up(inside, link, "eth0");
    add_address(inside, link, address_of(number), kPrefixLength);
    add_default_route(inside, address_of(0));
  });
}

void write_hosts_file(const std::vector<Container>& containers) {
  const UniqueFd folder = open_shared_folder();
  const std::string path = shared_hosts_file();
  const std::string text = hosts_file(containers);
  const UniqueFd file(check_quietly(
      open(path.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644), "open({})", path));
  check_quietly(fchmod(file.get(), 0644), "fchmod({})", path);  // whatever the umask
  // Written in place, because the containers have mounted this file, not its name; and never empty
  // in between.
  check_quietly(pwrite(file.get(), text.data(), text.size(), 0), "pwrite({})", path);
  check_quietly(ftruncate(file.get(), static_cast<off_t>(text.size())), "ftruncate({})", path);
}

// Returns the containers at the bridge. A link without a name, while we have the lock, belongs to a
// start that was killed before it could name the link, so it is removed.
std::vector<Container> containers_at_bridge(RouteSocket& host) {
  std::vector<Container> containers = containers_in(host.links());
  const auto is_nameless = [](const Container& container) { return container.name.empty(); };
  for (const Container& container : containers) {
    if (is_nameless(container)) remove_link(host, container.link);
  }
  containers.erase(std::remove_if(containers.begin(), containers.end(), is_nameless),
                   containers.end());
  return containers;
}

bool publish_the_same(const Container& one, const Container& other) {
  return std::any_of(one.ports.begin(), one.ports.end(), [&](const PublishedPort& port) {
    return std::any_of(other.ports.begin(), other.ports.end(), [&](const PublishedPort& known) {
      return port.host == known.host && port.udp == known.udp && port.address == known.address;
    });
  });
}

std::vector<int> switched_on(const std::vector<Link>& links) {
  const Link* bridge = find_bridge(links);
  return bridge == nullptr ? std::vector<int>{} : read_switched_on(bridge->alias);
}

// Stored in the bridge's alias, so that the clean-up finds it even if we are killed now.
void remember_switched_on(RouteSocket& host, int bridge, const std::vector<int>& numbers) {
  const std::string text = text_of_switched_on(numbers);
  if (text.size() > kLongestAlias) {
    throw Failure(
        fmt::format("--network bridge: {} links would have to forward, too many to note in the"
                    " bridge's alias",
                    numbers.size()),
        "switch forwarding on for all:  sudo sysctl -w net.ipv4.ip_forward=1");
  }
  set_alias(host, bridge, text);
}

// Rules and names are derived from the links, so this removes those that a killed container has
// left. Rules first, switches last, so that no packet is ever forwarded without rules.
void update_all(RouteSocket& host) {
  const std::vector<Container> containers = containers_at_bridge(host);
  write_hosts_file(containers);
  const std::vector<Link> links = host.links();
  const std::vector<int> numbers = links_to_switch_on(links, switched_on(links));
  const int bridge = host.index_of(kBridge);
  remember_switched_on(host, bridge, numbers);
  load_ruleset(ruleset(containers, numbers, kernel_has_ipv6()));
  switch_forwarding_on(links, numbers);
  set_ipv4(kBridge, "forwarding", "1");
  bring_up(host, bridge, kBridge);
}

// Takes each step even if an earlier one has failed, and throws the first failure. A step that
// fails is tried again at once, because many failures do not last; the second time it may fail only
// because of the first.
class Steps {
 public:
  void attempt(const std::function<void()>& step) {
    try {
      step();
    } catch (const Failure& failure) {
      try {
        step();
      } catch (const Failure&) {
        if (!first_) first_ = std::make_unique<Failure>(failure);
      }
    }
  }
  void finish() const {
    if (first_) throw Failure(*first_);
  }

 private:
  std::unique_ptr<Failure> first_;
};

// Switches first, rules last. A bridge that we did not make is left alone.
void remove_bridge(RouteSocket& host, Steps& steps) {
  std::vector<Link> links;
  steps.attempt([&] { links = host.links(); });
  const Link* bridge = find_bridge(links);
  if (bridge == nullptr) return;
  steps.attempt([&] { switch_forwarding_off(links, read_switched_on(bridge->alias)); });
  steps.attempt([&] { remove_link(host, bridge->index); });
  // The bridge goes up after its rules are loaded. If loading them has failed, this fails, too, but
  // does no harm.
  Steps unneeded;
  (bridge->is_up ? steps : unneeded).attempt([] { remove_ruleset(kernel_has_ipv6()); });
  steps.attempt([] {
    const std::string path = shared_hosts_file();
    if (unlink(path.c_str()) == -1 && errno != ENOENT) check_quietly(-1, "unlink({})", path);
  });
}

// In the janitor. `link` is the number of the container's link, or 0 if it never had one.
void leave_bridge(int link) {
  if (link == 0 && !file_exists(kSharedFolder)) return;  // the start has not got as far as its lock
  Steps steps;
  std::optional<BridgeLock> lock;
  std::optional<RouteSocket> host;
  steps.attempt([&] { lock.emplace(BridgeLock::For::kCleanUp); });
  steps.attempt([&] { host.emplace(); });
  steps.finish();
  if (link != 0) steps.attempt([&] { remove_link(*host, link); });
  bool is_last = false;
  steps.attempt([&] {
    is_last = containers_at_bridge(*host).empty();
    if (!is_last) update_all(*host);
  });
  if (is_last) {
    remove_bridge(*host, steps);
    steps.attempt([&] { lock->remove_file(); });
  }
  steps.finish();
}

// In the janitor, when another program may have switched forwarding on for all links: if so, loads
// the rules without the one that restricts what they forward. Whatever fails, the container keeps
// its network.
void stop_restricting_others(ForwardingWatch& forwarding) {
  try {
    if (!forwarding.all_forward_now()) return;
    const BridgeLock lock(BridgeLock::For::kCleanUp);
    RouteSocket host;
    if (!switched_on(host.links()).empty()) update_all(host);  // otherwise another janitor has
  } catch (const Failure& failure) {
    warn(failure.what(), "the next container's start tries again");
  }
}

// The note for the janitor: the container's link and its number.
std::string note_of(const Container& container) {
  return fmt::format("{} {}", container.link, container.number);
}

Container container_of(const std::string& note) {
  Container container;
  std::istringstream(note) >> container.link >> container.number;
  return container;
}

class BridgeWork : public Janitor::Work {
 public:
  BridgeWork(std::vector<UniqueFd> sockets, const std::vector<PublishedPort>& ports)
      : proxy_(std::make_unique<PortProxy>(std::move(sockets), ports)) {}

  [[nodiscard]] std::vector<int> descriptors() const override {
    std::vector<int> all = proxy_->descriptors();
    all.push_back(forwarding_.get());
    return all;
  }
  void serve(int parent, const std::string& note) override {
    const Container container = container_of(note);
    if (container.link == 0) return Work::serve(parent, note);
    proxy_->watch(forwarding_.get(), [this] { stop_restricting_others(forwarding_); });
    proxy_->serve_until(parent, address_of(container.number), container.link);
  }
  void clean_up(const std::string& note) override { leave_bridge(container_of(note).link); }
  // In the parent: closes the sockets, because only the janitor may have them.
  void close_sockets() {
    proxy_.reset();
    forwarding_.close();
  }

 private:
  std::unique_ptr<PortProxy> proxy_;
  ForwardingWatch forwarding_;  // from before we switch anything
};

}  // namespace

void check_that_a_bridge_is_possible() {
  if (geteuid() != 0) {
    throw Failure("--network bridge needs root: only root may create links and rules on the host",
                  "an ordinary user can use --network pasta");
  }
  if (find_program("nft").empty()) {
    throw Failure("--network bridge: the program nft is not installed",
                  "sudo apt-get install nftables");
  }
}

std::string shared_hosts_file() {
  return fmt::format("{}/hosts-{}", kSharedFolder, network_namespace_number());
}

std::unique_ptr<Janitor> join_bridge(pid_t child, Container container,
                                     std::vector<UniqueFd> sockets) {
  auto work = std::make_shared<BridgeWork>(std::move(sockets), container.ports);
  auto janitor = std::make_unique<Janitor>(work);
  work->close_sockets();
  const BridgeLock lock(BridgeLock::For::kStart);
  RouteSocket host;
  const std::vector<Container> others = containers_at_bridge(host);
  // Our janitor's sockets have the published ports, so a container that publishes one of them has
  // ended: it was killed, and the kernel is about to remove its link.
  for (const Container& other : others) {
    if (publish_the_same(other, container)) remove_link(host, other.link);
  }
  if (others.empty()) {
    Steps steps;  // a start that was killed may have left the bridge unfinished
    remove_bridge(host, steps);
    steps.finish();
    lock.remove_files_of_the_gone();
    make_bridge(host);
  }
  container.number = connect_to_bridge(host, host.index_of(kBridge), child);
  container.link = host.index_of(link_name(container.number));
  janitor->note(note_of(container));
  set_up_outside(host, container);
  set_up_inside(child, container.number);
  update_all(host);
  return janitor;
}

}  // namespace box
