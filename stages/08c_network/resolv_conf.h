// The container's /etc/resolv.conf, see resolv.conf(5).
#pragma once

#include <string>

namespace box {

// The text of `host`, less the name servers that are the host's own, at its loopback.
[[nodiscard]] std::string without_loopback(const std::string& host);

// Whether a server is named that a container without IPv6 can ask.
[[nodiscard]] bool names_a_server(const std::string& text);

// What a container at the bridge has: the name servers that the host asks. If it can reach none of
// them, that is told.
[[nodiscard]] std::string resolv_conf_of_bridge();

// What a container behind a helper has: the helper itself at `server`, which asks those of the
// host. If there are none, that is told.
[[nodiscard]] std::string resolv_conf_of_helper(const std::string& server);

}  // namespace box
