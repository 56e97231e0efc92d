#include "stages/08c_network/published_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include "common/failure.h"

namespace box {
namespace {

PublishedPort one(const std::string& text) {
  const auto ports = parse_published_ports(text);
  EXPECT_EQ(ports.size(), 1U) << text;
  return ports.at(0);
}

TEST(ParsePublishedPorts, ReadsEachForm) {
  const PublishedPort tcp = one("8080:80");
  EXPECT_EQ(tcp.host, 8080);
  EXPECT_EQ(tcp.container, 80);
  EXPECT_EQ(tcp.address, "");
  EXPECT_FALSE(tcp.udp);
  EXPECT_FALSE(one("1:65535/tcp").udp);
  EXPECT_TRUE(one("5353:53/udp").udp);
  EXPECT_EQ(one("127.0.0.1:8080:80").address, "127.0.0.1");
  EXPECT_EQ(one("0.0.0.0:8080:80").address, "");
  EXPECT_EQ(one("80").host, 0) << "any that is free";
  EXPECT_EQ(one("127.0.0.1::80").host, 0);
}

TEST(ParsePublishedPorts, RefusesAnAddressThatACStringCannotHold) {
  using std::string_literals::operator""s;
  EXPECT_THROW((void)parse_published_ports("127.0.0.1\0x:8080:80"s), Failure);
}

TEST(ParsePublishedPorts, ReadsRanges) {
  const auto ports = parse_published_ports("8000-8002:80-82/udp");
  ASSERT_EQ(ports.size(), 3U);
  EXPECT_EQ(ports[2].host, 8002);
  EXPECT_EQ(ports[2].container, 82);
  EXPECT_TRUE(ports[2].udp);
  EXPECT_EQ(parse_published_ports("80-82").size(), 3U);
  const PublishedPort first_free = one("8000-8002:80");
  EXPECT_EQ(first_free.host, 8000);
  EXPECT_EQ(first_free.last_host, 8002);
}

TEST(ParsePublishedPorts, AreUndoneByTextOf) {
  for (const char* text : {"8080:80", "5353:53/udp", "65535:1", "127.0.0.1:8080:80", "8000-8010:80",
                           "80", "80/udp", "127.0.0.1::80"}) {
    EXPECT_EQ(text_of(one(text)), text);
  }
  for (const char* text : {"8000-8002:80-82", "127.0.0.1:8000-8002:80-82/udp", "8080:80"}) {
    EXPECT_EQ(text_of(parse_published_ports(text)), text);
  }
  EXPECT_EQ(text_of({{8080, 80, false}, {8081, 81, true}, {9000, 82, true}}),
            "8080:80 8081:81/udp 9000:82/udp");
}

TEST(ParsePublishedPorts, RefusesWhatIsNoPort) {
  for (const char* text : {"",
                           ":",
                           "80:",
                           ":80",
                           "0:80",
                           "80:0",
                           "65536:80",
                           "80:70000",
                           "-1:80",
                           "80:+1",
                           "a:80",
                           "80:b",
                           "80:80/",
                           "80:80/sctp",
                           "80:80:80",
                           "80/udp:80",
                           " 80:80",
                           "80:80 ",
                           "8-7:8-7",
                           "80-90:80-85",
                           "1-2:3-5",
                           "80-",
                           "-80",
                           "::1:80:80",
                           "[::1]:80:80",
                           "localhost:80:80",
                           "1.2.3:80:80",
                           "1.2.3.4:80",
                           ":80:80",
                           "::80"}) {
    EXPECT_THROW((void)parse_published_ports(text), Failure) << text;
  }
}

TEST(Collide, OnlyWhereBothWouldHaveThePort) {
  EXPECT_TRUE(collide(one("8080:80"), one("127.0.0.1:8080:81")));
  EXPECT_FALSE(collide(one("127.0.0.2:8080:80"), one("127.0.0.1:8080:81")));
  EXPECT_FALSE(collide(one("8080:80"), one("8080:80/udp")));
  EXPECT_FALSE(collide(one("80"), one("80")));
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

std::vector<UniqueFd> take(std::vector<PublishedPort> ports) { return reserve(ports); }

TEST(Reserve, RefusesAPortThatIsTaken) {
  const TakenPort tcp(SOCK_STREAM);
  const TakenPort udp(SOCK_DGRAM);
  EXPECT_THROW((void)take({{tcp.number, 80, false}}), Failure);
  EXPECT_THROW((void)take({{udp.number, 80, true}}), Failure);
}

TEST(Reserve, KeepsThePortUntilTheSocketIsClosed) {
  std::uint16_t number = 0;
  {
    const TakenPort port(SOCK_STREAM);
    number = port.number;
  }
  auto sockets = take({{number, 80, false}, {number, 80, true}});
  EXPECT_EQ(sockets.size(), 2U);
  EXPECT_THROW((void)take({{number, 80, false}}), Failure);
  EXPECT_THROW((void)take({{number, 80, true}}), Failure);
  sockets.clear();
  EXPECT_EQ(take({{number, 80, false}, {number, 80, true}}).size(), 2U);
}

TEST(Reserve, ChoosesAFreePort) {
  const TakenPort taken(SOCK_STREAM);
  std::vector<PublishedPort> ports = {{0, 80, false}, {taken.number, 81, false}};
  ports[1].last_host = 65535;
  const auto sockets = reserve(ports);
  EXPECT_NE(ports[0].host, 0);
  EXPECT_GT(ports[1].host, taken.number);
  EXPECT_EQ(ports[1].last_host, 0);
}

TEST(Reserve, TakesAPortOfOneAddress) {
  const TakenPort port(SOCK_STREAM);  // of all addresses
  std::vector<PublishedPort> ports = {{0, 80, false, "127.0.0.1"}, {0, 80, false, "192.0.2.1"}};
  EXPECT_EQ(take({ports[0]}).size(), 1U);
  EXPECT_THROW((void)take({ports[1]}), Failure) << "it is not this host's";
}

}  // namespace
}  // namespace box
