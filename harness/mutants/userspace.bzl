"""Mutants of stage 03: a root of the host's programs."""

load(":mutant.bzl", "change", "mutant")

_COPY = "03_userspace/copy_tree.cc"

MUTANTS = [
    mutant(
        name = "no_transitive_libraries",
        stage = "03_userspace",
        caught_by = "libraries_come_along",
        why = "the program's own list of libraries seems complete",
        changes = [
            change(
                "03_userspace/libraries.cc",
                """for (std::size_t i = 0; i < loaded_.size(); ++i) {
    for""",
                """for (std::size_t i = 0; i < 1; ++i) {
    for""",
            ),
        ],
    ),
    mutant(
        name = "no_loader",
        stage = "03_userspace",
        caught_by = "hosts_programs_run",
        why = "the loader is not a library, so DT_NEEDED does not list it",
        changes = [
            change(
                "03_userspace/libraries.cc",
                "for (std::size_t i = 1; i < loaded_.size(); ++i) paths.push_back",
                "for (std::size_t i = 2; i < loaded_.size(); ++i) paths.push_back",
            ),
        ],
        also = ["libraries_come_along"],
        because = "without a loader no dynamic program runs",
    ),
    mutant(
        name = "links_followed",
        stage = "03_userspace",
        caught_by = "links_are_copied_as_links",
        why = "open(2) follows links, and so do cp and tar with the wrong option",
        changes = [
            change(
                _COPY,
                "S_ISLNK(st.st_mode) ? copy_link(from, to, st)",
                """S_ISLNK(st.st_mode)
                             ? (fs::is_regular_file(read_link(from.folder, from.name, from.path))
                                    ? copy_file({AT_FDCWD, read_link(from.folder, from.name, ""), ""}, to, st)
                                    : copy_link(from, to, st))""",
            ),
        ],
    ),
    mutant(
        name = "files_linked",
        stage = "03_userspace",
        caught_by = "copies_are_copies",
        why = "a hard link costs nothing",
        changes = [
            change(
                _COPY,
                "// O_NONBLOCK: if it",
                """if (linkat(from.folder, from.name.c_str(), to.folder, to.name.c_str(), 0) == 0) return true;
  // O_NONBLOCK: if it""",
            ),
        ],
    ),
    mutant(
        name = "links_lead_out_of_the_copy",
        stage = "03_userspace",
        caught_by = "copied_links_stay_inside",
        why = "a path below the new root seems to stay below it, but it is looked up on the host",
        changes = [
            change(
                _COPY,
                "how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;",
                """const std::string relative = "./" + folder;
  return UniqueFd(openat(root_fd_.get(), relative.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));""",
            ),
        ],
    ),
    mutant(
        name = "modes_lost",
        stage = "03_userspace",
        caught_by = "copies_are_copies",
        why = "a file that can be read seems to be as good as the original",
        changes = [
            change(
                "03_userspace/copy_tree.cc",
                """  copy_attributes(in.get(), out.get(), buffer_, from.path);
  check_quietly(fchmod(out.get(), mode), "chmod({})", from.path);""",
                """  copy_attributes(in.get(), out.get(), buffer_, from.path);
  check_quietly(fchmod(out.get(), (mode & 0111) != 0 ? 0755 : 0644), "chmod({})", from.path);""",
            ),
        ],
    ),
]
