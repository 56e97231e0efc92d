#include "stages/08c_network/port_proxy.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "common/check.h"

namespace box {
namespace {

constexpr std::size_t kBufferSize = 64 * 1024;
constexpr std::size_t kMostClients = 512;  // of UDP, of all ports
constexpr time_t kIdle = 120;              // seconds after which a UDP client is forgotten

using PollFds = std::vector<pollfd>;

// poll(2) reports errors even if no events were asked for, so it would return at once.
void add(PollFds& events, int fd, short wanted) {
  events.push_back({wanted == 0 ? -1 : fd, wanted, 0});
}

time_t now() {
  timespec time = {};
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec;
}

UniqueFd connect_to(const std::string& address, std::uint16_t port, int kind) {
  UniqueFd fd(socket(AF_INET, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  (void)inet_pton(AF_INET, address.c_str(), &to.sin_addr);
  const int result = connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to);
  if (result == -1 && errno != EINPROGRESS) fd.close();
  return fd;
}

bool would_block() { return errno == EAGAIN || errno == EINTR; }

// One direction of a connection. It has memory only for what could not be sent yet: no limit of the
// container counts ours, and anyone who may connect to the port can do so thousands of times.
class Flow {
 public:
  Flow(int from, int to) : from_(from), to_(to) {}

  [[nodiscard]] bool wants_to_read() const { return unsent_.empty() && !at_end_; }
  [[nodiscard]] bool wants_to_write() const { return !unsent_.empty(); }
  [[nodiscard]] bool is_done() const { return at_end_ && unsent_.empty(); }

  // Copies as much as possible. Returns whether the connection is still usable.
  bool move() {
    if (wants_to_write()) return send_some(std::exchange(unsent_, {}));
    if (at_end_) return true;
    char bytes[kBufferSize];
    const ssize_t size = recv(from_, bytes, sizeof bytes, 0);
    if (size == -1) return would_block();
    at_end_ = size == 0;
    if (at_end_) (void)shutdown(to_, SHUT_WR);  // the other direction may go on
    return send_some({bytes, static_cast<std::size_t>(size)});
  }

 private:
  bool send_some(std::string_view data) {
    while (!data.empty()) {
      const ssize_t size = send(to_, data.data(), data.size(), MSG_NOSIGNAL);
      if (size == -1) {
        unsent_ = data;
        return would_block();
      }
      data.remove_prefix(static_cast<std::size_t>(size));
    }
    return true;
  }

  std::string unsent_;
  int from_;
  int to_;
  bool at_end_ = false;
};

class Connection {
 public:
  Connection(UniqueFd client, UniqueFd server)
      : client_(std::move(client)),
        server_(std::move(server)),
        in_(client_.get(), server_.get()),
        out_(server_.get(), client_.get()) {}

  void add_to(PollFds& events) const {
    const auto wanted = [](const Flow& reads, const Flow& writes) {
      return static_cast<short>((reads.wants_to_read() ? POLLIN : 0) |
                                (writes.wants_to_write() ? POLLOUT : 0));
    };
    add(events, client_.get(), connected_ ? wanted(in_, out_) : 0);
    add(events, server_.get(), connected_ ? wanted(out_, in_) : POLLOUT);
  }

  // Handles what poll(2) has reported for its two sockets. Returns whether the connection goes on.
  bool go_on(const pollfd& client, const pollfd& server) {
    if (client.revents == 0 && server.revents == 0) return true;
    if (!connected_) {
      int error = 0;
      socklen_t size = sizeof error;
      (void)getsockopt(server_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) return refuse();
      connected_ = true;
    }
    return in_.move() && out_.move() && !(in_.is_done() && out_.is_done());
  }

 private:
  // No server listens inside. The client's connection has been accepted by now, so we reset it.
  bool refuse() {
    const linger at_once = {1, 0};
    (void)setsockopt(client_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    return false;
  }

  UniqueFd client_;
  UniqueFd server_;
  Flow in_;
  Flow out_;
  bool connected_ = false;
};

// As many connections as there are descriptors for, two for each.
std::size_t most_connections() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) == -1) return 8;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 16384);
  (void)setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur > 2 * kMostClients ? (limit.rlim_cur - kMostClients) / 2 - 64 : 8;
}

