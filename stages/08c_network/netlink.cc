#include "stages/08c_network/netlink.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>

#include "common/check.h"

namespace box {
namespace {

// What one recv(2) of a dump can hold, see "netlink_dump" in net/netlink/af_netlink.c.
constexpr std::size_t kLargestAnswer = 32 * 1024;

Link read_link(const nlmsghdr* message) {
  const auto* info = static_cast<const ifinfomsg*>(NLMSG_DATA(message));
  Link link;
  link.index = info->ifi_index;
  auto left = static_cast<unsigned>(IFLA_PAYLOAD(message));
  for (const rtattr* attribute = IFLA_RTA(info); RTA_OK(attribute, left);
       attribute = RTA_NEXT(attribute, left)) {
    const auto* data = static_cast<const char*>(RTA_DATA(attribute));
    if (attribute->rta_type == IFLA_IFNAME) link.name = data;
    if (attribute->rta_type == IFLA_IFALIAS) link.alias = data;
    if (attribute->rta_type == IFLA_MASTER) link.master = *reinterpret_cast<const int*>(data);
  }
  return link;
}

}  // namespace

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
                        "socket(NETLINK_ROUTE)")) {}

RouteSocket RouteSocket::in_namespace_of(pid_t pid) {
  const auto open_namespace = [](const std::string& process) {
    const std::string path = "/proc/" + process + "/ns/net";
    return UniqueFd(check_quietly(open(path.c_str(), O_RDONLY | O_CLOEXEC), "open({})", path));
  };
  const UniqueFd ours = open_namespace("self");
  const UniqueFd theirs = open_namespace(std::to_string(pid));
  check(setns(theirs.get(), CLONE_NEWNET), "setns(/proc/{}/ns/net)", pid);
  RouteSocket there;
  check(setns(ours.get(), CLONE_NEWNET), "setns(our own network namespace)");
  return there;
}

int RouteSocket::ask(NetlinkMessage& message) {
  const std::string& bytes = message.finish();
  check_quietly(send(fd_.get(), bytes.data(), bytes.size(), 0), "send(netlink)");
  alignas(nlmsghdr) char answer[kLargestAnswer];
  check_quietly(TEMP_FAILURE_RETRY(recv(fd_.get(), answer, sizeof answer, 0)), "recv(netlink)");
  // NLM_F_ACK: the answer is an nlmsgerr, with 0 for "done", see netlink(7).
  const auto* header = reinterpret_cast<const nlmsghdr*>(answer);
  const int error = -static_cast<const nlmsgerr*>(NLMSG_DATA(header))->error;
  errno = error;
  return error == 0 ? 0 : -1;
}

std::vector<Link> RouteSocket::links() {
  NetlinkMessage request(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{});
  const std::string& bytes = request.finish();
  check_quietly(send(fd_.get(), bytes.data(), bytes.size(), 0), "send(netlink)");
  std::vector<Link> links;
  while (true) {
    alignas(nlmsghdr) char answer[kLargestAnswer];
    auto left = static_cast<unsigned>(check_quietly(
        TEMP_FAILURE_RETRY(recv(fd_.get(), answer, sizeof answer, 0)), "recv(netlink)"));
    for (const auto* message = reinterpret_cast<const nlmsghdr*>(answer); NLMSG_OK(message, left);
         message = NLMSG_NEXT(message, left)) {
      if (message->nlmsg_type != RTM_NEWLINK) return links;  // NLMSG_DONE
      links.push_back(read_link(message));
    }
  }
}

int RouteSocket::index_of(const std::string& name) {
  for (const Link& link : links()) {
    if (link.name == name) return link.index;
  }
  return 0;
}

}  // namespace box
