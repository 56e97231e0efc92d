#include "stages/01_exec/not_found.h"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>

namespace box {
namespace {

// The file that execvp(3) found: the command itself if it contains a slash, otherwise one in PATH.
std::string find_in_path(const std::string& command) {
  if (command.find('/') != std::string::npos) {
    return access(command.c_str(), F_OK) == 0 ? command : "";
  }
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/bin:/usr/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = (folder.empty() ? "." : folder) + "/" + command;
    if (access(candidate.c_str(), F_OK) == 0) return candidate;
  }
  return "";
}

// Filled up with zeros if the file is shorter.
template <typename Record>
Record read_at(const std::string& file, std::size_t offset) {
  Record record{};
  if (offset <= file.size() && file.size() - offset >= sizeof record) {
    std::memcpy(&record, file.data() + offset, sizeof record);
  }
  return record;
}

// The loader that an ELF program names in PT_INTERP, or "".
template <typename Header, typename Segment>
std::string loader_of(const std::string& start) {
  const auto header = read_at<Header>(start, 0);
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    const auto segment = read_at<Segment>(start, header.e_phoff + i * sizeof(Segment));
    if (segment.p_type == PT_INTERP && segment.p_offset < start.size()) {
      return start.c_str() +
             segment.p_offset;  // ends at a 0, at the latest at the one that ends `start`
    }
  }
  return "";
}

// The program that the kernel starts in the file's place: the loader that an ELF program names in
// PT_INTERP, or the interpreter in the first line of a script. "" if the file is neither.
std::string interpreter_of(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::string start(64 * 1024, '\0');
  in.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<std::size_t>(in.gcount()));

  if (start.rfind("#!", 0) == 0) {
    // As the kernel reads the line: to the kernel, a carriage return is a character like any other.
    const auto begin = std::min(start.find_first_not_of(" \t", 2), start.size());
    return start.substr(begin, start.find_first_of(" \t\n", begin) - begin);
  }
  if (start.rfind(ELFMAG, 0) != 0 || start.size() < EI_NIDENT) return "";
  return start[EI_CLASS] == ELFCLASS32 ? loader_of<Elf32_Ehdr, Elf32_Phdr>(start)
                                       : loader_of<Elf64_Ehdr, Elf64_Phdr>(start);
}

}  // namespace

Failure exec_failure(const std::string& command, int error) {
  if (command.empty()) return {0, "the command's name is empty", kExitNotFound};
  std::error_code ignored;
  if (error == EACCES && std::filesystem::is_directory(command, ignored)) error = EISDIR;
  if (error != ENOENT) return {error, command, kExitCannotExecute};

  const std::string file = find_in_path(command);
  if (file.empty()) {
    const bool searched = command.find('/') == std::string::npos;
    const char* path = std::getenv("PATH");
    return {0,
            command + (searched ? std::string(": not found in PATH=") + (path ? path : "")
                                : ": No such file or directory"),
            kExitNotFound};
  }
  const std::string interpreter = interpreter_of(file);
  if (interpreter.empty()) return {error, command, kExitNotFound};
  if (interpreter.back() == '\r') {
    return {0,
            file + " begins with #!" + interpreter.substr(0, interpreter.size() - 1) +
                "\\r: its lines end with \\r\\n, as on Windows",
            kExitNotFound, "sed -i 's/\\r$//' " + file + ", or dos2unix"};
  }
  return {0, file + " exists, but its interpreter does not: " + interpreter, kExitNotFound,
          "a program needs its loader and its libraries too; stage 03 copies them (--with)"};
}

}  // namespace box