// A UDP client, and the address of the host that it sent to, from which replies must come.
struct Client {
  sockaddr_in peer = {};
  in_addr local = {};
  int listener = -1;
  UniqueFd to_container;
  time_t last_used = 0;
};

union PacketInfo {
  cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(in_pktinfo))];
};

// recvmsg(2) with the address that the datagram was sent to, see IP_PKTINFO in ip(7).
ssize_t receive(int listener, char* data, std::size_t size, Client& from) {
  iovec part = {data, size};
  PacketInfo info = {};
  msghdr message = {};
  message.msg_name = &from.peer;
  message.msg_namelen = sizeof from.peer;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = &info;
  message.msg_controllen = sizeof info;
  const ssize_t received = recvmsg(listener, &message, 0);
  if (received == -1) return received;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == IP_PKTINFO) {
    in_pktinfo packet = {};
    std::memcpy(&packet, CMSG_DATA(header), sizeof packet);
    from.local = packet.ipi_spec_dst;
  }
  return received;
}

void answer(const Client& client, const char* data, std::size_t size) {
  iovec part = {const_cast<char*>(data), size};
  PacketInfo info = {};
  msghdr message = {};
  message.msg_name = const_cast<sockaddr_in*>(&client.peer);
  message.msg_namelen = sizeof client.peer;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = &info;
  message.msg_controllen = sizeof info;
  info.header = {CMSG_LEN(sizeof(in_pktinfo)), IPPROTO_IP, IP_PKTINFO};
  in_pktinfo packet = {};
  packet.ipi_spec_dst = client.local;
  std::memcpy(CMSG_DATA(&info.header), &packet, sizeof packet);
  (void)sendmsg(client.listener, &message, MSG_NOSIGNAL);  // UDP may lose it
}

bool is_same(const Client& one, const Client& other) {
  return one.listener == other.listener && one.local.s_addr == other.local.s_addr &&
         one.peer.sin_addr.s_addr == other.peer.sin_addr.s_addr &&
         one.peer.sin_port == other.peer.sin_port;
}

bool exists(int link) {
  char name[IF_NAMESIZE];
  return if_indextoname(static_cast<unsigned>(link), name) != nullptr;
}

}  // namespace

class PortProxy::Connections {
 public:
  void add_to(PollFds& events) const {
    for (const auto& connection : all_) connection->add_to(events);
  }

  // `events` are those that add_to() has added.
  void go_on(const pollfd* events) {
    const auto is_over = [&events](const std::unique_ptr<Connection>& connection) {
      const pollfd* two = std::exchange(events, events + 2);
      return !connection->go_on(two[0], two[1]);
    };
    all_.erase(std::remove_if(all_.begin(), all_.end(), is_over), all_.end());
  }

  [[nodiscard]] bool are_full() const { return all_.size() >= most_; }

  void accept_at(int listener, const std::string& address, std::uint16_t port) {
    UniqueFd client(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (client.get() == -1) {
      const timespec moment = {
          0, 20'000'000};  // no descriptors are left: poll(2) would return at once
      if (errno == EMFILE || errno == ENFILE) (void)nanosleep(&moment, nullptr);
      return;
    }
    UniqueFd server = connect_to(address, port, SOCK_STREAM);
    if (server.get() == -1) return;
    all_.push_back(std::make_unique<Connection>(std::move(client), std::move(server)));
  }

 private:
  std::vector<std::unique_ptr<Connection>> all_;
  std::size_t most_ = most_connections();
};

class PortProxy::Datagrams {
 public:
  void add_to(PollFds& events) const {
    for (const Client& client : clients_) add(events, client.to_container.get(), POLLIN);
  }

