#include "stages/08c_network/netlink.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "common/check.h"

namespace box {
namespace {

// The most that one recv(2) of a dump returns, see "netlink_dump" in net/netlink/af_netlink.c.
constexpr std::size_t kLargestAnswer = 32 * 1024;

// A list that changes while it is read is read again, up to this many times.
constexpr int kMostAttempts = 100;

using ReadAttribute = std::function<void(int type, const char* data, std::size_t size)>;

void read_attributes(const rtattr* attribute, std::size_t size, const ReadAttribute& read) {
  auto left = static_cast<long>(size);  // RTA_NEXT makes it negative if the padding is missing
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
    read(attribute->rta_type & NLA_TYPE_MASK, static_cast<const char*>(RTA_DATA(attribute)),
         RTA_PAYLOAD(attribute));
  }
}

// 0 if the attribute is too short for it.
template <typename Value>
Value value_at(const char* data, std::size_t size) {
  Value value = {};
  if (size >= sizeof value) std::memcpy(&value, data, sizeof value);
  return value;
}

// Up to the 0, which the kernel does not guarantee for every attribute.
std::string text_at(const char* data, std::size_t size) { return {data, strnlen(data, size)}; }

// Whether the message is long enough for the header of its kind.
template <typename Header>
bool holds(const nlmsghdr* message) {
  return message->nlmsg_len >= NLMSG_LENGTH(sizeof(Header));
}

}  // namespace

Link read_link(const nlmsghdr* message) {
  const auto* info = static_cast<const ifinfomsg*>(NLMSG_DATA(message));
  Link link;
  if (!holds<ifinfomsg>(message)) return link;
  link.index = info->ifi_index;
  link.is_up = (info->ifi_flags & IFF_UP) != 0;
  const auto read_info = [&](int type, const char* data, std::size_t size) {
    if (type == IFLA_INFO_KIND) link.kind = text_at(data, size);
  };
  read_attributes(IFLA_RTA(info), IFLA_PAYLOAD(message),
                  [&](int type, const char* data, std::size_t size) {
                    if (type == IFLA_IFNAME) link.name = text_at(data, size);
                    if (type == IFLA_IFALIAS) link.alias = text_at(data, size);
                    if (type == IFLA_LINK) link.lower = value_at<int>(data, size);
                    if (type == IFLA_MASTER) link.master = value_at<int>(data, size);
                    if (type == IFLA_ADDRESS) link.address.assign(data, size);
                    if (type == IFLA_LINKINFO) {
                      read_attributes(reinterpret_cast<const rtattr*>(data), size, read_info);
                    }
                  });
  return link;
}

Route read_route(const nlmsghdr* message) {
  const auto* info = static_cast<const rtmsg*>(NLMSG_DATA(message));
  Route route;
  if (!holds<rtmsg>(message)) return route;
  route.prefix_length = info->rtm_dst_len;
  read_attributes(RTM_RTA(info), RTM_PAYLOAD(message),
                  [&](int type, const char* data, std::size_t size) {
                    if (type == RTA_DST)
                      route.destination = ntohl(value_at<std::uint32_t>(data, size));
                    if (type == RTA_OIF) route.link = value_at<int>(data, size);
                  });
  return route;
}

void NetlinkMessage::append(const void* data, std::size_t size) {
  bytes_.append(static_cast<const char*>(data), size);
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
}

void NetlinkMessage::add_bytes(std::uint16_t type, const std::string& bytes) {
  rtattr header = {};
  header.rta_type = type;
  header.rta_len = static_cast<std::uint16_t>(RTA_LENGTH(bytes.size()));
  append(&header, sizeof header);
  append(bytes.data(), bytes.size());
}

void NetlinkMessage::add(std::uint16_t type, const std::string& text) {
  add_bytes(type, text + '\0');
}

void NetlinkMessage::add(std::uint16_t type, std::uint32_t value) {
  add_bytes(type, {reinterpret_cast<const char*>(&value), sizeof value});
}

void NetlinkMessage::nest(std::uint16_t type, const std::function<void()>& fill) {
  const std::size_t start = bytes_.size();
  add_bytes(type, "");
  fill();
  const auto length = static_cast<std::uint16_t>(bytes_.size() - start);
  bytes_.replace(start, sizeof length, reinterpret_cast<const char*>(&length), sizeof length);
}

const std::string& NetlinkMessage::finish() {
  const auto length = static_cast<std::uint32_t>(bytes_.size());
  return bytes_.replace(0, sizeof length, reinterpret_cast<const char*>(&length), sizeof length);
}

RouteSocket::RouteSocket()
    : fd_(check_quietly(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE),
                        "socket(NETLINK_ROUTE)")),
      answer_(kLargestAnswer, '\0') {}

