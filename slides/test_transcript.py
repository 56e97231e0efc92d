"""What a console block says, and how much of it stays when something else is seen."""

from __future__ import annotations

import pytest

from slides.terminal import BANNER, without_echo
from slides.transcript import is_prompt, merge, normalised, parse


def test_a_block_is_commands_and_answers():
    steps = parse(["host:~$ 05_userns sh", "05_userns:/# id -u", "0", "", "last",
                   "host:~# cat <<END", "> one", "> END", "one", "cont:/tmp$"])
    assert [(step.prompt, step.command, step.output) for step in steps] == [
        ("host:~$ ", ["05_userns sh"], []), ("05_userns:/# ", ["id -u"], ["0", "", "last"]),
        ("host:~# ", ["cat <<END", "one", "END"], ["one"]), ("cont:/tmp$ ", [""], [])]
    assert [step.is_root for step in steps] == [False, True, True, False]
    assert [line for step in steps for line in step.text()][5:8] == [
        "host:~# cat <<END", "> one", "> END"]


def test_what_begins_without_a_prompt_is_refused():
    with pytest.raises(ValueError, match="begins with no prompt"):
        parse(["$ ls"])


@pytest.mark.parametrize("shown, written, same", [
    ("05_userns:/# ", "cont:/# ", True), ("05_userns:/# ", "05_userns:/# ", True),
    ("05_userns:/tmp# ", "cont:/# ", False), ("05_userns:/# ", "04_namespaces:/# ", False),
    ("host:~$ ", "cont:~$ ", False), ("host:~$ ", "host:~# ", False),
])
def test_prompts(shown, written, same):
    assert is_prompt(shown, written) == same


@pytest.mark.parametrize("written, seen, merged", [
    (["a", "b"], ["a", "b"], ["a", "b"]),
    (["a", "b"], ["a", "c"], ["a", "c"]),
    (["pid …", "x"], ["pid 7", "x"], ["pid …", "x"]),
    (["pid …", "x"], ["pid 7", "y"], ["pid …", "y"]),
    (["…"], ["a", "b", "c"], ["…"]),
    (["…"], [], ["…"]),
    (["a", "…", "z"], ["a", "b", "c", "z"], ["a", "…", "z"]),
    (["a", "…", "z"], ["b", "c", "z"], ["b", "…", "z"]),
    (["a", "…", "z"], ["a", "b", "c", "y"], ["a", "…", "y"]),
    ([], ["new"], ["new"]),
    (["old", "kept"], ["kept"], ["kept"]),
    (["a"], ["a", "net:[4026531840]"], ["a", "net:[…]"]),
    (["a.c"], ["abc"], ["abc"]),
])
def test_what_still_matches_is_kept(written, seen, merged):
    assert merge(written, seen) == merged


@pytest.mark.parametrize("line, same", [
    ("pid:[4026531836]", "pid:[…]"), ("/proc/4242/fd", "/proc/…/fd"), ("[1] 312", "[1] …"),
    ("real\t0m1.36s", "real\t…"), ("peak in 3.5 s", "peak in … s"),
    ("-rw-r--r-- 1 root root 6 Nov 22 04:01 x", "-rw-r--r-- 1 root root 6 … x"),
    ("0::/user.slice/session-217.scope", "0::/user.slice/session-….scope"), ("65534", "65534"),
    ("0 1000 1", "0 1000 1"),
])
def test_what_is_never_twice_the_same_is_seen(line, same):
    assert normalised(line) == same


def test_the_echo_may_be_broken_at_the_terminals_edge():
    assert without_echo("echo a\n b\na b\n", "echo a b") == "a b\n"
    assert without_echo("echo a", "echo a b") is None
    assert without_echo("other", "echo") is None
    assert without_echo("\nx", "") == "x"
    assert without_echo("$ ", None) == "$ "


def test_the_banner_of_busybox_is_left_out():
    said = ("\n\nBusyBox v1.35.0 (Debian 1:1.35.0-4) built-in shell (ash)\n"
            "Enter 'help' for a list of built-in commands.\n\nhello\n")
    assert BANNER.sub("", said) == "hello\n"
