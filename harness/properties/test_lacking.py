"""What programs print about options that they do not know, and about what they refuse for other
reasons."""

from __future__ import annotations

import pytest

from harness.properties.lacking import option_lacked

USED = ["--rootfs", "--rootfs /x", "--init", "--workdir", "--workdir /tmp", "--volume"]

# What a program writes, and the option that it lacks.
SAID = [
    ("my: unrecognized option '--init'", "--init"),  # getopt_long(3)
    ("my: invalid option -- 'w'", "--workdir"),
    ("my: illegal option -- w", "--workdir"),
    ("usage: my\nmy: error: unrecognized arguments: --init", "--init"),  # Python's argparse
    ("flag provided but not defined: -init\nUsage of my:", "--init"),  # Go's flag
    ("Error: unknown flag: --init", "--init"),  # Go's cobra
    ("error: unexpected argument '--init' found", "--init"),  # Rust's clap
    ("invalid option: --init (OptionParser::InvalidOption)", "--init"),  # Ruby
    ("Unknown option: init", "--init"),  # Perl's Getopt::Long
    ("unknown option -w", "--workdir"),
    ("my has no --volume", "--volume"),
    ("my: --volume is not supported", "--volume"),
    ("exec: --init: No such file or directory", "--init"),  # it is taken for the command
    ("my: 7: exec: --init: not found", "--init"),
    ("Usage: my ROOT COMMAND...", "--init"),  # and no message names it
    ("05: --workdir /escape: No such file or directory", ""),
    ("05: chdir(/escape): No such file or directory\nhint: -w names a link", ""),
    ("mount(--volume): Invalid argument", ""),
    ("05: open(/init): Invalid argument", ""),
    ("this needs root", ""),
    ("", ""),
]


@pytest.mark.parametrize("said, option", SAID)
def test_the_option_that_a_program_lacks_is_found_out(said: str, option: str) -> None:
    run = {"why": "ended", "exit": 1, "stderr": said, "stdout": ""}
    assert option_lacked(run, USED) == option
    assert option_lacked({**run, "stderr": "", "stdout": said}, USED) == option
    assert option_lacked({**run, "exit": 0}, USED) == ""
    assert option_lacked({**run, "why": "time limit"}, USED) == ""
