"""`bpf_programs`: eBPF programs, compiled from C, as an array that a C++ program contains."""

def bpf_programs(name, src, out, hdrs = [], visibility = None):
    """Compiles `src` for the kernel's own processor, which it translates to the real one.

    -g is for the types of the maps (BTF), from which libbpf makes these.

    Args:
      name: of the target.
      src: the C file.
      out: the C++ file that defines kPrograms, see stages/10_ebpf/programs.h.
      hdrs: headers of this repository that `src` includes.
      visibility: as of any target.
    """
    native.genrule(
        name = name,
        srcs = [src] + hdrs,
        outs = [out],
        cmd = """
            if ! command -v clang >/dev/null; then
                echo 'There is no clang, which compiles eBPF programs.' >&2
                echo 'Try:  sudo apt-get install clang' >&2
                exit 1
            fi
            clang -target bpf -g -O2 -Wall -Wextra -Werror -I. \
                -isystem /usr/include/$$(uname -m)-linux-gnu -c $(location {src}) -o $@.o
            {{
                echo '#include "stages/10_ebpf/programs.h"'
                echo 'namespace box {{'
                echo 'alignas(8) const unsigned char kPrograms[] = {{'
                od -An -v -t x1 $@.o | sed 's/ \\(..\\)/0x\\1,/g'
                echo '}};'
                echo 'const unsigned kSizeOfPrograms = sizeof kPrograms;'
                echo '}}  // namespace box'
            }} >$@
        """.format(src = src),
        visibility = visibility,
    )
