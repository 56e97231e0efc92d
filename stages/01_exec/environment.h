// --env and --env-file.
#pragma once

#include <map>
#include <string>

#include "common/command_line.h"

namespace box {

using Environment = std::map<std::string, std::string>;

// Declares -e/--env and --env-file, which write to `environment`. It must outlive line.parse(). As
// with docker run, --env overrides the file, whatever their order.
void add_environment_options(CommandLine& line, Environment& environment);

}  // namespace box
