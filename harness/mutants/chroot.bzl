"""Mutants of stage 02: another root directory."""

load(":mutant.bzl", "change", "mutant")

_ROOT = "02_chroot/chroot.cc"

_CWD_NOT_CHECKED = change("01_exec/process.cc", """  if (const std::string path = current_directory(); path.front() != '/') {
    throw Failure("the working directory is outside the root: " + path);
  }
""", "")

MUTANTS = [
    mutant(
        name = "no_chdir",
        stage = "02_chroot",
        caught_by = "cwd_is_inside",
        why = "chroot(8) changes the working directory, so chroot(2) is expected to do so, too",
        changes = [
            change(_ROOT, """check(chdir(root.c_str()), "chdir({})", root);
  check(chroot("."), "chroot(.)");""", """check(chroot(root.c_str()), "chroot({})", root);"""),
            _CWD_NOT_CHECKED,
        ],
        also = ["dotdot_stops_at_the_root"],
        because = "on its way up from outside the root, '..' never passes the root",
    ),
    mutant(
        name = "root_not_asked_for",
        stage = "02_chroot",
        caught_by = "needs_root_and_says_so",
        why = "the kernel's message seems to explain it: Operation not permitted",
        changes = [change("02_chroot/main.cc", "  require_root();\n", "")],
    ),
    mutant(
        name = "chroot_unchecked",
        stage = "02_chroot",
        caught_by = "no_chroot_no_start",
        why = "it always works for root",
        changes = [
            change(_ROOT, """check(chroot("."), "chroot(.)");""", """(void)!chroot(".");"""),
        ],
        also = ["failed_call_is_noticed"],
        because = "it is one of the calls of which each is made to fail",
    ),
    mutant(
        name = "path_of_the_host",
        stage = "02_chroot",
        caught_by = "path_is_the_containers",
        why = "on the same distribution the host's PATH happens to work",
        changes = [
            change(
                _ROOT,
                """if (const char* term""",
                """if (const char* path = std::getenv("PATH")) environment["PATH"] = path;
  if (const char* term""",
            ),
        ],
    ),
    mutant(
        name = "environment_leaked",
        stage = "02_chroot",
        caught_by = "host_variable_is_hidden",
        why = "execvp(3) passes it on by itself",
        changes = [
            change(
                _ROOT,
                """if (const char* term""",
                """for (const auto& [key, value] : host_environment()) environment.emplace(key, value);
  if (const char* term""",
            ),
        ],
    ),
    mutant(
        name = "workdir_before_root",
        stage = "02_chroot",
        caught_by = "workdir_stays_inside",
        why = "root + workdir works as long as the root comes from a trusted source",
        changes = [
            change(
                "02_chroot/main.cc",
                "#include \"common/run_main.h\"",
                "#include <fcntl.h>\n#include <unistd.h>\n#include \"common/run_main.h\"",
            ),
            change("02_chroot/main.cc", """    change_root(root);
""", """    const std::string path = root + process.workdir;
    const UniqueFd workdir(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    change_root(root);
    if (!process.workdir.empty() && fchdir(workdir.get()) == -1) throw Failure(errno, path);
    process.workdir.clear();
"""),
            _CWD_NOT_CHECKED,
        ],
        also = ["missing_workdir_is_made"],
        because = "the directory is made on the host, and not inside",
    ),
    mutant(
        name = "home_of_the_host",
        stage = "02_chroot",
        caught_by = "host_variable_is_hidden",
        why = "for root it is /root in most containers, too",
        changes = [
            change("02_chroot/chroot.cc", """{"HOME", "/root"}""", """{"HOME", std::getenv("HOME")}"""),
        ],
    ),
]
