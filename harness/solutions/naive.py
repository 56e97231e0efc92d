"""The rows of the complete container that stages/00_naive/naive.c loses, and why.

The page beside it, the map of the journey, names the same rows: //slides:pages_test compares.
"""

from __future__ import annotations

from typing import Dict

# What goes wrong -> the rows that show it, in the order of the stages.
MISTAKES: Dict[str, str] = {
    "its exit status reports neither signals nor why a start failed":
        "killed_is_128_plus_signal not_executable_is_126",
    "the command inherits what its caller has open, its umask, process group, personality and keys":
        "descriptors_are_closed inherited_directory_is_closed umask_is_the_containers"
        " kill_0_stays_inside personality_is_the_containers descriptors_lead_command_nowhere"
        " callers_keys_are_hidden",
    "the parent only waits: it forwards no signal, lends no terminal, trusts its caller's SIGCHLD":
        "signals_are_forwarded ignored_sigchld_does_no_harm ctrl_c_arrives_once"
        " terminal_is_given_back",
    "the environment is the caller's":
        "host_variable_is_hidden path_is_the_containers",
    "its clocks are the host's":
        "own_time_namespace uptime_starts_at_zero",
    "nothing ties the container to its parent":
        "container_dies_with_its_parent death_with_the_parent_cannot_be_revoked"
        " early_death_is_noticed",
    "the map is 0 0 1 if root starts it":
        "root_inside_is_caller_outside group_inside_is_callers_outside sysctls_cannot_be_opened"
        " hosts_root_keeps_its_limits",
    "/proc, /sys and /dev are the host's, and nothing in them is hidden or read-only":
        "kernel_files_are_masked firmware_is_masked proc_paths_are_read_only sys_is_read_only"
        " dev_is_minimal nothing_is_left masks_cannot_be_lifted links_are_own"
        " proc_is_for_data devices_cannot_be_changed masks_cannot_be_changed"
        " sys_and_dev_stay_in_place terminal_is_its_own terminal_is_that_of_its_session"
        " terminal_survives_a_killed_parent typed_input_stays_inside",
    "root inside keeps all capabilities":
        "bounding_set_is_small effective_set_is_small set_user_id_gives_nothing",
    "the filter refuses one call, of one architecture":
        "forbidden_calls_are_denied int80_calls_are_killed x32_calls_are_killed"
        " clone3_is_not_there newer_calls_are_not_there terminal_cannot_be_typed_into"
        " terminal_input_has_no_disguise socket_families_are_few no_namespaces_inside"
        " filter_is_the_last_call console_cannot_be_pasted_into clone_flags_have_no_disguise"
        " other_namespaces_are_denied",
    "lo stays down, and nothing leads out":
        "loopback_works",
    "it has no option for it":
        "workdir_option_works workdir_stays_inside missing_workdir_is_made env_option_works"
        " hosts_programs_run libraries_come_along links_are_copied_as_links copies_are_copies"
        " copied_links_stay_inside"
        " given_uptime_is_told"
        " init_reaps_orphans init_reaps_all_orphans init_is_pid_1 init_passes_signals_and_status"
        " init_hides_the_hosts_program"
        " given_maps_are_used given_user_runs_the_command given_user_has_no_capabilities"
        " volume_is_shown volume_can_be_written read_only_volume_cannot_be_written"
        " volume_brings_no_device single_file_is_shown volume_stays_inside"
        " read_only_root_cannot_be_written"
        " users_come_from_the_root descriptors_lead_workdir_nowhere"
        " user_forms_are_understood fifo_for_users_ends unmapped_root_is_nobody_special"
        " failed_call_for_an_option_is_noticed"
        " read_only_volume_covers_submounts volumes_submounts_bring_no_device"
        " hosts_roots_files_are_closed tmpfs_is_for_data tmpfs_has_its_size"
        " masks_are_the_hosts_null volume_covers_none_of_our_mounts volume_target_leads_nowhere"
        " own_cgroup cgroup_is_the_root_inside other_cgroups_are_hidden limits_cannot_be_raised"
        " cgroup_cannot_be_left memory_limit_kills_all out_of_memory_is_told swap_is_limited"
        " fork_bomb_is_contained cgroup_is_removed killed_parents_cgroup_is_removed cpus_half"
        " cpus_fifth cpus_more_than_one grandchildren_are_limited no_limit_no_start"
        " kept_layer_is_found_again kept_layer_has_one_user later_layer_lies_above"
        " whiteout_hides_a_file opaque_folder_hides_all_below image_says_what_runs"
        " layers_keep_their_owners image_names_its_user workdir_of_an_image_stays_inside"
        " kept_folder_is_closed_to_others hostile_layer_stays_inside greedy_layer_is_refused"
        " layer_names_stay_inside layer_brings_no_device overlay_attributes_are_left_out"
        " deep_layer_is_refused udp_port_is_published port_is_published_at_its_address"
        " forged_source_is_dropped published_at_loopback_is_shut_outside"
        " container_is_shut_outside hosts_mount_flags_are_locked"
        " layer_brings_no_host_file tampered_layer_is_refused"
        " capabilities_can_be_dropped one_capability_can_be_dropped capability_can_be_added"
        " init_has_few_rights profile_of_a_file_is_used strict_profile_denies_more"
        " strict_profile_runs_a_shell"
        " published_port_is_reached no_packet_to_hosts_loopback loopback_is_shut_without_rules"
        " host_speaks_no_ipv6_with_it forwarding_is_switched_back containers_meet_by_name"
        " gateway_is_not_the_host",
}

LOSES: Dict[str, str] = {row: why for why, rows in MISTAKES.items() for row in rows.split()}