  void go_on(const pollfd* events) {
    const time_t time = now();
    for (Client& client : clients_) {
      if ((events++)->revents == 0) continue;
      const ssize_t size = recv(client.to_container.get(), buffer_.data(), buffer_.size(), 0);
      if (size == -1) continue;  // no server listens inside, see udp(7)
      answer(client, buffer_.data(), static_cast<std::size_t>(size));
      client.last_used = time;
    }
    const auto is_old = [time](const Client& client) { return client.last_used + kIdle < time; };
    clients_.erase(std::remove_if(clients_.begin(), clients_.end(), is_old), clients_.end());
  }

  void take_from(int listener, const std::string& address, std::uint16_t port) {
    Client from;
    from.listener = listener;
    const ssize_t size = receive(listener, buffer_.data(), buffer_.size(), from);
    if (size == -1) return;
    Client* client = client_like(from, address, port);
    if (client == nullptr) return;
    client->last_used = now();
    (void)send(client->to_container.get(), buffer_.data(), static_cast<std::size_t>(size),
               MSG_NOSIGNAL);
  }

 private:
  Client* client_like(Client& from, const std::string& address, std::uint16_t port) {
    for (Client& client : clients_) {
      if (is_same(client, from)) return &client;
    }
    if (clients_.size() >= kMostClients) clients_.erase(clients_.begin());
    from.to_container = connect_to(address, port, SOCK_DGRAM);
    if (from.to_container.get() == -1) return nullptr;
    clients_.push_back(std::move(from));
    return &clients_.back();
  }

  std::vector<Client> clients_;
  std::vector<char> buffer_ = std::vector<char>(kBufferSize);
};

PortProxy::PortProxy(std::vector<UniqueFd> sockets, std::vector<PublishedPort> ports)
    : sockets_(std::move(sockets)), ports_(std::move(ports)) {
  const int on = 1;
  for (std::size_t i = 0; i < sockets_.size(); ++i) {
    if (!ports_[i].udp) continue;
    check_quietly(setsockopt(sockets_[i].get(), IPPROTO_IP, IP_PKTINFO, &on, sizeof on),
                  "setsockopt(IP_PKTINFO)");
  }
}

PortProxy::~PortProxy() = default;

std::vector<int> PortProxy::descriptors() const {
  std::vector<int> all;
  for (const UniqueFd& socket : sockets_) all.push_back(socket.get());
  return all;
}

void PortProxy::watch(int fd, std::function<void()> changed) {
  watched_ = fd;
  changed_ = std::move(changed);
}

void PortProxy::serve_until(int stop, const std::string& address, int link) {
  Connections connections;
  Datagrams datagrams;
  while (true) {
    PollFds events = {{stop, POLLIN, 0}};
    for (std::size_t i = 0; i < sockets_.size(); ++i) {
      add(events, sockets_[i].get(), ports_[i].udp || !connections.are_full() ? POLLIN : 0);
    }
    const std::size_t first_connection = events.size();
    connections.add_to(events);
    const std::size_t first_datagram = events.size();
    datagrams.add_to(events);
    add(events, watched_, POLLIN);
    if (poll(events.data(), events.size(), -1) == -1) continue;
    if (events[0].revents != 0) return;

    connections.go_on(events.data() + first_connection);
    datagrams.go_on(events.data() + first_datagram);
    if (events.back().revents != 0) changed_();
    for (std::size_t i = 0; i < sockets_.size(); ++i) {
      if (events[i + 1].revents == 0) continue;
      if (!exists(link)) {
        sockets_[i]
            .close();  // from now on connections are refused, instead of accepted and dropped
      } else if (ports_[i].udp) {
        datagrams.take_from(sockets_[i].get(), address, ports_[i].container);
      } else {
        connections.accept_at(sockets_[i].get(), address, ports_[i].container);
      }
    }
  }
}

}  // namespace box
