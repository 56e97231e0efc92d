"""Runs the lessons in the lab, and writes down what it shows where a page shows something else:

  bazel run //lab:record [-- LESSON...]

seen.json has for each such step what is seen, which the lesson then shows. The lab's machine is a
32-bit one, with busybox's programs in place of Debian's. By hand, a step that cannot work here is
given a "command" that shows the same, or, if there is none, a "missing", which says why. In what is
seen, … stands for what differs from time to time, as on the pages.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from typing import Any, Dict

from lab.drive import lab
from slides import transcript

NOTE = "On the page of the stage, whose machine is another, this looks a bit different."
OTHER_COMMAND = "The page of the stage has another command here: its machine has other programs."


def main(*chosen: str) -> None:
    page = pathlib.Path(os.environ["LAB_PAGE"]).resolve()
    out = pathlib.Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", ".")) / "lab/seen.json"
    seen: Dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    with lab() as opened:
        opened.open(page.as_uri())
        for lesson in opened.lessons():
            if chosen and lesson["id"] not in chosen:
                continue
            opened.open(page.as_uri())  # a machine as new for each
            opened.show(lesson["id"])
            for step in (step for part in lesson["parts"] for step in part.get("steps", [])):
                if step.get("missing"):
                    continue
                outcome = opened.perform(step["id"])
                entry = {key: value for key, value in seen.pop(step["id"], {}).items()
                         if key == "command"}
                if "back" in outcome and not outcome["back"]:
                    print(f"{step['id']:8} has not ended", flush=True)
                lines = [line.rstrip() for line in outcome["lines"]]
                merged = transcript.merge(step.get("seen", step["output"]), lines)
                if merged != step["output"]:
                    entry["seen"] = merged
                if entry:
                    entry["note"] = OTHER_COMMAND if "command" in entry else NOTE
                    seen[step["id"]] = entry
                print(step["id"], "other" if "seen" in entry else "as written", flush=True)
                text = json.dumps(seen, ensure_ascii=False, indent=1, sort_keys=True)
                partial = out.with_suffix(".partial")
                partial.write_text(text + "\n", encoding="utf-8")
                partial.replace(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
