#include "stages/08c_network/nftables.h"

#include <fmt/format.h>

#include "common/run_program.h"
#include "stages/08c_network/find_program.h"

namespace box {
namespace {

constexpr const char* kTable = "ip containers_under_the_hood";

// The elements of the map that leads from the host's ports to the containers' addresses and ports.
std::string elements(const std::vector<Container>& containers, bool udp) {
  std::string text;
  for (const Container& container : containers) {
    for (const PublishedPort& port : container.ports) {
      if (port.udp != udp) continue;
      text += fmt::format("{}{} : {} . {}", text.empty() ? "elements = { " : ", ", port.host,
                          address_of(container.number), port.container);
    }
  }
  return text.empty() ? "" : text + " }";
}

void run_nft(const std::string& text) { run_program({find_program("nft"), text}); }

}  // namespace

std::string ruleset(const std::vector<Container>& containers, bool forwards) {
  // The first line makes the table, should there be none, so that the second can delete it.
  constexpr const char* kText = R"(add table {table}
delete table {table}
table {table} {{
  map tcp_ports {{
    type inet_service : ipv4_addr . inet_service
    {tcp}
  }}
  map udp_ports {{
    type inet_service : ipv4_addr . inet_service
    {udp}
  }}
  chain published {{
    dnat to tcp dport map @tcp_ports
    dnat to udp dport map @udp_ports
  }}
  chain from_outside {{
    type nat hook prerouting priority dstnat
    fib daddr type local jump published
  }}
  chain from_the_host {{
    type nat hook output priority -100
    fib daddr type local jump published
  }}
  chain to_outside {{
    type nat hook postrouting priority srcnat
    ip saddr {subnet} oifname != "{bridge}" masquerade comment "no one else knows the way back"
    ip saddr {{ 127.0.0.0/8, {subnet} }} oifname "{bridge}" ct status dnat masquerade
  }}
  chain to_the_loopback {{
    type filter hook prerouting priority raw
    iifname "{bridge}" ip daddr 127.0.0.0/8 drop comment "route_localnet would let it in"
  }}
  chain forwarded {{
    type filter hook forward priority filter
    iifname != "{bridge}" oifname "{bridge}" ct state new ct status & dnat == 0 drop
    {nothing_else}
  }}
}}
)";
  return fmt::format(
      kText, fmt::arg("table", kTable), fmt::arg("tcp", elements(containers, false)),
      fmt::arg("udp", elements(containers, true)), fmt::arg("subnet", kSubnet),
      fmt::arg("bridge", kBridge),
      fmt::arg("nothing_else",
               forwards ? "" : fmt::format("iifname != \"{0}\" oifname != \"{0}\" drop", kBridge)));
}

void load_ruleset(const std::string& text) { run_nft(text); }

void remove_ruleset() { run_nft(fmt::format("add table {0}\ndelete table {0}", kTable)); }

}  // namespace box
