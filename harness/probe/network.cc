// Stage 08c: which servers can be reached, and servers of our own.

#include "harness/probe/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

sockaddr_in ip_address(const char* address, long port) {
  sockaddr_in ip = {};
  ip.sin_family = AF_INET;
  ip.sin_port = htons(static_cast<in_port_t>(port));
  (void)inet_pton(AF_INET, address, &ip.sin_addr);
  return ip;
}

// In the abstract namespace, of which each network namespace has its own, see unix(7).
socklen_t abstract_address(const char* name, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  const int size = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%s", name);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<size_t>(size));
}

// The text that the server there sends.
void connect_and_read(Answer& answer, int family, const void* address, socklen_t size) {
  const int fd = socket(family, SOCK_STREAM, 0);
  const timeval patience = {1, 0};
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (connect(fd, static_cast<const sockaddr*>(address), size) == -1) {
    return answer.add_result(false);
  }
  add_text_of(answer, fd);
}

// connect=ADDRESS,PORT
void do_connect(const Verb& verb, Answer& answer) {
  const sockaddr_in ip = ip_address(verb.argument(0), verb.number(1));
  connect_and_read(answer, AF_INET, &ip, sizeof ip);
}

// ask_udp=ADDRESS,PORT
void do_ask_udp(const Verb& verb, Answer& answer) {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  const timeval patience = {1, 0};
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  const sockaddr_in ip = ip_address(verb.argument(0), verb.number(1));
  if (connect(fd, reinterpret_cast<const sockaddr*>(&ip), sizeof ip) == -1 ||
      send(fd, "?", 1, 0) != 1) {
    return answer.add_result(false);
  }
  add_text_of(answer, fd);
}

// connect_abstract=NAME
void do_connect_abstract(const Verb& verb, Answer& answer) {
  sockaddr_un address;
  const socklen_t size = abstract_address(verb.argument(0), address);
  connect_and_read(answer, AF_UNIX, &address, size);
}

// connect_by_name=NAME,PORT: connects to the address of NAME in /etc/hosts.
void do_connect_by_name(const Verb& verb, Answer& answer) {
  FILE* hosts = fopen("/etc/hosts", "re");
  char line[256];
  while (hosts != nullptr && fgets(line, sizeof line, hosts) != nullptr) {
    char* rest = nullptr;
    const char* address = strtok_r(line, " \t\n", &rest);
    for (const char* name = address; name != nullptr; name = strtok_r(nullptr, " \t\n", &rest)) {
      if (name == address || strcmp(name, verb.argument(0)) != 0) continue;
      const sockaddr_in ip = ip_address(address, verb.number(1));
      answer.add("address", address);
      return connect_and_read(answer, AF_INET, &ip, sizeof ip);
    }
  }
  errno = ENOENT;
  answer.add_result(false);
}

// loopback: from ourselves to ourselves.
void do_loopback(const Verb&, Answer& answer) {
  const int server = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in ip = ip_address("127.0.0.1", 0);
  socklen_t size = sizeof ip;
  auto* address = reinterpret_cast<sockaddr*>(&ip);
  if (bind(server, address, size) == -1 || listen(server, 1) == -1 ||
      getsockname(server, address, &size) == -1) {
    return answer.add_result(false);
  }
  answer.add_result(connect(socket(AF_INET, SOCK_STREAM, 0), address, size) == 0);
}

// forge=PORT[,TO[,FROM[,ETHERNET]]]: sends a packet for 127.0.0.1, or TO, to the host at the other
// end of eth0. It goes to the Ethernet broadcast address, unless we are told the host's.
// FROM is the source address in place of our own.
void do_forge(const Verb& verb, Answer& answer) {
  const int fd = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP));
  sockaddr_ll to = {};
  to.sll_family = AF_PACKET;
  to.sll_protocol = htons(ETH_P_IP);
  to.sll_ifindex = static_cast<int>(if_nametoindex("eth0"));
  to.sll_halen = ETH_ALEN;
  memset(to.sll_addr, 0xff, ETH_ALEN);
  if (verb.count > 3)
    (void)ether_aton_r(verb.argument(3), reinterpret_cast<ether_addr*>(to.sll_addr));
  ifreq own = {};
  snprintf(own.ifr_name, sizeof own.ifr_name, "eth0");
  if (fd == -1 || ioctl(fd, SIOCGIFADDR, &own) == -1) return answer.add_result(false);

  struct {
    iphdr ip;
    udphdr udp;
    char text[16];
  } __attribute__((packed)) packet = {};
  snprintf(packet.text, sizeof packet.text, "%s", nonce);
  packet.ip.version = 4;
  packet.ip.ihl = 5;
  packet.ip.ttl = 64;
  packet.ip.protocol = IPPROTO_UDP;
  packet.ip.tot_len = htons(sizeof packet);
  memcpy(&packet.ip.saddr, &reinterpret_cast<sockaddr_in*>(&own.ifr_addr)->sin_addr, 4);
  packet.ip.daddr = htonl(INADDR_LOOPBACK);
  if (verb.count > 1) packet.ip.daddr = ip_address(verb.argument(1), 0).sin_addr.s_addr;
  if (verb.count > 2) packet.ip.saddr = ip_address(verb.argument(2), 0).sin_addr.s_addr;
  uint32_t sum = 0;
  for (size_t i = 0; i < sizeof packet.ip; i += 2) {
    uint16_t word = 0;
    memcpy(&word, reinterpret_cast<const char*>(&packet) + i, sizeof word);
    sum += word;
  }
  sum = (sum >> 16) + (sum & 0xffff);
  packet.ip.check = static_cast<uint16_t>(~(sum + (sum >> 16)));
  packet.udp.source = htons(1234);
  packet.udp.dest = htons(static_cast<uint16_t>(verb.number(0)));
  packet.udp.len = htons(sizeof packet.udp + sizeof packet.text);
  answer.add_result(sendto(fd, &packet, sizeof packet, 0, reinterpret_cast<sockaddr*>(&to),
                           sizeof to) == sizeof packet);
}

