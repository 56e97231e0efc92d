// What the kernel does with the packets of the bridge: a table of our own in nftables(8).
#pragma once

#include <string>
#include <vector>

#include "stages/08c_network/address_pool.h"

namespace box {

// The whole table, which takes the place of the one that is there, in one transaction. If the host
// forwarded nothing before us (`forwards`), it forwards nothing but the containers' packets now.
[[nodiscard]] std::string ruleset(const std::vector<Container>& containers, bool forwards);

// In the parent or in its janitor; as root. Throws Failure with what nft(8) complained about.
void load_ruleset(const std::string& text);
void remove_ruleset();

}  // namespace box
