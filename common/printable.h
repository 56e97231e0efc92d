// Text of strangers in messages.
#pragma once

#include <string>

namespace box {

// The same text without line feeds and escape sequences, by which an image, a tar or a file's name
// could write lines of its own, or change the terminal: '?' stands for each such character.
[[nodiscard]] inline std::string printable(std::string text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F, which some terminals take for control characters, are 0xc2 0x80 to 0x9f.
    const bool is_c1 = c == 0xc2 && i + 1 < text.size() &&
                       static_cast<unsigned char>(text[i + 1]) >= 0x80 &&
                       static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (c < ' ' || c == 0x7f) text[i] = '?';
    if (is_c1) text.replace(i, 2, "?");
  }
  return text;
}

}  // namespace box
