"""`programs_for`: programs, built for another architecture whatever else is built.
`cross_test`: that they are for it, and that they run."""

load("@cross//:compilers.bzl", "COMPILERS")
load("//bazel:pytest.bzl", "pytest_test")

def _to_architecture_impl(_settings, attr):
    # As --config=i386 and --config=arm64 do, see .bazelrc.
    return {
        "//command_line_option:extra_toolchains": ["//bazel/cross:%s_toolchain" % attr.architecture],
        "//command_line_option:features": ["-supports_dynamic_linker"],
        "//command_line_option:platform_suffix": attr.architecture,
        "//command_line_option:platforms": ["//bazel/cross:" + attr.architecture],
    }

_to_architecture = transition(
    implementation = _to_architecture_impl,
    inputs = [],
    outputs = [
        "//command_line_option:extra_toolchains",
        "//command_line_option:features",
        "//command_line_option:platform_suffix",
        "//command_line_option:platforms",
    ],
)

def _programs_for_impl(ctx):
    return [DefaultInfo(files = depset(ctx.files.programs))]

programs_for = rule(
    implementation = _programs_for_impl,
    attrs = {
        "architecture": attr.string(mandatory = True, values = ["arm64", "i386"]),
        "programs": attr.label_list(cfg = _to_architecture, allow_files = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
)

def cross_test(name, architecture, programs):
    """Builds `programs` for an architecture, if its compiler and its libraries are installed."""
    there = COMPILERS[architecture]
    if there:
        programs_for(
            name = name + "_programs",
            testonly = True,
            architecture = architecture,
            programs = programs,
            tags = ["manual"],
        )
    pytest_test(
        name = name,
        size = "small",
        srcs = ["test_cross.py"],
        data = [name + "_programs"] if there else [],
        tags = [
            # It asks about an architecture; the sanitizers have nothing to add.
            "as_shipped",
            "no-sandbox",
        ],
    )
