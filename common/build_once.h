// Directories that are expensive to make are built once, completely or not at all.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

namespace box {

// Returns the directory that keeps this user's built directories, and makes it if it is missing. It
// is private (0700), whatever the umask, because containers have written what is in it: a
// set-user-ID program, for instance. It is in $XDG_CACHE_HOME if that belongs to this user or to
// root; otherwise in /var/cache for root, and in $HOME/.cache for other users. Throws Failure.
std::string cache_directory();

// Returns the part of `path`, which contains no links, that another user could replace, and with it
// everything below; "" if there is none. The owner of / could do so anyway; in a user namespace
// that is not always user 0. In a sticky directory users can replace only what is theirs, see
// inode(7). `trusted` is one more user who may do so.
std::string replaceable_part_of(const std::string& path, uid_t trusted);

// Makes the directory `path`, whose parent exists and has no links in its path, unless `path`
// exists already.
//
// `build` fills the directory that it is given, which becomes `path` by one rename(2) when `build`
// returns. If `build` throws, is interrupted (Ctrl-C) or is killed, no other process ever sees
// anything at `path`; the next call removes what a killed one left. If two processes call this at
// the same time, the second one waits for the first. Throws Failure if another user could replace
// the parent: a link there could make `build` write anywhere.
void build_once(const std::string& path, const std::function<void(const std::string&)>& build);

}  // namespace box
