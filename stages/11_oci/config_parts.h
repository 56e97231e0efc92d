// Stage 11: the parts of config.json, one function each.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "common/json_node.h"
#include "stages/11_oci/config.h"

namespace box {

// Adds the keys of the object `node` that are not among `keys` to `unknown`.
void note_unknown(const JsonNode& node, std::initializer_list<const char*> keys,
                  std::vector<std::string>& unknown);

// Refuses each of these properties that has a value other than null, false, 0, "", [] and {}, which
// ask for nothing.
void refuse_what_is_not_done(const JsonNode& node, std::initializer_list<const char*> keys);

[[nodiscard]] bool asks_for_nothing(const JsonNode& node);

[[nodiscard]] std::string text_or(const JsonNode& node, const std::string& otherwise);
[[nodiscard]] std::vector<std::string> texts_of(const JsonNode& node);
// An absolute path without "\0".
[[nodiscard]] std::string absolute_path(const JsonNode& node);
[[nodiscard]] std::uint32_t id_of(const JsonNode& node);
[[nodiscard]] IdMap id_map_of(const JsonNode& node, std::vector<std::string>& unknown);

[[nodiscard]] ConfigProcess read_process(const JsonNode& node, std::vector<std::string>& unknown);
[[nodiscard]] ConfigMount read_mount(const JsonNode& node, const std::string& bundle,
                                     std::vector<std::string>& unknown);
[[nodiscard]] Hooks read_hooks(const JsonNode& node, std::vector<std::string>& unknown);
[[nodiscard]] Resources read_resources(const JsonNode& node, std::vector<std::string>& unknown);
void read_linux(const JsonNode& node, Config& config);

}  // namespace box
