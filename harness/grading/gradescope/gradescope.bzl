"""`gradescope_zip`: an autograder for Gradescope, with everything that it needs."""

_Stage = provider(fields = ["name"])

def _stage_impl(ctx):
    return _Stage(name = ctx.build_setting_value)

# bazel build //harness:gradescope --//harness/grading/gradescope:stage=03
stage_setting = rule(
    implementation = _stage_impl,
    build_setting = config.string(flag = True),
)

def _gradescope_zip_impl(ctx):
    made = ctx.actions.declare_file(ctx.label.name + ".zip")
    files = {"setup.sh": ctx.file.setup, "run_autograder": ctx.file.run_autograder}
    for file in ctx.files.library:
        files[file.short_path] = file
    for target, name in ctx.attr.programs.items():
        program = target[DefaultInfo].files_to_run.executable or target[DefaultInfo].files.to_list()[0]
        files["bin/" + name] = program
    ctx.actions.run(
        outputs = [made],
        inputs = [ctx.file._make_zip] + files.values(),
        executable = "/usr/bin/python3",
        arguments = ["-B", ctx.file._make_zip.path, made.path, ctx.attr.stage[_Stage].name] +
                    ["%s=%s" % (name, files[name].path) for name in files],
        mnemonic = "GradescopeZip",
    )
    return [DefaultInfo(files = depset([made]))]

gradescope_zip = rule(
    implementation = _gradescope_zip_impl,
    attrs = {
        "library": attr.label_list(allow_files = True),
        "programs": attr.label_keyed_string_dict(doc = "a static program -> its name"),
        "run_autograder": attr.label(allow_single_file = True),
        "setup": attr.label(allow_single_file = True),
        "stage": attr.label(providers = [_Stage]),
        "_make_zip": attr.label(
            default = "//harness/grading/gradescope:make_zip.py",
            allow_single_file = True,
        ),
    },
)
