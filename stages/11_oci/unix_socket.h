// Stage 11: sockets that are files, see unix(7).
#pragma once

#include <sys/un.h>

#include <string>

#include "common/unique_fd.h"

namespace box {

[[nodiscard]] UniqueFd new_unix_socket();

// The address of the socket `name` in an open folder. Not by the folder's path, because the path of
// a socket has at most 107 characters. Valid as long as `folder` is open.
[[nodiscard]] sockaddr_un address_in(int folder, const std::string& name);

// Connects to the socket at `path`, of any length. Throws Failure, which names `option`, by which
// the path was given.
[[nodiscard]] UniqueFd connect_to(const std::string& path, const std::string& option);

}  // namespace box
