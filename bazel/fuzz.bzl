"""`fuzz_target`: a program by which libFuzzer tries to break a parser, and a test of what it found."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

def fuzz_target(name, deps):
    """NAME.cc has LLVMFuzzerTestOneInput(); corpus/NAME are the inputs to begin with.

    The program needs clang, and so --config=fuzz. The test replays the corpus, with any compiler.
    """
    deps = deps + [":library"]
    cc_library(
        name = name + "_input",
        testonly = True,
        srcs = [name + ".cc"],
        alwayslink = True,
        deps = deps,
    )
    cc_binary(
        name = name,
        testonly = True,
        linkopts = select(
            {"//bazel:fuzzing": ["-fsanitize=fuzzer"]},
            no_match_error = "libFuzzer is clang's: bazel run --config=fuzz //harness/fuzz",
        ),
        tags = ["manual"],
        deps = [":" + name + "_input"],
    )
    cc_test(
        name = name + "_replay_test",
        size = "medium",
        args = [native.package_name() + "/corpus/" + name],
        data = native.glob(["corpus/%s/*" % name]),
        tags = ["no-sandbox"],  # in which a layer cannot be unpacked as another user
        deps = [
            ":replay",
            ":" + name + "_input",
        ],
    )
