#include "stages/05_userns/handshake.h"

#include <tuple>
#include <utility>

#include "common/failure.h"

namespace box {

UniqueFd take(MountsByPath& mounts, const std::string& path) {
  const auto found = mounts.find(path);
  return found == mounts.end() ? UniqueFd() : std::move(mounts.extract(found).mapped());
}

Handshake::Handshake() { std::tie(parent_end_, child_end_) = FdChannel::make(); }

MountsByPath Handshake::wait_for_parent() {
  parent_end_.close();  // otherwise the child itself would keep the pipe from reaching end-of-file
  MountsByPath mounts;
  for (FdChannel::Message message; child_end_.receive(message);) {
    if (message.name.empty()) return mounts;
    mounts.emplace(message.name, std::move(message.fd));
  }
  throw Failure("the parent has given up");
}

void Handshake::let_child_go_on(const MountsByPath& mounts) {
  for (const auto& [path, mount] : mounts) parent_end_.send(path, mount.get());
  parent_end_.send("");
}

}  // namespace box
