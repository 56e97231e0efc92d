#!/bin/bash
# Installs everything that is needed to build, run and test this toolkit from the distribution's own
# packages, and the programs that make the slides and the site from npm. Run it as often as you
# like: when nothing is missing it changes nothing and needs no network.
set -euo pipefail
export LC_ALL=C.UTF-8

usage() {
  cat <<'END'
Usage: ./setup.sh [--cross] [--engines] [--validation] [--lab] [--dry-run | --list | --help]

Installs what this toolkit needs, on Debian 12 or 13 or Ubuntu 24.04, as root or with sudo.

  --cross     also what builds it for other processors: --config=i386, --config=arm64
  --engines   also the engines and runtimes that drive stage 11 or are compared with it
  --validation
              also the OCI's and podman's own tests for it, which includes --engines
  --lab       also what makes the machine in a web page, //lab, which includes --cross
  --dry-run   says what is missing, and installs nothing
  --list      lists the packages that are needed, installed or not
  --help      prints this
END
}

# What for|packages
groups() {
  if needs_packaged_bazel; then
    echo 'Bazel, and the rules that it would download|bazel-bootstrap bazel-rules-cc bazel-rules-java'
  fi
  # g++ brings the static libc and the sanitizers; busybox-static replaces the package busybox.
  cat <<'END'
the compiler|g++
libraries of the stages and of the harness|libcli11-dev libfmt-dev libseccomp-dev nlohmann-json3-dev
programs for the kernel (eBPF)|clang libbpf-dev libelf-dev
tar files and their digests|bzip2 libarchive-dev libbz2-dev liblzma-dev libzstd-dev nettle-dev xz-utils zlib1g-dev zstd
the default root file system|busybox-static
tests in C++ and in Python|libgtest-dev musl-tools python3 python3-pexpect python3-pytest python3-pytest-xdist qemu-user xfsprogs
more than one user in a container|uidmap
looking into containers from outside|attr debootstrap iproute2 iputils-ping procps strace tmux util-linux
images that others make|skopeo umoci
networks of containers|curl iperf3 nftables passt slirp4netns
the profile of stage 09|apparmor
the virtual machine|debian-archive-keyring e2fsprogs mmdebstrap openssh-client
container tools to compare with|bubblewrap crun jq
fuzzing|libclang-rt-dev
tools/lint|clang-format clang-tidy git pycodestyle pyflakes3 shellcheck
END
  if [[ $(uname -m) == aarch64 ]]; then
    echo 'its processor|qemu-system-arm'
  else
    echo 'its processor|qemu-system-x86'
  fi
  if [[ -n $cross ]]; then
    echo 'compilers for other processors|g++-i686-linux-gnu'
    # There the compiler itself is that, and so is the virtual machine.
    [[ $(uname -m) == aarch64 ]] || cat <<END
arm64|g++-aarch64-linux-gnu qemu-system-arm $([[ $codename == trixie ]] && echo qemu-user-binfmt || echo qemu-user-static)
END
  fi
  [[ -z $lab ]] || echo "tests of the lab in Firefox|python3-websocket$([[ $codename == noble ]] || echo ' firefox-esr')"
  if [[ -n $engines ]]; then
    echo 'engines that drive stage 11, and other runtimes|catatonit conmon podman runc'
    # Docker's own containerd.io, which would be removed for it, is one, too.
    echo "pods, as Kubernetes has them|containernetworking-plugins python3-grpcio python3-protobuf$(
      [[ ! -v installed[containerd] ]] && have containerd || echo ' containerd')"
  fi
  [[ -z $validation ]] || echo 'tests of runtimes that others wrote|bats golang-go'
  # With a newer Node.js, the distribution's npm cannot be installed.
  { have node && have npm; } || echo 'npm, which installs what makes the slides and the site|nodejs npm'
  # Ubuntu has both browsers as snaps only.
  [[ $codename == noble ]] || echo 'slides as PDF, and their tests|chromium'
}

# Any other Bazel contains or downloads its own rules.
needs_packaged_bazel() {
  [[ -v installed[bazel-bootstrap] ]] || ! { have bazel || have bazelisk; }
}

have() { command -v "$1" >/dev/null; }

# Complains with the first argument, prints the others as they are, and exits.
die() {
  local line
  printf 'setup.sh: %s\n' "$1" >&2
  shift
  for line in "$@"; do
    [[ -z $line ]] || printf '%s\n' "$line" >&2
  done
  exit 1
}

