#!/bin/bash
# bubblewrap, as its manual and those who call it advise: all namespaces, a session of its own.
tool=bwrap
lacks=(--uid-map --gid-map --user --cpus --memory --pids-limit --userspace --with --layer --image
  --keep --seccomp --security-opt --publish --shortcut --uptime
  '--network bridge' '--network pasta' '--network slirp4netns')
# shellcheck source-path=SCRIPTDIR source=options.sh
. "${0%/*}/options.sh"

options=(--unshare-all --die-with-parent --new-session --uid 0 --gid 0)
[[ $network != host ]] || options+=(--share-net)
[[ $init ]] || options+=(--as-pid-1)  # otherwise bwrap itself is PID 1
[[ -z $hostname ]] || options+=(--hostname "$hostname")
for one in "${variables[@]}"; do options+=(--setenv "${one%%=*}" "${one#*=}"); done
for one in "${cap_drop[@]}"; do options+=(--cap-drop "$one"); done  # only ALL is asked for
for one in "${cap_add[@]}"; do options+=(--cap-add "CAP_$one"); done
[[ $read_only ]] && options+=(--ro-bind "$root" /) || options+=(--bind "$root" /)
options+=(--proc /proc --dev /dev)
for one in "${volumes[@]}"; do
  IFS=: read -r source target mode <<<"$one"
  [[ $mode == ro ]] && options+=(--ro-bind "$source" "$target")
  [[ $mode == ro ]] || options+=(--bind "$source" "$target")
done
exec bwrap "${unknown[@]}" "${options[@]}" --chdir "$workdir" -- "$@"
