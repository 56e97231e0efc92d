#!/bin/bash
# Stage 06 with bubblewrap: an adapter that translates our options to those of bwrap(1).
name=${0##*/}
hostname=$name root='' pid_1=(--as-pid-1) workdir=/ bind=--bind
options=() variables=()

stop() {
  echo "$name: $1" >&2
  exit 125
}

while (($#)); do
  case $1 in
    --) shift && break ;;
    --rootfs) root=$2 && shift ;;
    --hostname) hostname=$2 && shift ;;
    -w | --workdir) workdir=$2 && shift ;;
    -e | --env) variables+=(--setenv "${2%%=*}" "${2#*=}") && shift ;;
    --read-only) bind=--ro-bind ;;
    --init) pid_1=() ;; # bwrap itself then is PID 1, and reaps
    -v | --volume)
      IFS=: read -r source target mode <<<"$2"
      [[ $mode == ro ]] && options+=(--ro-bind "$source" "$target")
      [[ $mode == ro ]] || options+=(--bind "$source" "$target")
      shift
      ;;
    -*) stop "unknown option $1" ;;
    *) break ;;
  esac
  shift
done
(($#)) || stop 'no command given'

for path in /proc/self/fd/*; do
  number=${path##*/}
  ((number < 3)) || exec {number}>&-
done

exec bwrap --unshare-user --unshare-pid --unshare-uts --unshare-ipc --die-with-parent \
  "${pid_1[@]}" --uid 0 --gid 0 --cap-add ALL --hostname "$hostname" \
  "$bind" "$root" / --proc /proc --dev /dev --mqueue /dev/mqueue --ro-bind /sys /sys \
  --clearenv --setenv PATH /usr/sbin:/usr/bin:/sbin:/bin --setenv HOME /root \
  --setenv TERM "$TERM" "${variables[@]}" "${options[@]}" --chdir "$workdir" -- "$@"