# Sets `distribution` and `codename`, and `supported` if it is one that we know or is derived from one.
recognise_distribution() {
  local field value
  local -A release=()
  while IFS='=' read -r field value || [[ -n $field ]]; do
    value=${value#[\"\']}
    release[${field:-none}]=${value%[\"\']}
  done < <(cat "${OS_RELEASE:-/etc/os-release}" 2>/dev/null)
  distribution=${release[PRETTY_NAME]:-this distribution}

  case " ${release[ID]:-} ${release[ID_LIKE]:-} " in
    *' debian '* | *' ubuntu '*) ;;
    *) return ;;
  esac
  codename=${release[UBUNTU_CODENAME]:-${release[DEBIAN_CODENAME]:-${release[VERSION_CODENAME]:-}}}
  case $codename in
    bookworm | trixie | noble) supported=yes ;;
  esac
}

# Fills `needed` and `missing`, and writes one line for each group that misses something.
take_stock() {
  local what packages package state
  while read -r state package; do
    [[ $state != installed ]] || installed[$package]=yes
  done < <(dpkg-query --show --showformat='${db:Status-Status} ${Package}\n')

  while IFS='|' read -r what packages; do
    local absent=()
    for package in $packages; do
      needed+=("$package")
      [[ -v installed[$package] ]] || absent+=("$package")
    done
    ((${#absent[@]} == 0)) || stock+="  $what: ${absent[*]}"$'\n'
    missing+=("${absent[@]}")
  done < <(groups)
}

# Sets `as_root` to what makes a command root's.
become_root() {
  if [[ $(id -u) == 0 ]]; then
    as_root=()
  elif have sudo && { sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo -v; }; }; then
    as_root=(sudo)
  else
    die "packages are missing, and you are neither root nor able to use sudo." \
      "Ask an administrator to run:" "  $administrators_command"
  fi
}

apt_get() {
  "${as_root[@]}" env LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
    apt-get --quiet --yes --no-install-recommends \
    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null >"$log" 2>&1
}

install_missing() {
  local package complaints unknown=()
  # An unreachable third-party repository need not matter, as long as the packages can be installed.
  apt_get update || true
  complaints=$(sed -n '/^[EW]:/p' "$log")
  for package in "${missing[@]}"; do
    [[ -n $(apt-cache show "$package" 2>/dev/null) ]] || unknown+=("$package")
  done
  if ((${#unknown[@]})); then
    die "apt-get knows no package ${unknown[*]}." "$complaints" \
      "On Ubuntu some of them are in universe:  sudo add-apt-repository universe"
  fi
  apt_get install "${missing[@]}" || die "apt-get failed." "$complaints" "$(tail -n 30 "$log")"
}

# Folder|architecture|suite|packages of Debian that are unpacked there, see tools/foreign_packages
foreign_folders() {
  local suite=$codename architecture
  [[ $suite != noble ]] || suite=bookworm
  if [[ -n $cross ]]; then
    for architecture in i386 arm64; do
      echo "foreign/$architecture|$architecture|$suite|busybox-static libarchive-dev libbpf-dev" \
        'libbz2-dev libelf-dev libgtest-dev liblzma-dev libseccomp-dev libzstd-dev nettle-dev' \
        zlib1g-dev
    done
  fi
  if [[ -n $validation ]]; then
    architecture=$(dpkg --print-architecture)
    # The same everywhere, so that results can be compared: configs of version 1.0.2, which all
    # runtimes read.
    echo "foreign/runtime-tools|$architecture|trixie|src:golang-github-opencontainers-runtime-tools"
    echo "foreign/gocode|$architecture|bookworm|golang-github-google-uuid-dev" \
      golang-github-hashicorp-{errwrap,go-multierror}-dev golang-github-mrunalp-fileutils-dev \
      golang-github-opencontainers-{selinux,specs}-dev golang-github-sirupsen-logrus-dev \
      golang-github-urfave-cli-dev golang-gocapability-dev golang-golang-x-sys-dev
    # The tests of the podman that is installed.
    echo "foreign/podman|$architecture|$suite|src:$([[ $suite == bookworm ]] && echo libpod || echo podman)"
  fi
  # The last suite that has a kernel for i386.
  [[ -z $lab ]] || echo 'foreign/lab|i386|bookworm|linux-image-686^ bash iproute2 libaudit1 libbpf1 libbsd0' \
    'libc-bin libc6 libcap-ng0 libcap2 libdb5.3 libedit2 libelf1 libgcc-s1 libgmp10 libjansson4 libmd0' \
    'libmnl0 libnftables1 libnftnl11 libpcre2-8-0 libselinux1 libtinfo6' \
    'libxtables12 nftables setserial uidmap util-linux zlib1g'
}

# Folder with a package-lock.json|what npm installs there|what needs it
npm_folders() {
  cat <<'END'
slides|Marp|the slides
slides/site|Eleventy|the site
END
  [[ -z $lab ]] || echo 'lab|v86 and xterm|the lab'
}

# Whether a directory's node_modules matches its package-lock.json.
npm_is_done() {
  [[ -d $here/$1/node_modules ]] && (cd "$here/$1" && sha256sum --check --status .npm-installed) 2>/dev/null
}

# Everything else works without it, so this is not a failure.
install_by_npm() {
  local folder=$1 tool=$2 product=$3 said
  if said=$(
    # In a condition `set -e` is off.
    exec 2>&1
    cd "$here/$folder" && rm -f .npm-installed &&
      timeout 600 npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier \
        --fetch-retries=1 --fetch-retry-mintimeout=1000 --loglevel=error </dev/null &&
      sha256sum package-lock.json >.npm-installed
  ); then
    echo "setup.sh: $tool is installed"
  else
    printf '%s\n' "setup.sh: npm could not install $tool: $product cannot be built; everything else can." \
      "$(sed 5q <<<"$said")" 'To try again:  ./setup.sh' >&2
  fi
}

main() {
  local mode=install cross='' engines='' validation='' lab='' argument
  for argument; do
    case $argument in
      --cross) cross=yes ;;
      --engines) engines=yes ;;
      --validation) engines=yes validation=yes ;;
      --lab) cross=yes lab=yes ;;
      --dry-run | --list) mode=${argument#--} ;;
      -h | --help) usage && exit ;;
      *) die "unknown argument $argument; see ./setup.sh --help" ;;
    esac
  done

  declare -A installed=()
  local distribution='' codename='' supported='' stock='' needed=() missing=() as_root=()
  local here log folder tool product architecture suite packages npm=()
  here=$(dirname "${BASH_SOURCE[0]}")
  recognise_distribution
  if [[ -z $supported ]]; then
    die "$distribution is not supported; use Debian 12, Debian 13 or Ubuntu 24.04. Nothing was changed." \
      "What to install by hand, by its name on Debian:" \
      "$(groups | sed 's/^/  /; s/|/: /')"
  fi

  log=$(mktemp)
  # shellcheck disable=SC2064  # main's variables are gone at EXIT
  trap "rm -f '$log'" EXIT

  take_stock
  while IFS='|' read -r folder tool product; do
    npm_is_done "$folder" || npm+=("$folder|$tool|$product")
  done < <(npm_folders)
  if [[ $mode == list ]]; then
    printf '%s\n' "${needed[@]}"
    return
  elif ((${#missing[@]} == 0)); then
    ((${#npm[@]} > 0)) || echo 'setup.sh: everything is installed'
  else
    local administrators_command="apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    if [[ $mode == dry-run ]]; then
      printf 'setup.sh: would install\n%s' "$stock"
    else
      become_root
      printf 'setup.sh: installing, which takes a few minutes\n%s' "$stock"
      install_missing
      echo 'setup.sh: done'
    fi
  fi

  while IFS='|' read -r folder architecture suite packages; do
    if [[ $mode == dry-run ]]; then
      echo "setup.sh: would unpack packages of Debian for $architecture in $folder"
    else
      # shellcheck disable=SC2086  # they are words
      "$here/tools/foreign_packages" "$architecture" "$suite" "$here/$folder" $packages </dev/null ||
        die "Debian's packages for $architecture could not be unpacked in $folder." 'To try again, run it as now.'
    fi
  done < <(foreign_folders)

  for folder in "${npm[@]}"; do
    IFS='|' read -r folder tool product <<<"$folder"
    if [[ $mode == dry-run ]]; then
      echo "setup.sh: would have npm install $tool, for $product"
    else
      install_by_npm "$folder" "$tool" "$product"
    fi
  done
}

main "$@"
