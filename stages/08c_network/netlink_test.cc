#include "stages/08c_network/netlink.h"

#include <cstring>
#include <string>

#include <gtest/gtest.h>

namespace box {
namespace {

template <typename Value>
Value read_at(const std::string& bytes, std::size_t offset) {
  Value value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

TEST(NetlinkMessage, IsLaidOutAsTheKernelReadsIt) {
  NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE, ifinfomsg{});
  message.add(IFLA_IFNAME, std::string("lo"));
  const std::string bytes = message.finish();
  const auto header = read_at<nlmsghdr>(bytes, 0);
  EXPECT_EQ(header.nlmsg_len, bytes.size());
  EXPECT_EQ(header.nlmsg_type, RTM_NEWLINK);
  EXPECT_EQ(header.nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE);
  const auto name = read_at<rtattr>(bytes, NLMSG_LENGTH(sizeof(ifinfomsg)));
  EXPECT_EQ(name.rta_type, IFLA_IFNAME);
  EXPECT_EQ(name.rta_len, RTA_LENGTH(3));  // "lo" and its 0; what pads it does not count
  EXPECT_EQ(bytes.size() % NLMSG_ALIGNTO, 0U);
}

TEST(NetlinkMessage, CountsWhatIsNested) {
  NetlinkMessage message(RTM_NEWLINK, 0, ifinfomsg{});
  message.nest(IFLA_LINKINFO, [&] { message.add(IFLA_INFO_KIND, std::string("bridge")); });
  const auto outer = read_at<rtattr>(message.finish(), NLMSG_LENGTH(sizeof(ifinfomsg)));
  EXPECT_EQ(outer.rta_len, RTA_LENGTH(0) + RTA_SPACE(7));
}

// A text without its 0, and without the padding that RTA_NEXT() counts on: the bytes after it in
// memory are not part of the message.
TEST(ReadLink, ReadsNothingBehindTheMessage) {
  ifinfomsg header = {};
  header.ifi_index = 7;
  NetlinkMessage message(RTM_NEWLINK, 0, header);
  message.add_bytes(IFLA_IFNAME, "abcde");
  std::string bytes = message.finish();
  const auto length = static_cast<std::uint32_t>(bytes.size() - 3);
  std::memcpy(bytes.data(), &length, sizeof length);
  NetlinkMessage behind(0, 0, ifinfomsg{});
  behind.add(IFLA_IFALIAS, std::string("another's"));
  const std::string other = behind.finish().substr(NLMSG_LENGTH(sizeof(ifinfomsg)));
  std::vector<nlmsghdr> memory(100);
  std::memcpy(memory.data(), bytes.data(), bytes.size());
  std::memset(reinterpret_cast<char*>(memory.data()) + length, 'x', 3);
  std::memcpy(reinterpret_cast<char*>(memory.data()) + bytes.size(), other.data(), other.size());
  const Link link = read_link(memory.data());
  EXPECT_EQ(link.index, 7);
  EXPECT_EQ(link.name, "abcde");
  EXPECT_EQ(link.alias, "");

  memory[0].nlmsg_len = NLMSG_LENGTH(0);  // without the header of its kind
  EXPECT_EQ(read_link(memory.data()).index, 0);
  EXPECT_EQ(read_link(memory.data()).name, "");
  EXPECT_EQ(read_route(memory.data()).link, 0);
}

TEST(RouteSocket, FindsTheLoopback) {
  RouteSocket socket;
  EXPECT_EQ(socket.index_of("lo"), 1);
  EXPECT_EQ(socket.index_of("no-such-link"), 0);
}

TEST(RouteSocket, PassesTheKernelsErrorOn) {
  RouteSocket socket;
  NetlinkMessage message(RTM_DELLINK, 0, ifinfomsg{});
  message.add(IFLA_IFNAME, std::string("no-such-link"));
  EXPECT_EQ(socket.ask(message), -1);
  EXPECT_TRUE(errno == ENODEV || errno == EPERM) << errno;  // EPERM: not root
}

}  // namespace
}  // namespace box
