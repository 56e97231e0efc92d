#include "common/fd_channel.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <climits>
#include <cstring>

#include "common/check.h"

namespace box {

std::pair<FdChannel, FdChannel> FdChannel::make() {
  // Each message is received whole or not at all; and unlike with SOCK_DGRAM, the end of the other
  // process is seen as end-of-file.
  int ends[2];
  check_quietly(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), "socketpair()");
  std::pair<FdChannel, FdChannel> channel;
  channel.first.socket_ = UniqueFd(ends[0]);
  channel.second.socket_ = UniqueFd(ends[1]);
  return channel;
}

std::size_t send_with_descriptor(int socket, std::string_view bytes, int fd,
                                 const std::string& what) {
  iovec text = {const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  msghdr header = {};
  header.msg_iov = &text;
  header.msg_iovlen = 1;
  if (fd != -1) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  return static_cast<std::size_t>(
      check_quietly(TEMP_FAILURE_RETRY(sendmsg(socket, &header, MSG_NOSIGNAL)), "{}", what));
}

void FdChannel::send(const std::string& name, int fd) const {
  // With the 0 at the end, so it is never empty.
  (void)send_with_descriptor(socket_.get(), {name.c_str(), name.size() + 1}, fd,
                             "sendmsg(" + name + ")");
}

bool FdChannel::receive(Message& message) const {
  char name[PATH_MAX];
  iovec text = {name, sizeof name};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header = {};
  header.msg_iov = &text;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const auto size = check_quietly(
      TEMP_FAILURE_RETRY(recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC)), "recvmsg()");
  if (size == 0) return false;
  message.name.assign(name, static_cast<std::size_t>(size) - 1);
  int fd = -1;
  if (const cmsghdr* rights = CMSG_FIRSTHDR(&header);
      rights != nullptr && rights->cmsg_type == SCM_RIGHTS) {
    std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
  }
  message.fd = UniqueFd(fd);
  return true;
}

}  // namespace box