// With a number of its own, because the answer to an earlier request may not have been read.
void RouteSocket::send_request(std::string bytes) {
  if (std::exchange(dumping_, false)) read_rest();
  ++sequence_;
  bytes.replace(offsetof(nlmsghdr, nlmsg_seq), sizeof sequence_,
                reinterpret_cast<const char*>(&sequence_), sizeof sequence_);
  const auto sent = check_quietly(
      TEMP_FAILURE_RETRY(send(fd_.get(), bytes.data(), bytes.size(), 0)), "send(netlink)");
  if (static_cast<std::size_t>(sent) != bytes.size()) throw Failure("send(netlink): too short");
}

void RouteSocket::read_rest() {
  while (recv(fd_.get(), answer_.data(), answer_.size(), MSG_DONTWAIT) > 0) {
  }
}

int RouteSocket::ask(NetlinkMessage& message) {
  send_request(message.finish());
  const auto* header = reinterpret_cast<const nlmsghdr*>(answer_.data());
  do {
    check_quietly(TEMP_FAILURE_RETRY(recv(fd_.get(), answer_.data(), answer_.size(), 0)),
                  "recv(netlink)");
  } while (header->nlmsg_seq != sequence_);
  // NLM_F_ACK: the kernel replies with an nlmsgerr, with 0 for "done", see netlink(7).
  const int error = -static_cast<const nlmsgerr*>(NLMSG_DATA(header))->error;
  errno = error;
  return error == 0 ? 0 : -1;
}

void RouteSocket::dump(NetlinkMessage& request, const std::function<void()>& again,
                       const std::function<void(const nlmsghdr*)>& read) {
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    again();
    send_request(request.finish());
    dumping_ = true;
    bool interrupted = false;  // the list has changed in the meantime: some of it may be missing
    bool done = false;
    while (!done) {
      auto left = static_cast<long>(check_quietly(
          TEMP_FAILURE_RETRY(recv(fd_.get(), answer_.data(), answer_.size(), 0)), "recv(netlink)"));
      for (const auto* message = reinterpret_cast<const nlmsghdr*>(answer_.data());
           !done && NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
        if (message->nlmsg_seq != sequence_) continue;
        interrupted = interrupted || (message->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
        if (message->nlmsg_type == NLMSG_ERROR) {
          throw Failure(-static_cast<const nlmsgerr*>(NLMSG_DATA(message))->error, "netlink");
        }
        done = message->nlmsg_type == NLMSG_DONE;
        if (!done) read(message);
      }
    }
    dumping_ = false;
    if (!interrupted) return;
  }
  throw Failure("netlink: the list of links or routes keeps changing while it is read");
}

std::vector<Link> RouteSocket::links() {
  std::vector<Link> links;
  NetlinkMessage request(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{});
  dump(
      request, [&] { links.clear(); },
      [&](const nlmsghdr* message) {
        if (message->nlmsg_type == RTM_NEWLINK) links.push_back(read_link(message));
      });
  return links;
}

std::vector<Route> RouteSocket::routes() {
  std::vector<Route> routes;
  rtmsg header = {};
  header.rtm_family = AF_INET;
  NetlinkMessage request(RTM_GETROUTE, NLM_F_DUMP, header);
  dump(
      request, [&] { routes.clear(); },
      [&](const nlmsghdr* message) {
        const auto* info = static_cast<const rtmsg*>(NLMSG_DATA(message));
        if (message->nlmsg_type == RTM_NEWROUTE && info->rtm_table != RT_TABLE_LOCAL &&
            (info->rtm_flags & RTM_F_CLONED) == 0) {
          routes.push_back(read_route(message));
        }
      });
  return routes;
}

int RouteSocket::index_of(const std::string& name) {
  for (const Link& link : links()) {
    if (link.name == name) return link.index;
  }
  return 0;
}

void in_network_of(pid_t pid, const std::function<void()>& body) {
  const auto open_namespace = [](const std::string& process) {
    const std::string path = "/proc/" + process + "/ns/net";
    return UniqueFd(check_quietly(open(path.c_str(), O_RDONLY | O_CLOEXEC), "open({})", path));
  };
  const UniqueFd ours = open_namespace("self");
  const UniqueFd theirs = open_namespace(std::to_string(pid));
  check(setns(theirs.get(), CLONE_NEWNET), "setns(/proc/{}/ns/net)", pid);
  try {
    body();
  } catch (...) {
    (void)setns(ours.get(), CLONE_NEWNET);  // the first failure is the one to report
    throw;
  }
  check(setns(ours.get(), CLONE_NEWNET), "setns(our own network namespace)");
}

}  // namespace box
