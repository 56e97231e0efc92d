// shortcut.bpf.c, as clang has compiled it: an ELF file. The build makes programs.cc.
#pragma once

namespace box {

extern const unsigned char kPrograms[];
extern const unsigned kSizeOfPrograms;

}  // namespace box
