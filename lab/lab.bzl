"""`lab_state`: a machine that has booted, compressed. `lab_page`: one HTML file with it, and a folder.

Both read what setup.sh has installed beside the sources, so neither runs in a sandbox.
"""

_INSTALLED = """
set -eu
here=$(dirname "$(readlink -f lab/package-lock.json)")
foreign=$here/../foreign/lab
(cd "$here" && [ -d node_modules ] && sha256sum --check --status .npm-installed) 2>/dev/null && [ -d "$foreign" ] || {
    echo 'The lab needs packages of npm and of Debian that are not installed.' >&2
    echo 'Try:  ./setup.sh --lab' >&2
    exit 1
}
"""

_BOOT = _INSTALLED + """
out=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
/usr/bin/python3 -B -m lab.image "$scratch/initramfs" "$foreign" lab/machine "$@"
node lab/save.mjs "$here/node_modules" "$(echo "$foreign"/boot/vmlinuz-*)" "$scratch/initramfs" "$scratch/state"
zstd --quiet -19 --long=27 -T2 "$scratch/state" -o "$out"
"""

_PACK = _INSTALLED + """
html=$1 folder=$2 state=$3 seen=$4
shift 4
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
/usr/bin/python3 -B -m lab.lessons "$scratch/lessons" "$seen" "$@"
/usr/bin/python3 -B -m lab.pack "$html" "$folder" "$here/node_modules" "$state" "$scratch/lessons" lab/page lab/options.mjs
"""

_LOCAL = {"local": "1"}

def _lab_state_impl(ctx):
    state = ctx.actions.declare_file(ctx.label.name + ".zst")
    ctx.actions.run_shell(
        outputs = [state],
        inputs = ctx.files.programs + ctx.files.makers,
        command = _BOOT,
        arguments = [state.path] + [file.path for file in ctx.files.programs],
        execution_requirements = _LOCAL,
        mnemonic = "Boot",
        progress_message = "Booting the lab's machine",
        use_default_shell_env = True,
    )
    return [DefaultInfo(files = depset([state]))]

lab_state = rule(
    implementation = _lab_state_impl,
    attrs = {
        "makers": attr.label_list(allow_files = True, doc = "what makes the machine"),
        "programs": attr.label(doc = "of this repository, for i386"),
    },
)

def _lab_page_impl(ctx):
    html = ctx.outputs.html
    folder = ctx.actions.declare_directory("html")
    ctx.actions.run_shell(
        outputs = [html, folder],
        inputs = ctx.files.pages + ctx.files.makers + [ctx.file.seen, ctx.file.state],
        command = _PACK,
        arguments = [html.path, folder.path, ctx.file.state.path, ctx.file.seen.path] +
                    [file.path for file in ctx.files.pages],
        execution_requirements = _LOCAL,
        mnemonic = "Lab",
        progress_message = "Packing the lab's page",
        use_default_shell_env = True,
    )
    return [DefaultInfo(
        files = depset([html, folder]),
        runfiles = ctx.runfiles(files = [html, folder]),
    )]

lab_page = rule(
    implementation = _lab_page_impl,
    attrs = {
        "html": attr.output(mandatory = True, doc = "the one file; the folder is called html"),
        "makers": attr.label_list(allow_files = True, doc = "what the page is made of"),
        "pages": attr.label_list(allow_files = [".md"], doc = "of the stages, which become lessons"),
        "seen": attr.label(allow_single_file = True, doc = "what differs in the lab"),
        "state": attr.label(allow_single_file = True),
    },
)
