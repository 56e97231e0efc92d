"""The exercises of the lab: one for each lesson, with a check that runs in the lab's machine.

A check is a script of root's for busybox's shell. It looks at the machine from outside the
containers, by what the kernel says of their processes, and not at what anybody has typed. It exits
with status 0 if the exercise is done; otherwise its output is one line that says what is missing.
"""

from __future__ import annotations

import dataclasses
from typing import Dict, Tuple

# Functions for the checks.
COMMON = r"""
say() { echo "$1"; exit 1; }
# processes NAMESPACE: the PIDs of the processes in another one than the machine's
processes() {
  for folder in /proc/[0-9]*; do
    there=$(readlink "$folder/ns/$1") || continue
    [ "$there" = "$(readlink "/proc/1/ns/$1")" ] || echo "${folder#/proc/}"
  done
}
# status PID FIELD: as in /proc/PID/status
status() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"; }
"""


@dataclasses.dataclass(frozen=True)
class Exercise:
    task: str
    check: str
    answer: Tuple[str, ...]  # what to type, with the prompt
    why: str


EXERCISES: Dict[str, Exercise] = {
    "01": Exercise(
        "Run `sleep 300` in stage 01 in your first terminal. From your second terminal, stop the "
        "*sleep*, with SIGSTOP, and nothing else. What does the shell in the first terminal say?",
        r"""
for pid in $(pidof sleep); do
  parent=$(status "$pid" PPid)
  [ "$(cat "/proc/$parent/comm")" = 01_exec ] || continue
  case $(status "$pid" State) in
    T*) ;;
    *) say "The sleep of 01_exec runs; it is not stopped." ;;
  esac
  case $(status "$parent" State) in T*) exit 0 ;; esac
  say "The sleep is stopped, and 01_exec is not."
done
say "There is no sleep whose parent is 01_exec."
""",
        ("host:~$ 01_exec sleep 300", "host:~$ kill -STOP $(pidof sleep)"),
        "`Stopped`. Your shell started the stage, not the sleep, and the kernel tells it only of "
        "its own child. So the stage stops itself when its command is stopped, and `fg` continues "
        "both."),
    "02": Exercise(
        "Make a root directory of your own, `/root/mine`, with nothing in it but `bin/sh`, a copy "
        "of `/bin/busybox`. Leave a shell open whose root it is.",
        r"""
[ -x /root/mine/bin/sh ] || say "There is no program /root/mine/bin/sh."
[ "$(find /root/mine | wc -l)" = 3 ] || say "There is more in /root/mine than bin/sh."
for folder in /proc/[0-9]*; do
  [ "$(readlink "$folder/root")" != /root/mine ] || exit 0
done
say "No process has /root/mine as its root directory."
""",
        ("host:~# mkdir -p mine/bin && cp /bin/busybox mine/bin/sh",
         "host:~# 02_chroot --rootfs mine sh"),
        "A container needs no image: any directory with a program in it will do. This one needs "
        "no library, because Debian's busybox-static is linked statically."),
    "03": Exercise(
        "Leave a container open in which `bash` runs, with its own copy of bash and of the "
        "libraries that bash needs.",
        r"""
for pid in $(pidof bash); do
  root=$(readlink "/proc/$pid/root")
  [ "$root" != / ] || continue
  [ -f "$root/lib/ld-linux.so.2" ] ||
    say "There is a bash with the root $root, and no loader in there."
  exit 0
done
say "Every bash of this machine has / as its root directory."
""",
        ("host:~# 03_userspace --with bash bash",),
        "`--with` copies the program and what its ELF headers name: its loader and its libraries. "
        "`cat /proc/$$/maps` in that bash lists them, by their paths inside."),
    "04": Exercise(
        "Leave a container of stage 04 open whose host name is `mine`. The machine's own host "
        "name has to stay `host`.",
        r"""
[ "$(hostname)" = host ] || say "The machine itself is called $(hostname) now: hostname host"
for pid in $(processes uts); do
  [ "$(nsenter -t "$pid" -u hostname)" != mine ] || found=$pid
done
[ "$found" ] || say "No container has the host name mine."
[ "$(readlink "/proc/$found/ns/pid")" != "$(readlink /proc/1/ns/pid)" ] ||
  say "It has no PID namespace of its own."
""",
        ("host:~# 04_namespaces sh", "04_namespaces:/# hostname mine"),
        "The host name belongs to the UTS namespace. sethostname(2) changes that of the process "
        "that calls it, and of all others in the same namespace. The check reads the name by "
        "`nsenter`, which enters only that namespace."),
    "05": Exercise(
        "As an ordinary user, make a file that belongs to uid 100032 on this machine, without "
        "being root of it: `/tmp/theirs` in the built-in root of stage 05.",
        r"""
cache=/home/user/.cache/containers-under-the-hood
file=$(find "$cache" -path '*/tmp/theirs' 2>/dev/null | head -n 1)
[ "$file" ] || say "There is no tmp/theirs below ~/.cache/containers-under-the-hood."
owner=$(stat -c %u "$file")
[ "$owner" = 100032 ] || say "Its owner is $owner."
""",
        ("host:~$ U='--uid-map 0:1000:1 --uid-map 1:100000:65536'",
         "host:~$ G='--gid-map 0:1000:1 --gid-map 1:100000:65536'",
         "host:~$ 05_userns $U $G sh -c 'touch /tmp/theirs; chown 33 /tmp/theirs'"),
        "The second line of the map gives the ids 1 to 65536 inside the ids from 100000 on, so 33 "
        "is 100032. An ordinary user may not write such a map; newuidmap may, for the ids that "
        "`/etc/subuid` gives that user."),
    "06": Exercise(
        "Leave a container of stage 06 open in which your directory `~/shared` is at `/data`, and "
        "in which nobody can write there.",
        r"""
for pid in $(processes mnt); do
  set -- $(awk '$5 == "/data" { print $4, $6 }' "/proc/$pid/mountinfo")
  case $1 in */shared) ;; *) continue ;; esac
  case ,$2, in *,ro,*) exit 0 ;; esac
  writable=yes
done
[ -z "$writable" ] || say "It is there, and can be written to."
say "No container has ~/shared at /data."
""",
        ("host:~$ mkdir -p shared", "host:~$ 06_pivot_root -v ~/shared:/data:ro sh"),
        "A bind mount shows a directory at a second place. Read-only is a flag of the mount, not "
        "of the files: through `~/shared` you can still write."),
    "07": Exercise(
        "Leave a container open that may have 10 processes and 16 MiB of memory.",
        r"""
for pid in $(processes cgroup); do
  path=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
  [ -f "$path/pids.max" ] || continue
  pids=$(cat "$path/pids.max") memory=$(cat "$path/memory.max")
  [ "$pids" = 10 ] && [ "$memory" = 16777216 ] && exit 0
done
[ "$pids" ] || say "There is no container with a cgroup of its own."
say "A container has pids.max $pids and memory.max $memory."
""",
        ("host:~$ 07_cgroups --memory 16m --pids-limit 10 sh",),
        "The limits are numbers in files of the container's cgroup. The kernel compares each "
        "fork(2) and each page with them, and with those of every cgroup above."),
    "08a": Exercise(
        "In a container of stage 08a, remove `/bin/vi`, and keep the changes in `~/kept`. What is "
        "there in the place of the file?",
        r"""
upper=/home/user/kept/upper
[ -d "$upper" ] || say "There is no directory ~/kept/upper."
[ -e "$upper/bin/vi" ] || say "There is nothing at ~/kept/upper/bin/vi."
[ -c "$upper/bin/vi" ] || say "~/kept/upper/bin/vi is no whiteout: $(ls -ld "$upper/bin/vi")"
""",
        ("host:~$ 08a_overlayfs --keep ~/kept rm /bin/vi", "host:~$ ls -l ~/kept/upper/bin"),
        "A whiteout, which is a character device with the numbers 0, 0. overlayfs writes nothing "
        "to the lower layers, so the file is still in them: the whiteout says that it is not to "
        "be shown."),
    "08b": Exercise(
        "Leave a shell open that has a seccomp filter and no capability at all, and cannot get "
        "one.",
        r"""
for pid in $(processes pid); do
  [ "$(status "$pid" Seccomp)" = 2 ] || continue
  filtered=yes
  [ "$(status "$pid" CapBnd)$(status "$pid" CapPrm)" = 00000000000000000000000000000000 ] && exit 0
done
[ "$filtered" ] || say "No process in a container has a seccomp filter."
say "A process has a filter, and capabilities in its bounding set."
""",
        ("host:~$ 08b_seccomp --cap-drop ALL sh",),
        "With an empty bounding set, execve(2) cannot give a capability, not even to uid 0. "
        "`chown` fails for root then, and so does `ping`."),
    "08c": Exercise(
        "Run a web server in a container, such that `wget -O - http://127.0.0.1:8080/hosts` on "
        "this machine prints the container's `/etc/hosts`. (busybox has `httpd -f -p PORT -h "
        "FOLDER`.)",
        r"""
said=$(timeout 5 wget -q -O - http://127.0.0.1:8080/hosts 2>&1) ||
  say "Nothing is served at 127.0.0.1:8080."
for pid in $(processes net); do
  [ "$(cat "/proc/$pid/root/etc/hosts")" != "$said" ] || exit 0
done
say "What is served there is not the /etc/hosts of a container."
""",
        ("host:~# 08c_network --network bridge -p 8080:80 httpd -f -p 80 -h /etc",),
        "The packet arrives at port 8080 of this machine. Rules of nftables, or a small proxy for "
        "127.0.0.1, send it on to port 80 of the container's own address."),
}
