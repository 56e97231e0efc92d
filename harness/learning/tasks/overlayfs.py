"""Stage 08a: what a learner writes, and in which order."""

from __future__ import annotations

from harness.learning.skeleton import Todo
from harness.learning.task import CORE, ROBUST, THEN, Example, Milestone, Task

OVERLAY = "an overlay in it"

TASK = Task(
    stage="08a",
    goal="Stack read-only layers, and let the container write into a layer of its own above them.",
    examples=(
        Example("08a_overlayfs sh -c 'echo hello >/made; cat /made'", "hello", OVERLAY),
        Example("08a_overlayfs cat /made 2>/dev/null; echo $?", "1", OVERLAY),
        Example("08a_overlayfs --keep kept sh -c 'echo hello >/made'; cat kept/upper/made", "hello",
                OVERLAY),
        Example("mkdir -p layer/etc; echo layer >layer/etc/hello;"
                " 08a_overlayfs --layer layer cat /etc/hello", "layer", OVERLAY),
        Example("08a_overlayfs --layer /no/such/layer true 2>/dev/null; echo $?", "125"),
    ),
    toolkit=(
        ("stack_layers(…)", "the folders of all layers, the lowest first; images and tar files are"
         " unpacked by then"),
        ("new_mount(\"overlay\", attributes, options)", "a new file system, attached nowhere;"
         " options are pairs of words"),
        ("make_folder(above, name, mode)", "makes a folder in an open one, and opens it (in"
         " overlay.cc)"),
        ("make_directories_in_root(root, path)", "makes folders inside a root; no link leads out"),
    ),
    todos=(
        Todo("overlay.cc", "take_layers", 1,
             "open each of layers.folders (open_folder()), or take what the parent has mounted for"
             " it (take()); the same for layers.upper, by its open_in_child(). paths and volumes"
             " are passed on.",
             "throw Failure(\"take_layers() is not written yet\");"),
        Todo("overlay.cc", "mount_overlay", 1,
             "an overlay of all folders, the uppermost first in lowerdir, with upperdir and workdir"
             " in layers.upper, or else in a new tmpfs; with userxattr, see overlayfs.rst of the"
             " kernel. A value may have 255 bytes: short names, such as links to /proc/self/fd/N in"
             " that tmpfs. The container's volumes are made in it. At last, nothing of the layers"
             " stays open.",
             "throw Failure(\"mount_overlay() is not written yet\");"),
        Todo("layer_stack.cc", "UpperFolder::kept", 2,
             "--keep: make `directory` with the mode 0700 unless it is there, check that it is"
             " private (check_that_kept_is_private()), and lock() it: a second container is"
             " refused.",
             "throw Failure(\"UpperFolder::kept() is not written yet\");"),
        Todo("unpack.cc", "Unpacker::add_whiteout", 3,
             "`name` begins with \".wh.\". The rest of it names a file that the layers below have:"
             " overlayfs wants a character device 0:0 in its place. \".wh..wh..opq\" makes the"
             " folder itself hide all that is below: set_opaque(). As an ordinary user, and in a"
             " user namespace, mknod(2) of that device is allowed."),
        Todo("image_user.cc", "find_user", 4,
             "the user of --user; or else the one that the image's config names, looked up in the"
             " container's own passwd, as stage 05's find_user() does.",
             "return find_user(ids, process);"),
        Todo("unpack.cc", "Unpacker::add_hard_link", 5,
             "a hard link to a file that the layer has brought before, looked up inside the layer."
             " If that is a symbolic link, the link itself is meant: see linkat(2)."),
    ),
    milestones=(
        Milestone(CORE, "Layers below, one to write above", (
            "rootfs_is_not_changed", "changes_are_seen_inside", "next_container_starts_afresh",
            "writes_are_not_shared", "later_layer_lies_above")),
        Milestone(CORE, "--keep", (
            "kept_layer_is_found_again", "kept_layer_has_one_user",
            "kept_folder_is_closed_to_others")),
        Milestone(THEN, "What a layer hides", ("whiteout_hides_a_file",
                                               "opaque_folder_hides_all_below")),
        Milestone(THEN, "--image", (
            "image_says_what_runs", "image_names_its_user", "layers_keep_their_owners",
            "workdir_of_an_image_stays_inside")),
        Milestone(ROBUST, "Layers and images of a stranger"),
    ),
)
