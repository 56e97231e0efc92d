"""`build_mutants`: a program for each row of mutants.bzl, at the cost of one compilation and a link.

A changed file is compiled into the program itself. Its symbols are then there before the linker
looks into the stage's libraries, so that of those it leaves the original file out; would it not,
each symbol were there twice, which is an error.

Most of a compilation goes into the headers. Those of the system are read once, by a compilation that
writes down what the compiler knows after them, see "Using Precompiled Headers" in the manual of GCC.
"""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library")
load("//bazel:bpf.bzl", "bpf_programs")
load(":mutants.bzl", "MUTANTS")

_MUTATE = [
    ":table",
    "mutate.py",
]

# What is compiled more often than it is run. A precompiled header is used with the same options only.
_COPTS = ["-O0"]

_HEADERS = [
    "algorithm",
    "filesystem",
    "fmt/format.h",
    "fmt/ranges.h",
    "fstream",
    "functional",
    "map",
    "memory",
    "optional",
    "sstream",
    "string",
    "vector",
]

def _precompile_headers():
    native.genrule(
        name = "headers",
        outs = [
            "headers.cc",
            "headers.h",
        ],
        cmd = "for header in %s; do echo \"#include <$$header>\"; done | tee $(OUTS) >/dev/null" %
              " ".join(_HEADERS),
    )
    cc_library(
        name = "headers_library",
        srcs = ["headers.cc"],
        copts = _COPTS + ["-xc++-header"],  # what comes out is no object file, whatever its name
        tags = ["manual"],  # and so cannot be a library
        deps = ["//common:fmt"],
    )
    native.filegroup(
        name = "headers_object",
        srcs = [":headers_library"],
        output_group = "compilation_outputs",
    )
    native.genrule(
        name = "headers_precompiled",
        srcs = [":headers_object"],
        outs = ["headers.h.gch"],
        cmd = "cp $< $@",
    )
    cc_library(
        name = "precompiled_headers",
        textual_hdrs = [
            "headers.h",
            "headers.h.gch",
        ],
    )

def _source(mutant, file):
    package, _, name = file.rpartition("/")
    original = "//%s:%s" % (package, name)
    mutated = "sources/%s/%s" % (mutant.name, name)
    native.genrule(
        name = mutated + "_mutated",
        srcs = [original] + _MUTATE,
        outs = [mutated],
        cmd = "/usr/bin/python3 -B -m harness.mutants.mutate %s %s > $@" % (mutant.name, file),
    )
    if not name.endswith(".bpf.c"):
        return mutated
    bpf_programs(
        name = mutated + "_compiled",
        src = mutated,
        out = "sources/%s/programs.cc" % mutant.name,
        hdrs = ["//%s:%s" % (package, name.replace(".c", ".h"))],
    )
    return "sources/%s/programs.cc" % mutant.name

def build_mutants():
    """Declares the programs, and returns their names."""
    _precompile_headers()
    names = []
    for mutant in MUTANTS:
        name = "%s-%s" % (mutant.stage, mutant.name)
        sources = [_source(mutant, file) for file in mutant.files]
        has_main = [source for source in sources if source.endswith("/main.cc")]
        cc_binary(
            name = name,
            srcs = sources,
            copts = _COPTS + [
                "-include",
                "harness/mutants/headers.h",
                "-Winvalid-pch",
            ],
            features = ["fully_static_link"],
            visibility = ["//harness:__pkg__"],
            linkopts = ["-s"],
            deps = [
                ":precompiled_headers",
                "//stages/%s:%s" % (mutant.stage, "layers" if has_main else "main"),
            ],
        )
        names.append(name)
    return names
