"""What the generator of mutants changes, and what it leaves alone."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from harness.mutants.build import Builder, NotBuilt
from harness.mutants.generate import Results, drawn, explained, is_explained, progress, table
from harness.mutants.judge import HELPERS, is_unit_test, own_cgroup
from harness.mutants.kinds import KINDS, Generated, changed, mutants_of

TEXT = """#include "x.h"

namespace box {
// check(nothing), 1 | 2
void set_up(int root) {
  check(mount(nullptr, "a | B_FLAG 7", nullptr, MS_REC | MS_PRIVATE, nullptr), "mount(/)");
  close_all();
  const int fd = open_it(root);
  if (fd < 3) return;
  if (mode == 0755) throw Failure("no");
}
}  // namespace box"""

CHANGES = [
    ("delete", 6, ""),
    ("check", 6, 'unchecked(mount(nullptr, "a | B_FLAG 7", nullptr, MS_REC | MS_PRIVATE,'),
    ("swap", 6, "  close_all();\n  check(mount("),
    ("flag", 6, 'nullptr, MS_REC, nullptr)'),
    ("flag", 6, 'nullptr, MS_PRIVATE, nullptr)'),
    ("delete", 7, ""),
    ("guard", 9, "if (fd < 3) if (false) return;"),
    ("off-by-one", 9, "if (fd < 4) return;"),
    ("off-by-one", 9, "if (fd <= 3) return;"),
    ("guard", 10, "if (mode == 0755) if (false) throw Failure("),
    ("off-by-one", 10, "mode == 0756"),
]


def test_each_kind_changes_what_it_should_and_nothing_else():
    found = mutants_of("x.cc", TEXT)
    assert [(mutant.kind, mutant.line) for mutant in found] == [
        (kind, line) for kind, line, _ in CHANGES]
    for mutant, (_, _, new) in zip(found, CHANGES):
        assert new in mutant.new, mutant.tell()
    assert {mutant.kind for mutant in found} == set(KINDS)


@pytest.mark.parametrize("mutant", mutants_of("x.cc", TEXT), ids=lambda mutant: mutant.id)
def test_one_place_is_changed(mutant):
    text = changed(TEXT, mutant)
    assert text != TEXT and mutant.new in text
    assert text.count("\n") <= TEXT.count("\n") + 4
    assert ("unchecked(Result result" in text) == (mutant.kind == "check")


NO_MISTAKES = """
  UniqueFd file(open(path, O_PATH | O_CLOEXEC));
  pollfd event = {fd, POLLIN, 0};
  int status = 0;
  (void)waitpid(child, &status, 0);

  syscall(SYS_pidfd_open, child, 0);
  char text[256];
  if (fd == -1 || line.rfind("#!", 0) == npos) return;
  app.add_flag("--a", a);
  app.add_option("--b", b);"""


def test_what_is_no_mistake_by_design_is_left_alone():
    found = mutants_of("x.cc", NO_MISTAKES, ("flag", "off-by-one", "swap"))
    assert [mutant.tell() for mutant in found if "O_PATH" not in mutant.dropped_flag] == []


@pytest.mark.parametrize("line, new", [
    ("  int count = 0;\n  count += 2;", "  int count = 1;"),
    ("  setpgid(child, 0);", "  setpgid(child, 1);"),
    ("  if (status == 1) stop();", "  if (status == 2) stop();"),
    ("  int ids[3] = {a};", "  int ids[4] = {a};"),
])
def test_what_is_counted_is_changed(line, new):
    assert new in [mutant.new for mutant in mutants_of("x.cc", line, ("off-by-one",))]


def test_a_failed_call_goes_unnoticed_in_a_block_too():
    mutant, = mutants_of("x.cc", '  if (open("a", 0) == -1 && errno == ENOENT) {', ("guard",))
    assert mutant.new == '  if (false && (open("a", 0) == -1 && errno == ENOENT)) {'


def test_a_sample_stays_when_another_line_changes():
    def drawn_from(text):
        return sorted(mutants_of("x.cc", text), key=lambda mutant: drawn(mutant, 7))
    more = TEXT.replace("}\n}", "  return;\n  done(4);\n}\n}")
    assert [one.id for one in drawn_from(more) if one.id in {
        each.id for each in mutants_of("x.cc", TEXT)}] == [one.id for one in drawn_from(TEXT)]


def test_what_is_explained_is_still_there():
    there = {name for file in pathlib.Path("stages").glob("[0-9]*/*.cc")
             for mutant in mutants_of(str(file), file.read_text(encoding="utf-8"))
             for name in mutant.names}
    assert len(there) > 4000
    assert not set(explained()) - there, "the lines have changed: look at them once more"


