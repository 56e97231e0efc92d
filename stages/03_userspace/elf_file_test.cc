#include "stages/03_userspace/elf_file.h"

#include <gtest/gtest.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <random>
#include <utility>

#include "common/failure.h"

namespace box {
namespace {

std::string write_bytes(const std::string& bytes) {
  std::string path = testing::TempDir() + "/file";
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

template <typename Struct>
void put(std::string& bytes, std::size_t offset, const Struct& value) {
  if (bytes.size() < offset + sizeof value) bytes.resize(offset + sizeof value);
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

constexpr std::size_t kSegments = sizeof(ElfW(Ehdr));
constexpr std::size_t kInterpreter = 0x200;
constexpr std::size_t kDynamic = 0x300;
constexpr std::size_t kStrings = 0x500;
constexpr std::uint64_t kHuge = ~std::uint64_t{0} - 7;
constexpr std::uint64_t kAddress = 0x40'0000;  // where the file would be in memory

// A program, made by hand: three segments and a dynamic section.
class Elf {
 public:
  Elf() {
    ElfW(Ehdr) header = {};
    std::ifstream("/proc/self/exe").read(reinterpret_cast<char*>(&header), sizeof header);
    header.e_phoff = kSegments;
    header.e_phnum = 3;
    put(bytes, 0, header);
    const std::string interpreter = "/lib/ld.so";
    segment(0, {PT_LOAD, 0, kAddress, 0x1000});
    segment(1, {PT_INTERP, kInterpreter, kAddress + kInterpreter, interpreter.size() + 1});
    segment(2, {PT_DYNAMIC, kDynamic, kAddress + kDynamic, 0x200});
    entry(DT_STRTAB, kAddress + kStrings);
    string(DT_NEEDED, "libone.so.1");
    string(DT_NEEDED, "libtwo.so.2");
    string(DT_SONAME, "me.so");
    string(DT_RPATH, "$ORIGIN/../lib:/opt");
    string(DT_RUNPATH, "");
    entry(DT_FLAGS_1, DF_1_NODEFLIB);
    entry(DT_STRSZ, strings_);
    entry(DT_NULL, 0);
    string(DT_NEEDED, "after.the.end");
    bytes.resize(0x1000);
    bytes.replace(kInterpreter, interpreter.size(), interpreter);
  }

  struct Segment {
    std::uint32_t type;
    std::uint64_t offset;
    std::uint64_t address;
    std::uint64_t size;
  };
  void segment(std::size_t index, const Segment& segment) {
    ElfW(Phdr) raw = {};
    raw.p_type = segment.type;
    raw.p_offset = segment.offset;
    raw.p_vaddr = segment.address;
    raw.p_filesz = segment.size;
    put(bytes, kSegments + index * sizeof raw, raw);
  }
  void entry(long tag, std::uint64_t value) {
    ElfW(Dyn) raw = {};
    raw.d_tag = tag;
    raw.d_un.d_val = value;
    put(bytes, kDynamic + entries_++ * sizeof raw, raw);
  }
  void string(long tag, const std::string& text) {
    entry(tag, strings_);
    bytes.resize(std::max(bytes.size(), kStrings + strings_ + text.size() + 1));
    bytes.replace(kStrings + strings_, text.size(), text);
    strings_ += text.size() + 1;
  }

  std::string bytes;

 private:
  std::size_t entries_ = 0;
  std::size_t strings_ = 0;
};

// A description of a file: its fields, or the error.
std::string read_or_complain(const std::string& bytes) {
  try {
    const auto elf = read_elf_file(write_bytes(bytes));
    if (!elf) return "no ELF file";
    return elf->native ? "ok" : "foreign";
  } catch (const Failure& failure) {
    return failure.what();
  }
}

TEST(ElfFile, SaysWhatAProgramNeeds) {
  const auto elf = read_elf_file(write_bytes(Elf().bytes));
  ASSERT_TRUE(elf.has_value());
  EXPECT_TRUE(elf->native);
  EXPECT_EQ(elf->interpreter, "/lib/ld.so");
  EXPECT_EQ(elf->needed, (std::vector<std::string>{"libone.so.1", "libtwo.so.2"}));
  EXPECT_EQ(elf->soname, "me.so");
  EXPECT_EQ(elf->rpath, "$ORIGIN/../lib:/opt");
  EXPECT_EQ(elf->runpath, "");
  EXPECT_TRUE(elf->has_runpath);
  EXPECT_TRUE(elf->only_own_folders);
}

TEST(ElfFile, TellsForeignFromNone) {
  std::string bits = Elf().bytes;
  bits[EI_CLASS] = bits[EI_CLASS] == ELFCLASS32 ? ELFCLASS64 : ELFCLASS32;
  EXPECT_EQ(read_or_complain(bits), "foreign");
  std::string order = Elf().bytes;
  order[EI_DATA] = ELFDATA2MSB;
  EXPECT_EQ(read_or_complain(order), "foreign");
  std::string machine = Elf().bytes;
  put(machine, offsetof(ElfW(Ehdr), e_machine), std::uint16_t{EM_SPARC});
  EXPECT_EQ(read_or_complain(machine), "foreign");
  EXPECT_EQ(read_or_complain(""), "no ELF file");
  EXPECT_EQ(read_or_complain("\x7f"
                             "EL"),
            "no ELF file");
  EXPECT_EQ(read_or_complain("hello, world\n"), "no ELF file");
  EXPECT_THROW(read_elf_file("/no/such/file"), Failure);
}

TEST(ElfFile, DoesNotWaitForTheWriterOfAFifo) {
  const std::string path = testing::TempDir() + "/fifo";
  (void)unlink(path.c_str());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  (void)alarm(20);  // ends the test
  EXPECT_FALSE(read_elf_file(path).has_value());
  (void)alarm(0);
}

TEST(ElfFile, RefusesHeadersThatLie) {
  using Break = void (*)(Elf&);
  const std::pair<Break, const char*> cases[] = {
      {[](Elf& e) { put(e.bytes, offsetof(ElfW(Ehdr), e_phoff), kHuge); }, "is cut off"},
      {[](Elf& e) { put(e.bytes, offsetof(ElfW(Ehdr), e_phnum), std::uint16_t{0xffff}); },
       "has a header that is too large"},
      {[](Elf& e) { put(e.bytes, offsetof(ElfW(Ehdr), e_phentsize), std::uint16_t{1}); },
       "has headers of another size"},
      {[](Elf& e) {
         e.segment(1, {PT_INTERP, kHuge, 0, 10});
       },
       "is cut off"},
      {[](Elf& e) {
         e.segment(1, {PT_INTERP, kInterpreter, 0, 3});
       },
       "has a string without an end"},
      {[](Elf& e) {
         e.segment(2, {PT_DYNAMIC, kDynamic, 0, kHuge});
       },
       "has a header that is too large"},
      {[](Elf& e) {
         e.segment(2, {PT_DYNAMIC, kHuge, 0, 0x200});
       },
       "is cut off"},
      {[](Elf& e) {
         e.segment(0, {PT_LOAD, kHuge, kAddress, 0x1000});
       },
       "has an address outside of its segments"},
      {[](Elf& e) {
         e.segment(0, {PT_LOAD, 0, 0, 0x100});
       },
       "has an address outside of its segments"},
      {[](Elf& e) {
         put(e.bytes, kDynamic + 8 * sizeof(ElfW(Dyn)), ElfW(Dyn){DT_NEEDED, {0xffff}});
       },
       "has a bad string"},
      {[](Elf& e) {  // one after the last
         ElfW(Dyn) size;
         std::memcpy(&size, e.bytes.data() + kDynamic + 7 * sizeof size, sizeof size);
         put(e.bytes, kDynamic + 8 * sizeof size, ElfW(Dyn){DT_NEEDED, {size.d_un.d_val}});
       },
       "has a bad string"},
      {[](Elf& e) {
         e.segment(1, {PT_DYNAMIC, kDynamic, 0, 0x200});
       },
       "has two dynamic sections"},
  };
  for (const auto& [make_bad, complaint] : cases) {
    Elf elf;
    make_bad(elf);
    EXPECT_EQ(read_or_complain(elf.bytes),
              testing::TempDir() + "/file " + complaint + ": not a valid ELF file");
  }
}

// Each entry of its dynamic section names the same long string: a megabyte of file would become as
// many gigabytes in memory.
TEST(ElfFile, RefusesNamesThatAreMoreThanTheFile) {
  constexpr std::size_t kEntries = 50;
  Elf elf;
  const std::size_t dynamic = elf.bytes.size();
  const std::size_t strings = dynamic + (kEntries + 3) * sizeof(ElfW(Dyn));
  const std::string name(100'000, 'x');
  for (std::size_t i = 0; i < kEntries; ++i) {
    put(elf.bytes, dynamic + i * sizeof(ElfW(Dyn)), ElfW(Dyn){DT_NEEDED, {0}});
  }
  put(elf.bytes, dynamic + kEntries * sizeof(ElfW(Dyn)),
      ElfW(Dyn){DT_STRTAB, {static_cast<ElfW(Addr)>(kAddress + strings)}});
  put(elf.bytes, dynamic + (kEntries + 1) * sizeof(ElfW(Dyn)),
      ElfW(Dyn){DT_STRSZ, {name.size() + 1}});
  put(elf.bytes, dynamic + (kEntries + 2) * sizeof(ElfW(Dyn)), ElfW(Dyn){DT_NULL, {0}});
  elf.bytes += name + '\0';
  elf.segment(0, {PT_LOAD, 0, kAddress, elf.bytes.size()});
  elf.segment(2, {PT_DYNAMIC, dynamic, kAddress + dynamic, (kEntries + 3) * sizeof(ElfW(Dyn))});
  EXPECT_EQ(read_or_complain(elf.bytes),
            testing::TempDir() + "/file has names that are too long: not a valid ELF file");
}

// Under AddressSanitizer these find any read that is not checked.
TEST(ElfFile, SurvivesEveryTruncation) {
  const std::string bytes = Elf().bytes;
  for (std::size_t size = 0; size < 0x700; ++size) {
    const std::string said = read_or_complain(bytes.substr(0, size));
    if (size >= SELFMAG && size < kStrings) {
      EXPECT_NE(said.find("not a valid ELF file"), said.npos) << size;
    }
  }
}

TEST(ElfFile, SurvivesRandomDamage) {
  std::minstd_rand random(1);
  for (int i = 0; i < 5'000; ++i) {
    std::string bytes = Elf().bytes;
    bytes.resize(0x600);
    for (int damage = 0; damage < 4; ++damage) {
      bytes[SELFMAG + random() % (bytes.size() - SELFMAG)] = static_cast<char>(random());
    }
    (void)read_or_complain(bytes);
  }
}

TEST(Script, ReadsItsFirstLine) {
  const struct {
    const char* line;
    const char* interpreter;
    const char* argument;
  } cases[] = {
      {"#!/bin/sh\necho", "/bin/sh", ""},
      {"#! /usr/bin/env  python3 -B \nx", "/usr/bin/env", "python3 -B"},
      {"#!/bin/sh", "/bin/sh", ""},
      {"#!\t/bin/awk\t-f\n", "/bin/awk", "-f"},
  };
  for (const auto& [line, interpreter, argument] : cases) {
    const auto script = read_script(write_bytes(line));
    ASSERT_TRUE(script.has_value()) << line;
    EXPECT_EQ(script->interpreter, interpreter);
    EXPECT_EQ(script->argument, argument);
  }
  for (const char* line : {"", "#", "# !/bin/sh\n", "#!\n/bin/sh", "#!  \n",
                           "\x7f"
                           "ELF"}) {
    EXPECT_FALSE(read_script(write_bytes(line)).has_value()) << line;
  }
}

}  // namespace
}  // namespace box
