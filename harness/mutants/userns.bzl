"""Mutants of stage 05: a user namespace."""

load(":mutant.bzl", "change", "mutant")

_INIT = "04_namespaces/init.cc"
_IDS = "05_userns/id_map.cc"

MUTANTS = [
    mutant(
        name = "uid_and_gid_maps_swapped",
        stage = "05_userns",
        caught_by = "given_maps_are_used",
        why = "it makes no difference for a user whose uid and gid are the same number",
        changes = [
            change(
                _IDS,
                """write_file(process + "uid_map", lines_of(ids.uid_map));""",
                """write_file(process + "uid_map", lines_of(ids.gid_map));""",
            ),
            change(
                _IDS,
                """write_file(process + "gid_map", lines_of(ids.gid_map));""",
                """write_file(process + "gid_map", lines_of(ids.uid_map));""",
            ),
        ],
        also = ["given_user_runs_the_command", "user_forms_are_understood"],
        because = "the ids on the host are those inside, mapped; these rows give maps, too",
    ),
    mutant(
        name = "root_stays_root",
        stage = "05_userns",
        caught_by = "root_inside_is_caller_outside",
        why = "the map 0 to the caller's id works for ordinary users, so it seems right for root," +
              " too",
        changes = [
            change(_IDS, "uid_map = std::move(maps.uid_map);", "uid_map = {{0, 0, 1}};"),
        ],
        also = ["sysctls_cannot_be_opened", "hosts_root_keeps_its_limits"],
        because = "the kernel's files belong to the host's root; the host's root is the owner",
    ),
    mutant(
        name = "all_ids_mapped",
        stage = "05_userns",
        caught_by = "no_user_beyond_the_map",
        why = "the author wanted files of the host to have their owners inside, too",
        changes = [
            change(_IDS, "uid_map = std::move(maps.uid_map);", "uid_map = {{0, 0, UINT32_MAX}};"),
        ],
        also = [
            "root_inside_is_caller_outside",
            "strangers_are_nobody",
            "sysctls_cannot_be_opened",
            "hosts_root_keeps_its_limits",
        ],
        because = "every id of the host then has an id inside; the host's root is the owner",
    ),
    mutant(
        name = "group_of_others",
        stage = "05_userns",
        caught_by = "group_inside_is_callers_outside",
        why = "a group for all containers, as a convenience",
        changes = [
            change(
                _IDS,
                "gid_map = std::move(maps.gid_map);",
                "gid_map = {{0, 100, 1}};",
            ),
        ],
    ),
    mutant(
        name = "maps_written_late",
        stage = "05_userns",
        caught_by = "given_user_runs_the_command",
        why = "the child did not wait, and could not become a user whose id was not mapped yet",
        changes = [
            change(
                "05_userns/main.cc",
                "#include \"common/run_main.h\"",
                "#include <unistd.h>\n#include \"common/run_main.h\"",
            ),
            change(
                "05_userns/main.cc",
                "shown = handshake.wait_for_parent();",
                "shown = ids.user_given ? MountsByPath() : handshake.wait_for_parent();",
            ),
            change("05_userns/main.cc", """    become_root(ids);
    mount_proc();
    make_workdir(process);
    become_user(find_user(ids, process));
""", """    if (!ids.user_given) become_root(ids);
    mount_proc();
    make_workdir(process);
    try {
      if (ids.user_given) become_root(ids);
      become_user(find_user(ids, process));
    } catch (const Failure&) {
    }
    if (ids.user_given) (void)handshake.wait_for_parent();
"""),
            change("05_userns/main.cc", """  write_id_maps(child.pid(), ids);
""", """  usleep(300 * 1000);
  write_id_maps(child.pid(), ids);
"""),
        ],
        also = ["fifo_for_users_ends", "given_user_has_no_capabilities", "user_forms_are_understood"],
        because = "these rows give a user, too",
    ),
    mutant(
        name = "init_shows_itself",
        stage = "05_userns",
        caught_by = "init_hides_the_hosts_program",
        why = "it is easily forgotten that PID 1 is a program of the host",
        changes = [
            change(_INIT, "check(prctl(PR_SET_DUMPABLE, 0), \"prctl(PR_SET_DUMPABLE, 0)\");", ""),
        ],
    ),
    mutant(
        name = "capabilities_dropped",
        stage = "05_userns",
        caught_by = "root_inside_has_capabilities",
        why = "the author drops all of them to be on the safe side, although those inside a user" +
              " namespace do not apply to the host",
        changes = [
            change("05_userns/main.cc", "#include \"common/run_main.h\"", """#include <linux/securebits.h>
#include <sys/prctl.h>
#include "common/run_main.h\""""),
            change("05_userns/main.cc", "    become_user(find_user(ids, process));\n", """    become_user(find_user(ids, process));
    (void)prctl(PR_SET_SECUREBITS, SECBIT_NOROOT);
"""),
        ],
        also = ["failed_call_is_noticed"],
        because = "its prctl(2) is not checked",
    ),
    mutant(
        name = "user_ignored",
        stage = "05_userns",
        caught_by = "given_user_runs_the_command",
        why = "--user was read, and then forgotten",
        changes = [change("05_userns/main.cc", "    become_user(find_user(ids, process));\n", "")],
        also = [
            "given_user_has_no_capabilities",
            "fifo_for_users_ends",
            "user_forms_are_understood",
        ],
        because = "exec(2) keeps the capabilities of uid 0, which it still is; these rows give a user, too",
    ),
    mutant(
        name = "group_after_user",
        stage = "05_userns",
        caught_by = "given_user_runs_the_command",
        why = "the new user may not change their group any more, and the result was not checked",
        changes = [
            change(
                _IDS,
                """check(setresgid(ids.group, ids.group, ids.group), "setresgid({0}, {0}, {0})", ids.group);
  check(setresuid(ids.user, ids.user, ids.user), "setresuid({0}, {0}, {0})", ids.user);""",
                """check(setresuid(ids.user, ids.user, ids.user), "setresuid({0}, {0}, {0})", ids.user);
  (void)!setresgid(ids.group, ids.group, ids.group);""",
            ),
        ],
        also = ["user_forms_are_understood"],
        because = "that row gives groups, too",
    ),
    mutant(
        name = "no_user_namespace_for_root",
        stage = "05_userns",
        caught_by = "own_user_namespace",
        why = "root does not need a user namespace",
        changes = [
            change(
                "05_userns/main.cc",
                "#include \"common/run_main.h\"",
                "#include <unistd.h>\n#include \"common/run_main.h\"",
            ),
            change(
                "05_userns/main.cc",
                "const auto namespaces = CLONE_NEWUSER | ",
                "const auto namespaces = (geteuid() == 0 ? 0 : CLONE_NEWUSER) | ",
            ),
            change("05_userns/main.cc", """  write_id_maps(child.pid(), ids);
""", """  if (geteuid() != 0) write_id_maps(child.pid(), ids);
"""),
            change(
                "05_userns/main.cc",
                "(show_with_ids_inside({root}, child.pid(), ids))",
                "(geteuid() == 0 ? MountsByPath() : show_with_ids_inside({root}, child.pid(), ids))",
            ),
        ],
        also = [
            "root_inside_is_caller_outside",
            "group_inside_is_callers_outside",
            "sysctls_cannot_be_opened",
            "hosts_files_keep_their_owner",
            "hosts_permissions_hold",
            "strangers_are_nobody",
            "no_user_beyond_the_map",
            "no_device_nodes",
            "given_maps_are_used",
            "given_user_runs_the_command",
            "init_hides_the_hosts_program",
            "hosts_root_keeps_its_limits",
            "user_forms_are_understood",
            "hosts_mount_flags_are_locked",
        ],
        because = "root without a user namespace is the host's root, and each row tries one thing; without the namespace there are no ids of its own" +
                  " that the host's root may do",
    ),
    mutant(
        name = "keyring_of_the_caller",
        stage = "05_userns",
        caught_by = "callers_keys_are_hidden",
        why = "there is no namespace for keys, so they are easily forgotten",
        changes = [change("05_userns/main.cc", "    join_new_keyring();\n", "")],
    ),
    mutant(
        name = "passwd_by_its_path",
        stage = "05_userns",
        caught_by = "users_come_from_the_root",
        why = "the root is the container's by then, so what is opened is, too",
        changes = [
            change(
                "05_userns/user_database.cc",
                "open_in_root(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY)",
                "open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)",
            ),
        ],
    ),
    mutant(
        name = "mounts_of_the_parent",
        stage = "05_userns",
        caught_by = "hosts_mount_flags_are_locked",
        why = "the parent has the same mounts, and may idmap them without setns(2)",
        changes = [
            change(
                "05_userns/idmapped_mounts.cc",
                """check_quietly(setns(childs.get(), CLONE_NEWNS), "setns(the child's mounts)");""",
                "",
            ),
        ],
    ),
    mutant(
        name = "root_not_idmapped",
        stage = "05_userns",
        caught_by = "roots_files_are_roots_inside",
        why = "the maps seem to cover files, too",
        changes = [
            change(
                "05_userns/main.cc",
                "show_with_ids_inside({root}, child.pid(), ids)",
                "MountsByPath()",
            ),
        ],
        also = ["missing_workdir_is_made", "made_files_are_roots_on_the_disk", "copies_are_copies"],
        because = "what is not mapped for reading is not mapped for writing either",
    ),
    mutant(
        name = "limits_of_the_hosts_root",
        stage = "05_userns",
        caught_by = "hosts_root_keeps_its_limits",
        why = "the ids inside are mapped to others, and so one thinks that root is charged for" +
              " nothing",
        changes = [
            change(
                _IDS,
                "if (geteuid() != 0 || owner == 0) return",
                "if (geteuid() != 0 || owner != 0) return",
            ),
        ],
    ),
    mutant(
        name = "ids_kept_without_a_zero",
        stage = "05_userns",
        caught_by = "unmapped_root_is_nobody_special",
        why = "the child has all capabilities in its namespace whatever its ids are, and id shows" +
              " 65534",
        changes = [
            change(
                _IDS,
                "check(setresgid(gid, gid, gid), \"setresgid({0}, {0}, {0})\", gid);",
                "if (gid == 0) check(setresgid(gid, gid, gid), \"setresgid({0}, {0}, {0})\", gid);",
            ),
            change(
                _IDS,
                "check(setresuid(uid, uid, uid), \"setresuid({0}, {0}, {0})\", uid);",
                "if (uid == 0) check(setresuid(uid, uid, uid), \"setresuid({0}, {0}, {0})\", uid);",
            ),
        ],
    ),
    mutant(
        name = "user_unchecked",
        stage = "05_userns",
        caught_by = "failed_call_is_noticed",
        why = "with all capabilities in a new user namespace, what could fail",
        changes = [
            change(
                _IDS,
                """check(setresuid(uid, uid, uid), "setresuid({0}, {0}, {0})", uid);""",
                """(void)!setresuid(uid, uid, uid);""",
            ),
        ],
    ),
    mutant(
        name = "group_of_another_field",
        stage = "05_userns",
        caught_by = "user_forms_are_understood",
        why = "uid and gid are the same for most users",
        changes = [change("05_userns/user_database.cc", "parse_id(fields[3])", "parse_id(fields[2])")],
    ),
    mutant(
        name = "member_by_prefix",
        stage = "05_userns",
        caught_by = "user_forms_are_understood",
        why = "the last name of a line has a line feed after it",
        changes = [change("05_userns/user_database.cc", "if (member == name)", "if (member.starts_with(name))")],
    ),
    mutant(
        name = "fifo_is_waited_for",
        stage = "05_userns",
        caught_by = "fifo_for_users_ends",
        why = "/etc/passwd is a file",
        changes = [change("05_userns/user_database.cc", "O_RDONLY | O_NONBLOCK | O_NOCTTY", "O_RDONLY | O_NOCTTY")],
    ),
    mutant(
        name = "root_unchecked",
        stage = "05_userns",
        caught_by = "failed_call_is_noticed",
        why = "the descriptor is there, so the directory can be entered",
        changes = [
            change(
                "05_userns/idmapped_mounts.cc",
                """check(fchdir(mount.get()), "fchdir({})", path);""",
                "(void)!fchdir(mount.get());",
            ),
        ],
    ),
]
