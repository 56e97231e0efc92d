"""Grades submissions, one or a class: `python3 -m harness.grade`, `bazel run //harness:grade`."""

from __future__ import annotations

import sys

from harness.grading.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
