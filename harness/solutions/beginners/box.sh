#!/bin/sh
# unshare(1) and chroot(8), as a README would have it.
[ "$1" = run ] || { echo "usage: box.sh run ROOT COMMAND"; exit 1; }
root=$2
shift 2
# shellcheck disable=SC2016  # for the inner shell to expand
unshare --mount --uts --ipc --pid --fork sh -c '
  hostname container
  mount --bind "$0" "$0"
  cd "$0"
  exec chroot . "$@"
' "$root" "$@"
