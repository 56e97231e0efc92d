#include "stages/01_exec/environment.h"

#include <fcntl.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include <fmt/format.h>

#include "common/check.h"
#include "common/read_file.h"
#include "common/unique_fd.h"

namespace box {
namespace {

constexpr std::size_t kLargestFile = 1 << 20;  // bytes
constexpr const char* kBlanks = " \t\v\f\r";
constexpr const char* kByteOrderMark = "\xef\xbb\xbf";

// KEY=VALUE, or KEY for the value that we have ourselves.
void set_variable(Environment& environment, const std::string& word) {
  const auto equals = word.find('=');
  const std::string key = word.substr(0, equals);
  if (key.empty()) throw Failure("is not KEY=VALUE");
  if (equals != std::string::npos) {
    environment[key] = word.substr(equals + 1);
  } else if (const char* value = std::getenv(key.c_str())) {
    environment[key] = value;
  }
}

std::string text_of(const std::string& path) {
  const UniqueFd file(check_quietly(open(path.c_str(), O_RDONLY | O_CLOEXEC), "open()"));
  std::string text = read_to_end(file.get(), path, kLargestFile);
  if (text.size() > kLargestFile) throw Failure("is larger than 1 MiB");
  return text;
}

// The format of docker run's --env-file: a variable in each line, nothing is quoted, # begins a
// comment only at the beginning of a line.
void read_variables(const std::string& path, Environment& environment) {
  std::istringstream lines(text_of(path));
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (number == 1 && line.rfind(kByteOrderMark, 0) == 0) line.erase(0, 3);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    line.erase(0, std::min(line.find_first_not_of(kBlanks), line.size()));
    if (line.empty() || line.front() == '#') continue;
    if (line.find('\0') != std::string::npos) {
      throw Failure(fmt::format("line {} has a zero byte", number));
    }
    if (line.substr(0, line.find('=')).find_first_of(kBlanks) != std::string::npos) {
      throw Failure(fmt::format("line {}: the name of a variable has no blanks", number));
    }
    try {
      set_variable(environment, line);
    } catch (const Failure& failure) {
      throw Failure(fmt::format("line {} {}", number, failure.what()));
    }
  }
}

}  // namespace

void add_environment_options(CommandLine& line, Environment& environment) {
  line.add_option("--env-file", "FILE", "read environment variables from FILE, one in each line",
                  [&environment](const std::string& path) { read_variables(path, environment); });
  line.add_option("-e,--env", "KEY=VALUE",
                  "set an environment variable; KEY alone: pass on its current value",
                  [&environment](const std::string& word) { set_variable(environment, word); });
}

}  // namespace box
