// Stage 03: ELF files and scripts, of which --with copies what they need.
#include "stages/03_userspace/elf_file.h"

#include "harness/fuzz/fuzz.h"

namespace {

using box::fuzz::accepted;
using box::fuzz::require;

void require_within(std::string_view file, const std::string& text) {
  require(text.empty() || file.find(text) != std::string_view::npos,
          "every name comes from within the file");
  require(text.find('\0') == std::string::npos, "no name has a 0 in it");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const box::fuzz::MemoryFile file;
  const std::string_view bytes = box::fuzz::text_of(data, size);
  file.set(bytes);
  const auto elf = accepted([] { return box::read_elf_file(file.path()); });
  if (elf) {
    require(elf->has_value() == bytes.starts_with("\x7f"
                                                  "ELF"),
            "what begins as ELF is ELF");
  }
  if (elf && *elf) {
    for (const std::string* text :
         {&(*elf)->interpreter, &(*elf)->soname, &(*elf)->rpath, &(*elf)->runpath}) {
      require_within(bytes, *text);
    }
    for (const auto& name : (*elf)->needed) require_within(bytes, name);
  }
  const auto script = accepted([] { return box::read_script(file.path()); });
  if (script && *script) {
    require(bytes.starts_with("#!"), "a script begins with #!");
    require(!(*script)->interpreter.empty(), "a script has an interpreter");
    for (const std::string* text : {&(*script)->interpreter, &(*script)->argument}) {
      require(bytes.substr(0, 256).find(*text) != std::string_view::npos,
              "no more is read of a script than the kernel reads");
      require(text->find('\n') == std::string::npos, "only the first line counts");
    }
  }
  return 0;
}
