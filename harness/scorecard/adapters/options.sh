# shellcheck shell=bash
# Reads the command line of our stages into variables, for the adapter that sources this.
#
# An adapter sets `tool`, and `lacks`: what of our command line its program has no option for, as it
# is usually called. Our defaults are asked for, too: root inside is the caller outside, and the
# command is PID 1. An option that we do not know is the program's own to answer: it is in `unknown`.
# What is left of the words is the command.
# shellcheck disable=SC2034,SC2154  # the adapter reads them, and sets the others

stop() {
  echo "${0##*/}: $1" >&2
  exit 125
}

# For the scorecard, which must know without a start.
case ${1:-} in
  --version) exec "$tool" --version ;;
  --lacks) printf '%s\n' "${lacks[@]}" && exit ;;
esac

root='' hostname='' workdir=/ init='' read_only='' network='' user=0 group=0 uptime=''
cpus='' memory='' pids='' seccomp=''
variables=() volumes=() uid_map=0:$EUID:1 gid_map=0:$(id -g):1 cap_add=() cap_drop=() security=()
unknown=()
while (($#)); do
  option=$1
  case $option in
    -e) option=--env ;;
    -m) option=--memory ;;
    -p) option=--publish ;;
    -u) option=--user ;;
    -v) option=--volume ;;
    -w) option=--workdir ;;
  esac
  case $option in
    --) shift && break ;;
    --cap-add | --cap-drop | --cpus | --env | --hostname | --image | --keep | --layer | --memory | \
      --network | --pids-limit | --publish | --rootfs | --seccomp | --security-opt | --shortcut | \
      --uptime | --user | --userspace | --volume | --with | --workdir | --?id-map)
      (($# > 1)) || stop "$option needs a value"
      value=$2 && shift
      ;;
    -*) value='' ;;
    *) break ;;
  esac
  shift
  for missing in "${lacks[@]}"; do
    [[ $option != "$missing" && "$option $value" != "$missing" ]] || stop "$tool has no $missing"
  done
  case $option in
    --rootfs) root=$value ;;
    --hostname) hostname=$value ;;
    --workdir) workdir=$value ;;
    --env) variables+=("$value") ;;
    --init) init=yes ;;
    --volume) volumes+=("$value") ;;
    --read-only) read_only=yes ;;
    --uid-map) uid_map=$value ;;
    --gid-map) gid_map=$value ;;
    --user) user=${value%:*} group=${value#*:} ;;
    --cpus) cpus=$value ;;
    --memory) memory=$(numfmt --from=iec <<<"${value^^}") ;;
    --pids-limit) pids=$value ;;
    --seccomp) seccomp=$value ;;
    --cap-add) cap_add+=("$value") ;;
    --cap-drop) cap_drop+=("$value") ;;
    --network) network=$value ;;
    --security-opt) security+=("$value") ;;
    --uptime) uptime=$value ;;
    *) unknown+=("$option") ;;
  esac
done
(($#)) || stop 'no command given'
