// What the kernel does with the packets of the bridge: tables of our own in nftables(8).
#pragma once

#include <string>
#include <vector>

#include "stages/08c_network/address_pool.h"

namespace box {

// The whole of our tables, which take the place of those that are there, in one transaction. The
// links `switched_on` forward only since we have made them: they forward nothing but the
// containers' packets. With `ipv6` there is a table that keeps IPv6 from the bridge.
[[nodiscard]] std::string ruleset(const std::vector<Container>& containers,
                                  const std::vector<int>& switched_on, bool ipv6);

// In the parent or in its janitor; as root. Throws Failure with what nft(8) complained about.
void load_ruleset(const std::string& text);
void remove_ruleset(bool ipv6);

}  // namespace box
