#!/bin/bash
# podman run, with its own defaults, of a root directory.
#
# Less tried than the others: its pause process is one for each user, and of no use to a scene whose
# PID namespace is another. Then podman does not start, which the scorecard shows as "?".
tool=podman
lacks=(--userspace --with --layer --image --keep '--seccomp strict' '--network bridge'
  '--network pasta' --publish --shortcut --uptime)
# shellcheck source-path=SCRIPTDIR source=options.sh
. "${0%/*}/options.sh"

options=(--rm --interactive --workdir "$workdir")
[[ ! -t 0 ]] || options+=(--tty)
[[ -z $hostname ]] || options+=(--hostname "$hostname")
[[ -z $init ]] || options+=(--init)
[[ -z $read_only ]] || options+=(--read-only --read-only-tmpfs=false)
[[ -z $network ]] || options+=(--network "$network")
[[ -z $cpus ]] || options+=(--cpus "$cpus")
[[ -z $memory ]] || options+=(--memory "$memory" --memory-swap "$memory")
[[ -z $pids ]] || options+=(--pids-limit "$pids")
[[ -z $seccomp ]] || options+=(--security-opt "seccomp=$seccomp")
[[ $uid_map == "0:$EUID:1" ]] || options+=(--uidmap "$uid_map" --gidmap "$gid_map")
[[ $user:$group == 0:0 ]] || options+=(--user "$user:$group")
for one in "${variables[@]}"; do options+=(--env "$one"); done
for one in "${volumes[@]}"; do options+=(--volume "$one"); done
for one in "${security[@]}"; do options+=(--security-opt "$one"); done
for one in "${cap_add[@]}"; do options+=(--cap-add "$one"); done
for one in "${cap_drop[@]}"; do options+=(--cap-drop "$one"); done
exec podman run "${unknown[@]}" "${options[@]}" --rootfs "$root" "$@"
