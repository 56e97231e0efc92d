"""`property_test`: each promise of a stage, and each new one seen broken at the stage before."""

load("//bazel:pytest.bzl", "pytest_test")

# In the order in which they are built.
STAGES = [
    "//stages/01_exec",
    "//stages/02_chroot",
    "//stages/03_userspace",
    "//stages/04_namespaces",
    "//stages/05_userns",
    "//stages/06_pivot_root",
    "//stages/07_cgroups",
    "//stages/08a_overlayfs",
    "//stages/08b_seccomp",
    "//stages/08c_network",
    "//stages/09_lsm",
    "//stages/10_ebpf",
]

def harness_programs(more = {}):
    """The harness' own programs -> the environment variables in which it looks for them."""
    programs = {
        "//harness/agent": "HARNESS_AGENT",
        "//harness/probe": "HARNESS_PROBE",
        "@busybox//:program": "HARNESS_BUSYBOX",
    }
    programs.update(more)
    return programs

def property_test(name, stage, before, size = "large"):
    """Tests that are called as 05_userns-hostname_is_own-holds, to be chosen by --test_filter.

    What this machine cannot test is tested in a virtual one, which costs its start and about a
    minute; --test_arg=--in=vm tests all there, --test_arg=--in=host nothing.

    Args:
      name: of the target.
      stage: the program that makes the promises.
      before: the program at which the new ones have to be seen broken.
      size: as of any test.
    """
    pytest_test(
        name = name,
        size = size,
        srcs = ["//harness:test_stage.py"],
        data = ["//harness:library"],
        programs = harness_programs({
            stage: "HARNESS_STAGE",
            before: "HARNESS_STAGE_BEFORE",
        }),
        tags = [
            "exclusive",
            "no-sandbox",
        ],
    )
