#include "stages/08c_network/bridge.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <linux/if.h>
#include <linux/veth.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>

#include "common/check.h"
#include "common/write_file.h"
#include "stages/08c_network/find_program.h"
#include "stages/08c_network/nftables.h"

namespace box {
namespace {

constexpr const char* kFolder = "/run/containers-under-the-hood";
constexpr const char* kForward = "/proc/sys/net/ipv4/ip_forward";
// What the bridge's alias says if we have switched that on.
constexpr const char* kForwardedNothing = "ip_forward was 0";

UniqueFd open_own_namespace() {
  return UniqueFd(
      check_quietly(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "open(/proc/self/ns/net)"));
}

// One at a time changes the bridge, the rules and the hosts file. The lock is on the network
// namespace itself: whoever is in another one has another bridge.
class BridgeLock {
 public:
  BridgeLock() : namespace_(open_own_namespace()) {
    check_quietly(TEMP_FAILURE_RETRY(flock(namespace_.get(), LOCK_EX)), "flock(the namespace)");
    // For nft to inherit, and with it the lock: if we are killed meanwhile, the janitor has to wait
    // until the rules are loaded, or it would remove them too early.
    check_quietly(fcntl(namespace_.get(), F_SETFD, 0), "fcntl(the namespace)");
  }

 private:
  UniqueFd namespace_;
};

std::string ip_bytes(const std::string& address) {
  in_addr binary = {};
  (void)inet_pton(AF_INET, address.c_str(), &binary);  // it is one of ours
  return {reinterpret_cast<const char*>(&binary), sizeof binary};
}

ifinfomsg link_header(int index, unsigned flags) {
  ifinfomsg header = {};
  header.ifi_index = index;
  header.ifi_flags = flags;
  header.ifi_change = flags;
  return header;
}

// ip address add ADDRESS/24 dev LINK
void add_address(RouteSocket& socket, int link, const std::string& address, unsigned flags) {
  ifaddrmsg header = {};
  header.ifa_family = AF_INET;
  header.ifa_prefixlen = kPrefixLength;
  header.ifa_index = static_cast<unsigned>(link);
  NetlinkMessage message(RTM_NEWADDR, NLM_F_CREATE | flags, header);
  message.add_bytes(IFA_LOCAL, ip_bytes(address));
  check(socket.ask(message), "rtnetlink(NEWADDR {}/{})", address, kPrefixLength);
}

// ip route add default via GATEWAY
void add_default_route(RouteSocket& socket, const std::string& gateway) {
  rtmsg header = {};
  header.rtm_family = AF_INET;
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = RTPROT_STATIC;
  header.rtm_type = RTN_UNICAST;
  NetlinkMessage message(RTM_NEWROUTE, NLM_F_CREATE, header);
  message.add_bytes(RTA_GATEWAY, ip_bytes(gateway));
  check(socket.ask(message), "rtnetlink(NEWROUTE default via {})", gateway);
}

// ip link set LINK up
void bring_up(RouteSocket& socket, int link, const std::string& name) {
  NetlinkMessage message(RTM_NEWLINK, 0, link_header(link, IFF_UP));
  check(socket.ask(message), "rtnetlink(NEWLINK {}, UP)", name);
}

// ip link set LINK alias TEXT
void set_alias(RouteSocket& socket, const std::string& link, const std::string& text) {
  NetlinkMessage message(RTM_SETLINK, 0, ifinfomsg{});
  message.add(IFLA_IFNAME, link);
  message.add(IFLA_IFALIAS, text);
  check(socket.ask(message), "rtnetlink(SETLINK {}, alias '{}')", link, text);
}

// ip link set LINK alias TEXT type bridge_slave hairpin on
//
// Where net.bridge.bridge-nf-call-iptables is on, the bridge itself applies the rules. What they
// send back to the container from which it came, its own published port, then has to leave by the
// link by which it came in.
void set_up_port(RouteSocket& socket, const std::string& link, const std::string& alias) {
  NetlinkMessage message(RTM_NEWLINK, 0, ifinfomsg{});
  message.add(IFLA_IFNAME, link);
  message.add(IFLA_IFALIAS, alias);
  message.nest(IFLA_LINKINFO, [&] {
    message.add(IFLA_INFO_SLAVE_KIND, std::string("bridge"));
    message.nest(IFLA_INFO_SLAVE_DATA, [&] { message.add_bytes(IFLA_BRPORT_MODE, "\x01"); });
  });
  check(socket.ask(message), "rtnetlink(NEWLINK {}, alias '{}', hairpin)", link, alias);
}

// ip link delete LINK
void remove_link(RouteSocket& socket, const std::string& link) {
  NetlinkMessage message(RTM_DELLINK, 0, ifinfomsg{});
  message.add(IFLA_IFNAME, link);
  const int result = socket.ask(message);
  if (result == -1 && errno == ENODEV) return;  // it has gone with the container's namespace
  check(result, "rtnetlink(DELLINK {})", link);
}

// The pool must be nobody else's: packets to it would go there.
void check_that_the_pool_is_free() {
  ifaddrs* all = nullptr;
  check_quietly(getifaddrs(&all), "getifaddrs()");
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(all, freeifaddrs);
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET) continue;
    const auto* address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
    const in_addr_t network = ntohl(address->sin_addr.s_addr) >> (32 - kPrefixLength);
    if (network == ntohl(inet_addr("10.79.0.0")) >> (32 - kPrefixLength)) {
      throw Failure(fmt::format("{} is in use already, by {}", kSubnet, one->ifa_name),
                    "use another network: --network pasta");
    }
  }
}

