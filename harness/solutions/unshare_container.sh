#!/bin/bash
# Stages 04 and 05 with util-linux, by its file name: 05_anything also makes a user namespace.
#
# A first unshare(1) makes the namespaces; a second one, in them, changes the root, mounts /proc
# there and becomes the command.
name=${0##*/}
root='' hostname=${name//_/-} workdir=/ # hostname(1) takes no underscore
variables=(PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "TERM=$TERM")

stop() {
  echo "$name: $1" >&2
  exit 125
}

while (($#)); do
  case $1 in
    --) shift && break ;;
    --rootfs) root=$2 ;;
    --hostname) hostname=$2 ;;
    -w | --workdir) workdir=$2 ;;
    -e | --env) variables+=("$2") ;;
    -*) stop "unknown option $1" ;;
    *) break ;;
  esac
  shift 2
done
(($#)) || stop 'no command given'

namespaces=(--mount --uts --ipc --pid --fork --kill-child)
if [[ $name == 05_* ]]; then
  namespaces+=(--user --map-root-user)
elif ((EUID != 0)); then
  stop 'this needs root: sudo'
fi

for path in /proc/self/fd/*; do
  number=${path##*/}
  ((number < 3)) || exec {number}>&-
done

[[ ! -t 0 ]] || modes=$(stty -g)
trap : INT QUIT # they are for the command; but its exit status is for us
# shellcheck disable=SC2016  # for the inner shell to expand
setpriv --pdeathsig KILL unshare "${namespaces[@]}" bash -c 'hostname "$1" && exec "${@:2}"' \
  bash "$hostname" env -i "${variables[@]}" \
  unshare --root="$root" --wd="$workdir" --mount-proc -- "$@"
status=$?
[[ ! -t 0 ]] || stty "$modes"
exit $status
