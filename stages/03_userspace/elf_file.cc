#include "stages/03_userspace/elf_file.h"

#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "common/check.h"
#include "common/unique_fd.h"

// Our own ELF header, at the address that the linker provides, see "--defsym" and PROVIDE in ld(1).
extern "C" const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

namespace box {
namespace {

// Far more than any linker writes. A hostile file cannot make us allocate as much as it claims to
// need.
constexpr std::uint64_t kMostBytes = 1 << 20;
constexpr std::size_t kScriptLine =
    256;  // BINPRM_BUF_SIZE: the kernel reads only this much, see execve(2)

// A file whose end is checked at every read.
class Bytes {
 public:
  explicit Bytes(const std::string& path)
      : path_(path),
        // O_NONBLOCK: if it is a FIFO, open(2) must not wait for a writer.
        fd_(check_quietly(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY),
                          "open({})", path)) {
    struct stat st;
    check_quietly(fstat(fd_.get(), &st), "fstat({})", path);
    size_ = S_ISREG(st.st_mode) ? static_cast<std::uint64_t>(st.st_size) : 0;
  }

  [[nodiscard]] std::uint64_t size() const { return size_; }

  void read(std::uint64_t offset, void* to, std::uint64_t size) const {
    if (offset > size_ || size > size_ - offset) fail("is cut off");
    const auto got =
        check_quietly(pread(fd_.get(), to, size, static_cast<off_t>(offset)), "read({})", path_);
    if (static_cast<std::uint64_t>(got) != size) fail("is cut off");
  }

  template <typename Struct>
  [[nodiscard]] std::vector<Struct> read_array(std::uint64_t offset, std::uint64_t count) const {
    if (count > kMostBytes / sizeof(Struct)) fail("has a header that is too large");
    std::vector<Struct> array(count);
    read(offset, array.data(), count * sizeof(Struct));
    return array;
  }

  // Returns the characters from `offset` up to a 0, which must come before `end`.
  [[nodiscard]] std::string read_string(std::uint64_t offset, std::uint64_t end) const {
    std::string text;
    for (end = std::min(end, size_); offset < end && text.size() < kMostBytes;) {
      char chunk[256];
      const std::uint64_t size = std::min<std::uint64_t>(sizeof chunk, end - offset);
      read(offset, chunk, size);
      const std::size_t length = strnlen(chunk, size);
      text.append(chunk, length);
      if (length < size) return text;
      offset += size;
    }
    fail("has a string without an end");
  }

  [[noreturn]] void fail(const char* what) const {
    throw Failure(path_ + " " + what + ": not a valid ELF file");
  }

