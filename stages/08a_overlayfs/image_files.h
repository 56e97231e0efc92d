// The files of an image: JSON from an untrusted source.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>

#include "common/failure.h"
#include "common/unique_fd.h"

namespace box {

// Opens a regular file of an image for reading. Its path must not contain a link, which in an
// untrusted directory could lead anywhere. Throws Failure.
[[nodiscard]] UniqueFd open_image_file(const std::string& path);

// Returns all of the file. Throws Failure if it is larger than a manifest may be.
[[nodiscard]] std::string read_image_file(const std::string& path);

// Returns an object or a list. The depth is limited, because copying and destroying the value needs
// stack for each level. Throws Failure, which begins with `name`.
[[nodiscard]] nlohmann::json parse_image_json(const std::string& name, const std::string& text);

// 64 hexadecimal digits.
[[nodiscard]] std::string sha256_of(const std::string& text);

// A member that may be missing or null, as which Go encodes an empty list.
template <typename Value>
Value member(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) return Value();
  // The library would convert any number, also one that does not fit.
  if (std::is_same_v<Value, std::uint64_t> && !found->is_number_unsigned()) {
    throw Failure(std::string(name) + " is not a number of bytes");
  }
  return found->get<Value>();
}

// Returns the SHA-256 in "sha256:...". Throws Failure for other texts, because the result becomes
// part of a path.
[[nodiscard]] std::string sha256_in(const std::string& digest);

}  // namespace box
