// Stage 11: the cgroup of a container that outlives the command that made it.
#pragma once

#include <string>

#include "stages/11_oci/config.h"

namespace box {

// The global option --cgroup-manager, as crun has it.
enum class CgroupManager { kFiles, kDisabled };

// In the parent: the directory that the container's cgroup will have, "" for none of its own.
// Throws Failure if the config asks for limits, and this machine has no place for these. Makes
// nothing.
[[nodiscard]] std::string choose_cgroup(const Config& config, const std::string& id,
                                        CgroupManager manager);

// In the parent: makes it, with its limits and its rules for devices. It must be empty.
void make_cgroup(const std::string& cgroup, const Resources& resources);

// Writes the limits.
void set_resources(const std::string& cgroup, const Resources& resources);

// Stops all its processes, or lets them go on, and waits until that has happened.
void freeze(const std::string& cgroup, bool frozen);

// The processes in it and in the cgroups below it.
[[nodiscard]] std::vector<pid_t> processes_in(const std::string& cgroup);

}  // namespace box
