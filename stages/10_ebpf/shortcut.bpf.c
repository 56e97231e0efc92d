// The shortcut of a published port: two programs that the kernel runs for each packet, before its
// own network stack sees it. See bpf-helpers(7), tc-bpf(8).
//
//   from_outside    at each link of the host: to the published port, so to the container's address
//   from_container  at the container's link on the host: a reply, so from the host's address again
//
// Each does what netfilter's NAT does, rewrites the address and the port, and then redirects the
// packet to the other link. What they leave alone goes the way that stage 08c has made: other
// protocols, fragments that come in, what is not published, and everything that is not a reply.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "stages/10_ebpf/shortcut.bpf.h"

enum { kNext = -1 };  // TC_ACT_UNSPEC: the next filter, and after the last one the network stack
enum { kAddressFamilyInet = 2 };

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1);          // as many as there are: the stage sets it
  __type(key, struct endpoint);    // of the host
  __type(value, struct endpoint);  // of the container
} ports SEC(".maps");

// The clients that have sent something to a published port, and may get replies. When there is no
// room, the kernel forgets the one that has been silent for longest, so no time limit is needed.
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 65536);
  __type(key, struct flow);
  __type(value, struct way_back);
} flows SEC(".maps");

// Only the first fragment of a reply has the ports. The others follow it.
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 1024);
  __type(key, struct fragment);
  __type(value, struct way_back);
} fragments SEC(".maps");

const volatile __u32 container_link;  // on the host
struct counters counters;             // read by the stage, with --verbose

// An IPv4 header without options, and what follows it.
struct packet {
  struct iphdr ip;
  union {
    struct {
      __be16 source, destination;  // TCP, UDP
    };
    struct {
      __u8 type;  // ICMP
    };
  };
};
enum { kIp = ETH_HLEN, kPorts = kIp + sizeof(struct iphdr), kIcmpHeader = 8 };
enum { kQuoted = kPorts + kIcmpHeader };  // an ICMP error quotes the packet that it is about

// Whether there is such a packet at `where`, and we know all of it.
static __always_inline int load(struct __sk_buff *skb, __u32 where, struct packet *packet) {
  return bpf_skb_load_bytes(skb, where, packet, sizeof *packet) == 0 && packet->ip.version == 4 &&
         packet->ip.ihl == 5;
}

static __always_inline int has_ports(const struct packet *packet) {
  return packet->ip.protocol == IPPROTO_TCP || packet->ip.protocol == IPPROTO_UDP;
}

// Destination unreachable, which says also that a packet was too large; time exceeded.
static __always_inline int is_error(const struct packet *packet) {
  return packet->ip.protocol == IPPROTO_ICMP && (packet->type == 3 || packet->type == 11);
}

static __always_inline struct endpoint source_of(const struct packet *packet) {
  return (struct endpoint){packet->ip.saddr, packet->source, packet->ip.protocol};
}

static __always_inline struct endpoint destination_of(const struct packet *packet) {
  return (struct endpoint){packet->ip.daddr, packet->destination, packet->ip.protocol};
}

static __always_inline void change_address(struct __sk_buff *skb, __u32 ip, int is_source,
                                           __be32 old, __be32 new) {
  const __u32 field = is_source ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr);
  bpf_l3_csum_replace(skb, ip + offsetof(struct iphdr, check), old, new, sizeof new);
  bpf_skb_store_bytes(skb, ip + field, &new, sizeof new, 0);
}

// Changes one end of a packet, its source or its destination. The checksums need not be computed
// again: the helpers add the difference.
static __always_inline void change(struct __sk_buff *skb, int is_source, struct endpoint old,
                                   struct endpoint new) {
  const int is_udp = old.protocol == IPPROTO_UDP;
  const __u32 checksum = kPorts + (is_udp ? 6 : 16);
  const __u64 flags = is_udp ? BPF_F_MARK_MANGLED_0 : 0;  // 0: it has no checksum, and gets none
  bpf_l4_csum_replace(skb, checksum, old.address, new.address, flags | BPF_F_PSEUDO_HDR | 4);
  bpf_l4_csum_replace(skb, checksum, old.port, new.port, flags | 2);
  bpf_skb_store_bytes(skb, kPorts + (is_source ? 0 : 2), &new.port, 2, 0);
  change_address(skb, kIp, is_source, old.address, new.address);
}

// The same for an ICMP error, and for the packet that it quotes, whose other end it is. Changing an
// address there does not change the checksum of ICMP: that of the quoted header makes up for it.
static __always_inline void change_error(struct __sk_buff *skb, int is_source, __be32 seen,
                                         struct endpoint old, struct endpoint new) {
  change_address(skb, kQuoted, !is_source, old.address, new.address);
  bpf_l4_csum_replace(skb, kPorts + 2, old.port, new.port, 2);
  bpf_skb_store_bytes(skb, kQuoted + sizeof(struct iphdr) + (is_source ? 2 : 0), &new.port, 2, 0);
  change_address(skb, kIp, is_source, seen, new.address);
}