def test_no_test_starts_in_the_folder_where_bazel_was_called():
    told = subprocess.run(
        [sys.executable, "-c", "from harness.mutants.judge import ENVIRONMENT as e; print(*e)"],
        env={"PATH": "/usr/bin", "BUILD_WORKING_DIRECTORY": "/a", "BUILD_WORKSPACE_DIRECTORY": "/b",
             "PYTHONPATH": ":".join(sys.path)}, stdout=subprocess.PIPE, text=True, check=True)
    assert "PATH" in told.stdout.split() and "BUILD_" not in told.stdout


def test_a_program_that_a_test_calls_is_no_unit_test():
    assert is_unit_test("stages/03_userspace/copy_tree_test")
    assert not any(is_unit_test(f"stages/03_userspace/{name}") for name in HELPERS.values())


def test_what_cannot_be_compiled_unchanged_either_says_nothing_about_a_mutant(tmp_path):
    builder = Builder.__new__(Builder)
    builder.compile = lambda file, text, folder: b""
    with pytest.raises(NotBuilt, match="a.cc cannot be compiled as it is"):
        builder.check_that_it_is_built("a.cc", "int a;", tmp_path)


def test_survivors_that_are_explained_say_why():
    for name, why in explained().items():
        assert name.count(":") == 2 or name.startswith("flag "), name
        assert len(why) > 12, name


def test_a_dropped_flag_is_named():
    names = [mutant.dropped_flag for mutant in mutants_of("x.cc", TEXT)]
    assert sorted(filter(None, names)) == ["flag MS_PRIVATE", "flag MS_REC"]


def test_the_same_line_of_two_stages_is_explained_once():
    mutants = {mutant.id: mutant for file in ("stages/05_x/main.cc", "stages/06_y/main.cc")
               for mutant in mutants_of(file, TEXT, ("swap",))}
    known = {next(iter(mutants.values())).id.replace("stages/05_x/", "*/"): "it is the same"}
    assert len(mutants) == 2
    assert all(is_explained({"id": name}, known, mutants) for name in mutants)


def test_the_same_change_in_two_places_has_two_names():
    names = [mutant.id for mutant in mutants_of("x.cc", "  close_all();\n  f();\n  close_all();",
                                                ("delete",))]
    assert len(set(names)) == 3 and names[2] == names[0] + ".2"


def test_a_flag_between_two_others_is_left_out_once():
    found = mutants_of("x.cc", "  f(O_RDONLY | O_NOFOLLOW | O_NOCTTY);", ("flag",))
    assert [mutant.new for mutant in found] == [
        "  f(O_RDONLY | O_NOCTTY);", "  f(O_RDONLY | O_NOFOLLOW);", "  f(O_NOFOLLOW | O_NOCTTY);"]


def judged(*became: str) -> Results:
    results = Results("")
    for at, (how, seen_by) in enumerate(one.partition(":")[::2] for one in became):
        mutant = Generated(f"stages/0{at % 2 + 1}_x/x.cc", "delete", at, str(at), "")
        results.add(mutant, how, seen_by)
    return results


def test_the_table_counts_what_saw_a_mutant_and_leaves_out_what_is_none():
    results = judged("killed:unit a_test", "killed:row b as root", "killed:test c", "survived",
                     "not built", "same code", "survived",
                     "killed:fault 02 chroot EPERM FAIL-OPEN")
    known = {results.of("survived")[1]: "because it is the same"}
    lines = [line.split() for line in table(results, known, {}).splitlines()]
    assert lines[1] == ["01_x", "3", "1", "0", "1", "0", "1", "0", "0.0", "%"]
    assert lines[2] == ["02_x", "3", "0", "1", "0", "1", "0", "1", "33.3", "%"]
    assert lines[3] == ["all", "6", "1", "1", "1", "1", "1", "1", "16.7", "%"]


def test_results_are_kept_and_read_again(tmp_path):
    first = Results(str(tmp_path / "found"))
    mutant = Generated("stages/01_x/x.cc", "swap", 1, "a", "b")
    first.add(mutant, "survived", "")
    again = Results(str(tmp_path / "found"))
    assert again.of("survived") == [mutant.id] and again.counted({mutant.id: mutant}) == 1
    assert again.counted({}) == 0  # it is of another stage than those that are asked for


def test_the_bar_says_how_far_it_is():
    assert progress(5, 10, judged("survived"), 0.0, 0).startswith(
        "[###############...............] 5/10  0 killed, 1 survived, ")


def test_a_cgroup_that_stays_is_in_nobodys_way(tmp_path):
    """A process that was killed may not have ended yet: then its cgroup cannot be removed."""
    with own_cgroup(str(tmp_path), "mutant") as first:
        pathlib.Path(first, "process").write_text("")
    with own_cgroup(str(tmp_path), "mutant") as second:
        pathlib.Path(second, "below").mkdir()
    assert list(tmp_path.iterdir()) == [pathlib.Path(first)]