 private:
  const std::string& path_;
  UniqueFd fd_;
  std::uint64_t size_ = 0;
};

bool is_native(const ElfW(Ehdr) & header) {
  const auto& ours = __ehdr_start;
  return header.e_ident[EI_CLASS] == ours.e_ident[EI_CLASS] &&
         header.e_ident[EI_DATA] == ours.e_ident[EI_DATA] && header.e_machine == ours.e_machine;
}

// The dynamic section contains addresses. PT_LOAD segments map addresses to parts of the file.
std::uint64_t offset_of(std::uint64_t address, const std::vector<ElfW(Phdr)>& segments,
                        const Bytes& file) {
  for (const auto& segment : segments) {
    if (segment.p_type == PT_LOAD && segment.p_offset <= file.size() &&
        address >= segment.p_vaddr && address - segment.p_vaddr < segment.p_filesz) {
      return segment.p_offset + (address - segment.p_vaddr);
    }
  }
  file.fail("has an address outside of its segments");
}

void read_dynamic_section(const ElfW(Phdr) & dynamic, const std::vector<ElfW(Phdr)>& segments,
                          const Bytes& file, ElfFile& elf) {
  const auto entries =
      file.read_array<ElfW(Dyn)>(dynamic.p_offset, dynamic.p_filesz / sizeof(ElfW(Dyn)));
  const auto end = std::find_if(entries.begin(), entries.end(),
                                [](const auto& entry) { return entry.d_tag == DT_NULL; });
  std::uint64_t strings_address = 0;
  std::uint64_t strings_size = 0;
  for (auto entry = entries.begin(); entry != end; ++entry) {
    if (entry->d_tag == DT_STRTAB) strings_address = entry->d_un.d_ptr;
    if (entry->d_tag == DT_STRSZ) strings_size = entry->d_un.d_val;
  }
  std::uint64_t left = kMostBytes;  // a name can be long, and every entry can refer to it
  const auto text = [&](const ElfW(Dyn) & entry) {
    const std::uint64_t strings = offset_of(strings_address, segments, file);
    if (entry.d_un.d_val >= strings_size || strings > file.size()) file.fail("has a bad string");
    const std::uint64_t size = std::min(strings_size, file.size() - strings);
    std::string name =
        file.read_string(strings + std::min<std::uint64_t>(entry.d_un.d_val, size), strings + size);
    if (name.size() > left) file.fail("has names that are too long");
    left -= name.size();
    return name;
  };
  for (auto entry = entries.begin(); entry != end; ++entry) {
    switch (entry->d_tag) {
      case DT_NEEDED:
        elf.needed.push_back(text(*entry));
        break;
      case DT_SONAME:
        elf.soname = text(*entry);
        break;
      case DT_RPATH:
        elf.rpath = text(*entry);
        break;
      case DT_RUNPATH:
        elf.runpath = text(*entry);
        elf.has_runpath = true;
        break;
      case DT_FLAGS_1:
        elf.only_own_folders = (entry->d_un.d_val & DF_1_NODEFLIB) != 0;
        break;
    }
  }
}

}  // namespace

std::optional<ElfFile> read_elf_file(const std::string& path) {
  const Bytes file(path);
  unsigned char ident[EI_NIDENT];
  if (file.size() < SELFMAG) return std::nullopt;
  file.read(0, ident, SELFMAG);
  if (std::memcmp(ident, ELFMAG, SELFMAG) != 0) return std::nullopt;

  ElfFile elf;
  file.read(0, ident, sizeof ident);
  if (ident[EI_CLASS] != __ehdr_start.e_ident[EI_CLASS]) return elf;  // whose header is shorter
  ElfW(Ehdr) header;
  file.read(0, &header, sizeof header);
  elf.native = is_native(header);
  if (!elf.native || header.e_phnum == 0) return elf;  // as are object files and kernel modules

  if (header.e_phentsize != sizeof(ElfW(Phdr))) file.fail("has headers of another size");
  const auto segments = file.read_array<ElfW(Phdr)>(header.e_phoff, header.e_phnum);
  bool has_dynamic_section = false;
  for (const auto& segment : segments) {
    if (segment.p_type == PT_INTERP && elf.interpreter.empty()) {
      if (segment.p_offset > file.size()) file.fail("is cut off");
      elf.interpreter = file.read_string(
          segment.p_offset,
          segment.p_offset + std::min<std::uint64_t>(segment.p_filesz, file.size()));
    }
    if (segment.p_type == PT_DYNAMIC) {  // "no more than one", see elf(5)
      if (std::exchange(has_dynamic_section, true)) file.fail("has two dynamic sections");
      read_dynamic_section(segment, segments, file, elf);
    }
  }
  return elf;
}

std::optional<Script> read_script(const std::string& path) {
  const Bytes file(path);
  std::string line(std::min<std::uint64_t>(file.size(), kScriptLine), '\0');
  file.read(0, line.data(), line.size());
  if (!line.starts_with("#!")) return std::nullopt;

  line = line.substr(2, line.find('\n') - 2);
  const char* const kBlank = " \t";
  const auto trim = [&](std::string text) {
    text.erase(0, text.find_first_not_of(kBlank));
    return text.erase(text.find_last_not_of(kBlank) + 1);
  };
  line = trim(line);
  const auto blank = std::min(line.find_first_of(kBlank), line.size());
  Script script{line.substr(0, blank), trim(line.substr(blank))};
  if (script.interpreter.empty()) return std::nullopt;
  return script;
}

}  // namespace box
