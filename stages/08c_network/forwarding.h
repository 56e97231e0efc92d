// Which links of the host pass on packets that are not for the host itself.
//
// The bridge has to forward the containers' packets and, for replies, so do the links by which the
// host reaches the internet. ip_forward would switch forwarding on for all links, also for later
// ones, and at the end we could not tell whether other programs, such as Docker, rely on it by now.
// So we switch it on link by link: if ip_forward is on at the end, another program wants it. See
// Documentation/networking/ip-sysctl.rst.
#pragma once

#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "stages/08c_network/netlink.h"

namespace box {

// The links that must forward for the containers and did not before, by their numbers: those in
// `before`, and those that have appeared since. None if the host forwards anyway.
[[nodiscard]] std::vector<int> links_to_switch_on(const std::vector<Link>& links,
                                                  const std::vector<int>& before);

// To be called after the rules are loaded that let only the containers' packets through.
void switch_forwarding_on(const std::vector<Link>& links, const std::vector<int>& numbers);

// To be called before the rules are removed.
void switch_forwarding_off(const std::vector<Link>& links, const std::vector<int>& numbers);

// Notices that another program has switched forwarding on for all links: from then on it is not for
// us to restrict what they forward.
class ForwardingWatch {
 public:
  ForwardingWatch();

  // Readable when a link's switch, or the one for all links, has been changed.
  [[nodiscard]] int get() const { return socket_.get(); }
  // Reads what there is to read. Returns whether all links forward.
  [[nodiscard]] bool all_forward_now() const;
  void close() { socket_.close(); }

 private:
  UniqueFd socket_;
};

// The text that the bridge's alias stores: "forwarding 2-5 9".
[[nodiscard]] std::string text_of_switched_on(const std::vector<int>& numbers);
[[nodiscard]] std::vector<int> read_switched_on(const std::string& alias);

// Writes net.ipv4.conf.LINK.KEY or net.ipv6.conf.LINK.KEY. If the kernel has no IPv6, there are no
// such files, and nothing to do.
void set_ipv4(const std::string& link, const std::string& key, const std::string& value);
void set_ipv6(const std::string& link, const std::string& key, const std::string& value);
[[nodiscard]] bool kernel_has_ipv6();

}  // namespace box
