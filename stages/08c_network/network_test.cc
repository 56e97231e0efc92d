#include "stages/08c_network/resolv_conf.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "stages/08c_network/user_mode_network.h"

namespace box {
namespace {

TEST(WithoutLoopback, KeepsAllButTheHostsOwnNameServers) {
  EXPECT_EQ(without_loopback("# made by hand\n"
                             "nameserver 127.0.0.53\n"
                             "nameserver ::1\n"
                             "nameserver 192.0.2.53\n"
                             "search example.org\n"
                             "options edns0"),
            "# made by hand\nnameserver 192.0.2.53\nsearch example.org\noptions edns0\n");
  EXPECT_EQ(without_loopback(""), "");
}

TEST(NamesAServer, ThatCanBeAskedByIpv4) {
  EXPECT_TRUE(names_a_server("search example.org\nnameserver 192.0.2.53\n"));
  EXPECT_FALSE(names_a_server("# nameserver 192.0.2.53\noptions edns0\n"));
  EXPECT_FALSE(names_a_server("nameserver 2001:db8::53\n"));
  EXPECT_FALSE(names_a_server(""));
}

bool has(const std::vector<std::string>& words, const std::string& first,
         const std::string& second) {
  const std::string pair[] = {first, second};
  return std::search(words.begin(), words.end(), std::begin(pair), std::end(pair)) != words.end();
}

TEST(PastaCommand, LeadsNothingBackToTheHost) {
  const auto words = pasta_command(7, {}, {});
  EXPECT_NE(std::find(words.begin(), words.end(), "--no-map-gw"), words.end());
  for (const char* ports : {"--tcp-ports", "--udp-ports", "--tcp-ns", "--udp-ns"}) {
    EXPECT_TRUE(has(words, ports, "none")) << ports << " would be auto";
  }
  EXPECT_EQ(words.back(), "7");
  EXPECT_FALSE(has(words, "--runas", "0"));
  EXPECT_TRUE(has(pasta_command(7, {}, 0), "--runas", "0"));
  EXPECT_TRUE(has(pasta_command(7, {}, 524288), "--netns", "/tmp/7-net"));
}

TEST(PastaCommand, PublishesByProtocol) {
  const auto words = pasta_command(7, {{8080, 80, false}, {8443, 443, false}}, {});
  EXPECT_TRUE(has(words, "--tcp-ports", "0.0.0.0/8080:80"));
  EXPECT_TRUE(has(words, "--tcp-ports", "0.0.0.0/8443:443"));
  EXPECT_TRUE(has(words, "--udp-ports", "none"));
  EXPECT_FALSE(has(words, "--tcp-ports", "none"));
  EXPECT_TRUE(has(pasta_command(7, {{5353, 53, true}}, {}), "--udp-ports", "0.0.0.0/5353:53"));
  EXPECT_TRUE(has(pasta_command(7, {{8080, 80, false, "127.0.0.1"}}, {}), "--tcp-ports",
                  "127.0.0.1/8080:80"));
}

TEST(Slirp4netnsCommand, KeepsTheHostsLoopbackShut) {
  const auto words = slirp4netns_command(7, "");
  EXPECT_NE(std::find(words.begin(), words.end(), "--disable-host-loopback"), words.end());
  for (const char* option : {"--enable-sandbox", "--enable-seccomp"}) {
    EXPECT_NE(std::find(words.begin(), words.end(), option), words.end()) << option;
  }
  EXPECT_EQ(words.back(), "eth0");
}

}  // namespace
}  // namespace box
