#include "stages/08c_network/address_pool.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

#include "stages/08c_network/nftables.h"

namespace box {
namespace {

TEST(AddressPool, GivesEachContainerItsOwnAddresses) {
  std::set<std::string> ip;
  std::set<std::string> mac;
  std::set<std::string> names;
  for (int number = 0; number <= kMostContainers; ++number) {
    ip.insert(address_of(number));
    mac.insert(mac_address_of(number));
    names.insert(link_name(number));
    EXPECT_LT(link_name(number).size(), 16U) << "IFNAMSIZ of the kernel";
  }
  EXPECT_EQ(ip.size(), 254U);
  EXPECT_EQ(mac.size(), 254U);
  EXPECT_EQ(names.size(), 254U);
  EXPECT_EQ(address_of(0), "10.79.0.1");
  EXPECT_EQ(address_of(kMostContainers), "10.79.0.254");
  EXPECT_EQ(link_name(0), kBridge);
}

std::vector<Link> some_links() {
  return {{1, 0, "lo", ""},
          {2, 0, kBridge, "ip_forward was 0"},
          {3, 2, "hood7", "web 8080:80 5353:53/udp"},
          {4, 2, "hood1", ""},                // it has just been made
          {5, 0, "hood3", "not 1:1 ours"},    // at no bridge
          {6, 2, "hood254", "not 2:2 ours"},  // beyond the pool
          {7, 2, "eth1", "not 3:3 ours"}};
}

TEST(AddressPool, ReadsTheContainersFromTheLinks) {
  const auto containers = containers_in(some_links());
  ASSERT_EQ(containers.size(), 2U);
  EXPECT_EQ(containers[0].number, 7);
  EXPECT_EQ(containers[0].name, "web");
  ASSERT_EQ(containers[0].ports.size(), 2U);
  EXPECT_TRUE(containers[0].ports[1].udp);
  EXPECT_EQ(alias_of(containers[0]), "web 8080:80 5353:53/udp");
  EXPECT_EQ(containers[1].number, 1);
  EXPECT_EQ(containers[1].name, "");
}

TEST(AddressPool, HasNoContainersWithoutABridge) {
  EXPECT_TRUE(containers_in({{1, 0, "lo", ""}, {3, 0, "hood7", "web"}}).empty());
}

TEST(AddressPool, WritesHosts) {
  EXPECT_EQ(hosts_file({{7, "web", {}}, {9, "db", {}}}),
            "127.0.0.1\tlocalhost\n"
            "::1\tlocalhost ip6-localhost ip6-loopback\n"
            "10.79.0.8\tweb\n"
            "10.79.0.10\tdb\n");
}

TEST(Ruleset, HasThePublishedPorts) {
  const std::string text = ruleset(containers_in(some_links()), true);
  EXPECT_NE(text.find("elements = { 8080 : 10.79.0.8 . 80 }"), std::string::npos) << text;
  EXPECT_NE(text.find("elements = { 5353 : 10.79.0.8 . 53 }"), std::string::npos) << text;
}

TEST(Ruleset, LetsNothingElseThroughWhereNothingWasForwarded) {
  const std::string rule = "iifname != \"hood0\" oifname != \"hood0\" drop";
  EXPECT_NE(ruleset({}, false).find(rule), std::string::npos);
  EXPECT_EQ(ruleset({}, true).find(rule), std::string::npos);
}

}  // namespace
}  // namespace box
