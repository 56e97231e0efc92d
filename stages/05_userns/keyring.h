// Stage 05: keys of one's own, see keyrings(7).
#pragma once

namespace box {

// In the child, while it has its caller's ids: leaves the session keyring of its caller, whose keys
// the command could else read and remove, whatever ids it has: a process possesses the keys of its
// session, see session-keyring(7). A namespace for them does not exist.
void join_new_keyring();

}  // namespace box
