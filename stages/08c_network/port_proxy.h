// Forwards to the container the connections to a published port that the rules cannot translate:
// those from 127.0.0.1, which no rule may lead out of the loopback.
//
// With route_localnet a rule could do it, but then the kernel would also accept packets for
// 127.0.0.1 from other links, see CVE-2020-8558. docker-proxy exists for the same reason.
#pragma once

#include <netinet/in.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "stages/08c_network/published_port.h"

namespace box {

class PortProxy {
 public:
  // `sockets` are those of reserve(), one for each of `ports`.
  PortProxy(std::vector<UniqueFd> sockets, std::vector<PublishedPort> ports);
  ~PortProxy();
  PortProxy(const PortProxy&) = delete;
  PortProxy& operator=(const PortProxy&) = delete;

  [[nodiscard]] std::vector<int> descriptors() const;

  // While it runs, `changed` is called whenever there is something to read from `fd`.
  void watch(int fd, std::function<void()> changed);

  // Runs until there is something to read from `stop`. `address` is the container's. After its
  // `link` is gone, connections are refused, because another container may have that address.
  void serve_until(int stop, const std::string& address, int link);

 private:
  class Connections;
  class Datagrams;

  std::vector<UniqueFd> sockets_;
  std::vector<PublishedPort> ports_;
  int watched_ = -1;
  std::function<void()> changed_;
};

}  // namespace box
