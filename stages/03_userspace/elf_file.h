// What an ELF file says about the files that it needs, see elf(5).
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace box {

struct ElfFile {
  // Built for this machine: same word size, byte order and instruction set as this very program.
  // The headers of a foreign one are laid out otherwise; nothing of it is read.
  bool native = false;

  std::string interpreter;          // PT_INTERP: the loader, "" for a static program or a library
  std::string soname;               // DT_SONAME: the name under which the loader knows it
  std::vector<std::string> needed;  // DT_NEEDED, in order
  std::string rpath;                // DT_RPATH, as written: "$ORIGIN/../lib:/opt/lib"
  std::string runpath;              // DT_RUNPATH
  bool has_runpath = false;         // an empty DT_RUNPATH still switches DT_RPATH off
  bool only_own_folders = false;    // DF_1_NODEFLIB: not from the cache and the default folders
};

// Answers nothing when `path` is no ELF file. Throws Failure when it cannot be read, or claims to
// be ELF and then is cut off or makes no sense.
std::optional<ElfFile> read_elf_file(const std::string& path);

// The first line of a script, "#!interpreter [argument]", see execve(2).
struct Script {
  std::string interpreter;
  std::string argument;  // all of the rest of the line
};

// Answers nothing when `path` is no script.
std::optional<Script> read_script(const std::string& path);

}  // namespace box
