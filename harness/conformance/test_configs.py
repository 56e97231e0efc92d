"""A sample of the generated configs: `bazel run //harness/conformance:configs` runs a hundred."""

from __future__ import annotations

import os
import shutil

import pytest
from harness.conformance import configs, places

# Among them a mount, a user, a hook, a limit, a filter, and some that are refused.
SAMPLE = 12


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: --config=root")
def test_ours_agrees_with_another_runtime_or_is_stricter():
    if shutil.which("crun") is None or shutil.which("catatonit") is None:
        pytest.skip("crun or catatonit is not installed: ./setup.sh --engines")
    changed = os.stat("/dev/null").st_ctime_ns
    assert places.run_inside("configs", ["--count", str(SAMPLE)]) == 0
    assert os.stat("/dev/null").st_ctime_ns == changed, "crun gives it away"


def test_what_is_generated_depends_on_the_seed_alone():
    assert configs.generate(1, 7) == configs.generate(1, 7)
    assert configs.generate(1, 7) != configs.generate(2, 7)


def test_stricter_is_told_from_different():
    def seen(*mounts: str, status: int = 7) -> configs.Json:
        return {"exit status": status, "mounts": list(mounts)}

    theirs = seen("/dev tmpfs nosuid", "/proc proc")
    assert configs.has_more_flags(seen("/dev tmpfs ro nosuid", "/proc proc"), theirs)
    assert not configs.has_more_flags(seen("/dev tmpfs ro", "/proc proc ro"), theirs)
    assert not configs.has_more_flags(seen("/dev tmpfs ro nosuid"), theirs)
    assert not configs.has_more_flags(seen("/dev tmpfs ro nosuid", "/proc proc", status=1), theirs)
