#!/bin/sh
# Loads the profile of stage 09's containers into the kernel, or with --remove removes it. As root:
#
#   bazel run --config=root //stages/09_lsm:load [-- --remove]
set -eu

fail() {
  echo "load: $1" >&2
  echo "hint: $2" >&2
  exit 1
}

operation=--replace
case ${1-} in
  '') ;;
  --remove) operation=--remove ;;
  *) fail "unknown option $1" "there is --remove" ;;
esac
PATH=$PATH:/usr/sbin:/sbin
profile=$(dirname "$0")/containers.apparmor
[ -e "$profile" ] || profile=$0.runfiles/containers_under_the_hood/stages/09_lsm/containers.apparmor

[ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ] ||
  fail "this kernel does not use AppArmor" "boot it with apparmor=1 security=apparmor"
command -v apparmor_parser >/dev/null ||
  fail "apparmor_parser is not installed" "sudo apt-get install apparmor"
[ "$(id -u)" = 0 ] || fail "only root may load a profile" "bazel run --config=root //stages/09_lsm:load"
apparmor_parser $operation --skip-cache "$profile"
