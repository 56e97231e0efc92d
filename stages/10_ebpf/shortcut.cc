#include "stages/10_ebpf/shortcut.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <linux/if_ether.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "common/check.h"
#include "stages/08c_network/address_pool.h"
#include "stages/08c_network/bridge_lock.h"
#include "stages/08c_network/netlink.h"
#include "stages/10_ebpf/entrance.h"
#include "stages/10_ebpf/programs.h"
#include "stages/10_ebpf/shortcut.bpf.h"

namespace box {
namespace {

std::uint32_t binary(const std::string& address) {
  in_addr result = {};
  (void)inet_pton(AF_INET, address.c_str(), &result);  // it has been checked, or is one of ours
  return result.s_addr;
}

// The host's IPv4 addresses, without those of its loopback. To one that it gets later, packets take
// the longer way.
std::vector<std::uint32_t> addresses_of_host() {
  ifaddrs* all = nullptr;
  check_quietly(getifaddrs(&all), "getifaddrs()");
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> freed(all, freeifaddrs);
  std::vector<std::uint32_t> addresses;
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET) continue;
    const auto address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr.s_addr;
    if (ntohl(address) >> 24 != 127) addresses.push_back(address);
  }
  return addresses;
}

// The container's link on the host, by the other end, eth0, which is in its network namespace.
Container find_container(pid_t child, const std::vector<Link>& links) {
  int peer = 0;
  in_network_of(child, [&] {
    for (const Link& link : RouteSocket().links()) {
      if (link.name == "eth0") peer = link.lower;
    }
  });
  for (const Container& container : containers_in(links)) {
    if (container.link == peer) return container;
  }
  throw Failure("the container has no link at the bridge");
}

// The links by which packets from outside come: not the ports of a bridge, for which the bridge
// speaks, and only those with Ethernet headers, because the container's link expects these.
bool leads_outside(const Link& link) {
  return link.master == 0 && link.name != "lo" && link.name != kBridge &&
         link.address.size() == ETH_ALEN;
}

// From each published port, at each address where it is published, to the container's.
std::vector<std::pair<endpoint, endpoint>> ways_in(const Container& container) {
  std::vector<std::pair<endpoint, endpoint>> ways;
  for (const PublishedPort& port : container.ports) {
    const auto protocol = static_cast<__u16>(port.udp ? IPPROTO_UDP : IPPROTO_TCP);
    const endpoint inside = {binary(address_of(container.number)), htons(port.container), protocol};
    for (const std::uint32_t address : addresses_of_host()) {
      if (!port.address.empty() && binary(port.address) != address) continue;
      ways.push_back({{address, htons(port.host), protocol}, inside});
    }
  }
  return ways;
}

// The filter at the container's own link is removed with that.
class ShortcutWork : public Janitor::Work {
 public:
  void clean_up(const std::string& note) override {
    if (note.empty()) return;
    BridgeLock lock(BridgeLock::For::kCleanUp);
    RouteSocket host;
    detach_from_entrances(host, std::stoi(note));
    if (find_bridge(host.links()) == nullptr) lock.remove_file();
  }
};

// libbpf's functions return -1 or a pointer that is null, and the reason in errno.
template <typename Pointer>
Pointer* check_pointer(Pointer* pointer, const char* call) {
  check_quietly(pointer == nullptr ? -1 : 0, "{}", call);
  return pointer;
}

}  // namespace

ShortcutOptions::ShortcutOptions(CommandLine& line, const NetworkOptions& networking)
    : networking_(networking) {
  line.add_option("--shortcut", "on|off",
                  "on (the default): at the bridge, the packets of published ports go to the "
                  "container by eBPF, not through the host's NAT",
                  [this](const std::string& text) {
                    if (text != "on" && text != "off") throw Failure("choose on or off");
                    on_ = text == "on";
                  });
}

bool ShortcutOptions::applies() const {
  return on_ && networking_.kind == NetworkKind::kBridge && !networking_.ports.empty();
}

void Shortcut::Close::operator()(bpf_object* object) const { bpf_object__close(object); }

Shortcut::Shortcut(const ShortcutOptions& options, pid_t child) {
  if (!options.applies()) return;
  try {
    attach(child);
  } catch (const Failure& failure) {
    warn(fmt::format("no shortcut for the published ports: {}", failure.what()),
         "--shortcut off does without it, and without this line");
    janitor_.reset();
    programs_.reset();
  }
}

// The container's link first: as soon as a packet has come in, there may be a reply.
void Shortcut::attach(pid_t child) {
  auto janitor = std::make_unique<Janitor>(std::make_shared<ShortcutWork>());
  const BridgeLock lock(BridgeLock::For::kStart);
  RouteSocket host;
  detach_from_entrances(host, 0);  // what starts that were killed have left
  const std::vector<Link> links = host.links();
  const Container container = find_container(child, links);
  janitor->note(std::to_string(container.link));
  janitor_ = std::move(janitor);
  (void)libbpf_set_print(nullptr);
  programs_.reset(check_pointer(bpf_object__open_mem(kPrograms, kSizeOfPrograms, nullptr),
                                "reading the eBPF programs"));
  bpf_object* object = programs_.get();
  const auto number = static_cast<__u32>(container.link);  // the one constant of the programs
  check_quietly(bpf_map__set_initial_value(bpf_object__find_map_by_name(object, ".rodata"), &number,
                                           sizeof number) == 0
                    ? 0
                    : -1,
                "the number of the container's link");
  const auto ways = ways_in(container);
  bpf_map* ports = bpf_object__find_map_by_name(object, "ports");
  check_quietly(bpf_map__set_max_entries(ports, std::max<__u32>(1, ways.size())) == 0 ? 0 : -1,
                "the number of ports");
  check(bpf_object__load(object) == 0 ? 0 : -1, "bpf(PROG_LOAD, from_outside and from_container)");
  for (const auto& [outside, inside] : ways) {
    check_quietly(bpf_map_update_elem(bpf_map__fd(ports), &outside, &inside, BPF_ANY),
                  "bpf(MAP_UPDATE_ELEM, ports)");
  }
  const auto attach_to = [&](const Link& link, const char* name) {
    attach_at_entrance(link, bpf_program__fd(bpf_object__find_program_by_name(object, name)), name,
                       container.link);
  };
  for (const Link& link : links) {
    if (link.index == container.link) attach_to(link, "from_container");
  }
  for (const Link& link : links) {
    if (leads_outside(link)) attach_to(link, "from_outside");
  }
}

Shortcut::~Shortcut() {
  if (!tracing() || !programs_) return;
  counters seen = {};
  const __u32 first = 0;
  const bpf_map* map = bpf_object__find_map_by_name(programs_.get(), ".bss");
  (void)bpf_map_lookup_elem(bpf_map__fd(map), &first, &seen);
  trace(fmt::format("the shortcut took {} packets in and {} out", seen.in, seen.out));
}

}  // namespace box
