"""Published classes of escape that apply to a container of this kind, and the rows that stop each.

A class is a way that was published for some tool: it is named by its CVE number where it has one.
`rows` are rows of the property table: the page takes from them since which stage the class is
stopped, and where the attempt was seen to succeed. `tests` are tests of a stage, as FILE::TEST, for
what needs no row or cannot be one; `seen` says where their attempt was seen to succeed.
"""

from __future__ import annotations

import dataclasses
from typing import Tuple


@dataclasses.dataclass(frozen=True)
class Escape:
    """One class."""

    name: str  # "CVE-2024-21626", or what it is called
    attempt: str  # what the command, the root or the image does
    layer: str  # what stops it, in a few words
    rows: Tuple[str, ...] = ()
    tests: Tuple[str, ...] = ()
    seen: str = ""  # for `tests`: where the attempt succeeds
    where: str = ""  # "VM" if it could harm a machine, and is tried in a virtual one


CLASSES: Tuple[Escape, ...] = (
    # --- The way out of the root directory
    Escape("A second chroot(2)", "root inside changes its root to a folder below its working"
           " directory, and walks up by '..'", "pivot_root(2), the old root detached",
           rows=("second_chroot_leads_nowhere",)),
    Escape("A directory kept open", "the command keeps a descriptor of '/' across a second"
           " chroot(2) and walks up from it", "pivot_root(2), the old root detached",
           rows=("kept_directory_leads_nowhere",)),
    Escape("The namespace's own root", "root inside unmounts / and joins its own mount namespace"
           " again by setns(2)", "no old root lies below the new one",
           rows=("namespaces_root_is_its_root",)),
    Escape("CVE-2016-9962", "the command uses a directory of the host that the runtime, or its"
           " caller, had left open", "no descriptor but 0, 1 and 2 reaches the command",
           rows=("descriptors_are_closed", "inherited_directory_is_closed")),
    Escape("CVE-2016-9962, while exec joins", "root inside with CAP_SYS_PTRACE looks into the"
           " process that the runtime starts in a running container, or in a new one that shares"
           " its PID namespace: its root, its descriptors, its rights, the engine's environment",
           "one process does all the work, unseen, and its successor is born inside, with the"
           " command's root and rights",
           tests=("stages/11_oci/test_oci_strength.py"
                  "::test_a_container_that_may_trace_sees_nothing_of_the_host_while_exec_joins_it",
                  "stages/11_oci/test_oci_strength.py::test_a_container_that_may_trace_sees"
                  "_nothing_of_the_host_while_a_neighbour_is_made"),
           seen="with a process that is born there and then does the work: it has all capabilities"
                " and the engine's environment, and at first the host's root at /proc/PID/root"),
    # --- Links in the root and in volumes
    Escape("CVE-2019-19921, CVE-2023-27561", "the root has a symbolic link in place of /proc, so"
           " that what protects /proc is mounted elsewhere",
           "/proc must be a directory of the root, and so must /sys and /dev",
           rows=("hostile_proc_stays_inside", "sys_and_dev_stay_in_place")),
    Escape("CVE-2017-1002101", "a link in the root leads a volume, or the working directory, out"
           " of it", "paths of the container are resolved inside its root",
           rows=("volume_stays_inside", "workdir_stays_inside")),
    Escape("CVE-2021-25741", "while the container is being started, a link takes the place of the"
           " directory that is the source of a volume, or the root", "paths of the host are"
           " resolved once, and no link is followed afterwards",
           tests=("stages/06_pivot_root/test_pivot_root.py::"
                  "test_a_link_that_takes_the_place_of_a_directory_is_not_followed",),
           seen="for an ordinary user, with open_tree(2) by path: the container has the other"
                " directory"),
    Escape("CVE-2021-25741, in a bundle", "the same, between two hooks of a bundle",
           "paths of the host are resolved once, and no link is followed afterwards",
           tests=("stages/11_oci/test_oci_strength.py::"
                  "test_a_link_that_takes_the_place_of_a_folder_is_not_followed",),
           seen="with open_tree(2) by path: the container has the other directory"),
    Escape("CVE-2018-15664, zip slip", "a link in a layer leads a later entry of its tar out of"
           " the layer", "each entry is resolved inside the layer, by descriptor",
           rows=("hostile_layer_stays_inside", "layer_names_stay_inside")),
    Escape("Attributes of overlayfs", "a layer's tar has attributes user.overlay.*, which tell"
           " overlayfs what to hide and where to look", "they are left out",
           rows=("overlay_attributes_are_left_out",)),
    Escape("Trees without a bottom", "a layer has folders so deep that nobody can name, or remove,"
           " what is in them", "a limit on depth", rows=("deep_layer_is_refused",)),
    Escape("CVE-2024-21626 (\"Leaky Vessels\")", "an image has /proc/self/fd/N for its working"
           " directory, which is one of the host's that the runtime has open", "what the child"
           " took from the host is closed before a path of the image's is looked up",
           rows=("descriptors_lead_workdir_nowhere", "descriptors_lead_command_nowhere",
                 "workdir_of_an_image_stays_inside")),
    Escape("CVE-2024-21626, in a bundle and at exec", "the working directory, or the command, of"
           " config.json or of exec is below a descriptor of the runtime's or its caller's",
           "descriptors are closed first, and no magic link is followed",
           tests=("stages/11_oci/test_oci_strength.py::test_no_descriptor_leads_to_the_host",),
           seen="with descriptors left open: the host's program runs inside"),
    Escape("CVE-2019-5736", "the command is a link to /proc/self/exe, or a script that begins with"
           " \"#!/proc/self/exe\": the runtime's own file runs inside, where root may change it",
           "a stage refuses to run where its file is in no mount of its own",
           rows=("program_cannot_run_inside",),
           tests=("stages/04_namespaces/test_namespaces.py"
                  "::test_a_root_cannot_make_the_stage_run_inside",),
           seen="without the check of the mounts: the file on the host has mode 4755 afterwards"),
    Escape("CVE-2019-5736, of a runtime", "root inside writes to /proc/PID/exe of the process that"
           " creates the container, or joins it", "that is a sealed copy in memory",
           tests=("stages/11_oci/test_oci_strength.py"
                  "::test_the_program_in_the_container_is_not_the_hosts_file",
                  "stages/11_oci/test_podman.py"
                  "::test_the_runtime_that_a_container_starts_is_a_copy",
                  "stages/11_oci/test_podman.py"
                  "::test_a_container_cannot_change_the_runtime_that_joins_it"),
           seen="without the copy: it is the runtime's file on the host, which root inside gives"
                " mode 4755"),
    Escape("Signals to a process group", "kill(0, SIGKILL) inside reaches the processes that the"
           " caller has started, whatever PID namespace they are in",
           "the command has a process group of its own", rows=("kill_0_stays_inside",)),
    Escape("Signals to all processes", "kill(-1, SIGKILL) inside reaches the processes of the"
           " host that have the same user", "a PID namespace", rows=("kill_all_stays_inside",)),
    Escape("An inherited personality", "the command's addresses are not randomized, because its"
           " caller has switched that off", "the personality is reset",
           rows=("personality_is_the_containers",)),
    Escape("A container that outlives its parent", "the command revokes the signal that it would"
           " get when its parent dies, and runs on without anyone who could stop it",
           "a process that the container cannot reach watches the parent",
           rows=("death_with_the_parent_cannot_be_revoked",)),
    Escape("Hard links in a layer", "a layer has a link to a file of the host's, and a hard link"
           " to that link", "linkat(2) does not follow links",
           rows=("layer_brings_no_host_file",)),
    Escape("CVE-2021-41091", "root inside makes a set-user-ID program, which another user of the"
           " host then starts from where the container's files are kept", "kept files are closed to"
           " others", rows=("kept_folder_is_closed_to_others",)),
    Escape("CVE-2025-58183, decompression bombs", "a small layer unpacks to more than the memory"
           " or the disk of the host can hold", "what unpacking uses is counted and limited",
           rows=("greedy_layer_is_refused",),
           tests=("stages/08a_overlayfs/test_hostile.py"
                  "::test_a_layer_that_wants_too_much_is_refused",
                  "stages/08a_overlayfs/test_hostile.py"
                  "::test_a_file_that_asks_for_a_gigabyte_to_be_decompressed",
                  "stages/08a_overlayfs/test_hostile.py::test_a_layer_is_compressed_once"),
           seen="without the limits: 347 MiB of memory for a tar of 1.8 MB, 1 GiB for an xz file of"
                " 214 kB, and no end and no Ctrl-C for a gzip file of 655 kB in which there are two"
                " more"),
    Escape("A link where root writes", "another user owns the directory in which root builds a new"
           " root, and puts a link in its place", "nothing is built where another user may replace"
           " a directory of the path",
           tests=("stages/03_userspace/test_userspace.py::"
                  "test_not_where_another_user_could_put_a_link",),
           seen="without the check of the owners: the files are in a directory of the attacker's"
                " choice"),
    Escape("A root that is used again", "root inside leaves a program in the built-in root, where a"
           " stage without a user namespace runs it later, as the host's root",
           "the built-in root of containers is another one",
           tests=("stages/05_userns/test_userns.py::"
                  "test_what_it_leaves_never_runs_as_the_hosts_root",),
           seen="with one built-in root for all: stage 04 runs the program"),
    Escape("CVE-2021-25743", "a container, an image or a bundle has names and arguments with escape"
           " sequences, which change the terminal of the user who lists them",
           "what others have chosen is made printable",
           tests=("stages/11_oci/test_oci_strength.py::"
                  "test_nothing_that_a_container_chooses_changes_our_terminal",),
           seen="with the command line as it is in /proc: `ps` sets the title of the terminal"),
    Escape("Copied links", "a link that was copied leads a later copy out of the new root",
           "each copy is resolved inside the new root", rows=("copied_links_stay_inside",)),
    # --- Files of the kernel
    Escape("core_pattern", "root inside writes the program that the kernel runs as the host's root"
           " when a process crashes", "/proc/sys is read-only, and cannot be uncovered",
           rows=("sysctls_cannot_be_opened", "masks_cannot_be_lifted")),
    Escape("sysrq-trigger, uevent_helper", "root inside reboots the host by /proc/sysrq-trigger,"
           " or names a helper in /sys", "/proc paths and /sys are read-only",
           rows=("proc_paths_are_read_only", "sys_is_read_only")),
    Escape("/proc/keys, /proc/kcore, /sys/firmware", "the command reads what the kernel"
           " reveals about the whole machine", "masks",
           rows=("kernel_files_are_masked", "firmware_is_masked")),
    Escape("mknod(2)", "root inside makes a node of the host's disk, and reads it",
           "a user namespace that does not own the device", rows=("no_device_nodes",)),
    Escape("A device node in the image", "the root or a volume brings a node of the host's disk",
           "nodev on every mount that comes from outside",
           rows=("planted_device_is_dead", "layer_brings_no_device", "volume_brings_no_device",
                 "volumes_submounts_bring_no_device")),
    Escape("A read-only mount of the host's, mounted again", "root inside, with CAP_SYS_ADMIN,"
           " remounts with write access, or with devices and set-user-ID programs, what the host"
           " has mounted without", "copies are made in a mount namespace in which the kernel has"
           " locked the flags", rows=("hosts_mount_flags_are_locked",),
           tests=("stages/11_oci/test_oci_strength.py"
                  "::test_what_is_mounted_read_only_on_the_host_stays_so",),
           seen="with copies of the runtime's own mounts: the new file is on the host"),
    Escape("Mounts in a volume", "the command writes to what is mounted in a volume that is"
           " read-only", "the flags are set for all mounts of the volume",
           rows=("read_only_volume_covers_submounts",)),
    Escape("Files of the host's root", "root inside reads a file of a volume that only the host's"
           " root may read, because root has started the container", "root's containers have a"
           " range of ids of their own", rows=("hosts_roots_files_are_closed",)),
    Escape("CVE-2025-31133", "the root's /dev is a link, so that a file of the container's, such as"
           " a link to core_pattern, takes the place of the null device that masks are made of",
           "masks are copies of the host's null device, by descriptor",
           rows=("masks_are_the_hosts_null", "volume_covers_none_of_our_mounts"),
           tests=("stages/06_pivot_root/test_pivot_root.py"
                  "::test_a_link_of_the_root_leads_no_volume_over_our_own_mounts",),
           seen="with masks made of /dev/null inside: the command writes the host's core_pattern"),
    Escape("CVE-2025-31133, in a bundle", "a link in the root leads a volume over /dev, or /dev to"
           " a volume, so that the runtime makes devices in a folder of the host's",
           "/dev must be a directory of the root, and no link may lead to it",
           tests=("stages/11_oci/test_oci_config.py"
                  "::test_a_link_of_the_root_leads_no_volume_over_our_own_mounts",),
           seen="with mount points that may be links: the devices are made there"),
    Escape("CVE-2025-52565", "root inside changes mode, owner or times of the host's devices, or of"
           " the caller's terminal, through what is mounted in /dev and over files of /proc",
           "devices, masks and the console are read-only mounts",
           rows=("devices_cannot_be_changed", "masks_cannot_be_changed"),
           tests=("stages/06_pivot_root/test_pivot_root.py"
                  "::test_what_the_host_has_as_devices_and_masks_cannot_be_changed",),
           seen="with writable mounts: the host's /dev/urandom has mode 640 afterwards"),
    Escape("CVE-2021-30465, CVE-2024-45310", "a link in the root, or one that takes a folder's"
           " place during the start, leads the making of a mount point to the host",
           "each name of a mount point's path is opened from the root, and no link is followed",
           rows=("volume_target_leads_nowhere",),
           tests=("stages/06_pivot_root/test_pivot_root.py::test_a_magic_link_leads_nowhere",),
           seen="with mount points made by path: a folder is made on the host, through a descriptor"
                " that the set-up has open"),
    # --- Identity
    Escape("Users of the host", "/etc/passwd of the root is a link to the host's, so that a name"
           " there decides who the command is", "the file is resolved inside the root, and no"
           " magic link is followed", rows=("users_come_from_the_root",)),
    Escape("CVE-2014-8989, CVE-2018-7169", "the caller drops a group that denies access, by"
           " setgroups(2) in a user namespace", "setgroups is denied before gid_map is written",
           rows=("setgroups_is_denied",)),
    Escape("Ids beyond the map", "root inside becomes a user of the host by setuid(2), or gives"
           " that user's files away", "uid_map maps only ids that nobody else has",
           rows=("no_user_beyond_the_map", "hosts_files_keep_their_owner",
                 "hosts_permissions_hold")),
    Escape("Ids without a map", "the maps have no 0, so that the command keeps the ids of the"
           " host's root, and is the owner of core_pattern", "the container never keeps its"
           " caller's ids", rows=("unmapped_root_is_nobody_special",)),
    Escape("Limits per user", "the command uses up what the host's root may have of pending"
           " signals, inotify instances or namespaces", "the user namespace belongs to the user"
           " who is root inside, although root makes it", rows=("hosts_root_keeps_its_limits",)),
    Escape("Set-user-ID, file capabilities", "a user inside regains root by a set-user-ID program",
           "no_new_privs", rows=("set_user_id_gives_nothing", "no_new_privs_is_set")),
    Escape("CVE-2022-29162, CVE-2022-24769", "a program with inheritable file capabilities gains"
           " what the runtime left in the inheritable set", "empty inheritable and ambient sets",
           rows=("inheritable_set_is_empty", "ambient_set_is_empty")),
    # --- Other processes, IPC, terminal
    Escape("kill(2), ptrace(2) of the host's processes", "root inside signals or traces a process"
           " of the host", "a PID namespace",
           rows=("host_processes_are_safe", "host_processes_are_hidden")),
    Escape("The session keyring", "the command reads or clears the keys of the caller's session,"
           " for which there is no namespace", "a new session keyring",
           rows=("callers_keys_are_hidden",),
           tests=("stages/05_userns/test_userns.py"
                  "::test_the_callers_keys_are_not_the_containers",),
           seen="at 04, and at 05 without keyctl(2): the key's payload is read"),
    Escape("System V and POSIX queues", "the command reads messages of the host's programs",
           "an IPC namespace", rows=("sysv_ipc_is_hidden", "posix_queue_is_hidden")),
    Escape("CVE-2017-5226", "the command types into the caller's terminal by TIOCSTI",
           "a terminal of its own; the seccomp filter",
           rows=("terminal_is_its_own", "terminal_is_that_of_its_session",
                 "typed_input_stays_inside", "terminal_cannot_be_typed_into",
                 "console_cannot_be_pasted_into")),
    Escape("CVE-2019-10063", "the same, with a bit in the high half of the ioctl's number",
           "the seccomp filter compares 32 bits", rows=("terminal_input_has_no_disguise",)),
    # --- cgroups
    Escape("A fork bomb", "the command makes processes until the host can make none", "pids.max",
           rows=("fork_bomb_is_contained",)),
    Escape("Memory exhaustion", "the command allocates until the host's OOM killer chooses one of"
           " the host's processes", "memory.max, memory.swap.max, memory.oom.group",
           rows=("memory_limit_kills_all", "swap_is_limited")),
    Escape("Leaving the cgroup", "root inside raises its own limits, or moves to another cgroup",
           "a cgroup namespace; the limits lie above what is delegated",
           rows=("limits_cannot_be_raised", "cgroup_cannot_be_left")),
    # --- System calls
    Escape("open_by_handle_at(2) (\"Shocker\")", "root inside opens the host's files by their"
           " inode numbers", "no CAP_DAC_READ_SEARCH; the seccomp filter",
           rows=("forbidden_calls_are_denied", "bounding_set_is_small")),
    Escape("bpf(2), io_uring, userfaultfd(2), perf_event_open(2)", "the command reaches parts of"
           " the kernel in which many holes were found", "the seccomp filter",
           rows=("forbidden_calls_are_denied",)),
    Escape("CVE-2022-0185, CVE-2024-1086", "the command makes a user namespace, to be root for"
           " code of the kernel that trusts root", "no user namespaces inside",
           rows=("no_namespaces_inside", "other_namespaces_are_denied",
                 "clone_flags_have_no_disguise", "clone3_is_not_there")),
    Escape("Other ABIs", "the command makes a forbidden call through int 0x80 or as an x32 call",
           "the filter knows the architecture", rows=("int80_calls_are_killed",
                                                      "x32_calls_are_killed")),
    Escape("Calls that are newer than the filter", "the command makes a call that the profile's"
           " author could not know", "ENOSYS for what the profile does not know",
           rows=("newer_calls_are_not_there",)),
    Escape("A port open to the network", "a port that is for the machine's own"
           " programs, or for other containers, is reached from its network",
           "a port is published at the address given, and nothing else is forwarded",
           rows=("port_is_published_at_its_address", "container_is_shut_outside")),
    # --- Network
    Escape("CVE-2020-15257", "the command connects to an abstract Unix socket of the host",
           "a network namespace", rows=("abstract_sockets_are_refused",)),
    Escape("CVE-2020-8558", "the command, or a neighbour of the host, reaches what listens on"
           " the host's 127.0.0.1",
           "a network namespace; the loopback takes no packets from other links, whatever the"
           " rules",
           rows=("hosts_loopback_is_refused", "no_packet_to_hosts_loopback",
                 "loopback_is_shut_without_rules", "published_at_loopback_is_shut_outside",
                 "gateway_is_not_the_host")),
    Escape("CVE-2021-3773 (\"port shadow\")", "the command sends from the port of a service of the"
           " host's, or of another container's, and gets what that service's clients send",
           "what leaves by the bridge gets another source port",
           tests=("stages/08c_network/test_bridge_guards.py"
                  "::test_a_container_gets_no_packet_for_a_port_that_is_not_its_own",),
           seen="with masquerade alone: the client's packet goes to the container"),
    Escape("CVE-2020-13401", "the command announces itself as the host's IPv6 router",
           "the bridge has no IPv6", rows=("host_speaks_no_ipv6_with_it",)),
    Escape("Forged source addresses", "the command sends the host packets that claim to come from"
           " 127.0.0.2 or from another network", "rp_filter, and a rule that drops other sources",
           rows=("forged_source_is_dropped",),
           tests=("stages/08c_network/test_bridge_guards.py"
                  "::test_no_forged_packet_gets_to_the_host",),
           seen="with each guard taken away, the packet arrives"),
    # --- The security module
    Escape("CVE-2019-16884", "the image has ordinary files at /proc where the kernel has those to"
           " which a label is written", "the label is written by a descriptor of the container's"
           " own procfs, and the kernel is asked whether the file is its own",
           rows=("false_proc_does_not_help",)),
    # --- Fail-open
    Escape("Set-up that fails open", "a call of the set-up fails, and the container starts without"
           " that layer", "every result is checked before the command runs",
           rows=("no_chroot_no_start", "no_namespaces_no_start", "no_pivot_no_start",
                 "no_limit_no_start", "no_filter_no_start")),
)
