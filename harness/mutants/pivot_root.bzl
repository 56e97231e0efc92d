"""Mutants of stage 06: pivot_root."""

load(":mutant.bzl", "change", "mutant")

_EXEC = "01_exec/process.cc"
_MOUNTS = "06_pivot_root/mounts.cc"
_KERNEL_PATHS = "06_pivot_root/kernel_paths.cc"

MUTANTS = [
    mutant(
        name = "old_root_left",
        stage = "06_pivot_root",
        caught_by = "old_root_is_gone",
        why = "the command does not see the old root any more",
        changes = [
            change(_MOUNTS, """check(umount2(".", MNT_DETACH), "umount2(., MNT_DETACH)");""", ""),
        ],
        also = [
            "second_chroot_leads_nowhere",
            "kept_directory_leads_nowhere",
            "dotdot_stops_at_the_root",
            "users_come_from_the_root",
        ],
        because = "a mount that remains can be entered: '..' at the root leads to the mount on top",
    ),
    mutant(
        name = "old_root_kept_open",
        stage = "06_pivot_root",
        caught_by = "descriptors_are_closed",
        why = "a descriptor for the way back, which the command inherits",
        changes = [
            change(
                "06_pivot_root/main.cc",
                "#include \"common/run_main.h\"",
                "#include <fcntl.h>\n#include \"common/run_main.h\"",
            ),
            change("06_pivot_root/main.cc", """    pivot_into(take_root(root, shown));
""", """    const int old_root = open("/", O_RDONLY | O_DIRECTORY);
    (void)fcntl(old_root, F_DUPFD, 100);
    pivot_into(take_root(root, shown));
"""),
            change(
                _EXEC,
                "close_all_but(still_needed);",
                """still_needed.push_back(100);
  close_all_but(still_needed);""",
            ),
        ],
    ),
    mutant(
        name = "chroot_after_failed_pivot",
        stage = "06_pivot_root",
        caught_by = "no_pivot_no_start",
        why = "as a convenience: pivot_root(2) fails on an initramfs",
        changes = [
            change(
                _MOUNTS,
                """check(syscall(SYS_pivot_root, ".", "."), "pivot_root(., .)");""",
                """if (syscall(SYS_pivot_root, ".", ".") == -1) {
    check(chroot("."), "chroot(.)");
    return;
  }""",
            ),
        ],
    ),
    mutant(
        name = "volumes_of_the_parent",
        stage = "06_pivot_root",
        caught_by = "hosts_mount_flags_are_locked",
        why = "the parent can walk into every directory of the host's, so it makes the copies there",
        changes = [
            change(
                _MOUNTS,
                "in_mounts_of(child, [&] { take_volumes_as_they_are(mounts.volumes, taken); });",
                "take_volumes_as_they_are(mounts.volumes, taken);",
            ),
        ],
    ),
    mutant(
        name = "still_a_chroot",
        stage = "06_pivot_root",
        caught_by = "namespaces_root_is_its_root",
        why = "the root is a mount now, and that looks sufficient",
        changes = [
            change(
                _MOUNTS,
                """check(syscall(SYS_pivot_root, ".", "."), "pivot_root(., .)");
  check(umount2(".", MNT_DETACH), "umount2(., MNT_DETACH)");""",
                """check(chroot("."), "chroot(.)");""",
            ),
        ],
        also = ["no_pivot_no_start"],
        because = "the program never makes the call that fails there",
    ),
    mutant(
        name = "masks_forgotten",
        stage = "06_pivot_root",
        caught_by = "kernel_files_are_masked",
        why = "everything works without them",
        changes = [
            change("06_pivot_root/main.cc", """    protect_kernel_paths(host);
""", ""),
        ],
        also = ["firmware_is_masked", "proc_paths_are_read_only"],
        because = "one step masks and protects all of them",
    ),
    mutant(
        name = "interrupts_shown",
        stage = "06_pivot_root",
        caught_by = "kernel_files_are_masked",
        why = "the list was typed by hand",
        changes = [
            change(_KERNEL_PATHS, "\"interrupts\",  ", ""),
            change(_KERNEL_PATHS, "\"timer_list\", ", ""),
            change(_KERNEL_PATHS, "\"keys\",", ""),
        ],
    ),
    mutant(
        name = "firmware_shown",
        stage = "06_pivot_root",
        caught_by = "firmware_is_masked",
        why = "the author thought only of /proc",
        changes = [change(_KERNEL_PATHS, "\"firmware\", ", "")],
    ),
    mutant(
        name = "irq_writable",
        stage = "06_pivot_root",
        caught_by = "proc_paths_are_read_only",
        why = "the list was typed by hand",
        changes = [change(_KERNEL_PATHS, "\"irq\", ", "")],
    ),
    mutant(
        name = "sysctls_writable",
        stage = "06_pivot_root",
        caught_by = "proc_paths_are_read_only",
        why = "some programs set sysctls of their own network namespace",
        changes = [change(_KERNEL_PATHS, "\"sys\", ", "")],
    ),
    mutant(
        name = "sys_writable",
        stage = "06_pivot_root",
        caught_by = "sys_is_read_only",
        why = "a copy of a mount seems harmless",
        changes = [
            change(
                _MOUNTS,
                "constexpr unsigned kAttributes = kDataOnly | MOUNT_ATTR_RDONLY;",
                "constexpr unsigned kAttributes = kDataOnly;",
            ),
        ],
    ),
    mutant(
        name = "dev_of_the_host",
        stage = "06_pivot_root",
        caught_by = "dev_is_minimal",
        why = "it contains everything that programs need",
        changes = [
            change(
                _MOUNTS,
                "  for (const Volume& volume : mounts.volumes) {\n    host.volumes",
                """  host.devices.emplace_back("", copy_mount("/dev", MOUNT_ATTR_NOSUID));
  for (const Volume& volume : mounts.volumes) {
    host.volumes""",
            ),
            change(_MOUNTS, """  attach_on(dev, place, "/dev");""", """  attach_on(devices.back().second, place, "/dev");
  return;"""),
        ],
        also = [
            "terminal_is_given_back",
            "terminal_is_its_own",
            "terminal_is_that_of_its_session",
            "nothing_is_left",
            "devices_cannot_be_changed",
        ],
        because = "what the command writes to /dev/shm appears on the host, and the only terminals are the host's",
    ),
    mutant(
        name = "no_random",
        stage = "06_pivot_root",
        caught_by = "dev_is_minimal",
        why = "the author thought only of null, zero and tty",
        changes = [change(_MOUNTS, "{\"random\", 1, 8}, {\"urandom\", 1, 9},", "")],
    ),
    mutant(
        name = "null_is_a_file",
        stage = "06_pivot_root",
        caught_by = "dev_null_works",
        why = "open(2) with O_CREAT makes the missing file, and echo works with it",
        changes = [change(
            _MOUNTS,
            "    attach_in(dev, name, mount);\n  };\n  for (",
            "    if (name != \"null\") attach_in(dev, name, mount);\n  };\n  for (",
        )],
    ),
    mutant(
        name = "no_devpts",
        stage = "06_pivot_root",
        caught_by = "terminals_are_own",
        why = "only tmux and sshd complain",
        changes = [
            change(_MOUNTS, "  attach_new(\"pts\", devpts);\n", ""),
        ],
    ),
    mutant(
        name = "errors_to_the_callers_terminal",
        stage = "06_pivot_root",
        caught_by = "terminal_is_its_own",
        why = "the author thought of what the command reads and prints",
        changes = [change(
            "06_pivot_root/own_terminal.cc",
            "for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {",
            "for (const int fd : {STDIN_FILENO, STDOUT_FILENO}) {",
        )],
    ),
    mutant(
        name = "terminal_of_the_caller",
        stage = "06_pivot_root",
        caught_by = "typed_input_stays_inside",
        why = "the command has a process group of its own, as each job of a shell has",
        changes = [
            change(
                "06_pivot_root/outer_terminal.cc",
                "input_(open_again(first_terminal({STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}))),",
                "input_(),",
            ),
            change("06_pivot_root/own_terminal.cc", "Child::Leads::kSession", "Child::Leads::kGroup"),
        ],
        also = [
            "terminal_is_given_back",
            "terminal_is_its_own",
            "terminal_is_that_of_its_session",
            "terminal_survives_a_killed_parent",
        ],
        because = "the modes of the terminal that the command has are its caller's, too",
    ),
    mutant(
        name = "no_controlling_terminal",
        stage = "06_pivot_root",
        caught_by = "terminal_is_that_of_its_session",
        why = "the command can read and write, and its author pressed no Ctrl-C",
        changes = [change(
            "06_pivot_root/own_terminal.cc",
            "check(ioctl(slave_.get(), TIOCSCTTY, 0), \"ioctl(the new terminal, TIOCSCTTY)\");",
            "",
        )],
        also = ["ctrl_c_arrives_once"],
        because = "a terminal sends signals to its session only",
    ),
    mutant(
        name = "killed_parent_leaves_terminal_raw",
        stage = "06_pivot_root",
        caught_by = "terminal_survives_a_killed_parent",
        why = "a destructor restores the terminal in all cases that the author could think of",
        changes = [change("06_pivot_root/own_terminal.cc", "outer_.give_back_after_us();", "")],
    ),
    mutant(
        name = "no_shared_memory",
        stage = "06_pivot_root",
        caught_by = "shared_memory_works",
        why = "only databases and browsers complain",
        changes = [
            change(
                _MOUNTS,
                """  attach_new("shm", new_mount("tmpfs", kDataOnly, {{"mode", "1777"}, {"size", "64m"}}));""",
                "",
            ),
        ],
        also = ["shared_memory_is_for_data"],
        because = "what is not mounted has no flags",
    ),
    mutant(
        name = "no_standard_links",
        stage = "06_pivot_root",
        caught_by = "dev_stdin_is_there",
        why = "they are not devices, so they are easily forgotten",
        changes = [change(_MOUNTS, """{"/proc/self/fd/0", "stdin"},""", "")],
    ),
    mutant(
        name = "devices_of_the_root_work",
        stage = "06_pivot_root",
        caught_by = "planted_device_is_dead",
        why = "the root is the user's own directory, so nodev seems needless",
        changes = [change(_MOUNTS, "take_mount(root, shown, MOUNT_ATTR_NODEV)", "take_mount(root, shown, 0)")],
    ),
    mutant(
        name = "volumes_are_folders",
        stage = "06_pivot_root",
        caught_by = "single_file_is_shown",
        why = "few people know that a single file can be bind-mounted",
        changes = [
            change(
                _MOUNTS,
                "attach_on(mount, place, volume.target);",
                "if (is_directory(mount.get())) attach_on(mount, place, volume.target);",
            ),
        ],
        also = ["masks_are_the_hosts_null"],
        because = "that row shows a file as a volume",
    ),
    mutant(
        name = "volumes_ignored",
        stage = "06_pivot_root",
        caught_by = "volume_is_shown",
        why = "they were attached below the old root, and disappeared with it",
        changes = [
            change(
                _MOUNTS,
                "attach_on(mount, place, volume.target);",
                "(void)mount;",
            ),
        ],
        also = [
            "volume_covers_none_of_our_mounts",
            "volume_target_leads_nowhere",
            "volume_can_be_written",
            "read_only_volume_cannot_be_written",
            "volume_brings_no_device",
            "single_file_is_shown",
            "volume_stays_inside",
            "tmpfs_is_for_data",
            "tmpfs_has_its_size",
            "masks_are_the_hosts_null",
            "hosts_roots_files_are_closed",
        ],
        because = "without the volume there is nothing to look at",
    ),
    mutant(
        name = "volume_never_read_only",
        stage = "06_pivot_root",
        caught_by = "read_only_volume_cannot_be_written",
        why = "mount(2) ignores MS_RDONLY beside MS_BIND",
        changes = [
            change(
                _MOUNTS,
                "kNoDevices | (volume.read_only ? MOUNT_ATTR_RDONLY : 0U)",
                "kNoDevices",
            ),
        ],
        also = ["read_only_volume_covers_submounts"],
        because = "what is mounted in a volume has the volume's flags",
    ),
    mutant(
        name = "volume_always_read_only",
        stage = "06_pivot_root",
        caught_by = "volume_can_be_written",
        why = "to be on the safe side",
        changes = [
            change(
                _MOUNTS,
                "kNoDevices | (volume.read_only ? MOUNT_ATTR_RDONLY : 0U)",
                "kNoDevices | MOUNT_ATTR_RDONLY",
            ),
        ],
        also = ["tmpfs_has_its_size"],
        because = "a tmpfs is mounted with the flags of a volume",
    ),
    mutant(
        name = "volume_brings_devices",
        stage = "06_pivot_root",
        caught_by = "volume_brings_no_device",
        why = "a bind mount is supposed to behave like the original",
        changes = [
            change(
                _MOUNTS,
                "kNoDevices | (volume.read_only ? MOUNT_ATTR_RDONLY : 0U)",
                "volume.read_only ? MOUNT_ATTR_RDONLY : 0U",
            ),
        ],
        also = ["tmpfs_is_for_data", "volumes_submounts_bring_no_device"],
        because = "the flags are those of all that is mounted for the user",
    ),
    mutant(
        name = "volume_point_made_from_outside",
        stage = "06_pivot_root",
        caught_by = "volume_stays_inside",
        why = "root + target works as long as the root comes from a trusted source",
        changes = [
            change(
                "06_pivot_root/main.cc",
                "#include \"common/run_main.h\"",
                "#include <filesystem>\n#include \"common/run_main.h\"",
            ),
            change("06_pivot_root/main.cc", """    pivot_into(take_root(root, shown));
""", """    for (const auto& volume : mounts.volumes) {
      std::error_code ignored;
      if (std::filesystem::is_directory(volume.source)) {
        std::filesystem::create_directories(root + volume.target, ignored);
      }
    }
    pivot_into(take_root(root, shown));
"""),
        ],
        also = [
            "nothing_is_left",
            "volume_target_leads_nowhere",
        ],
        because = "a directory that is made outside stays there",
    ),
    mutant(
        name = "read_only_ignored",
        stage = "06_pivot_root",
        caught_by = "read_only_root_cannot_be_written",
        why = "--read-only was read, and then forgotten",
        changes = [
            change("06_pivot_root/main.cc", """    if (mounts.read_only) make_root_read_only();
""", ""),
        ],
    ),
    mutant(
        name = "devices_writable",
        stage = "06_pivot_root",
        caught_by = "devices_cannot_be_changed",
        why = "programs have to write to them",
        changes = [
            change(
                _MOUNTS,
                "copy_mount(path, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)",
                "copy_mount(path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)",
            ),
        ],
        also = ["masks_cannot_be_changed"],
        because = "masks are copies of one of them",
    ),
    mutant(
        name = "masks_writable",
        stage = "06_pivot_root",
        caught_by = "masks_cannot_be_changed",
        why = "the device is a copy for the masks, and what they need is nothing but to be empty",
        changes = [
            change(
                _KERNEL_PATHS,
                """return attach_on(copy_of(null_, "/dev/null"), what, path);""",
                """{
      const UniqueFd mask = copy_of(null_, "/dev/null");
      mount_attr attr = {};
      attr.attr_clr = MOUNT_ATTR_RDONLY;
      check(mount_setattr(mask.get(), "", AT_EMPTY_PATH, &attr, sizeof attr), "mount_setattr()");
      return attach_on(mask, what, path);
    }""",
            ),
        ],
    ),
    mutant(
        name = "masks_of_the_roots_null",
        stage = "06_pivot_root",
        caught_by = "masks_are_the_hosts_null",
        why = "the null device is at /dev/null, and so runc took it from there",
        changes = [
            change(
                _KERNEL_PATHS,
                "copy_of(null_, \"/dev/null\")",
                "copy_of(null_.get() == -1 ? UniqueFd() : UniqueFd(open(\"/dev/null\", O_PATH | O_CLOEXEC)), \"/dev/null\")",
            ),
        ],
    ),
    mutant(
        name = "volume_over_dev",
        stage = "06_pivot_root",
        caught_by = "volume_covers_none_of_our_mounts",
        why = "the option's text was checked, and that seemed to be enough",
        changes = [
            change(
                "06_pivot_root/mount_point.cc",
                "  refuse_our_own_places(place, resolved, path);\n",
                "",
            ),
            change(
                "06_pivot_root/mount_point.cc",
                "void refuse_our_own_places(",
                "[[maybe_unused]] void refuse_our_own_places(",
            ),
        ],
    ),
    mutant(
        name = "links_lead_sys_away",
        stage = "06_pivot_root",
        caught_by = "sys_and_dev_stay_in_place",
        why = "inside the new root a path is a path, and open(2) follows its links",
        changes = [
            change(
                _MOUNTS,
                "attach_on(host.sys.mount, make_real_directory(root, \"sys\"), \"/sys\");",
                "attach_on(host.sys.mount, UniqueFd(check(open(\"/sys\", O_PATH | O_CLOEXEC), \"open(/sys)\")), \"/sys\");",
            ),
        ],
    ),
    mutant(
        name = "mount_points_by_path",
        stage = "06_pivot_root",
        caught_by = "volume_target_leads_nowhere",
        why = "all that is missing is made by one call, as mkdir -p does",
        changes = [
            change(
                "06_pivot_root/mount_point.cc",
                "#include <sstream>",
                "#include <filesystem>\n#include <sstream>",
            ),
            change(
                "06_pivot_root/mount_point.cc",
                "  int links = 0;\n",
                """  int links = 0;
  std::error_code ignored;
  if (directory) std::filesystem::create_directories(path, ignored);
""",
            ),
        ],
    ),
    mutant(
        name = "attributes_not_recursive",
        stage = "06_pivot_root",
        caught_by = "read_only_volume_covers_submounts",
        why = "mount_setattr(2) without AT_RECURSIVE is about one mount, as one expects",
        changes = [
            change(
                _MOUNTS,
                "mount_setattr(mount.get(), \"\", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr)",
                "mount_setattr(mount.get(), \"\", AT_EMPTY_PATH, &attr, sizeof attr)",
            ),
        ],
        also = ["volumes_submounts_bring_no_device"],
        because = "flags are set for all of a volume's mounts, or for one",
    ),
    mutant(
        name = "volumes_idmapped_unasked",
        stage = "06_pivot_root",
        caught_by = "hosts_roots_files_are_closed",
        why = "so that files in volumes have their owners inside, as the root's files have",
        changes = [
            change(_MOUNTS, "if (volume.idmap) paths.push_back", "if (!volume.source.empty()) paths.push_back"),
            change(
                _MOUNTS,
                "take_mount(volume.source, shown, attributes, volume.idmap ? \"\" : kAsItIs)",
                "take_mount(volume.source, shown, attributes)",
            ),
        ],
    ),
    mutant(
        name = "tmpfs_with_programs",
        stage = "06_pivot_root",
        caught_by = "tmpfs_is_for_data",
        why = "mount(8) sets no flags",
        changes = [change("06_pivot_root/volume.cc", "  tmpfs.no_exec = true;\n", "")],
    ),
    mutant(
        name = "tmpfs_without_size",
        stage = "06_pivot_root",
        caught_by = "tmpfs_has_its_size",
        why = "options were parsed, and only the mode was passed on",
        changes = [
            change(
                "06_pivot_root/volume.cc",
                "  tmpfs.tmpfs.emplace_back(key, value);",
                "  if (key == \"mode\") tmpfs.tmpfs.emplace_back(key, value);",
            ),
        ],
    ),
    mutant(
        name = "shared_memory_with_programs",
        stage = "06_pivot_root",
        caught_by = "shared_memory_is_for_data",
        why = "flags are easily forgotten for the third tmpfs",
        changes = [
            change(
                _MOUNTS,
                "new_mount(\"tmpfs\", kDataOnly, {{\"mode\", \"1777\"}, {\"size\", \"64m\"}})",
                "new_mount(\"tmpfs\", 0, {{\"mode\", \"1777\"}, {\"size\", \"64m\"}})",
            ),
        ],
    ),
    mutant(
        name = "given_user_unchecked",
        stage = "06_pivot_root",
        caught_by = "failed_call_for_an_option_is_noticed",
        why = "root may change to any user",
        changes = [
            change(
                "05_userns/id_map.cc",
                """check(setresuid(ids.user, ids.user, ids.user), "setresuid({0}, {0}, {0})", ids.user);""",
                """(void)!setresuid(ids.user, ids.user, ids.user);""",
            ),
        ],
    ),
    mutant(
        name = "read_only_unchecked",
        stage = "06_pivot_root",
        caught_by = "failed_call_for_an_option_is_noticed",
        why = "an old kernel lacks the call, and the volume is there all the same",
        changes = [
            change(
                _MOUNTS,
                """  check(mount_setattr(mount.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr),
        "mount_setattr({}, {:#x})", path, attributes);""",
                """  (void)path;
  (void)mount_setattr(mount.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr);""",
            ),
        ],
        also = ["failed_call_is_noticed"],
        because = "/sys is made read-only by the same function",
    ),
    mutant(
        name = "workdir_unchecked",
        stage = "06_pivot_root",
        caught_by = "failed_call_for_an_option_is_noticed",
        why = "the descriptor is there, so the directory can be entered",
        changes = [
            change(
                "01_exec/process.cc",
                """check(fchdir(directory.get()), "chdir({})", workdir);""",
                "(void)!fchdir(directory.get());",
            ),
        ],
    ),
    mutant(
        name = "mask_unchecked",
        stage = "06_pivot_root",
        caught_by = "failed_call_is_noticed",
        why = "not every kernel has each of these files",
        changes = [
            change(
                "06_pivot_root/kernel_paths.cc",
                """if (fd.get() == -1 && errno != ENOENT) check_quietly(-1, "open({})", path);""",
                "",
            ),
        ],
        also = ["failed_call_for_an_option_is_noticed"],
        because = "the masks are mounted with these options as well",
    ),
    mutant(
        name = "terminals_of_root",
        stage = "06_pivot_root",
        caught_by = "terminals_are_own",
        why = "mount(8) works without the option, and root can open a terminal",
        changes = [
            change(
                _MOUNTS,
                """{{"mode", "0620"}, {"ptmxmode", "0666"}}""",
                """{{"mode", "0620"}}""",
            ),
        ],
    ),
]
