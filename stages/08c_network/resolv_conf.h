// The container's /etc/resolv.conf, see resolv.conf(5).
#pragma once

#include <string>

namespace box {

// Returns the text of `host` without the name servers at the host's own loopback.
[[nodiscard]] std::string without_loopback(const std::string& host);

// Whether the text names a server that a container without IPv6 can ask.
[[nodiscard]] bool names_a_server(const std::string& text);

// Returns the file for a container at the bridge: the name servers that the host asks. Warns if the
// container can reach none of them.
[[nodiscard]] std::string resolv_conf_of_bridge();

// Returns the file for a container behind a helper: the helper itself at `server`, which asks those
// of the host. Warns if the host has none.
[[nodiscard]] std::string resolv_conf_of_helper(const std::string& server);

}  // namespace box
