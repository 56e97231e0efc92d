// Stage 08c: --publish, and the words in a link's alias, in which other containers find them.
#include <algorithm>

#include "harness/fuzz/fuzz.h"
#include "stages/08c_network/address_pool.h"
#include "stages/08c_network/published_port.h"

namespace {

using box::fuzz::accepted;
using box::fuzz::require;

bool same(const box::PublishedPort& a, const box::PublishedPort& b) {
  return a.host == b.host && a.last_host == b.last_host && a.container == b.container &&
         a.udp == b.udp && a.address == b.address;
}

void check_ports(const std::string& text) {
  constexpr std::size_t kMost = 65536;
  const auto ports = accepted([&] { return box::parse_published_ports(text); });
  if (!ports) return;
  require(!ports->empty() && ports->size() < kMost, "what is accepted means ports");
  std::vector<box::PublishedPort> again;
  for (const auto& word : box::fuzz::split(box::text_of(*ports), ' ')) {
    const auto some = box::parse_published_ports(word);
    again.insert(again.end(), some.begin(), some.end());
  }
  require(std::equal(ports->begin(), ports->end(), again.begin(), again.end(), same),
          "what is printed is what was read");
  for (const auto& port : *ports) {
    require(port.container > 0, "0 is not a port");
    require(port.last_host == 0 || port.last_host >= port.host, "a range has a first port");
    // Of several ports, or of all, each start takes one that is free.
    const bool one_port = port.host != 0 && port.last_host == 0;
    require(box::collide(port, port) == one_port, "a port can be had once only");
    const auto alone = box::parse_published_ports(box::text_of(port));
    require(alone.size() == 1 && same(alone[0], port), "one that is printed is one that was read");
    if (ports->size() > 100) break;  // they differ in their numbers only
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(box::fuzz::text_of(data, size));
  check_ports(text);
  // Root can give a link any alias.
  const std::vector<box::Link> links = {{.index = 1,
                                         .master = 0,
                                         .name = box::kBridge,
                                         .alias = "",
                                         .address = box::mac_address_of(0),
                                         .kind = "bridge",
                                         .is_up = true},
                                        {.index = 2,
                                         .master = 1,
                                         .name = "hood7",
                                         .alias = text,
                                         .address = box::outer_mac_address_of(7),
                                         .kind = "veth",
                                         .is_up = true}};
  if (const auto containers = accepted([&] { return box::containers_in(links); })) {
    require(containers->size() == 1 && containers->front().number == 7,
            "the link is one container, whose number is in its name");
  }
  return 0;
}
