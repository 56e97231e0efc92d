// Stage 05: a session keyring of the container's own, see keyrings(7).
#pragma once

namespace box {

// In the child, while it has its caller's ids: leaves its caller's session keyring. Otherwise the
// command could read and remove the caller's keys, whatever ids it has, because a process possesses
// the keys of its session, see session-keyring(7). There is no namespace for keys.
void join_new_keyring();

}  // namespace box
