#include "stages/10_ebpf/entrance.h"

#include <bpf/libbpf.h>
#include <linux/pkt_sched.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "common/check.h"

namespace box {
namespace {

constexpr unsigned kPriority = 79;  // by which we recognize ours

bpf_tc_hook entrance_of(int link, bpf_tc_attach_point point = BPF_TC_INGRESS) {
  bpf_tc_hook hook = {};
  hook.sz = sizeof hook;
  hook.ifindex = link;
  hook.attach_point = point;
  return hook;
}

bpf_tc_opts filter_of(int owner) {
  bpf_tc_opts filter = {};
  filter.sz = sizeof filter;
  filter.handle = static_cast<unsigned>(owner);
  filter.priority = kPriority;
  return filter;
}

// libbpf's functions return a negative error number.
int as_system_call(int result) {
  if (result >= 0) return result;
  errno = -result;
  return -1;
}

struct Filter {
  int owner = 0;  // 0: not one of ours
};

// The filters at one of the two sides of clsact, TC_H_MIN_INGRESS or TC_H_MIN_EGRESS.
std::vector<Filter> filters_at(RouteSocket& host, int link, unsigned side) {
  std::vector<Filter> filters;
  tcmsg header = {};
  header.tcm_ifindex = link;
  header.tcm_parent = TC_H_MAKE(TC_H_CLSACT, side);
  NetlinkMessage request(RTM_GETTFILTER, NLM_F_DUMP, header);
  host.dump(
      request, [&] { filters.clear(); },
      [&](const nlmsghdr* message) {
        if (message->nlmsg_type != RTM_NEWTFILTER) return;
        const auto* found = static_cast<const tcmsg*>(NLMSG_DATA(message));
        const bool is_ours = TC_H_MAJ(found->tcm_info) >> 16 == kPriority;
        filters.push_back({is_ours ? static_cast<int>(found->tcm_handle) : 0});
      });
  return filters;
}

}  // namespace

void attach_at_entrance(const Link& link, int program, const char* name, int owner) {
  bpf_tc_hook hook = entrance_of(link.index);
  const int made = bpf_tc_hook_create(&hook);
  if (made != -EEXIST) check(as_system_call(made), "rtnetlink(NEWQDISC {}, clsact)", link.name);
  bpf_tc_opts filter = filter_of(owner);
  filter.prog_fd = program;
  check(as_system_call(bpf_tc_attach(&hook, &filter)), "rtnetlink(NEWTFILTER {}, ingress, bpf {})",
        link.name, name);
}

void detach_from_entrances(RouteSocket& host, int owner) {
  const std::vector<Link> links = host.links();
  const auto is_there = [&](int index) {
    return std::any_of(links.begin(), links.end(),
                       [&](const Link& link) { return link.index == index; });
  };
  for (const Link& link : links) {
    bool had_ours = false;
    for (const Filter& filter : filters_at(host, link.index, TC_H_MIN_INGRESS)) {
      if (filter.owner == 0 || (filter.owner != owner && is_there(filter.owner))) continue;
      const bpf_tc_hook hook = entrance_of(link.index);
      const bpf_tc_opts ours = filter_of(filter.owner);
      check(as_system_call(bpf_tc_detach(&hook, &ours)), "rtnetlink(DELTFILTER {}, ingress, {})",
            link.name, filter.owner);
      had_ours = true;
    }
    if (!had_ours || !filters_at(host, link.index, TC_H_MIN_INGRESS).empty() ||
        !filters_at(host, link.index, TC_H_MIN_EGRESS).empty()) {
      continue;
    }
    bpf_tc_hook all =
        entrance_of(link.index, static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS));
    check(as_system_call(bpf_tc_hook_destroy(&all)), "rtnetlink(DELQDISC {}, clsact)", link.name);
  }
}

}  // namespace box
