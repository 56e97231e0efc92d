"""Stage 02: what a learner writes, and in which order."""

from __future__ import annotations

from harness.learning.skeleton import Todo
from harness.learning.task import CORE, ROBUST, THEN, Example, Milestone, Task

ROOT = "root and chroot(2)"

TASK = Task(
    stage="02",
    goal="Give the command another root directory, and no way back out of it by a path.",
    examples=(
        Example("02_chroot grep -c bash /etc/passwd", "0", ROOT),
        Example("02_chroot sh -c 'cd ../..; pwd'", "/", ROOT),
        Example("SECRET=s3cret 02_chroot sh -c 'echo $PATH; echo [$SECRET]'",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n[]", ROOT),
        Example("02_chroot --rootfs /no/such/folder true 2>/dev/null; echo $?", "125"),
    ),
    toolkit=(
        ("find_root(rootfs)", "the directory that `--rootfs` names, or the built-in root"),
        ("Environment", "a map from names to values; exec_command() takes it"),
        ("line.program()", "what the stage is called: the file name of argv[0]"),
        ("host_environment()", "the environment that this program was started with"),
    ),
    todos=(
        Todo("chroot.cc", "change_root", 1,
             "chroot(2) to `root`. Then (milestone 2): where is the working directory before, and"
             " where after?"),
        Todo("chroot.cc", "container_environment", 3,
             "a PATH that fits the new root, HOME, `container` = `stage`, \"ENV\" ="
             " \"/etc/profile\"; and of the host's variables TERM alone.",
             "return host_environment();"),
        Todo("chroot.cc", "require_root", 4,
             "refuse an ordinary user, before anything is made, with a hint that names"
             " bazel run --config=root."),
    ),
    milestones=(
        Milestone(CORE, "Another root", ("host_file_is_hidden", "root_is_the_directory")),
        Milestone(CORE, "No way back by a path", (
            "cwd_is_inside", "dotdot_stops_at_the_root", "absolute_link_stays_inside")),
        Milestone(THEN, "An environment that fits the root", (
            "host_variable_is_hidden", "path_is_the_containers")),
        Milestone(ROBUST, "The start fails rather than run outside"),
    ),
)
