"""`cross_toolchain`: the distribution's cross compiler for one architecture, as a toolchain."""

load("@bazel_tools//tools/build_defs/cc:action_names.bzl", "ACTION_NAMES")
load("@bazel_tools//tools/cpp:cc_toolchain_config_lib.bzl", "feature", "flag_group", "flag_set", "tool_path")
load("@rules_cc//cc:defs.bzl", "cc_toolchain")

_COMPILES = [ACTION_NAMES.c_compile, ACTION_NAMES.cpp_compile, ACTION_NAMES.assemble, ACTION_NAMES.preprocess_assemble]
_LINKS = [ACTION_NAMES.cpp_link_executable, ACTION_NAMES.cpp_link_dynamic_library]

def _flags(name, actions, flags):
    return feature(name = name, enabled = True, flag_sets = [
        flag_set(actions = actions, flag_groups = [flag_group(flags = flags)]),
    ])

def _config_impl(ctx):
    prefix = "/usr/bin/" + ctx.attr.prefix + "-"
    tools = {
        "ar": prefix + "ar",
        "cpp": prefix + "cpp",
        "dwp": "/bin/false",
        "gcc": prefix + "gcc",
        "gcov": prefix + "gcov",
        "ld": prefix + "ld",
        "nm": prefix + "nm",
        "objcopy": prefix + "objcopy",
        "objdump": prefix + "objdump",
        "strip": prefix + "strip",
    }

    # As Bazel's own toolchain has them, and with each function in a section of its own.
    compile_flags = [
        "-fstack-protector",
        "-fno-omit-frame-pointer",
        "-g0",
        "-DNDEBUG",
        "-ffunction-sections",
        "-fdata-sections",
        "-no-canonical-prefixes",
        "-fno-canonical-system-headers",
        "-Wno-builtin-macro-redefined",
        "-D__DATE__=\"redacted\"",
        "-D__TIMESTAMP__=\"redacted\"",
        "-D__TIME__=\"redacted\"",
    ] + ctx.attr.flags
    return cc_common.create_cc_toolchain_config_info(
        ctx = ctx,
        toolchain_identifier = ctx.attr.prefix,
        host_system_name = "local",
        target_system_name = "local",
        target_cpu = ctx.attr.prefix,
        target_libc = "glibc",
        compiler = "gcc",
        abi_version = "local",
        abi_libc_version = "local",
        tool_paths = [tool_path(name = name, path = path) for name, path in tools.items()],
        cxx_builtin_include_directories = [
            "/usr/lib/gcc-cross/" + ctx.attr.prefix,
            "/usr/" + ctx.attr.prefix + "/include",
            "/usr/include",
        ],
        features = [
            feature(name = "supports_pic", enabled = True),
            feature(name = "opt"),
            _flags("default_compile_flags", _COMPILES, compile_flags),
            # Static, tests too: no library of this architecture is installed. -s follows the -Wl,-S of
            # --strip=always, and so wins.
            _flags("default_link_flags", _LINKS, ["-static", "-lstdc++", "-lm", "-s", "-no-canonical-prefixes"]),
        ],
    )

_config = rule(
    implementation = _config_impl,
    attrs = {
        "flags": attr.string_list(),
        "prefix": attr.string(mandatory = True),
    },
    provides = [CcToolchainConfigInfo],
)

def cross_toolchain(name, prefix, constraints, flags = []):
    """Makes the platform NAME, and NAME_toolchain, which builds for it.

    Args:
      name: of the platform.
      prefix: of the compiler's programs, as in i686-linux-gnu-gcc.
      constraints: of the platform.
      flags: for the compiler.
    """
    native.platform(
        name = name,
        constraint_values = constraints,
        visibility = ["//visibility:public"],
    )
    native.filegroup(name = name + "_no_files")
    _config(
        name = name + "_config",
        flags = flags,
        prefix = prefix,
    )
    cc_toolchain(
        name = name + "_compiler",
        all_files = name + "_no_files",
        ar_files = name + "_no_files",
        as_files = name + "_no_files",
        compiler_files = name + "_no_files",
        dwp_files = name + "_no_files",
        linker_files = name + "_no_files",
        objcopy_files = name + "_no_files",
        strip_files = name + "_no_files",
        supports_param_files = True,
        toolchain_config = name + "_config",
    )
    native.toolchain(
        name = name + "_toolchain",
        target_compatible_with = constraints,
        toolchain = name + "_compiler",
        toolchain_type = "@bazel_tools//tools/cpp:toolchain_type",
    )
