// Stages 01 to 07: a whole command line, a line of the input for each word.
#include "common/command_line.h"

#include <optional>

#include "common/check.h"
#include "harness/fuzz/fuzz.h"
#include "stages/01_exec/process.h"
#include "stages/05_userns/id_map.h"
#include "stages/06_pivot_root/volume.h"
#include "stages/07_cgroups/limits.h"

using box::fuzz::accepted;
using box::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto words = box::fuzz::split(box::fuzz::text_of(data, size), '\n');
  std::vector<std::string> kept = {"07_cgroups"};
  for (const auto& word : words) {
    if (word.find('\0') != std::string::npos) return 0;  // no argument has one, see execve(2)
    // They print, and end the program.
    if (word == "--version" || word == "--verbose" || word.starts_with("-h") ||
        word.starts_with("--h")) {
      return 0;
    }
    kept.push_back(word);
  }
  std::vector<char*> arguments;
  for (auto& word : kept) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  box::CommandLine line(static_cast<int>(kept.size()), arguments.data());
  box::ProcessOptions process(line);
  box::IdOptions ids(line);
  box::MountOptions mounts(line);
  box::CgroupOptions cgroup(line);
  std::optional<bool> good;
  try {
    good = accepted([&] {
      line.parse();
      return true;
    });
  } catch (const box::CommandLine::Answered&) {
    // For instance -ih, which is -i and -h.
  }
  if (!good.has_value()) return 0;
  require(!process.command.empty(), "there is a command");
  require(process.command.size() <= words.size(), "every word of the command was given");
  for (std::size_t i = 0; i < process.command.size(); ++i) {
    require(process.command[process.command.size() - 1 - i] == words[words.size() - 1 - i],
            "the command is the end of the line, as it was given");
  }
  for (const auto& [name, value] : process.environment) {
    require(!name.empty() && name.find('=') == std::string::npos, "a variable has a name");
  }
  require(!ids.uid_map.empty() && !ids.gid_map.empty(), "there are always maps");
  for (const auto& volume : mounts.volumes) {
    require(volume.source.starts_with('/') && volume.target.starts_with('/'),
            "a volume leads from an absolute path to another");
  }
  return 0;
}
