"""All that the pages quote is so, their transcripts included: these run in the virtual machine."""

from __future__ import annotations

import pathlib

import pytest

from slides import living
from slides.terminal import machine

ROOT = pathlib.Path(".").resolve()
PAGES = living.pages_of(ROOT)


@pytest.fixture(scope="module")
def vm():
    with machine() as started:
        yield started


@pytest.mark.parametrize("page", PAGES)
def test_what_the_page_quotes_is_so(page, vm):
    complaints = living.update(ROOT, [page], vm, write=False)
    assert not complaints, "\n\n".join([
        *complaints, "bazel run //slides:update brings it up to date; read what it has changed"])


STALE = """\
A page.

```console
host:~$ 05_userns sh -c 'id -u; hostname'
7
05_userns
host:~$ exit 3
```
"""


def test_a_transcript_that_is_not_so_is_told_with_the_difference(vm, tmp_path):
    (tmp_path / "page.md").write_text(STALE.replace("host:~$ exit 3\n", ""), encoding="utf-8")
    assert living.update(tmp_path, ["page.md"], vm, write=True) == [
        "page.md:3: this is not what it quotes\n--- the page\n+++ what it quotes\n@@ -4,3 +4,3 @@\n"
        " host:~$ 05_userns sh -c 'id -u; hostname'\n-7\n+0\n 05_userns"]
    assert living.update(tmp_path, ["page.md"], vm, write=False) == []


def test_a_prompt_that_never_comes_is_told_with_its_line(vm, tmp_path):
    page = STALE.replace("exit 3", "01_exec true") + "\n```console\nhost:~$ true\ncont:/# id\n```\n"
    (tmp_path / "page.md").write_text(page, encoding="utf-8")
    complaints = living.update(tmp_path, ["page.md"], vm, write=False)
    assert complaints[1] == ("page.md:12: no container is at its prompt; shown is: host:~$")


def test_a_machine_that_hangs_is_started_again(vm, tmp_path):
    (tmp_path / "page.md").write_text("```console\nhost:~$ hostname\nhost\n```\n", encoding="utf-8")
    vm.agent._process.kill()  # pylint: disable=protected-access
    assert living.update(tmp_path, ["page.md"], vm, write=False) == []


def test_each_block_finds_everything_new(vm, tmp_path):
    page = """\
```console
host:~# hostname pwned; echo spoiled >x; echo spoiled >/tmp/x; mount -t tmpfs none /mnt
host:~# 04_namespaces sh -c 'echo spoiled >/etc/hosts; hostname'
04_namespaces
host:~$ echo spoiled >x
```

```console
host:~# hostname; ls /tmp; ls; grep -c /mnt /proc/mounts
host
0
host:~# 04_namespaces grep -c spoiled /etc/hosts
0
host:~$ ls; id -u; cat /proc/self/cgroup
1000
0::/user.slice/user-1000.slice/user@1000.service/session-….scope
```
"""
    (tmp_path / "page.md").write_text(page, encoding="utf-8")
    assert living.update(tmp_path, ["page.md"], vm, write=False) == []


def test_a_stage_that_does_not_keep_its_promise_is_told(vm, tmp_path):
    """Stage 06's page, with stage 05 under the name of stage 06: the attack leads out again."""
    page = (ROOT / "stages/06_pivot_root/README.md").read_text(encoding="utf-8")
    start = page.index("## An attack")
    attack = page[start:page.index("\n## ", start)]
    broken = attack.replace("```console", "<!-- before: 06_pivot_root() { 05_userns \"$@\"; } -->\n"
                                          "```console")
    (tmp_path / "page.md").write_text(broken, encoding="utf-8")
    (complaint,) = living.update(tmp_path, ["page.md"], vm, write=False)
    assert complaint.startswith("page.md:7: this is not what it quotes\n")
    assert "\n-ls: /home/user: No such file or directory\n+/home/user" in complaint
