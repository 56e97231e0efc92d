// What clang has made of shortcut.bpf.c: an ELF file. The build makes programs.cc.
#pragma once

namespace box {

extern const unsigned char kPrograms[];
extern const unsigned kSizeOfPrograms;

}  // namespace box
