"""What is said of a program or a test is what it has written."""

from __future__ import annotations

import pytest
from harness.conformance import podman, validation


@pytest.mark.parametrize("status, out, err, said", [
    (0, "TAP version 13\nok 1 - it is\n1..1\n", "", "ok"),
    (0, "", "", "ok"),  # of those that want a failure
    (0, "ok 1 - it is\nnot ok 2 - it should be\n", "", "it should be"),
    (0, "not ok 1 - later # TODO\n", "", "ok"),
    (0, '  ---\n  {"error":"Hooks MUST run\\nsee there"}\n  ...\n1..0\n', "", "Hooks MUST run"),
    (0, '  ---\n  {"error":""}\n  ...\nok 1 - it is\n1..1\n', "", "ok"),
    (0, "not ok 1 - exit status 1\n", "", "exit status 1"),
    (0, "not ok 1 - exit status 1\n",
     "failed to create the container\n11_oci: /run/ocitest12/config.json: no\nhint: help\n",
     "11_oci: config.json: no"),
    (1, "", 'time="x" level=warning msg="w"\ntime="x" level=error msg="runc: no"\n', "runc: no"),
    (2, "", "exit status 2\n", "ended with status 2"),
])
def test_the_verdict_on_a_validation_program(status, out, err, said):
    assert validation.verdict(status, out, err) == said


BATS = """\
1..4
ok 1 podman run - one
not ok 2 podman run - two
# (in test file system/030-run.bats, line 9)
# [ rc=125 (** EXPECTED 0 **) ]
# #| FAIL: exit code is 125; expected 0
ok 3 podman run - three # skip needs systemd
not ok 4 podman kill - four
# #|     FAIL: no ACK
"""


def test_the_results_of_bats():
    assert podman.results_in(BATS) == {
        "podman run - one": "ok", "podman run - two": "125 (** EXPECTED 0 **)",
        "podman run - three": "skip", "podman kill - four": "no ACK"}
