"""`build_mutants`: a program for each row of mutants.bzl, at the cost of one compilation and a link.

A changed file is compiled into the program itself. Its symbols are then there before the linker
looks into the stage's libraries, so that of those it leaves the original file out; would it not,
each symbol were there twice, which is an error.
"""

load("@rules_cc//cc:defs.bzl", "cc_binary")
load(":mutants.bzl", "MUTANTS")

_MUTATE = [
    ":table",
    "mutate.py",
]

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
    return mutated

def build_mutants():
    """Declares the programs, and answers their names."""
    names = []
    for mutant in MUTANTS:
        name = "%s-%s" % (mutant.stage, mutant.name)
        sources = [_source(mutant, file) for file in mutant.files]
        has_main = [source for source in sources if source.endswith("/main.cc")]
        cc_binary(
            name = name,
            srcs = sources,
            copts = ["-O0"],  # it is compiled more often than it is run
            features = ["fully_static_link"],
            visibility = ["//harness:__pkg__"],
            linkopts = ["-s"],
            deps = ["//stages/%s:%s" % (mutant.stage, "layers" if has_main else "main")],
        )
        names.append(name)
    return names
