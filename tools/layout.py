#!/usr/bin/python3
"""Prints which Python file imports which, and what is wrong with that.

Usage: tools/layout.py [FOLDER]      FOLDER: the repository; default: the one that this file is in

It complains about circles, even if an import inside a function or for type hints closes them; about
files that are too long; and about a stage's properties that need a later stage's.
"""

from __future__ import annotations

import ast
import pathlib
import sys
from typing import Dict, List, Mapping, Sequence

MOST_LINES = {".py": 600, ".cc": 500, ".h": 500}
NOT_OURS = ("node_modules", "foreign", "__pycache__")

Graph = Mapping[str, Sequence[str]]


def files(root: pathlib.Path, *endings: str) -> List[pathlib.Path]:
    """The source files below `root`, without what was made or downloaded there."""
    found = []
    for path in sorted(root.iterdir()):
        if path.name.startswith((".", "bazel-")) or path.name in NOT_OURS:
            continue
        if path.is_dir() and not path.is_symlink():
            found += files(path, *endings)
        elif path.suffix in endings and path.is_file():
            found.append(path)
    return found


def imported_files(path: pathlib.Path, root: pathlib.Path) -> List[pathlib.Path]:
    """The files of the repository that `path` imports, wherever in it the import stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from a import b`: b may be a module of its own.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if file_of(name, path, root) else node.module for name in names]
        else:
            continue
        found += [file for name in names if (file := file_of(name, path, root)) is not None]
    return sorted(set(found))


def file_of(module: str, importer: pathlib.Path, root: pathlib.Path) -> pathlib.Path | None:
    """Where Python and pytest find a module: from the repository, or beside or above the importer.
    """
    name = module.replace(".", "/")
    for folder in (root, importer.parent, importer.parent.parent):
        for path in (folder / f"{name}.py", folder / name / "__init__.py"):
            if path.is_file():
                return path
    return None


def import_graph(root: pathlib.Path) -> Dict[str, List[str]]:
    def name(path: pathlib.Path) -> str:
        return str(path.relative_to(root))

    return {name(path): [name(file) for file in imported_files(path, root)]
            for path in files(root, ".py")}


def find_circle(graph: Graph) -> List[str]:
    """A path that comes back to where it began, or []."""
    done: set[str] = set()

    def search(way: List[str]) -> List[str]:
        for target in graph.get(way[-1], ()):
            if target in way:
                return [*way[way.index(target):], target]
            if target not in done:
                circle = search([*way, target])
                if circle:
                    return circle
        done.add(way[-1])
        return []

    for start in graph:
        circle = [] if start in done else search([start])
        if circle:
            return circle
    return []


def too_long(root: pathlib.Path) -> List[str]:
    told = []
    for path in files(root, *MOST_LINES):
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = sum(1 for _ in file)
        most = MOST_LINES[path.suffix]
        if lines > most:
            told.append(f"{path.relative_to(root)} has {lines} lines, more than {most}: split it")
    return told


def later_stages(graph: Graph, order: Sequence[str]) -> List[str]:
    """What imports a file that stands later in `order`."""
    return [f"{name} imports {target}, which is a later stage's" for name in order
            for target in graph[name] if target in order[order.index(name) + 1:]]


def order_of_stages(root: pathlib.Path) -> List[str]:
    """The stages' files with properties, as the table has them in FILES."""
    tree = ast.parse((root / "harness/properties/table.py").read_text(encoding="utf-8"))
    renamed = {alias.asname: alias.name for node in tree.body if isinstance(node, ast.ImportFrom)
               for alias in node.names}
    listed = next(node.value for node in tree.body if isinstance(node, ast.Assign)
                  and ast.unparse(node.targets[0]) == "FILES")
    assert isinstance(listed, ast.Tuple)
    names = [ast.unparse(element) for element in listed.elts]
    return [f"harness/properties/{renamed.get(name, name)}.py" for name in names]


def mistakes(root: pathlib.Path) -> List[str]:
    graph = import_graph(root)
    circle = find_circle(graph)
    told = [f"a circle of imports: {' -> '.join(circle)}"] if circle else []
    return told + too_long(root) + later_stages(graph, order_of_stages(root))


def main(words: Sequence[str]) -> int:
    root = pathlib.Path(words[0] if words else __file__).resolve()
    root = root if words else root.parents[1]
    for name, targets in import_graph(root).items():
        print("\n    ".join([name, *targets]))
    wrong = mistakes(root)
    print("\n".join(wrong) or "no circle, and no file is too long")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
