#include "stages/08c_network/published_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include "common/failure.h"

namespace box {
namespace {

TEST(ParsePublishedPort, ReadsEachForm) {
  const PublishedPort tcp = parse_published_port("8080:80");
  EXPECT_EQ(tcp.host, 8080);
  EXPECT_EQ(tcp.container, 80);
  EXPECT_FALSE(tcp.udp);
  EXPECT_FALSE(parse_published_port("1:65535/tcp").udp);
  EXPECT_TRUE(parse_published_port("5353:53/udp").udp);
}

TEST(ParsePublishedPort, IsUndoneByTextOf) {
  for (const char* text : {"8080:80", "5353:53/udp", "65535:1"}) {
    EXPECT_EQ(text_of(parse_published_port(text)), text);
  }
}

TEST(ParsePublishedPort, RefusesWhatIsNoPort) {
  for (const char* text :
       {"", ":", "80", "80:", ":80", "0:80", "80:0", "65536:80", "80:70000", "-1:80", "80:+1",
        "a:80", "80:b", "80:80/", "80:80/sctp", "80:80:80", "80/udp:80", " 80:80", "80:80 "}) {
    EXPECT_THROW((void)parse_published_port(text), Failure) << text;
  }
}

// A port that somebody else has, chosen by the kernel.
struct TakenPort {
  explicit TakenPort(int type) : fd(socket(AF_INET, type, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    if (type == SOCK_STREAM) {
      EXPECT_EQ(listen(fd.get(), 1), 0);
    }
    EXPECT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    number = ntohs(address.sin_port);
  }
  UniqueFd fd;
  std::uint16_t number = 0;
};

TEST(Reserve, RefusesAPortThatIsTaken) {
  const TakenPort tcp(SOCK_STREAM);
  const TakenPort udp(SOCK_DGRAM);
  EXPECT_THROW((void)reserve({{tcp.number, 80, false}}), Failure);
  EXPECT_THROW((void)reserve({{udp.number, 80, true}}), Failure);
}

TEST(Reserve, KeepsThePortUntilTheSocketIsClosed) {
  std::uint16_t number = 0;
  {
    const TakenPort port(SOCK_STREAM);
    number = port.number;
  }
  auto sockets = reserve({{number, 80, false}, {number, 80, true}});
  EXPECT_EQ(sockets.size(), 2U);
  EXPECT_THROW((void)reserve({{number, 80, false}}), Failure);
  EXPECT_THROW((void)reserve({{number, 80, true}}), Failure);
  sockets.clear();
  EXPECT_EQ(reserve({{number, 80, false}, {number, 80, true}}).size(), 2U);
}

}  // namespace
}  // namespace box
