"""Mutants of stage 08b: capabilities and system calls."""

load(":mutant.bzl", "change", "mutant")

_CAPABILITIES = "08b_seccomp/capabilities.cc"
_PROFILE = "08b_seccomp/profile.cc"
_FILTER = "08b_seccomp/seccomp_filter.cc"

# The built-in profiles were compiled, by the stage's own code, when the stage was built. These do it
# at each start: with mistakes in that code, and with a profile in which `old` is `new`.
_COMPILED_AT_START = change(_FILTER, """  if (granted == default_capabilities()) return {std::begin(compiled), std::end(compiled)};
  return compile_once(json, granted);""", """  (void)compiled;
  return compile_profile(json, granted);""")

def default_profile(old, new):
    return change(
        _FILTER,
        "return built_in(kDefaultProgram, kDefaultJson, granted);",
        """{
    std::string json = kDefaultJson;
    const std::string old = R"profile(""" + old + """)profile";
    return compile_profile(json.replace(json.find(old), old.size(), R"profile(""" + new +
        """)profile"), granted);
  }""",
    )

MUTANTS = [
    mutant(
        name = "capabilities_kept",
        stage = "08b_seccomp",
        caught_by = "effective_set_is_small",
        why = "root of a user namespace is said to be harmless",
        changes = [change("08b_seccomp/main.cc", "drop_privileges(capabilities, terminal.give_to(find_user(layering, ids, process)));", """capabilities.granted = all_capabilities();
    drop_privileges(capabilities, terminal.give_to(find_user(layering, ids, process)));""")],
        also = ["init_has_few_rights", "one_capability_can_be_dropped", "bounding_set_is_small", "capabilities_can_be_dropped"],
        because = "a program that drops nothing keeps the capabilities in all sets",
    ),
    mutant(
        name = "bounding_set_full",
        stage = "08b_seccomp",
        caught_by = "bounding_set_is_small",
        why = "capset(2) looks as if it set every set",
        changes = [
            change(
                _CAPABILITIES,
                """check_quietly(prctl(PR_CAPBSET_DROP, capability), "prctl(PR_CAPBSET_DROP, {})", capability);""",
                "",
            ),
        ],
        also = ["init_has_few_rights", "one_capability_can_be_dropped", "capabilities_can_be_dropped"],
        because = "--cap-drop ALL is to empty the bounding set, too",
    ),
    mutant(
        name = "inheritable_kept",
        stage = "08b_seccomp",
        caught_by = "inheritable_set_is_empty",
        why = "Docker set it until CVE-2022-24769",
        changes = [change(_CAPABILITIES, ".inheritable = 0,", ".inheritable = granted,")],
    ),
    mutant(
        name = "ambient_kept",
        stage = "08b_seccomp",
        caught_by = "ambient_set_is_empty",
        why = "with them other users keep what --cap-add grants",
        changes = [
            change(_CAPABILITIES, ".inheritable = 0,", ".inheritable = granted,"),
            change(_CAPABILITIES, """  check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0),
        "prctl(PR_CAP_AMBIENT_CLEAR_ALL)");""", """  for (int capability = 0; contains(known, capability); ++capability) {
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
  }"""),
        ],
        also = ["inheritable_set_is_empty", "given_user_has_no_capabilities"],
        because = "only inheritable capabilities can be ambient, and a user other than root keeps" +
                  " these",
    ),
    mutant(
        name = "cap_drop_ignored",
        stage = "08b_seccomp",
        caught_by = "capabilities_can_be_dropped",
        why = "ALL is not the name of a capability",
        changes = [change(_CAPABILITIES, "return drop_all ? added :", "return")],
    ),
    mutant(
        name = "cap_add_ignored",
        stage = "08b_seccomp",
        caught_by = "capability_can_be_added",
        why = "--cap-add was read, and then forgotten",
        changes = [change(_CAPABILITIES, "(default_capabilities() & ~dropped) | added", "(default_capabilities() & ~dropped)")],
    ),
    mutant(
        name = "sys_admin_granted",
        stage = "08b_seccomp",
        caught_by = "masks_cannot_be_lifted",
        why = "without it mount(8) does not work",
        changes = [
            change("08b_seccomp/capability_names.cc", "    CAP_CHOWN, ", "    CAP_SYS_ADMIN, CAP_CHOWN, "),
            _COMPILED_AT_START,
        ],
        also = [
            "init_has_few_rights",
            "bounding_set_is_small",
            "effective_set_is_small",
            "forbidden_calls_are_denied",
            "clone3_is_not_there",
            "no_namespaces_inside",
            "other_namespaces_are_denied",
            "clone_flags_have_no_disguise",
        ],
        because = "the profile depends on the capabilities, as Docker's does",
    ),
    mutant(
        name = "new_privileges",
        stage = "08b_seccomp",
        caught_by = "set_user_id_gives_nothing",
        why = "seccomp(2) also accepts CAP_SYS_ADMIN",
        changes = [
            change(_CAPABILITIES, "no_new_privs ? 0 : bit_of(CAP_SYS_ADMIN)", "bit_of(CAP_SYS_ADMIN)"),
            change(_CAPABILITIES, """check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS, 1)");""", ""),
        ],
        also = ["init_has_few_rights", "no_new_privs_is_set"],
        because = "the kernel reports the flag and acts on it",
    ),
    mutant(
        name = "no_filter",
        stage = "08b_seccomp",
        caught_by = "filter_is_installed",
        why = "after capabilities are dropped, the container seems safe",
        changes = [change("08b_seccomp/main.cc", ", filter.as_last_step());", ");")],
        also = [
            "clone3_is_not_there",
            "forbidden_calls_are_denied",
            "int80_calls_are_killed",
            "newer_calls_are_not_there",
            "no_filter_no_start",
            "no_namespaces_inside",
            "profile_of_a_file_is_used",
            "socket_families_are_few",
            "strict_profile_denies_more",
            "terminal_cannot_be_typed_into",
            "terminal_input_has_no_disguise",
            "x32_calls_are_killed",
            "console_cannot_be_pasted_into",
            "clone_flags_have_no_disguise",
        ],
        because = "all of them need a filter",
    ),
    mutant(
        name = "filter_in_the_parent",
        stage = "08b_seccomp",
        caught_by = "parent_has_no_filter",
        why = "a filter is inherited, so it seems natural to install it before the fork",
        changes = [
            change("08b_seccomp/main.cc", "using namespace box;", "#include <sys/prctl.h>\nusing namespace box;"),
            change("08b_seccomp/main.cc", "  handshake.let_child_go_on(take_as_parent(layers.paths(), mounts, child.pid(), ids));", """  auto shown = take_as_parent(layers.paths(), mounts, child.pid(), ids);
  (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  filter.install();
  handshake.let_child_go_on(std::move(shown));"""),
        ],
        also = ["strict_profile_denies_more", "strict_profile_runs_a_shell"],
        because = "under the strict profile the parent itself cannot go on",
    ),
    mutant(
        name = "filter_too_early",
        stage = "08b_seccomp",
        caught_by = "filter_is_the_last_call",
        why = "no_new_privs and the filter are set up together in every tutorial",
        changes = [
            change("08b_seccomp/main.cc", ", filter.as_last_step());", ");"),
            change("08b_seccomp/main.cc", "    if (isolation.init) become_init();", """    filter.install();
    if (isolation.init) become_init();"""),
        ],
        also = [
            "profile_of_a_file_is_used",
            "strict_profile_denies_more",
            "strict_profile_runs_a_shell",
        ],
        because = "a container that does not start does not use a profile",
    ),
    mutant(
        name = "filter_optional",
        stage = "08b_seccomp",
        caught_by = "no_filter_no_start",
        why = "not every kernel has seccomp",
        changes = [
            change(_FILTER, """  return check(static_cast<int>(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw)),
               "seccomp(SECCOMP_SET_MODE_FILTER, {} instructions)", program.size());""", "  return static_cast<int>(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw));"),
        ],
    ),
    mutant(
        name = "architecture_not_checked",
        stage = "08b_seccomp",
        caught_by = "int80_calls_are_killed",
        why = "the first filter in every tutorial looks only at the number",
        changes = [
            change(_PROFILE, "SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS", "SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW"),
            _COMPILED_AT_START,
        ],
        also = ["x32_calls_are_killed"],
        because = "x32 is an architecture of its own",
    ),
    mutant(
        name = "x32_allowed",
        stage = "08b_seccomp",
        caught_by = "x32_calls_are_killed",
        why = "it is the same architecture, and Docker allows it",
        changes = [
            change(_PROFILE, "if (listed.empty()) return {native};", "if (listed.empty()) return {native, SCMP_ARCH_X32};"),
            _COMPILED_AT_START,
        ],
    ),
    mutant(
        name = "clone3_allowed",
        stage = "08b_seccomp",
        caught_by = "clone3_is_not_there",
        why = "threads need it",
        changes = [default_profile("\"clone3\"", "\"uselib\"")],
    ),
    mutant(
        name = "clone3_denied_with_eperm",
        stage = "08b_seccomp",
        caught_by = "clone3_is_not_there",
        why = "Docker returned it at first, and then programs could not start threads",
        changes = [default_profile("\"errnoRet\": 38", "\"errnoRet\": 1")],
    ),
    mutant(
        name = "newer_calls_allowed",
        stage = "08b_seccomp",
        caught_by = "newer_calls_are_not_there",
        why = "a list of denied calls contains only calls that existed when it was written",
        changes = [
            change(_PROFILE, "    ranges.emplace_back(last + 1, kX32Bit - 1);\n", ""),
            _COMPILED_AT_START,
        ],
    ),
    mutant(
        name = "tiocsti_in_64_bits",
        stage = "08b_seccomp",
        caught_by = "terminal_input_has_no_disguise",
        why = "SCMP_CMP_EQ is the obvious comparison",
        changes = [
            default_profile(
                "\"op\": \"SCMP_CMP_MASKED_EQ\", \"value\": 4294967295, \"valueTwo\": 21522",
                "\"op\": \"SCMP_CMP_EQ\", \"value\": 21522",
            ),
        ],
    ),
    mutant(
        name = "tiocsti_allowed",
        stage = "08b_seccomp",
        caught_by = "terminal_cannot_be_typed_into",
        why = "ioctl is allowed",
        changes = [default_profile("21522", "21532")],
        also = ["terminal_input_has_no_disguise"],
        because = "if the call is allowed, it is also allowed with a bit in the high half",
    ),
    mutant(
        name = "vsock_in_64_bits",
        stage = "08b_seccomp",
        caught_by = "socket_families_are_few",
        why = "Docker's profile does the same",
        changes = [
            default_profile(
                "\"op\": \"SCMP_CMP_MASKED_EQ\", \"value\": 4294967295, \"valueTwo\": 40",
                "\"op\": \"SCMP_CMP_EQ\", \"value\": 40",
            ),
        ],
    ),
    mutant(
        name = "namespaces_by_clone",
        stage = "08b_seccomp",
        caught_by = "no_namespaces_inside",
        why = "unshare is denied, and clone has to be allowed",
        changes = [
            default_profile(
                "\"value\": 268435456, \"valueTwo\": 268435456",
                "\"value\": 67108864, \"valueTwo\": 67108864",
            ),
        ],
        also = ["clone_flags_have_no_disguise"],
        because = "what clone(2) is allowed it is allowed in disguise",
    ),
    mutant(
        name = "keyrings_allowed",
        stage = "08b_seccomp",
        caught_by = "forbidden_calls_are_denied",
        why = "the list was typed by hand",
        changes = [default_profile("\"add_key\", \"request_key\", \"keyctl\"", "\"uselib\"")],
    ),
    mutant(
        name = "strict_is_default",
        stage = "08b_seccomp",
        caught_by = "strict_profile_denies_more",
        why = "one profile seemed to be enough",
        changes = [change(_FILTER, "built_in(kStrictProgram, kStrictJson, granted)", "built_in(kDefaultProgram, kDefaultJson, granted)")],
    ),
    mutant(
        name = "strict_without_pipes",
        stage = "08b_seccomp",
        caught_by = "strict_profile_runs_a_shell",
        why = "the list was made with strace of a program that does not use them",
        changes = [change(_FILTER, "return built_in(kStrictProgram, kStrictJson, granted);", """{
    std::string json = kStrictJson;
    const std::string old = "\\"pipe\\", \\"pipe2\\", ";
    return compile_profile(json.replace(json.find(old), old.size(), ""), granted);
  }""")],
    ),
    mutant(
        name = "profile_file_ignored",
        stage = "08b_seccomp",
        caught_by = "profile_of_a_file_is_used",
        why = "--seccomp is compared with one name, and every other word means the other profile",
        changes = [change(_FILTER, "BpfProgram program = compile_once(json, granted);", "BpfProgram program = built_in(kDefaultProgram, kDefaultJson, granted);")],
    ),
    mutant(
        name = "one_capability_stays",
        stage = "08b_seccomp",
        caught_by = "one_capability_can_be_dropped",
        why = "--cap-drop ALL is what all the examples have",
        changes = [change(_CAPABILITIES, "(default_capabilities() & ~dropped) | added", "default_capabilities() | added")],
    ),
    mutant(
        name = "init_keeps_all",
        stage = "08b_seccomp",
        caught_by = "init_has_few_rights",
        why = "the init is the stage's own program, so there seems to be no reason to drop its" +
              " capabilities",
        changes = [
            change("08b_seccomp/main.cc", """    drop_privileges(capabilities, terminal.give_to(find_user(layering, ids, process)));
    die_with(parent_pidfd);
    if (isolation.init) become_init();
""", """    die_with(parent_pidfd);
    if (isolation.init) become_init();
    drop_privileges(capabilities, terminal.give_to(find_user(layering, ids, process)));
"""),
        ],
    ),
    mutant(
        name = "pasting_allowed",
        stage = "08b_seccomp",
        caught_by = "console_cannot_be_pasted_into",
        why = "TIOCSTI has the CVE numbers",
        changes = [default_profile("21532", "21599")],
    ),
    mutant(
        name = "clone_in_64_bits",
        stage = "08b_seccomp",
        caught_by = "clone_flags_have_no_disguise",
        why = "the author masked the whole register, including its high half",
        changes = [
            default_profile(
                "\"value\": 268435456, \"valueTwo\": 268435456",
                "\"value\": 18446744069683019776, \"valueTwo\": 268435456",
            ),
        ],
    ),
    mutant(
        name = "bounding_set_unchecked",
        stage = "08b_seccomp",
        caught_by = "failed_call_is_noticed",
        why = "a capability that an older kernel does not know cannot be dropped",
        changes = [
            change(
                _CAPABILITIES,
                """check_quietly(prctl(PR_CAPBSET_DROP, capability), "prctl(PR_CAPBSET_DROP, {})", capability);""",
                """(void)prctl(PR_CAPBSET_DROP, capability);""",
            ),
        ],
        also = ["failed_call_for_an_option_is_noticed"],
        because = "the bounding set is dropped with these options, too",
    ),
]
