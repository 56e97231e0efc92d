// What the fuzz targets share: how a promise is checked, and what a parser may throw.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/failure.h"
#include "common/unique_fd.h"

// libFuzzer calls this with each input, see https://llvm.org/docs/LibFuzzer.html.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace box::fuzz {

[[nodiscard]] std::string_view text_of(const std::uint8_t* data, std::size_t size);

// Aborts with `promise` unless it holds: libFuzzer then keeps the input.
void require(bool holds, std::string_view promise);

// A Failure must say something, and reach the terminal as one line, with one for the hint.
void require_readable(const Failure& failure);

// Returns what `parse` returns, or nothing if it refuses its input. It may refuse by a Failure
// only: any other exception ends the program.
template <std::invocable Parse>
auto accepted(Parse parse) -> std::optional<std::invoke_result_t<Parse>> {
  try {
    return parse();
  } catch (const Failure& failure) {
    require_readable(failure);
    return std::nullopt;
  }
}

// The parts of `text` between separators; one more than there are separators.
[[nodiscard]] std::vector<std::string> split(std::string_view text, char separator);

// A file that is nowhere but in memory, for parsers that want a path.
class MemoryFile {
 public:
  MemoryFile();

  void set(std::string_view content) const;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  UniqueFd fd_;
  std::string path_;
};

}  // namespace box::fuzz
