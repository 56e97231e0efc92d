"""What a learner is told is true for the table, the toolkit and our own stages."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import subprocess

import pytest

from harness import matrix
from harness.learning import describe, doctor, skeleton, start
from harness.learning.task import (COMMON_TOOLS, CORE, ROBUST, THEN, TOOLS, Task, rows_of,
                                   rows_of_milestone)
from harness.learning.tasks.table import TASKS
from harness.properties.table import BY_NAME, PROPERTIES
from harness.properties.verdict import STAGES, stage_number

each_stage = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


def test_there_is_a_task_for_each_stage():
    assert list(TASKS) == list(STAGES[1:])


@each_stage
def test_each_row_belongs_to_one_milestone_also_one_to_come(task: Task):
    to_come = dataclasses.replace(rows_of(task.stage)[0], name="row_to_come")
    rows = [*PROPERTIES, to_come]
    found = [[row.name for row in rows_of_milestone(task, milestone, rows)
              if row.since == task.stage] for milestone in task.milestones]
    assert sorted(name for names in found for name in names) == \
        sorted([row.name for row in rows_of(task.stage)] + ["row_to_come"])
    assert "row_to_come" in found[-1] and all(found)


@each_stage
def test_a_milestone_names_rows_that_are_there(task: Task):
    named = [name for milestone in task.milestones for name in milestone.rows]
    assert len(named) == len(set(named))
    assert [name for name in named if BY_NAME[name].since != task.stage] == []
    again = [BY_NAME[name] for milestone in task.milestones for name in milestone.again]
    assert all(stage_number(row.since) < stage_number(task.stage)
               and row.is_promised_at(task.stage) for row in again)


@each_stage
def test_milestones_are_few_and_in_order(task: Task):
    kinds = [milestone.kind for milestone in task.milestones]
    assert 4 <= len(kinds) <= 6
    assert kinds == sorted(kinds, key=[CORE, THEN, ROBUST].index)
    assert kinds[0] == CORE and kinds.count(ROBUST) == 1
    assert {todo.milestone for todo in task.todos} <= set(range(1, len(kinds) + 1))
    assert 1 in {todo.milestone for todo in task.todos}


def words_of_sources(*folders: pathlib.Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for folder in folders
                     for path in start.sources(folder))


@each_stage
def test_what_a_text_sends_the_learner_to_is_there(task: Task):
    """Functions, types and constants in the toolkit and in a TODO; a man page has a number."""
    code = words_of_sources(start.REPOSITORY / "common", start.REPOSITORY / "rootfs",
                            *[start.folder_of(stage)
                              for stage in STAGES[1:stage_number(task.stage) + 1]])
    tools = [name for name, _ in (*COMMON_TOOLS, *task.toolkit)]
    assert len(tools) == TOOLS
    named = {name for tool in tools for name in re.findall(r"\w+(?=[({ ])", tool.split(",")[0])}
    named.update(name for todo in task.todos for name in skeleton.names_told(todo))
    known = set(re.findall(r"\w+", code)) | {"call", "kill", "overlay"}
    assert named - known == set()


@each_stage
def test_the_options_are_those_that_the_stage_adds(task: Task):
    options = start.options_of(task.stage)
    declared = re.findall(r'(?:add_option|add_flag|add_map|take)\(\s*"(?:-\w,)?(--[\w-]+)"',
                          words_of_sources(start.folder_of(task.stage)))
    assert declared and all(name in options for name in declared)
    if task.stage != "01":
        assert "--workdir" not in options


def test_options_with_a_second_line_are_told_in_full():
    before = "Options:\n  -h,--help   show this help\n\nExit status: 0\n"
    now = before.replace("\n\n", "\n  -u,--user UID|NAME ...\n                   the user\n\n")
    assert describe.new_options(now, before) == \
        "  -u,--user UID|NAME ...\n                   the user"


def can(operation: str) -> bool:
    return all(doctor.examine(one).works for one in doctor.OPERATIONS if one.name == operation)


@each_stage
def test_the_examples_are_what_our_stage_does(task: Task, tmp_path):
    program = pathlib.Path(matrix.stages_of_this_toolkit()[task.stage].path)
    assert {example.needs for example in task.examples} <= \
        {"", *(operation.name for operation in doctor.OPERATIONS)}
    possible = {name: can(name) for name in {example.needs for example in task.examples} if name}
    tried = [example for example in task.examples if possible.get(example.needs, True)]
    assert tried
    for example in tried:
        done = subprocess.run(["sh", "-c", example.line], cwd=tmp_path, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=60, check=False,
                              env={**os.environ, "PATH": f"{program.parent}:{doctor.PATH}"})
        assert done.stdout.rstrip("\n") == example.prints, example.line
