#include "stages/08c_network/nftables.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/netlink.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/check.h"
#include "common/run_program.h"
#include "common/unique_fd.h"
#include "common/write_file.h"
#include "stages/08c_network/find_program.h"

namespace box {
namespace {

constexpr const char* kTable = "containers_under_the_hood";

// The elements of a map from the host's ports, on one of its addresses or on all, to the
// containers' addresses and ports. Packets for 127.0.0.1 are left to the PortProxy.
std::string elements(const std::vector<Container>& containers, bool udp, bool with_address) {
  std::vector<std::string> all;
  for (const Container& container : containers) {
    for (const PublishedPort& port : container.ports) {
      if (port.udp != udp || port.address.empty() == with_address) continue;
      const std::string at = with_address ? port.address + " . " : "";
      all.push_back(fmt::format("{}{} : {} . {}", at, port.host, address_of(container.number),
                                port.container));
    }
  }
  return all.empty() ? "" : fmt::format("elements = {{ {} }}", fmt::join(all, ", "));
}

// We must not restrict what other programs forward.
std::string nothing_else(const std::vector<int>& switched_on) {
  if (switched_on.empty()) return "";
  return fmt::format("iif {{ {} }} oifname != \"{}\" drop", fmt::join(switched_on, ", "), kBridge);
}

std::string without_ipv6() {
  return fmt::format(R"(add table ip6 {table}
delete table ip6 {table}
table ip6 {table} {{
  chain from_containers {{
    type filter hook prerouting priority raw
    iifname "{bridge}" drop
  }}
  chain to_containers {{
    type filter hook postrouting priority filter
    oifname "{bridge}" drop
  }}
}}
)",
                     fmt::arg("table", kTable), fmt::arg("bridge", kBridge));
}

std::string hint_for_nft() {
  const UniqueFd netfilter(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  return netfilter.get() == -1 ? "this kernel has no nf_tables:  sudo modprobe nf_tables" : "";
}

// In a file, because a list of ports can be longer than a command-line argument may be.
void run_nft(const std::string& text) {
  const UniqueFd file(
      check_quietly(memfd_create("rules", 0), "memfd_create()"));  // nft inherits it
  write_all(file.get(), text, "the rules");
  try {
    run_program({find_program("nft"), "-f", fmt::format("/proc/self/fd/{}", file.get())});
  } catch (const Failure& failure) {
    throw Failure(fmt::format("nft, which loads the rules: {}", failure.what()),
                  failure.hint().empty() ? hint_for_nft() : failure.hint());
  }
}

}  // namespace

std::string ruleset(const std::vector<Container>& containers, const std::vector<int>& switched_on,
                    bool ipv6) {
  // A packet that leaves keeps its source port if it can. The port of a service of the host's, or
  // of another container's, would lead the packets of that service's clients to this container
  // (CVE-2021-3773); so it gets one of those that the kernel gives to clients, see
  // ip_local_port_range in ip(7).
  // The first line makes the table if it does not exist, so that the second can delete it.
  constexpr const char* kText = R"(add table ip {table}
delete table ip {table}
table ip {table} {{
  map tcp_ports {{
    type inet_service : ipv4_addr . inet_service
    {tcp}
  }}
  map udp_ports {{
    type inet_service : ipv4_addr . inet_service
    {udp}
  }}
  map tcp_ports_at {{
    type ipv4_addr . inet_service : ipv4_addr . inet_service
    {tcp_at}
  }}
  map udp_ports_at {{
    type ipv4_addr . inet_service : ipv4_addr . inet_service
    {udp_at}
  }}
  chain published {{
    dnat to ip daddr . tcp dport map @tcp_ports_at
    dnat to ip daddr . udp dport map @udp_ports_at
    dnat to tcp dport map @tcp_ports
    dnat to udp dport map @udp_ports
  }}
  chain from_another_port {{
    ip protocol tcp masquerade to :32768-60999 random
    ip protocol udp masquerade to :32768-60999 random
  }}
  chain from_outside {{
    type nat hook prerouting priority dstnat
    ip daddr != 127.0.0.0/8 fib daddr type local jump published
  }}
  chain from_the_host {{
    type nat hook output priority -100
    ip daddr != 127.0.0.0/8 fib daddr type local jump published
  }}
  chain to_outside {{
    type nat hook postrouting priority srcnat
    ip saddr {subnet} oifname != "{bridge}" jump from_another_port
    ip saddr {subnet} oifname != "{bridge}" masquerade comment "no one else knows the way back"
    ip saddr {subnet} oifname "{bridge}" ct status dnat masquerade
  }}
  chain from_containers {{
    type filter hook prerouting priority raw
    iifname "{bridge}" ip saddr != {subnet} drop comment "forged"
    iifname "{bridge}" ip daddr 127.0.0.0/8 drop
  }}
  chain from_elsewhere {{
    type filter hook prerouting priority raw
    iifname {{ "{bridge}", "lo" }} accept
    ip saddr {subnet} drop comment "forged"
    ip daddr {subnet} drop comment "not for a published port"
  }}
  chain forwarded {{
    type filter hook forward priority filter
    ct state invalid iifname "{bridge}" drop comment "it would keep the container's address"
    ct state established,related accept
    ct status dnat accept comment "published, by us or by another program"
    iifname != "{bridge}" oifname "{bridge}" drop
    {nothing_else}
  }}
}}
)";
  return fmt::format(
             kText, fmt::arg("table", kTable), fmt::arg("tcp", elements(containers, false, false)),
             fmt::arg("udp", elements(containers, true, false)),
             fmt::arg("tcp_at", elements(containers, false, true)),
             fmt::arg("udp_at", elements(containers, true, true)), fmt::arg("subnet", kSubnet),
             fmt::arg("bridge", kBridge), fmt::arg("nothing_else", nothing_else(switched_on))) +
         (ipv6 ? without_ipv6() : "");
}

void load_ruleset(const std::string& text) { run_nft(text); }

void remove_ruleset(bool ipv6) {
  std::string text;
  for (const char* family : {"ip", "ip6"}) {
    if (std::string(family) == "ip6" && !ipv6) continue;
    text += fmt::format("add table {0} {1}\ndelete table {0} {1}\n", family, kTable);
  }
  run_nft(text);
}

}  // namespace box
