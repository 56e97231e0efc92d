// What the programs in the kernel and the stage have in common.
#pragma once

#include <linux/types.h>

struct endpoint {
  __be32 address;
  __be16 port;
  __u16 protocol;  // 16 bits, so that there is no gap: the kernel compares keys byte by byte
};

struct flow {
  struct endpoint client, container;
};

// The end at which the client believes it is talking, and the link that leads to it.
struct way_back {
  struct endpoint host;
  __u32 link;
};

struct fragment {
  __be32 source, destination;
  __be16 id;
  __u16 protocol;
};

struct counters {
  __u64 in, out;  // packets
};
