#!/bin/bash
# crun, without an engine: the configuration is what `crun spec --rootless` writes, and only what
# our command line asks for is changed in it.
tool=crun
lacks=(--init --userspace --with --layer --image --keep --publish --shortcut --uptime
  '--seccomp strict' '--network host' '--network bridge' '--network pasta' '--network slirp4netns')
# shellcheck source-path=SCRIPTDIR source=options.sh
. "${0%/*}/options.sh"

bundle=$(mktemp -d) || exit 125
trap 'rm -rf "$bundle"' EXIT
crun spec --rootless --bundle "$bundle" || stop 'crun spec has failed'
# shellcheck source-path=SCRIPTDIR source=bundle.sh
. "${0%/*}/bundle.sh"
exec {config}<"$bundle/changed.json"
rm -rf "$bundle"
exec crun "${unknown[@]}" --cgroup-manager=cgroupfs run --config="/proc/self/fd/$config" --bundle / \
  "$name"