// Leaves a child that sends `text` to every client that connects to `fd`, as long as we live. In a
// container its name is not probe any more, so that the harness can tell it from us.
bool serve(int fd, const char* text) {
  if (listen(fd, 8) == -1) return false;
  const pid_t child = fork();
  if (child != 0) return child != -1;
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (strcmp(nonce, "-") != 0) call_ourselves_child();
  while (true) {
    const int client = accept(fd, nullptr, nullptr);
    (void)!write(client, text, strlen(text));
    (void)close(client);
  }
}

// serve=ADDRESS,PORT,TEXT
void serve_at_port(const Verb& verb) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in ip = ip_address(verb.argument(0), verb.number(1));
  Answer answer(verb);
  answer.add_result(bind(fd, reinterpret_cast<const sockaddr*>(&ip), sizeof ip) == 0 &&
                    serve(fd, verb.argument(2)));
  answer.send();
}

// serve_udp=PORT,TEXT: the same, to everybody who sends a packet.
void serve_udp(const Verb& verb) {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  const sockaddr_in ip = ip_address("0.0.0.0", verb.number(0));
  bool good = bind(fd, reinterpret_cast<const sockaddr*>(&ip), sizeof ip) == 0;
  const pid_t child = good ? fork() : -1;
  if (child == 0) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (strcmp(nonce, "-") != 0) call_ourselves_child();
    while (true) {
      sockaddr_in from = {};
      socklen_t size = sizeof from;
      char byte = 0;
      auto* address = reinterpret_cast<sockaddr*>(&from);
      if (recvfrom(fd, &byte, sizeof byte, 0, address, &size) == -1) continue;
      (void)!sendto(fd, verb.argument(1), strlen(verb.argument(1)), 0, address, size);
    }
  }
  good = good && child != -1;
  Answer answer(verb);
  answer.add_result(good);
  answer.send();
}

// serve_abstract=NAME,TEXT
void serve_abstract(const Verb& verb) {
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address;
  const socklen_t size = abstract_address(verb.argument(0), address);
  Answer answer(verb);
  answer.add_result(bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0 &&
                    serve(fd, verb.argument(1)));
  answer.send();
}

// catch=PORT,MILLISECONDS[,ADDRESS]: the text of a UDP packet to 127.0.0.1, or to ADDRESS, if one
// comes in time.
void catch_packet(const Verb& verb) {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  const sockaddr_in ip =
      ip_address(verb.count > 2 ? verb.argument(2) : "127.0.0.1", verb.number(0));
  const bool good = bind(fd, reinterpret_cast<const sockaddr*>(&ip), sizeof ip) == 0;
  {
    Answer ready(verb);
    ready.add("catch", good ? "ready" : "failed");
    ready.send();
  }
  char text[64] = {};
  pollfd event = {fd, POLLIN, 0};
  const bool came = good && poll(&event, 1, static_cast<int>(verb.number(1))) == 1 &&
                    recv(fd, text, sizeof text - 1, 0) > 0;
  Answer answer(verb);
  answer.add("caught", came ? text : "nothing");
  answer.send();
}

constexpr KnownVerb kVerbs[] = {
    {"connect", do_connect},
    {"connect_abstract", do_connect_abstract},
    {"connect_by_name", do_connect_by_name},
    {"ask_udp", do_ask_udp},
    {"loopback", do_loopback},
    {"forge", do_forge},
    {"serve", nullptr, serve_at_port},
    {"serve_udp", nullptr, serve_udp},
    {"serve_abstract", nullptr, serve_abstract},
    {"catch", nullptr, catch_packet},
};

}  // namespace

std::span<const KnownVerb> network_verbs() { return kVerbs; }
