// The container's /etc/resolv.conf, see resolv.conf(5).
#pragma once

#include <string>

namespace box {

// The text of `host`, less the name servers that are the host's own, at its loopback.
[[nodiscard]] std::string without_loopback(const std::string& host);

// What a container at the bridge has: the name servers that the host asks. If there are none that
// it could reach, that is told.
[[nodiscard]] std::string resolv_conf_of_bridge();

}  // namespace box
