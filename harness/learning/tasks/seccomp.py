"""Stage 08b: what a learner writes, and in which order."""

from __future__ import annotations

from harness.learning.skeleton import Todo
from harness.learning.task import CORE, ROBUST, THEN, Example, Milestone, Task

SECCOMP = "an overlay in it"  # the last of what a start of this stage needs

TASK = Task(
    stage="08b",
    goal="Leave root inside few capabilities, and its programs few of the kernel's system calls.",
    examples=(
        Example("08b_seccomp sh -c 'grep CapBnd /proc/self/status'", "CapBnd:\t00000000a80425fb",
                SECCOMP),
        Example("08b_seccomp --cap-drop ALL sh -c 'grep CapEff /proc/self/status'",
                "CapEff:\t0000000000000000", SECCOMP),
        Example("08b_seccomp sh -c 'grep NoNewPrivs /proc/self/status'", "NoNewPrivs:\t1", SECCOMP),
        Example("08b_seccomp mount -t tmpfs x /tmp 2>/dev/null; echo $?", "1", SECCOMP),
        Example("08b_seccomp --cap-add NONSENSE true 2>/dev/null; echo $?", "125"),
    ),
    toolkit=(
        ("CapabilityOptions capabilities", "`granted`: a set of bits, by --cap-add and --cap-drop;"
         " `no_new_privs`"),
        ("bit_of(capability), contains(set, capability)", "a set of capabilities"),
        ("SeccompOptions seccomp", "`program`: the filter as BPF instructions, compiled from the"
         " profile; `flags` for seccomp(2)"),
        ("become_user(ids)", "stage 05: --user"),
    ),
    todos=(
        Todo("capabilities.cc", "keep_only", 1,
             "take all but sets.bounding out of the bounding set (PR_CAPBSET_DROP), then"
             " become_user(ids), then reduce the process' own sets by capset(2) to those of `sets`:"
             " drop_privileges() above gives them, with inheritable and ambient empty; and clear"
             " the ambient set. A change from uid 0 would clear the sets before that: see"
             " PR_SET_KEEPCAPS. At last PR_SET_NO_NEW_PRIVS (milestone 2), unless it is switched"
             " off: then CAP_SYS_ADMIN has to stay until the execve(2). capabilities(7) has it"
             " all.",
             "become_user(ids);"),
        Todo("seccomp_filter.cc", "SeccompFilter::install", 2,
             "seccomp(2) with SECCOMP_SET_MODE_FILTER, options_.flags and options_.program, unless"
             " that is empty. Then (milestone 5): with --verbose, with_listener() and"
             " SECCOMP_FILTER_FLAG_NEW_LISTENER, whose descriptor goes to"
             " denied_.send_to_reporter()."),
        Todo("seccomp_filter.cc", "SeccompFilter::as_last_step", 2,
             "install(), as what exec_command() does last, and the descriptor that denied_ needs"
             " until then.",
             "return {};"),
        Todo("seccomp_filter.cc", "SeccompFilter::explain", 5,
             "if the command has died of SIGSYS, warn() that the filter, and no crash, has ended"
             " it.",
             "return exit_status;"),
    ),
    milestones=(
        Milestone(CORE, "Few capabilities", (
            "bounding_set_is_small", "effective_set_is_small", "inheritable_set_is_empty",
            "ambient_set_is_empty", "masks_cannot_be_lifted")),
        Milestone(CORE, "no_new_privs, and a filter as the last step", (
            "no_new_privs_is_set", "set_user_id_gives_nothing", "filter_is_installed",
            "parent_has_no_filter", "filter_is_the_last_call")),
        Milestone(THEN, "What the filter denies: the profile is given, is all of it in force?", (
            "forbidden_calls_are_denied", "int80_calls_are_killed", "x32_calls_are_killed",
            "clone3_is_not_there", "newer_calls_are_not_there", "terminal_cannot_be_typed_into",
            "terminal_input_has_no_disguise", "socket_families_are_few", "no_namespaces_inside")),
        Milestone(THEN, "--cap-add, --cap-drop and --seccomp", (
            "capabilities_can_be_dropped", "one_capability_can_be_dropped",
            "capability_can_be_added", "profile_of_a_file_is_used", "strict_profile_denies_more",
            "strict_profile_runs_a_shell")),
        Milestone(ROBUST, "Also for --init, and when a call fails"),
    ),
)
