"""Stage 05: what a learner writes, and in which order."""

from __future__ import annotations

from harness.learning.skeleton import Todo
from harness.learning.task import CORE, ROBUST, THEN, Example, Milestone, Task

USERNS = "a user namespace"

TASK = Task(
    stage="05",
    goal="Make the command root inside and nobody special outside, so that an ordinary user can"
         " start"
         " the container.",
    examples=(
        Example("05_userns id -u", "0", USERNS),
        Example("05_userns hostname", "05_userns", USERNS),
        Example("05_userns sh -c 'mknod /tmp/disk b 254 0 2>/dev/null; echo $?'", "1", USERNS),
        Example("05_userns -u 999999999 true 2>/dev/null; echo $?", "125"),
        Example("05_userns --uid-map 0:1000 true 2>/dev/null; echo $?", "125"),
    ),
    toolkit=(
        ("IdOptions ids", "`ids.uid_map`, `ids.gid_map`: lists of {inside, outside, count}, read"
         " and"
         " checked; `ids.user`, `ids.group`, `ids.groups`"),
        ("write_file(path, text)", "opens a file of the kernel's and writes once: what uid_map"
         " wants"),
        ("run_program({\"newuidmap\", …})", "runs a program of the host's; throws Failure if it"
         " fails"),
        ("FdChannel", "two ends: send() a name and a descriptor, receive() it, false at"
         " end-of-file"),
    ),
    todos=(
        Todo("handshake.cc", "Handshake::let_child_go_on", 1,
             "send the child each of `mounts` by its path (none for milestone 1), and then a"
             " message"
             " without a name: go on."),
        Todo("handshake.cc", "Handshake::wait_for_parent", 1,
             "first close the end that is the parent's: while we hold it, its death would never be"
             " seen. Then receive until the message without a name. End-of-file before that: the"
             " parent has given up, which is a Failure.",
             "return {};"),
        Todo("id_map.cc", "write_id_maps", 1,
             "write /proc/CHILD/uid_map and gid_map: a line \"inside outside count\" for each"
             " range,"
             " all in one write(2). As an ordinary user you may write one's own id only, and"
             " gid_map"
             " only after \"deny\" to setgroups: see user_namespaces(7). Later (milestone 4): an"
             " ordinary user's ranges are written by newuidmap(1) and newgidmap(1)."),
        Todo("id_map.cc", "become_root", 1,
             "setresgid(2) and setresuid(2) to 0, if the maps have a 0: see maps(). Which of them"
             " first? And drop the supplementary groups, setgroups(2): where it is denied, EPERM is"
             " not a failure."),
        Todo("id_map.cc", "become_user", 4,
             "with --user (ids.user_given): become ids.group with ids.groups, and ids.user. In an"
             " order in which each step is still allowed."),
        Todo("idmapped_mounts.cc", "private_copy", 5,
             "a copy of the mount, see OPEN_TREE_CLONE in open_tree(2), with `flags`, and"
             " mount_setattr(2) with MS_PRIVATE for its propagation. No link in `path` is"
             " followed.",
             "throw Failure(\"private_copy(\" + path + \") is not written yet\");"),
        Todo("idmapped_mounts.cc", "show_with_ids_inside", 5,
             "root's files belong to id 0 outside, which has no name inside. As root of the host"
             " (is_root_of_the_host()), and in_mounts_of(child, …), for each path whose owner has"
             " no id inside (has_outside()): a private_copy() of its mount, with MOUNT_ATTR_IDMAP"
             " and the"
             " child's user namespace, see mount_setattr(2). What is mounted below goes with it if"
             " it"
             " can; if not, that is EINVAL for all of it: then without AT_RECURSIVE.",
             "return {};"),
        Todo("idmapped_mounts.cc", "attach_in_place", 5,
             "if there is a mount for `path` (take()), move_mount(2) it there, enter it by its"
             " descriptor, and return \".\".",
             "return path;"),
        Todo("keyring.cc", "join_new_keyring", 5,
             "keyctl(2) with KEYCTL_JOIN_SESSION_KEYRING. ENOSYS and EPERM are not failures: there"
             " are"
             " kernels, and filters, without keys."),
    ),
    milestones=(
        Milestone(CORE, "A user namespace, in which the command is root", (
            "own_user_namespace", "no_root_needed", "is_root_inside",
            "root_inside_has_capabilities")),
        Milestone(CORE, "Maps that name the caller and nobody else", (
            "root_inside_is_caller_outside", "group_inside_is_callers_outside",
            "setgroups_is_denied", "files_belong_to_the_caller", "strangers_are_nobody",
            "no_user_beyond_the_map")),
        Milestone(THEN, "What root inside cannot do", (
            "hosts_files_keep_their_owner", "hosts_permissions_hold", "sysctls_cannot_be_opened",
            "no_device_nodes")),
        Milestone(THEN, "--uid-map, --gid-map and --user", (
            "given_maps_are_used", "given_user_runs_the_command",
            "given_user_has_no_capabilities")),
        Milestone(ROBUST, "Root's own container, files and keys", again=("copies_are_copies",)),
    ),
)
