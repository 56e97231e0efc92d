"""Definitions are found by name, whatever strings, comments and braces are around them."""

from __future__ import annotations

import pathlib

import pytest

from slides.definitions import definitions, find, with_comment_above

SOURCE = r'''// A file.
#include "a.h"
#define TWO_LINES(x) { \
    x

namespace box {
namespace {

constexpr char kBrace = '{';
constexpr int kBig = 1'000'000;
const std::vector<std::string> kNames = {"}", "{", "void fake() {"};
std::set<int> numbers{1, 2};

// Says it.
// On two lines.
template <typename T>
void say(const T& what) {
  /* } */ puts("}");  // }
  const auto inner = [&] { return R"x(})" })x"; };
}

bool say(int a, int b) { return a < b; }

}  // namespace

struct Point {
  explicit Point(int x) : x_{x}, y_(0) { check(); }
  int norm() const;
  int x_;
  int y_ = 0;
};

enum class Kind { kOne, kTwo };

int Point::norm() const {
  return x_ * x_;
}

Point::~Point() = default;
std::string declared(int a, const std::string& b = "x;");
std::vector<std::pair<int, int>> pairs() { return {{1, 2}}; }
Loop::Loop(int a)
    : a_(a),
      b_{a},
      c_(std::move(a)) {
  run();
}

}  // namespace box
'''


def body(name: str) -> str:
    found = find(SOURCE, name)
    assert len(found) == 1, found
    return SOURCE[found[0].begin:found[0].end]


@pytest.mark.parametrize("name, begin, end", [
    ("kBrace", "constexpr char", "'{';"), ("kBig", "constexpr int", "000;"),
    ("kNames", "const std::vector", "};"), ("numbers", "std::set", "2};"),
    ("Point", "struct Point", "};"), ("Point::norm", "int Point::norm", "x_;\n}"),
    ("norm", "int Point::norm", "x_;\n}"), ("Point::Point", "explicit", "check(); }"),
    ("Kind", "enum class", "};"), ("declared", "std::string declared", ");"),
    ("pairs", "std::vector<", "; }"), ("Loop", "Loop::Loop", "run();\n}"),
    ("y_", "int y_", "0;"), ("~Point", "Point::~Point", "default;"),
])
def test_the_whole_definition_is_found(name, begin, end):
    assert body(name).startswith(begin)
    assert body(name).endswith(end)


def test_overloads_are_both_found_and_nothing_in_strings():
    assert [SOURCE[one.begin:one.begin + 8] for one in find(SOURCE, "say")] == [
        "template", "bool say"]
    assert find(SOURCE, "fake") == find(SOURCE, "inner") == find(SOURCE, "TWO_LINES") == []


def test_the_comment_above_belongs_to_it():
    first = find(SOURCE, "say")[0]
    assert SOURCE[with_comment_above(SOURCE, first.begin):first.begin] == (
        "// Says it.\n// On two lines.\n")
    assert with_comment_above(SOURCE, find(SOURCE, "Kind")[0].begin) == find(
        SOURCE, "Kind")[0].begin


SOURCES = sorted(path for folder in ("common", "stages") for path in pathlib.Path(folder).rglob("*")
                 if path.suffix in (".cc", ".h"))


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_every_source_of_the_repository_is_understood(path):
    """All of it is in some definition, and each has a name and balanced braces."""
    text = path.read_text(encoding="utf-8")
    found = definitions(text)
    assert found or path.name == "main.cc"
    for one in found:
        assert one.name, text[one.begin:one.begin + 80]
        assert text[one.end - 1] in ";}", text[one.begin:one.end]
    for name, kind in (("run", "main.cc"), ("main", "main.cc")):
        assert path.name != kind or len(find(text, name)) == 1
