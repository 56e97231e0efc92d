"""Mutants of stage 09: the security module."""

load(":mutant.bzl", "change", "mutant")

_CONFINEMENT = "09_lsm/confinement.cc"
_APPARMOR = "09_lsm/apparmor.cc"
_SELINUX = "09_lsm/selinux.cc"

MUTANTS = [
    mutant(
        name = "not_confined",
        stage = "09_lsm",
        caught_by = "profile_confines_the_command",
        why = "everything else is there, and nobody asks the kernel",
        changes = [change("09_lsm/main.cc", "    confinement.confine_command(host);\n", "")],
        also = [
            "default_profile_is_used",
            "firmware_stays_hidden",
            "label_cannot_be_left",
            "label_confines_the_command",
            "label_denies_mount",
            "label_denies_packet_socket",
            "label_denies_ptrace",
            "label_denies_sysctls",
            "levels_keep_files_apart",
            "mount_is_denied",
            "own_level_is_drawn",
            "packet_socket_is_denied",
            "profile_cannot_be_left",
            "ptrace_is_denied",
            "sysctls_stay_read_only",
            "volume_without_label_is_closed",
        ],
        because = "what only the profile or the label denies is allowed without it",
    ),
    mutant(
        name = "label_written_by_path",
        stage = "09_lsm",
        caught_by = "false_proc_does_not_help",
        why = "runc did it until CVE-2019-16884, and let volumes cover /proc, which stage 06 refuses",
        changes = [
            change("06_pivot_root/volume.cc", """{"/proc", "/sys"}""", """{"/sys"}"""),
            change("06_pivot_root/mount_point.cc", """is_in(where, "/proc") || """, ""),
            change("06_pivot_root/mount_point.cc", "fs.f_type == PROC_SUPER_MAGIC || ", ""),
            change(_APPARMOR, """  const UniqueFd file = open_own(proc, "exec");
""", """  (void)proc;
  const UniqueFd file(open("/proc/self/attr/apparmor/exec", O_WRONLY | O_CLOEXEC));
"""),
            change(_APPARMOR, "#include <unistd.h>\n", "#include <fcntl.h>\n#include <unistd.h>\n"),
        ],
        also = ["nothing_is_left"],
        because = "the label is written into a file of the host's, which is in the volume",
    ),
    mutant(
        name = "missing_profile_ignored",
        stage = "09_lsm",
        caught_by = "missing_profile_stops_the_start",
        why = "the default profile may be missing, so why not another",
        changes = [change(_CONFINEMENT, "  if (!asked.empty()) throw refusal(profile, error);\n", "")],
    ),
    mutant(
        name = "only_if_asked_for",
        stage = "09_lsm",
        caught_by = "default_profile_is_used",
        why = "an option that is not given is an option that is not wanted",
        changes = [change(_CONFINEMENT, "if (asked == kUnconfined) return", "if (asked.empty() || asked == kUnconfined) return")],
    ),
    mutant(
        name = "level_is_a_constant",
        stage = "09_lsm",
        caught_by = "own_level_is_drawn",
        why = "one pair of categories was enough to see that they work",
        changes = [change(
            _SELINUX,
            """fmt::format("s0:c{},c{}", std::min(drawn[0], drawn[1]), std::max(drawn[0], drawn[1]))""",
            """std::string("s0:c1,c2")""",
        )],
    ),
    mutant(
        name = "level_left_out",
        stage = "09_lsm",
        caught_by = "levels_keep_files_apart",
        why = "the type is what the rules are about",
        changes = [change(
            _SELINUX,
            "or_else(request.type, kDefaultType), level);",
            "or_else(request.type, kDefaultType), \"s0:c0.c1023\");",
        )],
        also = [
            "label_confines_the_command",
            "own_level_is_drawn",
        ],
        because = "the command has all categories, whatever level it was to have",
    ),
    mutant(
        name = "missing_type_ignored",
        stage = "09_lsm",
        caught_by = "missing_type_stops_the_start",
        why = "the module may be missing, so why not another type",
        changes = [change(_CONFINEMENT, "  if (!asked.is_default()) throw Failure(*why);\n", "")],
    ),
    mutant(
        name = "disable_ignored",
        stage = "09_lsm",
        caught_by = "label_can_be_disabled",
        why = "the option is parsed, and no code looks at it",
        changes = [change(_CONFINEMENT, "  if (asked.disabled) return Labels();\n", "")],
    ),
]
