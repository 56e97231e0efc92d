"""Stage 09: what a learner writes, and in which order."""

from __future__ import annotations

from harness.learning.skeleton import Todo
from harness.learning.task import CORE, ROBUST, THEN, Example, Milestone, Task

MODULE = "a security module"

TASK = Task(
    stage="09",
    goal="Have a Linux security module confine the command, whatever the other layers allow it.",
    examples=(
        Example("09_lsm --security-opt apparmor=unconfined cat /proc/self/attr/current",
                "unconfined", MODULE),
        Example("09_lsm --security-opt apparmor=missing true 2>/dev/null; echo $?", "125"),
        Example("09_lsm --security-opt apparmor= true 2>/dev/null; echo $?", "125"),
        Example("09_lsm --security-opt nonsense true 2>/dev/null; echo $?", "125"),
    ),
    toolkit=(
        ("SecurityOptions security", "`apparmor`: the profile that was asked for, or \"\""),
        ("open_in_root(directory, path, flags, RESOLVE_NO_XDEV)", "a path that stays in the mount"
         " of `directory`"),
        ("open_proc()", "the host's /proc, for the parent"),
        ("HostMounts host", "stage 06: `proc` is the container's own /proc, whatever is mounted on"
         " it"),
    ),
    todos=(
        Todo("attributes.cc", "open_attribute", 1,
             "the file self/attr/NAME in `proc`, for reading and writing; -1 if the kernel has none"
             " (ENOENT). Then (milestone 4): an image can have anything at /proc. Pass no mount on"
             " the way, and have fstatfs(2) say that it is the kernel's.",
             "(void)proc, (void)name; return UniqueFd();"),
        Todo("apparmor.cc", "change_profile_at_exec", 1,
             "one write(2) of \"exec PROFILE\" to our own attribute exec. The kernel changes the"
             " profile with the next execve(2) of this process, not before.",
             "(void)proc, (void)profile;"),
        Todo("confinement.cc", "Confinement::confine_command", 1,
             "change_profile_at_exec() with the profile_, if there is one."),
        Todo("apparmor.cc", "test_profile", 2,
             "\"permprofile PROFILE\" to our attribute current changes nothing: the write(2) only"
             " says whether the change would be allowed.",
             "(void)profile; return 0;"),
        Todo("confinement.cc", "find_profile", 2,
             "the profile's name, or \"\" for none. What is asked for and cannot be done is a"
             " Failure; what is the default and cannot be done, tell_that_there_is_no_wall().",
             "return security.apparmor.empty() ? kDefaultProfile : security.apparmor;"),
        Todo("selinux.cc", "change_label_at_exec", 5,
             "one write(2) of the label to our own attribute exec.",
             "(void)proc, (void)label;"),
        Todo("selinux.cc", "random_level", 5,
             "\"s0:cA,cB\", with two different random numbers from 0 to 1023, the smaller one"
             " first.",
             "return \"s0:c1,c2\";"),
        Todo("selinux.cc", "may_change_to", 5,
             "ask the policy by may(): an execve(2) to another label is the permission transition"
             " of the class process, and with no_new_privs also nnp_transition of process2.",
             "(void)label; return true;"),
        Todo("kernel_log.cc", "denial_in", 6,
             "the text from apparmor=\"DENIED\" on, if it is a record of the audit subsystem and"
             " about this label.",
             "(void)record, (void)label; return \"\";"),
    ),
    milestones=(
        Milestone(CORE, "The command has the profile that was asked for", (
            "profile_confines_the_command",)),
        Milestone(CORE, "No profile is an error, or a choice", (
            "missing_profile_stops_the_start", "unconfined_can_be_chosen",
            "default_profile_is_used")),
        Milestone(THEN, "What the profile denies: it is given, is all of it in force?", (
            "mount_is_denied", "sysctls_stay_read_only", "firmware_stays_hidden",
            "ptrace_is_denied", "packet_socket_is_denied", "profile_cannot_be_left")),
        Milestone(THEN, "Whatever the image has at /proc", ("false_proc_does_not_help",)),
        Milestone(THEN, "The same with SELinux, by a label with a level of its own", (
            "label_confines_the_command", "label_can_be_disabled", "missing_type_stops_the_start",
            "own_level_is_drawn", "levels_keep_files_apart", "label_denies_mount",
            "label_denies_ptrace", "label_denies_packet_socket", "label_denies_sysctls",
            "label_cannot_be_left", "volume_without_label_is_closed")),
        Milestone(ROBUST, "--verbose shows what was denied"),
    ),
)
