#!/bin/sh
# Loads what stage 09's containers are confined by into the kernel, or with --remove removes it: a
# profile where the kernel uses AppArmor, a module of the policy where it uses SELinux. As root:
#
#   bazel run --config=root //stages/09_lsm:load [-- --remove]
set -eu

fail() {
  echo "load: $1" >&2
  echo "hint: $2" >&2
  exit 1
}

need() {
  command -v "$1" >/dev/null || fail "$1 is not installed" "sudo apt-get install $2"
  [ "$(id -u)" = 0 ] || fail "only root may load it" "bazel run --config=root //stages/09_lsm:load"
}

remove=
case ${1-} in
  '') ;;
  --remove) remove=yes ;;
  *) fail "unknown option $1" "there is --remove" ;;
esac
PATH=$PATH:/usr/sbin:/sbin
folder=$(dirname "$0")
# Bazel puts it below its name for this repository, which depends on Bazel's version.
[ -e "$folder/containers.cil" ] || folder=$(echo "$0".runfiles/*/stages/09_lsm)

if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then
  need apparmor_parser apparmor
  [ "$remove" ] && operation=--remove || operation=--replace
  apparmor_parser "$operation" --skip-cache "$folder/containers.apparmor"
elif [ -e /sys/fs/selinux/enforce ]; then
  need semodule policycoreutils
  [ "$remove" ] || exec semodule --install "$folder/containers.cil"
  semodule --remove containers
else
  fail "this kernel uses neither AppArmor nor SELinux" \
    "boot it with apparmor=1 security=apparmor, or security=selinux selinux=1 and a policy"
fi
