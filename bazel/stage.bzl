"""`stage_binary`: one stage's program; `stage_test`: what it must do."""

load("@rules_cc//cc:defs.bzl", "cc_binary")
load("//bazel:pytest.bzl", "pytest_test")

def stage_binary(name, deps):
    """A static program of main.cc, with the built-in root file system at hand.

    Static: it starts three times faster than a dynamic one, and runs in any root file system.
    """
    cc_binary(
        name = name,
        srcs = ["main.cc"],
        data = ["//rootfs"],
        features = ["fully_static_link"],
        linkopts = ["-Wl,--gc-sections"] + select({
            "//bazel:optimised": ["-s"],  # no symbol table; --strip=always leaves it
            "//conditions:default": [],
        }),
        visibility = ["//visibility:public"],
        deps = deps + ["//common:run_main"],
    )

def stage_test(name, srcs, stages, data = [], size = "medium", tags = []):
    """A pytest of `stages`, run one at a time and on the real machine, as whoever runs Bazel."""
    pytest_test(
        name = name,
        size = size,
        srcs = srcs + ["//stages:conftest.py"],
        data = data + ["//rootfs"] + ["//stages/" + stage for stage in stages],
        tags = tags + [
            "exclusive",
            "no-sandbox",
        ],
    )
