#include "stages/08c_network/address_pool.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

#include "stages/08c_network/forwarding.h"
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
  return {{1, 0, "lo", "", "", ""},
          {2, 0, kBridge, "forwarding 4", mac_address_of(0), "bridge"},
          {3, 2, "hood7", "web 8080:80 5353:53/udp", outer_mac_address_of(7), "veth"},
          {4, 2, "hood1", "", outer_mac_address_of(1), "veth"},  // it has just been made
          {5, 0, "hood3", "not 1:1 ours", outer_mac_address_of(3), "veth"},      // at no bridge
          {6, 2, "hood254", "not 2:2 ours", outer_mac_address_of(254), "veth"},  // beyond the pool
          {7, 2, "eth1", "not 3:3 ours", outer_mac_address_of(2), "veth"},
          {8, 2, "hood9", "not 4:4 ours", "other!", "veth"}};  // made by somebody else
}

TEST(AddressPool, ReadsTheContainersFromTheLinks) {
  const auto containers = containers_in(some_links());
  ASSERT_EQ(containers.size(), 2U);
  EXPECT_EQ(containers[0].number, 7);
  EXPECT_EQ(containers[0].link, 3);
  EXPECT_EQ(containers[0].name, "web");
  ASSERT_EQ(containers[0].ports.size(), 2U);
  EXPECT_TRUE(containers[0].ports[1].udp);
  EXPECT_EQ(alias_of(containers[0]), "web 8080:80 5353:53/udp");
  EXPECT_EQ(containers[1].number, 1);
  EXPECT_EQ(containers[1].name, "");
}

TEST(AddressPool, HasALinkOfTheNameForItsBridgeOnlyIfItIsOurs) {
  EXPECT_EQ(find_bridge(some_links())->index, 2);
  EXPECT_EQ(find_bridge({{2, 0, kBridge, "", "other!", "bridge"}}), nullptr);
  EXPECT_EQ(find_bridge({{2, 0, kBridge, "", mac_address_of(0), "dummy"}}), nullptr);
  EXPECT_EQ(find_bridge({{2, 0, "br0", "", mac_address_of(0), "bridge"}}), nullptr);
}

TEST(AddressPool, WritesDownManyPortsInARow) {
  Container container = {1, 2, "web", parse_published_ports("8000-8200:9000-9200")};
  EXPECT_EQ(alias_of(container), "web 8000-8200:9000-9200");
}

TEST(AddressPool, HasNoContainersWithoutABridge) {
  EXPECT_TRUE(containers_in({{1, 0, "lo", "", "", ""},
                             {3, 0, "hood7", "web", outer_mac_address_of(7), "veth"}})
                  .empty());
}

TEST(AddressPool, WritesHosts) {
  EXPECT_EQ(hosts_file({{7, 3, "web", {}}, {9, 4, "db", {}}}),
            "127.0.0.1\tlocalhost\n"
            "::1\tlocalhost ip6-localhost ip6-loopback\n"
            "10.79.0.8\tweb\n"
            "10.79.0.10\tdb\n");
}

TEST(SwitchedOn, IsRemembered) {
  EXPECT_EQ(text_of_switched_on({2, 3, 4, 9}), "forwarding 2-4 9 ");
  for (const std::vector<int>& numbers : {std::vector<int>{}, {7}, {2, 3, 4, 9}, {1, 3, 5, 6}}) {
    EXPECT_EQ(read_switched_on(text_of_switched_on(numbers)), numbers);
  }
  EXPECT_TRUE(read_switched_on("").empty());
  EXPECT_TRUE(read_switched_on("somebody's bridge").empty());
}

TEST(Ruleset, HasThePublishedPorts) {
  const std::string text = ruleset(containers_in(some_links()), {}, true);
  EXPECT_NE(text.find("elements = { 8080 : 10.79.0.8 . 80 }"), std::string::npos) << text;
  EXPECT_NE(text.find("elements = { 5353 : 10.79.0.8 . 53 }"), std::string::npos) << text;
}

TEST(Ruleset, LeadsThePortsOfOneAddressFromThereOnly) {
  const Container container = {7, 3, "web", parse_published_ports("192.0.2.1:8080:80")};
  const std::string text = ruleset({container}, {}, true);
  EXPECT_NE(text.find("elements = { 192.0.2.1 . 8080 : 10.79.0.8 . 80 }"), std::string::npos);
  EXPECT_EQ(text.find("{ 8080"), std::string::npos) << text;
}

TEST(Ruleset, LetsNothingElseThroughWhereNothingWasForwarded) {
  const std::string rule = "iif { 3, 5 } oifname != \"hood0\"";
  EXPECT_NE(ruleset({}, {3, 5}, true).find(rule), std::string::npos);
  EXPECT_EQ(ruleset({}, {}, true).find("iif {"), std::string::npos);
}

TEST(Ruleset, KeepsIpv6FromTheBridge) {
  EXPECT_NE(ruleset({}, {}, true).find("table ip6"), std::string::npos);
  EXPECT_EQ(ruleset({}, {}, false).find("ip6"), std::string::npos) << "this kernel knows none";
}

}  // namespace
}  // namespace box
