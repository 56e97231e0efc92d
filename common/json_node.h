// Reads JSON that may be wrong: each message names the place.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "common/failure.h"

namespace box {

using Json = nlohmann::json;

// For Json::parse(): throws Failure if the text is nested so deeply that functions that call
// themselves for each level, such as Json::dump(), would use up the stack.
inline bool limit_depth(int depth, Json::parse_event_t /*event*/, const Json& /*value*/) {
  constexpr int kMostLevels = 64;
  if (depth > kMostLevels) throw Failure("its JSON is more than 64 levels deep");
  return true;
}

// Throws Failure.
[[nodiscard]] inline Json parse_json(const std::string& text) {
  try {
    return Json::parse(text, limit_depth);
  } catch (const Json::exception& error) {  // also a number that is too large
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    const std::string what = error.what();
    const auto start = what.find("] ");
    throw Failure(start == std::string::npos ? what : what.substr(start + 2));
  }
}

// A value of a JSON text and its path in it, for messages: "syscalls[3].action".
class JsonNode {
 public:
  JsonNode(const Json& value, std::string path) : value_(&value), path_(std::move(path)) {}

  [[noreturn]] void refuse(const std::string& why) const {
    throw Failure(path_.empty() ? why : path_ + ": " + why);
  }

  // Go writes null for a missing value.
  [[nodiscard]] bool is_there() const { return !value_->is_null(); }

  [[nodiscard]] JsonNode at(const std::string& key) const {
    static const Json kNothing;
    const auto found = value_->find(key);
    return {found == value_->end() ? kNothing : *found, path_.empty() ? key : path_ + "." + key};
  }

  // Refuses values that are not objects, and unknown keys, because they may mean a restriction.
  const JsonNode& only_with(std::initializer_list<const char*> keys) const {
    if (!value_->is_object()) refuse("must be an object");
    for (const auto& [key, value] : value_->items()) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) at(key).refuse("unknown key");
    }
    return *this;
  }

  [[nodiscard]] std::vector<JsonNode> items() const {
    std::vector<JsonNode> nodes;
    if (!is_there()) return nodes;
    if (!value_->is_array()) refuse("must be a list");
    for (std::size_t i = 0; i < value_->size(); ++i) {
      nodes.emplace_back((*value_)[i], path_ + "[" + std::to_string(i) + "]");
    }
    return nodes;
  }

  [[nodiscard]] std::string text() const {
    if (!value_->is_string()) refuse(is_there() ? "must be a string" : "is missing");
    refuse_null_in(value_->get_ref<const std::string&>());
    return value_->get<std::string>();
  }

  // Also false if it is missing.
  [[nodiscard]] bool is_true() const {
    if (is_there() && !value_->is_boolean()) refuse("must be true or false");
    return is_there() && value_->get<bool>();
  }

  // The members of an object, each with its key.
  [[nodiscard]] std::vector<std::pair<std::string, JsonNode>> members() const {
    std::vector<std::pair<std::string, JsonNode>> members;
    if (!is_there()) return members;
    if (!value_->is_object()) refuse("must be an object");
    for (const auto& [key, value] : value_->items()) {
      refuse_null_in(key);
      members.emplace_back(key, at(key));
    }
    return members;
  }

  // A number that may be negative.
  [[nodiscard]] std::int64_t integer(std::int64_t least = INT64_MIN,
                                     std::int64_t largest = INT64_MAX) const {
    if (!value_->is_number_integer()) refuse(is_there() ? "must be a number" : "is missing");
    const bool fits = !value_->is_number_unsigned() || value_->get<std::uint64_t>() <= INT64_MAX;
    const auto number = fits ? value_->get<std::int64_t>() : INT64_MAX;
    if (!fits || number > largest) refuse("is larger than " + std::to_string(largest));
    if (number < least) refuse("is smaller than " + std::to_string(least));
    return number;
  }

  [[nodiscard]] const Json& value() const { return *value_; }
  [[nodiscard]] const std::string& path() const { return path_; }

  [[nodiscard]] std::uint64_t number(std::uint64_t largest = UINT64_MAX) const {
    if (!value_->is_number_unsigned()) refuse(is_there() ? "must be a number" : "is missing");
    const auto number = value_->get<std::uint64_t>();
    if (number > largest) refuse("is larger than " + std::to_string(largest));
    return number;
  }

 private:
  // A C string would end there, and be something else than what was checked.
  void refuse_null_in(const std::string& text) const {
    if (text.find('\0') != std::string::npos) refuse("contains a null character");
  }

  const Json* value_;
  std::string path_;
};

}  // namespace box
