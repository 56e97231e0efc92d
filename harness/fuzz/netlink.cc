// Stage 08c: what the kernel reports about links and routes.
#include "stages/08c_network/netlink.h"

#include <cstring>
#include <vector>

#include "harness/fuzz/fuzz.h"

using box::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Aligned as recv(2) gives it, and without a byte to spare.
  std::vector<nlmsghdr> answer((size + sizeof(nlmsghdr) - 1) / sizeof(nlmsghdr));
  if (size > 0) std::memcpy(answer.data(), data, size);
  auto left = static_cast<long>(size);
  for (const nlmsghdr* message = answer.data(); NLMSG_OK(message, left);
       message = NLMSG_NEXT(message, left)) {
    const box::Link link = box::read_link(message);
    for (const std::string* text : {&link.name, &link.alias, &link.kind}) {
      require(text->size() <= size && text->find('\0') == std::string::npos,
              "a text ends at its 0, or with its attribute");
    }
    const box::Route route = box::read_route(message);
    require(route.prefix_length >= 0, "a prefix has a length");
  }
  return 0;
}
