#!/usr/bin/python3
"""A jail in a few lines: os.chroot(), and a shell that runs the words."""

import os
import sys

if len(sys.argv) < 4 or sys.argv[1] != "run":
    print("usage: jail.py run ROOT COMMAND")
    sys.exit(1)

os.chroot(sys.argv[2])
status = os.system(" ".join(sys.argv[3:]))
sys.exit(status)
