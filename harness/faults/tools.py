"""Where Bazel has put the programs that a sweep needs."""

from __future__ import annotations

import os
import pathlib
import shutil

from harness.faults.world import Tools

OTHER_TOOLS = ("bwrap", "crun")


def find_tools() -> Tools:
    stages = {os.path.basename(path): os.path.realpath(path)
              for path in os.environ["HARNESS_STAGES"].split()}
    others = {name: path for name in OTHER_TOOLS if (path := shutil.which(name))}
    real = {name: os.path.realpath(os.environ[f"HARNESS_{name.upper()}"])
            for name in ("agent", "probe", "busybox", "inject")}
    any_stage = pathlib.Path(next(iter(stages.values())))
    return Tools(**real, programs={**stages, **others},
                 builtin_root=str(any_stage.parents[2] / "rootfs" / "rootfs.tar"))
