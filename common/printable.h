// Untrusted text in messages.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace box {

// How many bytes at the beginning of `text` are one UTF-8 character, see utf-8(7), other than a
// control character: 1 to 4, or 0 if there is no such character.
[[nodiscard]] inline std::size_t printable_character(std::string_view text) {
  const auto byte = [text](std::size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return first >= ' ' && first != 0x7f ? 1 : 0;
  if (first < 0xc2 || first > 0xf4) return 0;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  unsigned code = first & (0x7fU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3fU);
  }
  constexpr unsigned kLeast[] = {0, 0, 0xa0, 0x800,
                                 0x10000};  // U+0080 to U+009F are control characters
  const bool is_surrogate = code >= 0xd800 && code < 0xe000;
  // Line and paragraph separators, and what shows the text after it in another order.
  const bool is_layout = (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
  return code >= kLeast[length] && code <= 0x10ffff && !is_surrogate && !is_layout ? length : 0;
}

// Returns the text without line feeds and escape sequences, with which an image, a tar file or a
// file name could write lines of its own or change the terminal: each byte that is not printable
// UTF-8 becomes '?'. A terminal that expects Latin-1 treats the byte 0x9b alone as the start of an
// escape sequence.
[[nodiscard]] inline std::string printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t length = printable_character(text);
    result += length > 0 ? text.substr(0, length) : "?";
    text.remove_prefix(length > 0 ? length : 1);
  }
  return result;
}

}  // namespace box
