#!/bin/bash
# unshare(1) of util-linux, as tutorials have it. It sets no host name: that is hostname(1)'s, in the
# UTS namespace.
tool=unshare
lacks=(--init --volume --read-only --uid-map --gid-map --user --cpus --memory --pids-limit
  --userspace --with --layer --image --keep --cap-add --cap-drop --seccomp --security-opt --publish
  --shortcut '--network bridge' '--network pasta' '--network slirp4netns')
# shellcheck source-path=SCRIPTDIR source=options.sh
. "${0%/*}/options.sh"

options=(--fork --pid --mount-proc --root="$root" --wd="$workdir")
[[ $network != none ]] || options+=(--net)
read -r now _ </proc/uptime  # its options are what is added to the clocks
[[ -z $uptime ]] || options+=(--time "--boottime=$((uptime - ${now%.*}))"
  "--monotonic=$((uptime - ${now%.*}))")
((${#variables[@]} == 0)) || export "${variables[@]}"
if [[ -z $hostname ]]; then
  exec unshare "${unknown[@]}" --map-root-user --uts "${options[@]}" -- "$@"
fi
# shellcheck disable=SC2016  # for the inner shell to expand
exec unshare "${unknown[@]}" --map-root-user --uts \
  sh -c 'hostname "$0" && exec unshare "$@"' "$hostname" "${options[@]}" -- "$@"
