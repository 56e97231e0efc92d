#include "stages/08c_network/port_proxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "common/check.h"

namespace box {
namespace {

const auto* as_address(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// No connection to this one is possible, see ip(7).
constexpr const char* kBroadcast = "255.255.255.255";
constexpr int kLoopback = 1;  // the link of which the proxy asks whether it is there

// A proxy at a port of 127.0.0.1 that cannot reach its container.
class Unreachable {
 public:
  explicit Unreachable(int kind) {
    const UniqueFd listener(check_quietly(socket(AF_INET, kind | SOCK_CLOEXEC, 0), "socket()"));
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address_;
    check_quietly(bind(listener.get(), as_address(address_), size), "bind()");
    if (kind == SOCK_STREAM) check_quietly(listen(listener.get(), 1), "listen()");
    check_quietly(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address_), &size),
                  "getsockname()");
    int ends[2];
    check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
    stopped_ = UniqueFd(ends[0]);
    stop_ = UniqueFd(ends[1]);
    std::vector<UniqueFd> sockets;
    sockets.emplace_back(check_quietly(dup(listener.get()), "dup()"));
    std::vector<PublishedPort> ports(1);
    ports[0].container = 80;
    ports[0].udp = kind == SOCK_DGRAM;
    proxy_ = std::thread([this, moved = std::move(sockets), ports]() mutable {
      PortProxy(std::move(moved), ports).serve_until(stopped_.get(), kBroadcast, kLoopback);
    });
    client = UniqueFd(check_quietly(socket(AF_INET, kind | SOCK_CLOEXEC, 0), "socket()"));
    check_quietly(connect(client.get(), as_address(address_), sizeof address_), "connect()");
    listener_ = UniqueFd(check_quietly(dup(listener.get()), "dup()"));
  }
  ~Unreachable() {
    stop_.close();
    proxy_.join();
  }
  Unreachable(const Unreachable&) = delete;
  Unreachable& operator=(const Unreachable&) = delete;

  // Whether the proxy has yet to take something from its socket.
  [[nodiscard]] bool has_datagrams() const {
    char byte = 0;
    return recv(listener_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) != -1;
  }

  UniqueFd client;

 private:
  sockaddr_in address_ = {};
  UniqueFd listener_;
  UniqueFd stopped_;
  UniqueFd stop_;
  std::thread proxy_;
};

TEST(PortProxy, LivesThroughDatagramsThatItCannotPassOn) {
  const Unreachable proxy(SOCK_DGRAM);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(send(proxy.client.get(), "x", 1, 0), 1);
  while (proxy.has_datagrams()) (void)usleep(1000);
}

TEST(PortProxy, EndsConnectionsThatItCannotPassOn) {
  for (int i = 0; i < 3; ++i) {
    const Unreachable proxy(SOCK_STREAM);
    char byte = 0;
    EXPECT_EQ(recv(proxy.client.get(), &byte, 1, 0), 0);
  }
}

}  // namespace
}  // namespace box
