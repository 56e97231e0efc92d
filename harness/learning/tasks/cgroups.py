"""Stage 07: what a learner writes, and in which order."""

from __future__ import annotations

from harness.learning.skeleton import Todo
from harness.learning.task import CORE, ROBUST, THEN, Example, Milestone, Task

CGROUPS = "limits by cgroup v2"

TASK = Task(
    stage="07",
    goal="Let the container use no more CPU time, memory, processes and disk than it was given.",
    examples=(
        Example("07_cgroups --cpus 0.5 cat /sys/fs/cgroup/cpu.max", "50000 100000", CGROUPS),
        Example("07_cgroups --memory 64m cat /sys/fs/cgroup/memory.max", "67108864", CGROUPS),
        Example("07_cgroups --pids-limit 8 cat /proc/self/cgroup | tail -n 1", "0::/", CGROUPS),
        Example("07_cgroups --memory 4m sh -c 'head -c 8m /dev/zero | tail -n 1 | wc -c'"
                " 2>/dev/null; echo $?", "137", CGROUPS),
        Example("07_cgroups --cpus 0 true 2>/dev/null; echo $?", "125"),
    ),
    toolkit=(
        ("CgroupOptions options", "`cpu_max`, `memory_max`, `pids_max`, `io_max`: read, checked,"
         " and"
         " written as the kernel's files want them; \"\" is no limit"),
        ("find_hierarchy(), find_parent_cgroup(…)", "where cgroup v2 is, and the cgroup in which a"
         " new one may be made"),
        ("write_file(path, text), read_file(path)", "a file of the kernel's"),
        ("clone_for(ids, flags, descriptor)", "clone3(2); with CLONE_INTO_CGROUP the descriptor is"
         " a cgroup's directory"),
    ),
    todos=(
        Todo("cgroup.cc", "Cgroup::make_in", 1,
             "mkdir(2) a directory in `parent`, with a name that no other container has, and keep"
             " its path in path_. Its name begins with kPrefix. Then (milestone 5): lock_ = lock()"
             " it, so that the next start knows that you live; between the two another start may"
             " take it for a leftover and remove it."),
        Todo("cgroup.cc", "start_session_in", 1,
             "a Child that clone3(2) puts into the cgroup at its birth: CLONE_INTO_CGROUP with"
             " cgroup.open_directory(). Without a cgroup of its own (is_own()), as stage 06 does it"
             " in own_terminal.cc. In the child, before body(): close what leads to the host, the"
             " directory and, by close_in_child(), the lock.",
             "return start_session_in(namespaces, ids, body);"),
        Todo("cgroup.cc", "remove_cgroup", 1,
             "rmdir(2). While a process is in it, that fails: then kill all by writing 1 to"
             " cgroup.kill (`locked` is that file, opened), wait until cgroup.events says"
             " \"populated 0\", and remove_directories()."),
        Todo("cgroup.cc", "enable_controllers", 2,
             "write \"+cpu +memory\" and the like to cgroup.subtree_control of `parent`: what is"
             " missing_in() it, and nothing else."),
        Todo("cgroup.cc", "Cgroup::set_limits", 2,
             "write cpu.max, memory.max, pids.max, io.max of path_. With a limit of memory, also:"
             " no swap, and all of the container is killed together. cgroups(7) and cgroup-v2.rst"
             " have the files."),
        Todo("cgroup.cc", "Cgroup::enter_namespace", 3,
             "a cgroup namespace, whose root is the cgroup in which you are; then a new cgroup2"
             " over"
             " kInside, read-only (attach_at(), new_mount()). Without a cgroup of its own, an empty"
             " tmpfs."),
        Todo("cgroup.cc", "Cgroup::tell_of_out_of_memory", 5,
             "if memory.events counts an oom_kill, warn(): \"out of memory: …\" and a hint. It must"
             " be read before the cgroup is removed."),
        Todo("cgroup.cc", "remove_leftovers", 5,
             "of the cgroups in `parent` whose name begins with kPrefix, remove_if_left() those"
             " whose parent was killed."),
    ),
    milestones=(
        Milestone(CORE, "A cgroup of its own, and none left", ("own_cgroup", "cgroup_is_removed")),
        Milestone(CORE, "The limits hold", (
            "memory_limit_kills_all", "swap_is_limited", "fork_bomb_is_contained", "cpus_half",
            "cpus_fifth", "cpus_more_than_one", "grandchildren_are_limited")),
        Milestone(THEN, "It sees its own cgroup and no other", (
            "own_cgroup_namespace", "cgroup_is_the_root_inside", "other_cgroups_are_hidden")),
        Milestone(THEN, "No way out of the limits", (
            "limits_cannot_be_raised", "cgroup_cannot_be_left")),
        Milestone(ROBUST, "Failures, and what killed parents leave"),
    ),
)
