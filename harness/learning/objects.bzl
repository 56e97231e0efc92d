"""`objects`: the libraries that stages are linked from, so that a learner's folder need not compile them."""

def _objects_impl(ctx):
    files = []
    for dep in ctx.attr.deps:
        for linker_input in dep[CcInfo].linking_context.linker_inputs.to_list():
            for library in linker_input.libraries:
                static = library.static_library or library.pic_static_library
                if static and static.short_path.split("/")[0] in ("common", "rootfs", "stages"):
                    files.append(static)
    return [DefaultInfo(files = depset(files), runfiles = ctx.runfiles(files = files))]

objects = rule(
    implementation = _objects_impl,
    attrs = {"deps": attr.label_list(providers = [CcInfo])},
)
