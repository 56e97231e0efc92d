#include "stages/08c_network/forwarding.h"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <sstream>

#include "common/check.h"
#include "common/read_file.h"
#include "common/write_file.h"
#include "stages/08c_network/address_pool.h"

namespace box {
namespace {

constexpr const char* kPrefix = "forwarding ";

bool is_on(const std::string& path) {
  const std::string value = read_file_if_there(path);  // "": the link has been removed since
  return !value.empty() && value != "0\n";
}

std::string ipv4_path(const std::string& link, const std::string& key) {
  return fmt::format("/proc/sys/net/ipv4/conf/{}/{}", link, key);
}

bool all_forward() { return is_on("/proc/sys/net/ipv4/ip_forward"); }

bool is_among(const std::vector<int>& numbers, int number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

void switch_forwarding(const std::string& link, const std::string& value) {
  const std::string path = ipv4_path(link, "forwarding");
  if (file_exists(path)) write_file(path, value);  // otherwise the link has been removed since
}

}  // namespace

std::vector<int> links_to_switch_on(const std::vector<Link>& links,
                                    const std::vector<int>& before) {
  std::vector<int> numbers;
  if (all_forward()) return numbers;
  for (const Link& link : links) {
    // A port of a bridge does not route; the bridge does. Nor does the loopback route.
    if (link.master != 0 || link.name == "lo" || link.name == kBridge) continue;
    if (is_among(before, link.index) || !is_on(ipv4_path(link.name, "forwarding"))) {
      numbers.push_back(link.index);
    }
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

void switch_forwarding_on(const std::vector<Link>& links, const std::vector<int>& numbers) {
  for (const Link& link : links) {
    if (is_among(numbers, link.index)) switch_forwarding(link.name, "1");
  }
}

void switch_forwarding_off(const std::vector<Link>& links, const std::vector<int>& numbers) {
  if (all_forward())
    return;  // another program has switched it on for all links since, and needs it
  for (const Link& link : links) {
    if (is_among(numbers, link.index)) switch_forwarding(link.name, "0");
  }
}

// See RTNLGRP_IPV4_NETCONF in rtnetlink(7).
ForwardingWatch::ForwardingWatch()
    : socket_(
          check_quietly(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE),
                        "socket(NETLINK_ROUTE)")) {
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1U << (RTNLGRP_IPV4_NETCONF - 1);
  check_quietly(bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
                "bind(NETLINK_ROUTE, IPV4_NETCONF)");
}

bool ForwardingWatch::all_forward_now() const {
  char ignored[64];
  // ENOBUFS: some messages were lost, and others may follow.
  while (recv(socket_.get(), ignored, sizeof ignored, 0) != -1 || errno == ENOBUFS) continue;
  return all_forward();
}

std::string text_of_switched_on(const std::vector<int>& numbers) {
  std::string text = kPrefix;
  for (std::size_t i = 0; i < numbers.size();) {
    const int first = numbers[i];
    int last = first;
    for (++i; i < numbers.size() && numbers[i] == last + 1; ++i) ++last;
    text += first == last ? fmt::format("{} ", first) : fmt::format("{}-{} ", first, last);
  }
  return text;
}

std::vector<int> read_switched_on(const std::string& alias) {
  std::vector<int> numbers;
  if (alias.rfind(kPrefix, 0) != 0) return numbers;
  std::istringstream words(alias.substr(std::string(kPrefix).size()));
  for (std::string word; words >> word;) {
    const auto dash = word.find('-');
    const int first = std::atoi(word.c_str());
    const int last = dash == std::string::npos ? first : std::atoi(word.c_str() + dash + 1);
    for (int number = first; number <= last; ++number) numbers.push_back(number);
  }
  return numbers;
}

void set_ipv4(const std::string& link, const std::string& key, const std::string& value) {
  write_file(ipv4_path(link, key), value);
}

bool kernel_has_ipv6() { return file_exists("/proc/sys/net/ipv6"); }

void set_ipv6(const std::string& link, const std::string& key, const std::string& value) {
  if (!kernel_has_ipv6()) return;
  write_file(fmt::format("/proc/sys/net/ipv6/conf/{}/{}", link, key), value);
}

}  // namespace box
