// Which links of the host pass on packets that are not for the host itself.
//
// The containers' packets need that of the bridge and, for the way back, of the links by which the
// host reaches the world. ip_forward would switch it on for all links, also for those that come
// later, and nobody could tell at the end whether others, such as Docker, rely on it by now. So it
// is switched on link by link: if ip_forward is on at the end, that is somebody else's wish. See
// Documentation/networking/ip-sysctl.rst.
#pragma once

#include <string>
#include <vector>

#include "stages/08c_network/netlink.h"

namespace box {

// The links that are to forward for the containers and did not before us, by their numbers:
// those in `before`, and those that have come to be since. None where the host forwards anyway.
[[nodiscard]] std::vector<int> links_to_switch_on(const std::vector<Link>& links,
                                                  const std::vector<int>& before);

// After the rules are loaded that let nothing but the containers' packets through.
void switch_forwarding_on(const std::vector<Link>& links, const std::vector<int>& numbers);

// Before the rules are removed.
void switch_forwarding_off(const std::vector<Link>& links, const std::vector<int>& numbers);

// How the bridge's alias remembers them: "forwarding 2-5 9".
[[nodiscard]] std::string text_of_switched_on(const std::vector<int>& numbers);
[[nodiscard]] std::vector<int> read_switched_on(const std::string& alias);

// Writes net.ipv4.conf.LINK.KEY or net.ipv6.conf.LINK.KEY. Without IPv6 in the kernel there are no
// such files, and nothing to do.
void set_ipv4(const std::string& link, const std::string& key, const std::string& value);
void set_ipv6(const std::string& link, const std::string& key, const std::string& value);
[[nodiscard]] bool kernel_has_ipv6();

}  // namespace box