// ip link add hood0 type bridge
void make_bridge(RouteSocket& host) {
  check_that_the_pool_is_free();
  NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, link_header(0, IFF_UP));
  message.add(IFLA_IFNAME, kBridge);
  message.add_bytes(IFLA_ADDRESS, mac_address_of(0));
  message.nest(IFLA_LINKINFO, [&] { message.add(IFLA_INFO_KIND, std::string("bridge")); });
  check(host.ask(message), "rtnetlink(NEWLINK {}, bridge)", kBridge);
  add_address(host, host.index_of(kBridge), address_of(0), 0);
  // A published port is reached from the host itself, too, and then comes from 127.0.0.1, which
  // else no packet may carry out of lo. Nor into the host: see the chain to_the_loopback.
  write_file(fmt::format("/proc/sys/net/ipv4/conf/{}/route_localnet", kBridge), "1");
  int forwards = 0;
  std::ifstream(kForward) >> forwards;
  if (forwards == 0) {
    set_alias(host, kBridge, kForwardedNothing);
    write_file(kForward, "1");
  }
}

// ip link add hoodN master hood0 type veth peer name eth0 netns CHILD
//
// The other end is born in the container, and with its namespace both go. -1 and EEXIST: there is a
// hoodN.
int make_pair(RouteSocket& host, int bridge, int number, pid_t child) {
  NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, link_header(0, IFF_UP));
  message.add(IFLA_IFNAME, link_name(number));
  message.add(IFLA_MASTER, static_cast<std::uint32_t>(bridge));
  message.nest(IFLA_LINKINFO, [&] {
    message.add(IFLA_INFO_KIND, std::string("veth"));
    message.nest(IFLA_INFO_DATA, [&] {
      message.nest(VETH_INFO_PEER, [&] {
        const ifinfomsg peer = {};  // it cannot be up before it has its other end
        message.append(&peer, sizeof peer);
        message.add(IFLA_IFNAME, std::string("eth0"));
        message.add_bytes(IFLA_ADDRESS, mac_address_of(number));
        message.add(IFLA_NET_NS_PID, static_cast<std::uint32_t>(child));
      });
    });
  });
  return host.ask(message);
}

// Takes the first number that no link has.
int connect_to_bridge(RouteSocket& host, int bridge, pid_t child) {
  for (int number = 1; number <= kMostContainers; ++number) {
    const int result = make_pair(host, bridge, number, child);
    if (result == -1 && errno == EEXIST) continue;
    check(result, "rtnetlink(NEWLINK {}, veth, its peer is eth0 of process {})", link_name(number),
          child);
    return number;
  }
  throw Failure(fmt::format("all {} addresses of {} are taken", kMostContainers, kSubnet),
                "end a container; ip link show master " + std::string(kBridge) + " lists them");
}

