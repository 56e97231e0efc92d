#include "stages/08c_network/links.h"

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/veth.h>

#include <cerrno>

#include "common/check.h"

namespace box {
namespace {

std::string ip_bytes(const std::string& address) {
  in_addr binary = {};
  (void)inet_pton(AF_INET, address.c_str(), &binary);  // it is one of ours
  return {reinterpret_cast<const char*>(&binary), sizeof binary};
}

ifinfomsg link_header(int index, unsigned flags) {
  ifinfomsg header = {};
  header.ifi_index = index;
  header.ifi_flags = flags;
  header.ifi_change = flags;
  return header;
}

// The part after "peer": a link of its own, with a header and attributes.
void add_peer(NetlinkMessage& message, const std::string& address, pid_t child) {
  const ifinfomsg header = {};
  message.append(&header, sizeof header);
  message.add(IFLA_IFNAME, std::string("eth0"));
  message.add_bytes(IFLA_ADDRESS, address);
  message.add(IFLA_NET_NS_PID, static_cast<std::uint32_t>(child));
}

}  // namespace

void make_bridge_link(RouteSocket& socket, const std::string& name, const std::string& address) {
  NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ifinfomsg{});
  message.add(IFLA_IFNAME, name);
  message.add_bytes(IFLA_ADDRESS, address);
  message.nest(IFLA_LINKINFO, [&] { message.add(IFLA_INFO_KIND, std::string("bridge")); });
  check(socket.ask(message), "rtnetlink(NEWLINK {}, bridge)", name);
}

int make_veth_pair(RouteSocket& socket, const std::string& name, const std::string& address,
                   int bridge, const std::string& peer_address, pid_t child) {
  NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ifinfomsg{});
  message.add(IFLA_IFNAME, name);
  message.add_bytes(IFLA_ADDRESS, address);
  message.add(IFLA_MASTER, static_cast<std::uint32_t>(bridge));
  const auto add_peer_to_it = [&] { add_peer(message, peer_address, child); };
  const auto add_data = [&] { message.nest(VETH_INFO_PEER, add_peer_to_it); };
  message.nest(IFLA_LINKINFO, [&] {
    message.add(IFLA_INFO_KIND, std::string("veth"));
    message.nest(IFLA_INFO_DATA, add_data);
  });
  return socket.ask(message);
}

void bring_up(RouteSocket& socket, int link, const std::string& name) {
  NetlinkMessage message(RTM_NEWLINK, 0, link_header(link, IFF_UP));
  check(socket.ask(message), "rtnetlink(NEWLINK {}, UP)", name);
}

void set_alias(RouteSocket& socket, int link, const std::string& text) {
  NetlinkMessage message(RTM_SETLINK, 0, link_header(link, 0));
  message.add(IFLA_IFALIAS, text);
  check(socket.ask(message), "rtnetlink(SETLINK {}, alias '{}')", link, text);
}

void turn_hairpin_on(RouteSocket& socket, int link) {
  NetlinkMessage message(RTM_NEWLINK, 0, link_header(link, 0));
  const auto add_mode = [&] { message.add_bytes(IFLA_BRPORT_MODE, "\x01"); };
  message.nest(IFLA_LINKINFO, [&] {
    message.add(IFLA_INFO_SLAVE_KIND, std::string("bridge"));
    message.nest(IFLA_INFO_SLAVE_DATA, add_mode);
  });
  check(socket.ask(message), "rtnetlink(NEWLINK {}, hairpin)", link);
}

void remove_link(RouteSocket& socket, int link) {
  NetlinkMessage message(RTM_DELLINK, 0, link_header(link, 0));
  const int result = socket.ask(message);
  if (result == -1 && errno == ENODEV) return;  // it was removed with the container's namespace
  check(result, "rtnetlink(DELLINK {})", link);
}

void add_address(RouteSocket& socket, int link, const std::string& address, int prefix_length) {
  ifaddrmsg header = {};
  header.ifa_family = AF_INET;
  header.ifa_prefixlen = static_cast<std::uint8_t>(prefix_length);
  header.ifa_index = static_cast<unsigned>(link);
  NetlinkMessage message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, header);
  message.add_bytes(IFA_LOCAL, ip_bytes(address));
  check(socket.ask(message), "rtnetlink(NEWADDR {}/{})", address, prefix_length);
}

void add_default_route(RouteSocket& socket, const std::string& gateway) {
  rtmsg header = {};
  header.rtm_family = AF_INET;
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = RTPROT_STATIC;
  header.rtm_type = RTN_UNICAST;
  NetlinkMessage message(RTM_NEWROUTE, NLM_F_CREATE, header);
  message.add_bytes(RTA_GATEWAY, ip_bytes(gateway));
  check(socket.ask(message), "rtnetlink(NEWROUTE default via {})", gateway);
}

}  // namespace box
