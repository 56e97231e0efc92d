"""Stage 03: what a learner writes, and in which order."""

from __future__ import annotations

from harness.learning.skeleton import Todo
from harness.learning.task import CORE, ROBUST, THEN, Example, Milestone, Task
from harness.learning.tasks.chroot import ROOT

TASK = Task(
    stage="03",
    goal="Fill the new root with programs of the host's, each with all the libraries that it"
         " needs.",
    examples=(
        Example("03_userspace --userspace minimal bash -c 'echo $BASH' 2>/dev/null",
                "/usr/bin/bash", ROOT),
        Example("03_userspace --with /usr/bin/env /usr/bin/env echo found 2>/dev/null",
                "found", ROOT),
        Example("03_userspace --with no-such-program true 2>/dev/null; echo $?", "125"),
    ),
    toolkit=(
        ("read_elf_file(path)", "what a program's file says: its loader, and the libraries that it"
         " names"),
        ("LdSoCache(\"/etc/ld.so.cache\")", "`find(name, processor)`: where the host has a"
         " library"),
        ("find_program(word)", "the path of a program (in userspace.cc)"),
        ("make_anew(folder, name, path, make)", "makes a file, a link or a node in place of what is"
         " there (in copy_tree.cc)"),
    ),
    todos=(
        Todo("userspace.cc", "Plan::add", 1,
             "`path` is to be copied. If it is a program, its loader and libraries are, too"
             " (milestone 2: libraries_of()); if it is a script, what the first line names; if it"
             " is a folder, add_libraries_below() it.",
             "paths_.insert(path);"),
        Todo("userspace.cc", "fill", 1,
             "make_skeleton(), and copy each of plan.paths() with its links"
             " (Copier::copy_with_links); with `none`, the built-in root comes first, with `full`"
             " also copy_links_beside_usr(). At last, root/etc/userspace has plan.request() in it.",
             "make_skeleton(copier, root, builtin);\n"
             "copy_links_beside_usr(copier);\n"
             "if (kind.empty()) copier.copy_with_links(*plan.paths().begin());"),
        Todo("libraries.cc", "libraries_of", 2,
             "the loader of `program`, and all libraries that it and they need, each once. ldd(1)"
             " prints them; ld.so(8) says where the loader looks. A library that is not found is a"
             " Failure with ENOENT.",
             "return {};"),
        Todo("copy_tree.cc", "Copier::copy_link", 3,
             "make a link with the same target, see symlinkat(2), by make_anew(); never follow it.",
             "return skip(from, ENOSYS);"),
        Todo("copy_tree.cc", "Copier::open_in_root", 4,
             "open `folder` as a process would whose root is root_fd_: a link that was copied"
             " before must not lead out. See RESOLVE_IN_ROOT in openat2(2).",
             "return UniqueFd(open(join(root_, folder).c_str(), O_PATH | O_DIRECTORY |"
             " O_CLOEXEC));"),
    ),
    milestones=(
        Milestone(CORE, "A root with programs of the host's in it", ("hosts_programs_run",)),
        Milestone(CORE, "The libraries of libraries", ("libraries_come_along",)),
        Milestone(THEN, "A copy is a copy", ("links_are_copied_as_links", "copies_are_copies")),
        Milestone(ROBUST, "A link in the new root leads nobody out of it"),
    ),
)
