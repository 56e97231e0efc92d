"""Mutants of stage 08a: overlayfs."""

load(":mutant.bzl", "change", "mutant")

_STACK = "08a_overlayfs/layer_stack.cc"
_UNPACK = "08a_overlayfs/unpack.cc"
_OVERLAY = "08a_overlayfs/overlay.cc"

MUTANTS = [
    mutant(
        name = "one_layer_needs_no_overlay",
        stage = "08a_overlayfs",
        caught_by = "rootfs_is_not_changed",
        why = "with one directory there seems to be nothing to stack",
        changes = [
            change(
                "08a_overlayfs/main.cc",
                """    OpenLayers folders = take_layers(layers, shown);
    become_root(ids);
    pivot_into(mount_overlay(folders));""",
                """    const bool plain = layers.folders.size() == 1 && !layers.upper;
    if (plain) {
      const UniqueFd alone = take_root(layers.folders[0], shown);
      become_root(ids);
      pivot_into(alone);
    } else {
      OpenLayers folders = take_layers(layers, shown);
      become_root(ids);
      pivot_into(mount_overlay(folders));
    }""",
            ),
        ],
        also = ["next_container_starts_afresh", "writes_are_not_shared"],
        because = "what one container writes to the root itself stays there, and all others see it",
    ),
    mutant(
        name = "upper_is_shared",
        stage = "08a_overlayfs",
        caught_by = "next_container_starts_afresh",
        why = "one upper directory is enough as long as only one container runs",
        changes = [
            change(_STACK, "} else if (!tmpfs_keeps_user_attributes()) {", "} else {"),
            change(_STACK, """  remove_left(uppers);
  std::string path = uppers + "/XXXXXX";
  check_quietly(mkdtemp(path.data()) == nullptr ? -1 : 0, "mkdtemp({})", path);
  UpperFolder folder(path, lock(path), true);
  need_attributes(folder.lock_, path,""", """  UpperFolder folder(uppers, open_folder(uppers), false);
  need_attributes(folder.lock_, uppers,"""),
        ],
        also = ["writes_are_not_shared"],
        because = "two containers at once share it as two in turn do",
    ),
    mutant(
        name = "upper_left_behind",
        stage = "08a_overlayfs",
        caught_by = "nothing_is_left",
        why = "a temporary folder, and /tmp is cleared at the next boot",
        changes = [
            change(_STACK, "} else if (!tmpfs_keeps_user_attributes()) {", "} else {"),
            change(_STACK, """  remove_left(uppers);
  std::string path = uppers + "/XXXXXX";""", """  std::string path = "/tmp/upper-XXXXXX";"""),
            change(
                _STACK,
                "UpperFolder folder(path, lock(path), true);",
                "UpperFolder folder(path, lock(path), false);",
            ),
        ],
    ),
    mutant(
        name = "scratch_left_mounted",
        stage = "08a_overlayfs",
        caught_by = "old_root_is_gone",
        why = "the tmpfs is on top of the old root, which is unmounted; but the tmpfs is then" +
              " unmounted in its place",
        changes = [
            change(
                _OVERLAY,
                """check(umount2(".", MNT_DETACH), "umount2(the tmpfs, MNT_DETACH)");""",
                "",
            ),
        ],
        also = [
            "users_come_from_the_root",
            "workdir_of_an_image_stays_inside",
            "second_chroot_leads_nowhere",
            "kept_directory_leads_nowhere",
            "dotdot_stops_at_the_root",
        ],
        because = "a mount that remains can be entered: '..' at the root leads to the mount on top",
    ),
    mutant(
        name = "no_userxattr",
        stage = "08a_overlayfs",
        caught_by = "changes_are_seen_inside",
        why = "examples mount overlayfs without it",
        changes = [change(_OVERLAY, "options = {{\"userxattr\", \"\"}};", "options;")],
        also = ["opaque_folder_hides_all_below"],
        because = "the opaque mark of a layer is such an attribute, too",
    ),
    mutant(
        name = "keep_ignored",
        stage = "08a_overlayfs",
        caught_by = "kept_layer_is_found_again",
        why = "--keep was read, and then forgotten",
        changes = [change(_STACK, "  if (!options.keep.empty()) {\n", "  if (false) {\n")],
        also = ["kept_folder_is_closed_to_others", "kept_layer_has_one_user"],
        because = "no container is refused a directory that is not in use",
    ),
    mutant(
        name = "keep_not_locked",
        stage = "08a_overlayfs",
        caught_by = "kept_layer_has_one_user",
        why = "overlayfs itself only warns, in the kernel's log",
        changes = [
            change(
                _STACK,
                "if (flock(folder.get(), LOCK_EX | LOCK_NB) == 0) return true;",
                "return true;",
            ),
        ],
    ),
    mutant(
        name = "layers_upside_down",
        stage = "08a_overlayfs",
        caught_by = "later_layer_lies_above",
        why = "lowerdir lists the uppermost layer first, but a user who types --layer lists the" +
              " lowest first",
        changes = [
            change(
                _STACK,
                "fs::is_directory(path) ? layers.folders.push_back(path) : add_cached(unpack_tar(path, left));",
                """layers.folders.insert(layers.folders.begin() + 1,
                          fs::is_directory(path) ? path : unpack_tar(path, left));""",
            ),
        ],
    ),
    mutant(
        name = "whiteouts_unpacked",
        stage = "08a_overlayfs",
        caught_by = "whiteout_hides_a_file",
        why = "it seems enough to unpack the tar as tar(1) does",
        changes = [
            change(
                _UNPACK,
                "if (name.starts_with(kWhiteout)) return",
                "if (name.starts_with(kReserved)) return",
            ),
        ],
    ),
    mutant(
        name = "opaque_ignored",
        stage = "08a_overlayfs",
        caught_by = "opaque_folder_hides_all_below",
        why = "the author thought only of .wh.NAME",
        changes = [
            change(
                _UNPACK,
                "if (name == kOpaque) set_opaque(make_folders(folder), folder);",
                "",
            ),
        ],
    ),
    mutant(
        name = "opaque_for_the_hosts_root",
        stage = "08a_overlayfs",
        caught_by = "opaque_folder_hides_all_below",
        why = "overlayfs.rst names trusted.overlay.opaque first, and userxattr only later",
        changes = [
            change(
                _UNPACK,
                "fsetxattr(folder.get(), \"user.overlay.opaque\"",
                "fsetxattr(folder.get(), \"trusted.overlay.opaque\"",
            ),
        ],
        also = ["whiteout_hides_a_file"],
        because = "an ordinary user may not set it at all: the layer cannot be unpacked",
    ),
    mutant(
        name = "links_lead_out_of_the_layer",
        stage = "08a_overlayfs",
        caught_by = "hostile_layer_stays_inside",
        why = "names are looked up from the layer's directory, but links from the host's root",
        changes = [
            change(_UNPACK, "how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;", ""),
        ],
    ),
    mutant(
        name = "digest_is_a_name",
        stage = "08a_overlayfs",
        caught_by = "tampered_layer_is_refused",
        why = "the author checked only that the blob exists, not that its content has the digest",
        changes = [
            change(
                _STACK,
                "if (unpack_layer(file, blob.path, partial, left).sha256 != blob.sha256) {",
                "(void)unpack_layer(file, blob.path, partial, left);\n      if (false) {",
            ),
        ],
    ),
    mutant(
        name = "image_env_ignored",
        stage = "08a_overlayfs",
        caught_by = "image_says_what_runs",
        why = "the command was there, and ran",
        changes = [
            change(
                _STACK,
                "process.environment.insert(image->environment.begin(), image->environment.end());",
                "",
            ),
        ],
    ),
    mutant(
        name = "hard_links_follow",
        stage = "08a_overlayfs",
        caught_by = "layer_brings_no_host_file",
        why = "a hard link to a symbolic link looks useless, and there is a flag for it",
        changes = [
            change(_UNPACK, """place.name.c_str(), 0),
              place.path + " -> " + target);""", """place.name.c_str(), AT_SYMLINK_FOLLOW),
              place.path + " -> " + target);"""),
        ],
    ),
    mutant(
        name = "owners_lost",
        stage = "08a_overlayfs",
        caught_by = "layers_keep_their_owners",
        why = "new files belong to the process that makes them, and as root nobody notices",
        changes = [
            change(
                _UNPACK,
                "check_entry(fchown(file.get(), attributes.uid, attributes.gid), place.path);",
                "",
            ),
        ],
    ),
    mutant(
        name = "images_user_ignored",
        stage = "08a_overlayfs",
        caught_by = "image_names_its_user",
        why = "the command runs, and as root it is refused nothing",
        changes = [
            change(
                "08a_overlayfs/image_user.cc",
                "if (!options.image || options.image->user.empty() || ids.user_given) {",
                "if (!options.image || options.image->user.size() < 64 || ids.user_given) {",
            ),
        ],
    ),
    mutant(
        name = "attributes_unlimited",
        stage = "08a_overlayfs",
        caught_by = "greedy_layer_is_refused",
        why = "the kernel seems to limit it: fsetxattr(2) fails, and the failure is ignored",
        changes = [
            change(
                "08a_overlayfs/entry_attributes.cc",
                "if (bytes > kMaxAttributeBytes) {",
                "if (bytes > kMaxAttributeBytes * 1024) {",
            ),
        ],
    ),
    mutant(
        name = "kept_folder_left_open",
        stage = "08a_overlayfs",
        caught_by = "kept_folder_is_closed_to_others",
        why = "a user who names a directory seems to have chosen its mode",
        changes = [
            change(_STACK, """  check_quietly(fchmod(folder.get(), S_IRWXU), "chmod({}, 0700)", name);
""", ""),
        ],
    ),
    mutant(
        name = "names_lead_out_of_the_layer",
        stage = "08a_overlayfs",
        caught_by = "layer_names_stay_inside",
        why = "the kernel was told to look names up in the layer, and so they need not be looked at",
        changes = [
            change(
                _UNPACK,
                """    if (part == "..") throw Failure(name_ + ": names " + shown(path) + ", which leads outside");
""",
                "",
            ),
            change(_UNPACK, "how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;", "how.resolve = RESOLVE_NO_SYMLINKS;"),
        ],
    ),
    mutant(
        name = "layers_bring_devices",
        stage = "08a_overlayfs",
        caught_by = "layer_brings_no_device",
        why = "tar(1) makes them, when root calls it",
        changes = [
            change(_UNPACK, """    default:
      trace("left out: " + shown(path));""", """    case AE_IFCHR:
      (void)mknodat(place.folder.get(), place.name.c_str(), S_IFCHR | attributes.mode,
                    archive_entry_rdev(entry));
      return;
    default:
      trace("left out: " + shown(path));"""),
        ],
    ),
    mutant(
        name = "overlay_attributes_kept",
        stage = "08a_overlayfs",
        caught_by = "overlay_attributes_are_left_out",
        why = "user.* are the attributes that everybody may set",
        changes = [
            change(
                "08a_overlayfs/entry_attributes.cc",
                "(name.starts_with(\"user.\") && !name.starts_with(\"user.overlay.\"))",
                "name.starts_with(\"user.\")",
            ),
        ],
    ),
    mutant(
        name = "layers_of_any_depth",
        stage = "08a_overlayfs",
        caught_by = "deep_layer_is_refused",
        why = "the kernel limits paths to PATH_MAX, which looks like a limit",
        changes = [change(_UNPACK, "constexpr std::ptrdiff_t kMaxDepth = 256;", "constexpr std::ptrdiff_t kMaxDepth = 1 << 20;")],
    ),
    mutant(
        name = "mode_of_the_root_lost",
        stage = "08a_overlayfs",
        caught_by = "layers_keep_their_owners",
        why = "a root directory has the mode 0755 nearly everywhere",
        changes = [
            change("08a_overlayfs/overlay.cc", """"upper", st.st_mode & 07777)""", """"upper", 0755)"""),
        ],
    ),
]
