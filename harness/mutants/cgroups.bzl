"""Mutants of stage 07: cgroups."""

load(":mutant.bzl", "change", "mutant")

_CGROUP = "07_cgroups/cgroup.cc"
_LIMITS = "07_cgroups/limits.cc"

_NOT_BORN_IN_IT = change(
    _CGROUP,
    "clone_for(ids, namespaces | CLONE_INTO_CGROUP, directory.get())",
    "(errno = ENOSYS, -1)",
)

# Those that fail where the limits are not those of the container.
_ALL_LIMITS = [
    "cpus_half",
    "cpus_fifth",
    "cpus_more_than_one",
    "grandchildren_are_limited",
    "memory_limit_kills_all",
    "out_of_memory_is_told",
    "fork_bomb_is_contained",
]

MUTANTS = [
    mutant(
        name = "inner_pid_written",
        stage = "07_cgroups",
        caught_by = "own_cgroup",
        why = "getpid() inside does not return the number that the process has on the host; with" +
              " --init it returns 2",
        changes = [
            _NOT_BORN_IN_IT,
            change(_CGROUP, "      cgroup.add(moved);", """      try {
        cgroup.add(2);
      } catch (const Failure&) {
      }"""),
        ],
        also = _ALL_LIMITS + [
            "swap_is_limited",
            "limits_cannot_be_raised",
            "cgroup_is_removed",
            "killed_parents_cgroup_is_removed",
        ],
        because = "the limits are set on a cgroup without processes",
    ),
    mutant(
        name = "joined_after_exec",
        stage = "07_cgroups",
        caught_by = "grandchildren_are_limited",
        why = "the parent knows the child's number only then, and the command has hardly begun",
        changes = [
            change(
                "07_cgroups/main.cc",
                "#include \"common/run_main.h\"",
                "#include <unistd.h>\n#include <fstream>\n#include \"common/run_main.h\"",
            ),
            change("07_cgroups/main.cc", "start_session_in(namespaces, ids, cgroup, [&]", "start_session_in(namespaces, ids, [&]"),
            change("07_cgroups/main.cc", "  return cgroup.finish(", """  if (limits.any()) {
    for (std::string name = "07"; name.rfind("07", 0) == 0; usleep(1000)) {
      std::ifstream("/proc/" + std::to_string(child.pid()) + "/comm") >> name;
    }
    usleep(300000);
    cgroup.add(child.pid());
  }
  return cgroup.finish("""),
        ],
        also = [row for row in _ALL_LIMITS if row != "grandchildren_are_limited"] + [
            "cgroup_is_the_root_inside",
        ],
        because = "processes that were forked earlier are not moved, and the namespace is created" +
                  " earlier",
    ),
    mutant(
        name = "namespace_before_cgroup",
        stage = "07_cgroups",
        caught_by = "cgroup_is_the_root_inside",
        why = "all other namespaces are made by a flag of clone3(2); then the parent moves the child",
        changes = [
            _NOT_BORN_IN_IT,
            change("07_cgroups/main.cc", "CLONE_NEWUSER |", "CLONE_NEWUSER | CLONE_NEWCGROUP |"),
            change(_CGROUP, "check(unshare(CLONE_NEWCGROUP), \"unshare(CLONE_NEWCGROUP)\");", ""),
        ],
    ),
    mutant(
        name = "cgroups_of_the_host_shown",
        stage = "07_cgroups",
        caught_by = "other_cgroups_are_hidden",
        why = "/proc/self/cgroup seems to hide them already",
        changes = [
            change("06_pivot_root/mounts.cc", "private_copy(\"/sys\", 0)", "private_copy(\"/sys\", AT_RECURSIVE)"),
            change(_CGROUP, "MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC),\n            kInside);", "MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC),\n            \"/run\");"),
        ],
    ),
    mutant(
        name = "period_wrong",
        stage = "07_cgroups",
        caught_by = "cpus_half",
        why = "a second seems a natural period, and is six zeros in microseconds",
        changes = [change(_LIMITS, "std::lround(cpus * kPeriod), kPeriod)", "std::lround(cpus * kPeriod), 10 * kPeriod)")],
        also = ["cpus_fifth", "cpus_more_than_one"],
        because = "each container gets a tenth of its share",
    ),
    mutant(
        name = "one_cpu_at_most",
        stage = "07_cgroups",
        caught_by = "cpus_more_than_one",
        why = "it seems impossible to run for longer than a period, but several CPUs can",
        changes = [change(_LIMITS, "std::lround(cpus * kPeriod)", "std::lround(std::fmin(cpus, 1) * kPeriod)")],
    ),
    mutant(
        name = "swap_not_limited",
        stage = "07_cgroups",
        caught_by = "swap_is_limited",
        why = "docker run --memory allows as much swap as memory",
        changes = [change(_CGROUP, "set(\"memory.swap.max\", \"0\")", "set(\"memory.swap.max\", \"\")")],
    ),
    mutant(
        name = "one_process_killed",
        stage = "07_cgroups",
        caught_by = "memory_limit_kills_all",
        why = "the OOM killer seems to kill all of a container by itself",
        changes = [change(_CGROUP, "set(\"memory.oom.group\", \"1\");", "")],
    ),
    mutant(
        name = "killed_without_a_word",
        stage = "07_cgroups",
        caught_by = "out_of_memory_is_told",
        why = "the exit status 137 seems to say enough",
        changes = [change(_CGROUP, "    tell_of_out_of_memory();\n", "")],
    ),
    mutant(
        name = "controllers_not_enabled",
        stage = "07_cgroups",
        caught_by = "fork_bomb_is_contained",
        why = "cgroup.controllers lists them, so they seem to be enabled; missing files are" +
              " skipped",
        changes = [
            change(_CGROUP, "    enable_controllers(parent, options.controllers());\n", "    (void)enable_controllers;\n"),
            change(
                _CGROUP,
                "if (!value.empty()) write_file(",
                "if (!value.empty() && access((path_ + \"/\" + file).c_str(), F_OK) == 0) write_file(",
            ),
        ],
        also = [row for row in _ALL_LIMITS if row != "fork_bomb_is_contained"] + [
            "swap_is_limited",
            "limits_cannot_be_raised",
        ],
        because = "without controllers a cgroup limits nothing",
    ),
    mutant(
        name = "limit_ignored",
        stage = "07_cgroups",
        caught_by = "no_limit_no_start",
        why = "a container without a limit seems better than no container",
        changes = [change(_CGROUP, "    if (options.any()) throw;\n", "")],
    ),
    mutant(
        name = "cgroup_left",
        stage = "07_cgroups",
        caught_by = "cgroup_is_removed",
        why = "namespaces and mounts disappear by themselves, so cgroups seem to do so, too",
        changes = [
            change(_CGROUP, "Cgroup::~Cgroup() { remove(); }", "Cgroup::~Cgroup() = default;"),
            change(_CGROUP, "    remove();\n  }\n  return exit_status;", """    if (access((path_ + "/memory.max").c_str(), F_OK) == -1) remove();
  }
  return exit_status;"""),
        ],
        also = ["nothing_is_left"],
        because = "both rows look for a cgroup that remains",
    ),
    mutant(
        name = "leftovers_stay",
        stage = "07_cgroups",
        caught_by = "killed_parents_cgroup_is_removed",
        why = "each start removes its own cgroup; one that is killed cannot",
        changes = [
            change(_CGROUP, "    remove_leftovers(parent);\n", "    if (!hierarchy.nsdelegate) remove_leftovers(parent);\n"),
        ],
        also = ["nothing_is_left"],
        because = "both rows look for a cgroup that remains",
    ),
]