// In the container's namespace: its address, and the way out.
void configure_inside(pid_t child, int number) {
  RouteSocket inside = RouteSocket::in_namespace_of(child);
  const int link = inside.index_of("eth0");
  bring_up(inside, link, "eth0");
  add_address(inside, link, address_of(number), NLM_F_EXCL);
  add_default_route(inside, address_of(0));
}

void write_hosts_file(const std::vector<Container>& containers) {
  if (mkdir(kFolder, 0755) == -1 && errno != EEXIST) check(-1, "mkdir({})", kFolder);
  const std::string path = shared_hosts_file();
  const std::string text = hosts_file(containers);
  const UniqueFd file(
      check_quietly(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644), "open({})", path));
  // In place: the containers have this file mounted, not its name. And never empty in between.
  check_quietly(pwrite(file.get(), text.data(), text.size(), 0), "pwrite({})", path);
  check_quietly(ftruncate(file.get(), static_cast<off_t>(text.size())), "ftruncate({})", path);
}

bool has_forwarded(const std::vector<Link>& links) {
  for (const Link& link : links) {
    if (link.name == kBridge) return link.alias != kForwardedNothing;
  }
  return true;
}

// The containers at the bridge. A link without a name, while we have the lock, belongs to one who
// was killed before he could give it one: it goes.
std::vector<Container> containers_at_bridge(RouteSocket& host) {
  std::vector<Container> containers = containers_in(host.links());
  const auto is_nameless = [](const Container& container) { return container.name.empty(); };
  for (const Container& container : containers) {
    if (is_nameless(container)) remove_link(host, link_name(container.number));
  }
  containers.erase(std::remove_if(containers.begin(), containers.end(), is_nameless),
                   containers.end());
  return containers;
}

// Rules and names follow from the links. What a killed container has left goes with this.
void update_rules_and_names(RouteSocket& host) {
  const std::vector<Container> containers = containers_at_bridge(host);
  write_hosts_file(containers);
  load_ruleset(ruleset(containers, has_forwarded(host.links())));
}

void remove_bridge(RouteSocket& host) {
  if (host.index_of(kBridge) == 0) return;
  remove_ruleset();
  if (!has_forwarded(host.links())) write_file(kForward, "0");
  remove_link(host, kBridge);
  (void)unlink(shared_hosts_file().c_str());
  (void)rmdir(kFolder);  // unless another network namespace has its file there
}

// In the janitor. `link` is the container's, or "" if it has never got one.
void leave_bridge(const std::string& link) {
  const BridgeLock lock;
  RouteSocket host;
  if (!link.empty()) remove_link(host, link);
  if (containers_at_bridge(host).empty()) {
    remove_bridge(host);
  } else {
    update_rules_and_names(host);
  }
}

}  // namespace

void check_that_a_bridge_is_possible() {
  if (geteuid() != 0) {
    throw Failure("--network bridge needs root: links and rules of the host are the host's root's",
                  "an ordinary user takes --network pasta");
  }
  if (find_program("nft").empty()) {
    throw Failure("--network bridge: there is no program nft, which loads the rules",
                  "sudo apt-get install nftables");
  }
}

std::string shared_hosts_file() {
  struct stat st = {};
  check_quietly(fstat(open_own_namespace().get(), &st), "fstat(/proc/self/ns/net)");
  return fmt::format("{}/hosts-{}", kFolder, st.st_ino);
}

std::unique_ptr<Janitor> join_bridge(pid_t child, Container container) {
  auto janitor =
      std::make_unique<Janitor>([](const Janitor::Leash& leash) { leave_bridge(leash.wait()); });
  const BridgeLock lock;
  RouteSocket host;
  if (containers_at_bridge(host).empty()) {
    remove_bridge(host);  // what is there was left by one who was killed, and is perhaps not whole
    make_bridge(host);
  }
  container.number = connect_to_bridge(host, host.index_of(kBridge), child);
  janitor->tell(link_name(container.number));
  set_up_port(host, link_name(container.number), alias_of(container));
  configure_inside(child, container.number);
  update_rules_and_names(host);
  return janitor;
}

}  // namespace box
