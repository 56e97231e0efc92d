// Reads from an ELF file which files it needs, see elf(5).
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace box {

struct ElfFile {
  // Built for this machine: same word size, byte order and instruction set as this program. The
  // headers of a foreign file have a different layout, so the rest of it is not read.
  bool native = false;

  std::string interpreter;          // PT_INTERP: the loader, "" for a static program or a library
  std::string soname;               // DT_SONAME: the name under which the loader knows it
  std::vector<std::string> needed;  // DT_NEEDED, in order
  std::string rpath;                // DT_RPATH, as written: "$ORIGIN/../lib:/opt/lib"
  std::string runpath;              // DT_RUNPATH
  bool has_runpath = false;         // an empty DT_RUNPATH still switches DT_RPATH off
  bool only_own_folders = false;    // DF_1_NODEFLIB: not from the cache and the default directories
};

// Returns nullopt if `path` is not an ELF file. Throws Failure if it cannot be read, or if it
// begins like an ELF file but is cut off or inconsistent.
std::optional<ElfFile> read_elf_file(const std::string& path);

// The first line of a script, "#!interpreter [argument]", see execve(2).
struct Script {
  std::string interpreter;
  std::string argument;  // all of the rest of the line
};

// Returns nullopt if `path` is not a script.
std::optional<Script> read_script(const std::string& path);

}  // namespace box
