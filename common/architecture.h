// The processor that this program was built for.
#pragma once

#include <sys/types.h>

namespace box {

// A copy of 3 GB would be wrong, not refused. On a 32-bit processor it takes
// -D_FILE_OFFSET_BITS=64.
static_assert(sizeof(off_t) == 8, "file offsets need 64 bits");

// Its name in Go, which images use. Not what uname(2) says: a 64-bit kernel runs 32-bit programs,
// whose filters and libraries are for 32 bits, too.
#if defined(__x86_64__)
inline constexpr const char* kGoArchitecture = "amd64";
#elif defined(__i386__)
inline constexpr const char* kGoArchitecture = "386";
#elif defined(__aarch64__)
inline constexpr const char* kGoArchitecture = "arm64";
#elif defined(__arm__)
inline constexpr const char* kGoArchitecture = "arm";
#elif defined(__riscv) && __riscv_xlen == 64
inline constexpr const char* kGoArchitecture = "riscv64";
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
inline constexpr const char* kGoArchitecture = "ppc64le";
#elif defined(__s390x__)
inline constexpr const char* kGoArchitecture = "s390x";
#elif defined(__loongarch64)
inline constexpr const char* kGoArchitecture = "loong64";
#else
#error "the name of this processor in Go is not known here"
#endif

// Its name in libseccomp, which seccomp profiles use, see seccomp_arch_resolve_name(3).
#if defined(__i386__)
inline constexpr const char* kSeccompArchitecture = "x86";
#else
inline constexpr const char* kSeccompArchitecture = kGoArchitecture;
#endif

}  // namespace box
