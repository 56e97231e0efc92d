// Which files the dynamic loader will open for a program.
#pragma once

#include <string>
#include <vector>

namespace box {

// The loader of `program` (or of a library), and all libraries that it loads before main(): the
// paths at which it finds them, in the order in which it does. Nothing for a static program.
//
// The answer is that of ldd(1), found without running anything, by the rules of ld.so(8).
// LD_LIBRARY_PATH and /etc/ld.so.preload are ignored on purpose: the container will have neither.
//
// Throws Failure when a library is missing, with the errno ENOENT, or `program` is for another
// kind of machine.
std::vector<std::string> libraries_of(const std::string& program);

}  // namespace box
