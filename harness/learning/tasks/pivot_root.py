"""Stage 06: what a learner writes, and in which order."""

from __future__ import annotations

from harness.learning.skeleton import Todo
from harness.learning.task import CORE, ROBUST, THEN, Example, Milestone, Task

PIVOT = "pivot_root(2) in it"

TASK = Task(
    stage="06",
    goal="Let the container have its own mounts and nothing else: the host's file system is not"
         " hidden"
         " but gone.",
    examples=(
        Example("06_pivot_root ls /dev", "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\n"
                "stdin\nstdout\ntty\nurandom\nzero", PIVOT),
        Example("06_pivot_root sh -c 'echo x >/proc/sys/kernel/hostname' 2>/dev/null; echo $?", "1",
                PIVOT),
        Example("06_pivot_root -v /etc/hostname:/there:ro sh -c 'echo x 2>/dev/null >/there;"
                " echo $?'", "1", PIVOT),
        Example("06_pivot_root --read-only sh -c 'touch /made' 2>/dev/null; echo $?", "1", PIVOT),
        Example("06_pivot_root -v /etc:relative true 2>/dev/null; echo $?", "125"),
    ),
    toolkit=(
        ("new_mount(type, attributes, options)", "a new proc, tmpfs, devpts …, attached nowhere"),
        ("copy_mount(path, attributes)", "a copy of a mount of the host's, attached nowhere (in"
         " mounts.cc)"),
        ("attach_at(mount, path), attach_on(mount, place, path)", "attaches a mount: to a path, or"
         " to what a descriptor has open"),
        ("make_mount_point(root, path, directory)", "opens a place for a mount inside the"
         " container's root, and makes it; no link leads out"),
    ),
    todos=(
        Todo("mounts.cc", "take_root", 1,
             "a copy of the mount at `root`, or the one that the parent has made: see take_mount()."
             " Which attribute makes a device node in it dead (milestone 5)?",
             "return take_mount(root, shown, 0);"),
        Todo("mounts.cc", "pivot_into", 1,
             "attach `root` over \"/\", enter it, pivot_root(2) by syscall(2), and let go of the"
             " old"
             " root, see umount2(2) and pivot_root(2), \"pivot_root(\".\", \".\")\". End in the new"
             " \"/\"."),
        Todo("mounts.cc", "attach_dev", 2,
             "a tmpfs on `place` with an empty file for each of `devices`, on which its mount is"
             " attached: attach_in(). Then pts (devpts, with ptmxmode=0666), shm (tmpfs, mode"
             " 1777),"
             " mqueue, and the links ptmx, fd, stdin, stdout, stderr. terminal.open_in(devpts)"
             " opens"
             " the container's own terminal; the mount that it returns, if any, is /dev/console."),
        Todo("mounts.cc", "copy_device", 2,
             "a copy of the mount of /dev/NAME. What may root inside do to the host's inode (mode,"
             " owner, times), and which attribute keeps it from that? That it is the device"
             " major:minor is checked.",
             "return copy_mount(std::string(\"/dev/\") + name, MOUNT_ATTR_NOSUID);"),
        Todo("kernel_paths.cc", "protect_kernel_paths", 3,
             "hide what Docker hides in /proc and /sys, an empty folder or the null device over it,"
             " and make bus, fs, irq, sys and sysrq-trigger of /proc read-only: mounted on"
             " themselves again."),
        Todo("kernel_paths.cc", "hide_what_is_mounted_in_sys", 3,
             "an empty folder, or the null device, over each of host.sys.covered."),
        Todo("mounts.cc", "take_volume", 4,
             "a copy of the mount at volume.source; nothing for a tmpfs, whose source is \"\". The"
             " host's root has made it in the parent: take_mount(), with kAsItIs if there is no"
             " :idmap. What must a volume never bring along"
             " (milestone 5)?",
             "return UniqueFd();"),
        Todo("mounts.cc", "make_root_read_only", 4,
             "mount_setattr(2) of \"/\", and not of what is mounted below."),
    ),
    milestones=(
        Milestone(CORE, "The old root is gone", (
            "old_root_is_gone", "second_chroot_leads_nowhere", "kept_directory_leads_nowhere",
            "namespaces_root_is_its_root")),
        Milestone(CORE, "A /dev of its own", (
            "dev_is_minimal", "dev_null_works", "terminals_are_own", "terminal_is_its_own",
            "shared_memory_works", "dev_stdin_is_there",
            "devices_cannot_be_changed", "shared_memory_is_for_data")),
        Milestone(THEN, "/proc and /sys do not describe the machine", (
            "kernel_files_are_masked", "firmware_is_masked", "proc_paths_are_read_only",
            "sys_is_read_only", "masks_cannot_be_changed", "masks_are_the_hosts_null")),
        Milestone(THEN, "--volume and --read-only", (
            "volume_is_shown", "volume_can_be_written", "read_only_volume_cannot_be_written",
            "read_only_root_cannot_be_written", "single_file_is_shown", "tmpfs_is_for_data",
            "tmpfs_has_its_size", "hosts_roots_files_are_closed")),
        Milestone(ROBUST, "Against a hostile root, and when a call fails"),
    ),
)
