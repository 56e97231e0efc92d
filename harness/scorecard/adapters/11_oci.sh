#!/bin/bash
# Stage 11, without an engine: the configuration is what `11_oci spec --rootless` writes, and only
# what our command line asks for is changed in it.
tool=11_oci
PATH=$PATH:/box/bin  # where the virtual machine has the stages
lacks=(--init --userspace --with --layer --image --keep --publish --shortcut --uptime
  '--seccomp strict' '--network host' '--network bridge' '--network pasta' '--network slirp4netns')
# shellcheck source-path=SCRIPTDIR source=options.sh
. "${0%/*}/options.sh"

bundle=$(mktemp -d) || exit 125
trap 'rm -rf "$bundle"' EXIT
11_oci spec --rootless --bundle "$bundle" || stop '11_oci spec has failed'
# shellcheck source-path=SCRIPTDIR source=bundle.sh
. "${0%/*}/bundle.sh"
# The runtime reads it once more at the end, and removes it then.
jq --arg bundle "$bundle" '.hooks.poststop = [{path: "/bin/rm", args: ["rm", "-rf", $bundle]}]' \
  "$bundle/changed.json" >"$bundle/config.json" || stop 'jq has failed'
exec 11_oci "${unknown[@]}" run --bundle "$bundle" "$name"
