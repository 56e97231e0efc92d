// The files of an image: JSON that a stranger has written.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "common/unique_fd.h"

namespace box {

// Opens a regular file of an image for reading. Nowhere in its path may be a link, which in a
// stranger's folder could lead anywhere. Throws Failure.
[[nodiscard]] UniqueFd open_image_file(const std::string& path);

// All of it. Throws Failure for more than a manifest may have.
[[nodiscard]] std::string read_image_file(const std::string& path);

// An object or a list. Lists in lists are limited: a copy of the value, and its end, take stack for
// each. Throws Failure, which begins with `name`.
[[nodiscard]] nlohmann::json parse_image_json(const std::string& name, const std::string& text);

// 64 hexadecimal digits.
[[nodiscard]] std::string sha256_of(const std::string& text);

// A member that may be missing or null, as Go's encoding of an empty list is.
template <typename Value>
Value member(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? Value() : found->get<Value>();
}

// The SHA-256 in "sha256:...". Throws Failure for other texts: it becomes part of a path.
[[nodiscard]] std::string sha256_in(const std::string& digest);

}  // namespace box