// Whether the host would answer this client by the link by which its packet came. The network stack
// asks this, too (rp_filter), but does not get to see the packet.
static __always_inline int may_come_from(struct __sk_buff *skb, __be32 client, __be32 host) {
  struct bpf_fib_lookup route = {.family = kAddressFamilyInet, .ifindex = skb->ifindex};
  route.ipv4_dst = client;
  route.ipv4_src = host;
  const long found = bpf_fib_lookup(skb, &route, sizeof route, 0);
  return (found == BPF_FIB_LKUP_RET_SUCCESS || found == BPF_FIB_LKUP_RET_NO_NEIGH) &&
         route.ifindex == skb->ifindex;
}

// Whether the packet can leave by this link: it is there, and the packet is not too large for it. A
// packet that the link will cut into segments (GSO) may be; the network stack deals with the
// others.
static __always_inline int can_leave_by(struct __sk_buff *skb, __u32 link) {
  __u32 mtu = 0;
  return bpf_check_mtu(skb, link, &mtu, 0, 0) == 0;
}

SEC("tc")
int from_outside(struct __sk_buff *skb) {
  struct packet packet, quoted;
  if (skb->pkt_type != 0 || skb->vlan_present) return kNext;  // PACKET_HOST: for this machine
  if (!load(skb, kIp, &packet)) return kNext;
  if (packet.ip.frag_off & bpf_htons(0x3fff)) return kNext;
  if (!can_leave_by(skb, container_link)) return kNext;  // if we were killed, it may not be there

  if (is_error(&packet) && load(skb, kQuoted, &quoted)) {
    const struct endpoint host = source_of(&quoted);
    const struct endpoint *container = bpf_map_lookup_elem(&ports, &host);
    if (!container) return kNext;
    const struct flow flow = {destination_of(&quoted), *container};
    if (!bpf_map_lookup_elem(&flows, &flow) || packet.ip.daddr != host.address) return kNext;
    change_error(skb, 0, host.address, host, *container);
    __sync_fetch_and_add(&counters.in, 1);
    return bpf_redirect_peer(container_link, 0);
  }

  if (!has_ports(&packet)) return kNext;
  const struct endpoint host = destination_of(&packet);
  const struct endpoint *container = bpf_map_lookup_elem(&ports, &host);
  if (!container) return kNext;
  const struct flow flow = {source_of(&packet), *container};
  const struct way_back now = {host, skb->ifindex};
  const struct way_back *known = bpf_map_lookup_elem(&flows, &flow);
  if (!known || known->host.address != host.address || known->host.port != host.port ||
      known->link != now.link) {
    if (!may_come_from(skb, packet.ip.saddr, packet.ip.daddr)) return kNext;
    if (bpf_map_update_elem(&flows, &flow, &now, BPF_ANY)) return kNext;
  }
  change(skb, 0, host, *container);
  __sync_fetch_and_add(&counters.in, 1);
  return bpf_redirect_peer(container_link, 0);
}

SEC("tc")
int from_container(struct __sk_buff *skb) {
  struct packet packet, quoted;
  if (!load(skb, kIp, &packet)) return kNext;
  const struct fragment fragment = {packet.ip.saddr, packet.ip.daddr, packet.ip.id,
                                    packet.ip.protocol};
  const int is_fragment = packet.ip.frag_off & bpf_htons(0x3fff);
  const int is_later_one = packet.ip.frag_off & bpf_htons(0x1fff);
  const struct way_back *way = 0;
  if (is_later_one) {
    way = bpf_map_lookup_elem(&fragments, &fragment);
  } else if (has_ports(&packet)) {
    const struct flow flow = {destination_of(&packet), source_of(&packet)};
    way = bpf_map_lookup_elem(&flows, &flow);
  } else if (is_error(&packet) && load(skb, kQuoted, &quoted)) {
    const struct flow flow = {source_of(&quoted), destination_of(&quoted)};
    way = bpf_map_lookup_elem(&flows, &flow);
    if (packet.ip.daddr != quoted.ip.saddr || packet.ip.saddr != quoted.ip.daddr) return kNext;
  }
  if (!way) return kNext;
  const __u32 link = way->link;
  if (!can_leave_by(skb, link)) return kNext;

  const struct endpoint host = way->host;
  if (is_later_one) {
    change_address(skb, kIp, 1, packet.ip.saddr, host.address);
  } else if (has_ports(&packet)) {
    if (is_fragment) bpf_map_update_elem(&fragments, &fragment, way, BPF_ANY);
    change(skb, 1, source_of(&packet), host);
  } else {
    change_error(skb, 1, packet.ip.saddr, destination_of(&quoted), host);
  }
  __sync_fetch_and_add(&counters.out, 1);
  return bpf_redirect_neigh(link, 0, 0, 0);
}

char gpl[] SEC("license") = "GPL";
