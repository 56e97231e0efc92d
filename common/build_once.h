// Directories that are expensive to make are made once, whole or not at all.
#pragma once

#include <functional>
#include <string>

namespace box {

// The directory in which this user's built directories are kept; made if need be. It is private
// (0700), whatever the umask, since what is in it was written by containers: a set-user-ID program,
// for instance. It is $XDG_CACHE_HOME's, if that belongs to this user or to root; else, for root,
// /var/cache's; else $HOME/.cache's. Throws Failure.
std::string cache_directory();

// Makes the directory `path`, whose parent exists, unless it is there already.
//
// `build` fills the directory that it is given, which becomes `path` by one rename(2) when `build`
// returns. If it throws, is interrupted (Ctrl-C) or killed, nothing is ever seen at `path`; what a
// killed one left is removed by the next. Of two that start at once, the second waits for the
// first.
void build_once(const std::string& path, const std::function<void(const std::string&)>& build);

}  // namespace box
