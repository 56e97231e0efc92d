"""`site`: the repository as a site, by Eleventy: a folder and a zip."""

_MAKE = """
site=$(dirname "$(readlink -f slides/site/package-lock.json)")
(cd "$site" && [ -d node_modules ] && sha256sum --check --status .npm-installed) 2>/dev/null || {
    echo 'The site needs packages of npm that are not installed, or not those of package-lock.json.' >&2
    echo 'Try:  ./setup.sh' >&2
    exit 1
}
set -e
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TZ=$4 SITE_MANIFEST=$1 SITE_OUT=$2 SITE_STEPS=$scratch/steps.json
/usr/bin/python3 -B -m slides.site.steps "$SITE_STEPS"
node "$site/node_modules/@11ty/eleventy/cmd.cjs" --config=slides/site/eleventy.config.mjs --quiet >"$scratch/log" 2>&1 || {
    cat "$scratch/log" >&2
    exit 1
}
/usr/bin/python3 -B -m slides.site.pack "$SITE_OUT" "$3"
"""

def _site_impl(ctx):
    manifest = ctx.actions.declare_file(ctx.label.name + ".manifest")
    ctx.actions.write(manifest, "".join(
        ["%s\t%s\n" % (file.short_path, file.path) for file in ctx.files.srcs],
    ))
    html = ctx.actions.declare_directory(ctx.attr.folder)
    packed = ctx.actions.declare_file(ctx.label.name + ".zip")
    ctx.actions.run_shell(
        outputs = [html, packed],
        inputs = [manifest] + ctx.files.srcs + ctx.files.makers + ctx.files.library + ctx.files.programs + ctx.files.installed,
        command = _MAKE,
        arguments = [manifest.path, html.path, packed.path, ctx.attr.time_zone],
        mnemonic = "Site",
        progress_message = "Making the site",
        use_default_shell_env = True,
    )
    return [DefaultInfo(
        files = depset([html, packed]),
        runfiles = ctx.runfiles(files = [html, packed]),
    )]

site = rule(
    implementation = _site_impl,
    attrs = {
        "folder": attr.string(default = "html"),
        "time_zone": attr.string(default = "UTC"),
        "srcs": attr.label_list(allow_files = True, doc = "what is shown"),
        "makers": attr.label_list(allow_files = True, doc = "Eleventy's configuration, templates, style"),
        "library": attr.label_list(doc = "Python that the programs import"),
        "installed": attr.label_list(allow_files = True, doc = "which of npm's packages are there"),
        "programs": attr.label_list(
            allow_files = True,
            default = [
                "//slides/site:__init__.py",
                "//slides/site:pack.py",
                "//slides/site:steps.py",
            ],
        ),
    },
)
