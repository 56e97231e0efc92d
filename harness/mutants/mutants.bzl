"""The table of mutants: deliberately wrong stages, each with the row that has to catch it.

Bazel reads it to build them, and harness/mutants/table.py to test them: this file and those of the
stages are Starlark and Python alike. A change replaces text that its file has exactly once.
"""

load(":cgroups.bzl", CGROUPS = "MUTANTS")
load(":chroot.bzl", CHROOT = "MUTANTS")
load(":ebpf.bzl", EBPF = "MUTANTS")
load(":exec.bzl", EXEC = "MUTANTS")
load(":lsm.bzl", LSM = "MUTANTS")
load(":namespaces.bzl", NAMESPACES = "MUTANTS")
load(":network.bzl", NETWORK = "MUTANTS")
load(":overlayfs.bzl", OVERLAYFS = "MUTANTS")
load(":pivot_root.bzl", PIVOT_ROOT = "MUTANTS")
load(":seccomp.bzl", SECCOMP = "MUTANTS")
load(":userns.bzl", USERNS = "MUTANTS")
load(":userspace.bzl", USERSPACE = "MUTANTS")

MUTANTS = (EXEC + CHROOT + USERSPACE + NAMESPACES + USERNS + PIVOT_ROOT + CGROUPS + OVERLAYFS +
           SECCOMP + NETWORK + LSM + EBPF)
