// Rules for the packets of the bridge: tables of our own in nftables(8).
#pragma once

#include <string>
#include <vector>

#include "stages/08c_network/address_pool.h"

namespace box {

// Returns the text of our tables, which replaces the existing ones in one transaction. The links
// `switched_on` forward only because we have switched that on, so they may forward only the
// containers' packets. With `ipv6`, a table drops all IPv6 at the bridge.
[[nodiscard]] std::string ruleset(const std::vector<Container>& containers,
                                  const std::vector<int>& switched_on, bool ipv6);

// In the parent or in its janitor; as root. Throws Failure with what nft(8) complained about.
void load_ruleset(const std::string& text);
void remove_ruleset(bool ipv6);

}  // namespace box
