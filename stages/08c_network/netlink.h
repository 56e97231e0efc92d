// rtnetlink(7): requests to the kernel about links, addresses and routes.
//
// ip(8) sends these same messages; `strace ip link add ...` shows them.
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/unique_fd.h"

namespace box {

// One request: a header, the header of its kind (ifinfomsg, ifaddrmsg, rtmsg), then attributes.
class NetlinkMessage {
 public:
  // `flags` are those of netlink(7), beside NLM_F_REQUEST and NLM_F_ACK.
  template <typename Header>
  NetlinkMessage(std::uint16_t type, unsigned flags, const Header& header) {
    nlmsghdr start = {};
    start.nlmsg_type = type;
    start.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    append(&start, sizeof start);
    append(&header, sizeof header);
  }

  void add(std::uint16_t type, const std::string& text);  // with the 0 at its end
  void add(std::uint16_t type, std::uint32_t value);      // in host byte order, or as it is
  void add_bytes(std::uint16_t type, const std::string& bytes);
  // An attribute that contains what `fill` adds.
  void nest(std::uint16_t type, const std::function<void()>& fill);
  void append(const void* data, std::size_t size);  // padded to four bytes

  // Returns the whole message, with its length filled in.
  [[nodiscard]] const std::string& finish();

 private:
  std::string bytes_;
};

struct Link {
  int index = 0;
  int master = 0;  // the bridge that it is a port of, or 0
  std::string name;
  std::string alias;
  std::string address;  // of Ethernet, six bytes
  std::string kind;     // "bridge", "veth"; "" for a device
  bool is_up = false;
  int lower = 0;  // of a veth: its other end, by its number in the namespace of that
};

// An IPv4 route of any table except "local", which contains the host's own addresses.
struct Route {
  std::uint32_t destination = 0;  // in the host's order
  int prefix_length = 0;          // 0: a default route
  int link = 0;                   // the link by which packets leave, or 0
};

// Parses a message of type RTM_NEWLINK or RTM_NEWROUTE; members that it does not contain have the
// defaults above.
[[nodiscard]] Link read_link(const nlmsghdr* message);
[[nodiscard]] Route read_route(const nlmsghdr* message);

// A socket to the kernel's routing subsystem. It always belongs to the network namespace in which
// it was made, whatever namespace its process enters later, see network_namespaces(7).
class RouteSocket {
 public:
  RouteSocket();

  // Sends the request, reads the kernel's reply and returns 0, or -1 and errno, for check().
  [[nodiscard]] int ask(NetlinkMessage& message);

  [[nodiscard]] std::vector<Link> links();
  [[nodiscard]] std::vector<Route> routes();
  // The number of the link `name`, or 0 if there is none.
  [[nodiscard]] int index_of(const std::string& name);

  // Calls `read` for each message of the reply to `request`. `again` is called first, and again
  // whenever the kernel's list has changed during the reading.
  void dump(NetlinkMessage& request, const std::function<void()>& again,
            const std::function<void(const nlmsghdr*)>& read);
  void send_request(std::string bytes);

 private:
  // Reads what is left of the reply to a dump(): until then the kernel begins no other one, EBUSY.
  void read_rest();

  UniqueFd fd_;
  std::string answer_;          // what was received last; too large for a small stack
  bool dumping_ = false;        // a dump() has failed before the end of the reply
  std::uint32_t sequence_ = 0;  // of the last request
};

// Runs `body` in the network namespace of the process `pid`, and returns to ours. Needs
// CAP_SYS_ADMIN in the user namespace that owns it, and in ours, see setns(2).
void in_network_of(pid_t pid, const std::function<void()>& body);

}  // namespace box
