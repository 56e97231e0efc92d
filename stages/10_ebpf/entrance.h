// Programs at the entrance of a link, where each packet that comes in is shown to them before the
// network stack sees it: filters of the queueing discipline clsact, see tc-bpf(8).
//
// `tc filter show dev LINK ingress` shows them. A filter belongs to a container: its handle is the
// number of the container's link on the host, which the kernel never gives to another link.
#pragma once

#include "stages/08c_network/netlink.h"

namespace box {

// tc qdisc add dev LINK clsact;  tc filter add dev LINK ingress prio 79 handle OWNER bpf da …
void attach_at_entrance(const Link& link, int program, const char* name, int owner);

// Removes at all of these links the filters of this owner, and those whose owner is gone, because
// somebody killed all processes that could have removed them. Then, where no program at all is
// left, clsact. A filter whose owner is gone does no harm: it lets all packets pass.
void detach_from_entrances(RouteSocket& host, int owner);

}  // namespace box
