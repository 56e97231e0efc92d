"""The doctor, on machines that lack something: its verdict has to match what each stage does."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from harness import matrix
from harness.learning import doctor
from harness.learning.doctor import Fails, Operation, examine_all, spans, verdict
from harness.properties.verdict import STAGES

# What a machine may lack: how to take it away in a user namespace and a mount namespace, and what
# the doctor has to name.
LACKS = {
    "nothing": ('exec "$@"', None),
    "user namespaces": ('echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"',
                        "a user namespace"),
    "nothing, but something is mounted where the kernel expects it": (
        'mount -t tmpfs harmless /proc/sys/fs/binfmt_misc; exec "$@"', None),
    "an open /proc": ('mount -t tmpfs cover /proc/sys/fs; exec "$@"', "a /proc in it"),
    "a root of its own": ('mkdir -p root; mount --rbind / root; exec chroot root "$@"',
                          "a user namespace"),
}


def on_machine(lacking: str, folder, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "--", "sh", "-euc",
                           LACKS[lacking][0], "sh", *words], cwd=folder, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60, check=False,
                          env={**os.environ, "PATH": doctor.PATH,
                               "PYTHONPATH": str(doctor.REPOSITORY)})


@pytest.mark.parametrize("lacking", LACKS)
def test_the_verdict_is_what_the_stages_do(lacking, tmp_path):
    told = on_machine(lacking, tmp_path, sys.executable, "-B", "-m",
                      "harness.learning.doctor", "--json")
    assert told.returncode == 0, told.stderr
    findings = json.loads(told.stdout)["findings"]
    broken = {stage for finding in findings if not finding["works"] for stage in finding["stages"]}
    named = [finding for finding in findings if finding["name"] == LACKS[lacking][1]]
    assert all(not finding["works"] and finding["fix"] for finding in named)

    stages = {stage: program.path for stage, program in matrix.stages_of_this_toolkit().items()
              if stage in doctor.FROM_05}
    assert stages
    for stage, path in stages.items():
        started = on_machine(lacking, tmp_path, path, "true")
        assert started.returncode == (125 if stage in broken else 0), (stage, started.stderr)


@pytest.mark.parametrize("who", [[], ["setpriv", "--reuid=12345", "--regid=12345",
                                      "--clear-groups"]], ids=["root", "user"])
def test_the_verdict_in_a_container_is_what_the_stages_do_there(like_docker, who):
    programs = matrix.stages_of_this_toolkit()
    built = pathlib.Path(programs["01"].path).parent.parent.parent
    volumes = [f"{path}:{path}:ro" for path in (doctor.REPOSITORY, built)]
    volumes += ["/etc/subuid:/etc/subuid:ro"] if os.path.exists("/etc/subuid") else []

    def there(*words: str) -> subprocess.CompletedProcess:
        return like_docker("sh", "-c", f'cd {doctor.REPOSITORY} && exec "$@"', "sh", *who, *words,
                           volumes=volumes)
    told = there(sys.executable, "-B", "-m", "harness.learning.doctor", "--json")
    assert told.returncode == 0, told.stderr
    findings = json.loads(told.stdout)["findings"]
    broken = {stage for finding in findings if not finding["works"] for stage in finding["stages"]}
    assert "05" in broken and "01" not in broken
    named = {finding["name"]: finding["fix"] for finding in findings}
    assert named["a user namespace"].startswith("docker run --security-opt seccomp=unconfined")
    for stage, program in programs.items():
        if stage != "00":
            started = there("env", "HOME=/tmp", program.path, "true")
            assert started.returncode == (125 if stage in broken else 0), (stage, started.stderr)


def test_what_needs_root_is_told_to_an_ordinary_user(capfd):
    def be_ordinary() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(12345, 12345, 12345)
            os.setresuid(12345, 12345, 12345)
        print(doctor.tell(examine_all()), flush=True)
    doctor.in_child(be_ordinary)
    assert "; 02 to 04 need root and chroot(2)" in capfd.readouterr().out


def broken(name: str, after: str = "", **more) -> Operation:
    def fail() -> str:
        raise Fails(f"no {name}")
    return Operation(name, fail, lambda seen: f"mend: {seen}", after=after, **more)


def test_a_finding_says_what_breaks_and_how_to_mend_it():
    first, second = examine_all([broken("thing", stages=("05", "06")),
                                 broken("other", after="thing", stages=("06",))])
    assert (first.seen, first.breaks, first.fix) == ("no thing", "stages 05, 06",
                                                     "mend: no thing")
    assert (second.seen, second.breaks) == ("not tried without thing", "")


def test_the_verdict_is_one_line():
    assert verdict([]) == f"stages 01 to {STAGES[-1]} run here"
    findings = examine_all([broken("root", stages=("02", "03")), broken("nets", stages=STAGES[-1:]),
                            broken("limits", lost="--cpus, --memory"),
                            broken("net", lost="--network")])
    assert verdict(findings) == (f"stages 01, 04 to {STAGES[-2]} run here; 02, 03 need root;"
                                 f" {STAGES[-1]} needs nets."
                                 " Not available: --cpus, --memory; --network")


def test_the_verdict_knows_of_one_and_of_none():
    findings = examine_all([broken("all", stages=STAGES[2:])])
    assert verdict(findings).startswith(f"stage 01 runs here; 02 to {STAGES[-1]} need all")
    assert verdict(examine_all([broken("all", stages=STAGES[1:])])).startswith("no stage runs here")


def test_stages_that_follow_each_other_are_drawn_together():
    assert spans(["01", "02", "04", "08b", "08c"]) == "01, 02, 04, 08b, 08c"
    assert spans(["01", "02", "03", "08c"]) == "01 to 03, 08c"


def test_a_child_that_dies_fails():
    with pytest.raises(Fails, match="status 9"):
        doctor.in_child(lambda: os.kill(os.getpid(), 9))


def test_nothing_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.tempfile, "tempdir", str(tmp_path))
    examine_all()
    assert not list(tmp_path.iterdir())
