// Which files the dynamic loader will open for a program.
#pragma once

#include <string>
#include <vector>

namespace box {

// Returns the loader of `program` (or of a library), and all libraries that it loads before main():
// the paths at which it finds them, in that order. Returns an empty list for a static program.
//
// The result is that of ldd(1), but it is found without running the program, by the rules of
// ld.so(8). LD_LIBRARY_PATH and /etc/ld.so.preload are ignored on purpose, because the container
// will have neither.
//
// Throws Failure if a library is missing, with the errno ENOENT, or if `program` is for another
// kind of machine.
std::vector<std::string> libraries_of(const std::string& program);

}  // namespace box
