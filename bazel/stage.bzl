"""`stage_binary`: one stage's program; `stage_test`: what it must do."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library")
load("//bazel:pytest.bzl", "pytest_test")

def stage_binary(name, deps):
    """A static program of main.cc, with the built-in root file system at hand.

    Static: it starts three times faster than a dynamic one, and runs in any root file system.
    """

    # harness/mutants builds the stage once more, with a mistake in main.cc or in a layer.
    mutants = ["//harness/mutants:__pkg__"]
    native.exports_files(native.glob(["*.c", "*.cc", "*.bpf.h"]), visibility = mutants)
    native.exports_files(["README.md"], visibility = ["//harness:__pkg__", "//lab:__pkg__", "//slides:__pkg__"])
    native.filegroup(
        name = "behaviour_tests",
        srcs = native.glob(["test_*.py"]),
        visibility = ["//harness:__pkg__"],  # harness/ESCAPES.md names some
    )
    native.filegroup(
        name = "shown",  # on the site
        srcs = native.glob(["*.apparmor", "*.c", "*.cc", "*.cil", "*.h", "*.json", "*.md", "*.py", "*.sh"]),
        visibility = ["//slides:__subpackages__"],
    )
    cc_library(
        name = "layers",
        visibility = mutants + ["//harness:__pkg__"],
        deps = deps + [
            "//common:frame_table",
            "//common:run_main",
        ],
    )
    cc_library(
        name = "main",
        srcs = ["main.cc"],
        visibility = mutants,
        deps = [":layers"],
        alwayslink = True,
    )
    cc_binary(
        name = name,
        data = ["//rootfs"],
        features = ["fully_static_link"],
        linkopts = ["-Wl,--gc-sections"] + select({
            "//bazel:optimised": ["-s"],  # no symbol table; --strip=always leaves it
            "//conditions:default": [],
        }),
        visibility = ["//visibility:public"],
        deps = [":main"],
    )

def stage_test(name, srcs, stages, data = [], size = "medium", tags = [], at_once = 1):
    """A pytest of `stages`, run one at a time and on the real machine, as the user who runs
    Bazel."""
    pytest_test(
        name = name,
        size = size,
        srcs = srcs + ["//stages:conftest.py"],
        at_once = at_once,
        data = data + ["//rootfs"] + ["//stages/" + stage for stage in stages],
        tags = tags + [
            "exclusive",
            "no-sandbox",
        ],
    )

def stage_test_in_vm(name, srcs, stages, data = [], kernel = "6.1", selinux = False, engines = False):
    """The same in the virtual machine, which has what this one may lack. Nothing else is in there, so
    other tests need not wait for it. With `selinux`, its kernel uses that in place of AppArmor; with
    `engines`, it has those that drive stage 11.
    What needs another disk than //harness/vm does by default is for .ci/full."""
    pytest_test(
        name = name,
        size = "enormous" if engines else "large",
        srcs = srcs + ["//stages:conftest.py"],
        data = data + ["//harness:library", "//rootfs"] + ["//stages/" + stage for stage in stages],
        args = ["--kernel", kernel] + (["--selinux"] if selinux else []) + (["--engines"] if engines else []),
        module = "harness.vm.pytest_in_vm",
        tags = [
            "as_shipped",
            "no-sandbox",
        ] + (["manual"] if selinux or engines or kernel != "6.1" else []),
    )
