# shellcheck shell=bash
# Writes the configuration of an OCI runtime: $bundle/changed.json is $bundle/config.json, which the
# runtime has written itself, and in which only what our command line asks for is changed. For the
# adapter that sources this after options.sh.
# shellcheck disable=SC2154  # options.sh has set these variables

[[ -t 0 ]] && terminal=true || terminal=false
name=$(basename "$bundle")  # which nobody else has
own=$(sed -n 's/^0:://p' /proc/self/cgroup)  # beside ours, in what is delegated to us
((EUID == 0)) || export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$EUID}"  # as a login has it

apparmor='' type='' level=s0
for one in "${security[@]}"; do
  case $one in
    apparmor=*) apparmor=${one#*=} ;;
    label=type:*) type=${one#*:} ;;
    label=level:*) level=${one#*:} ;;
  esac
done
[[ $seccomp != unconfined ]] || seccomp=''  # what the runtime's own configuration has
label=${type:+system_u:system_r:$type:$level}  # an engine writes it in full

# shellcheck disable=SC2016  # for jq to expand
jq --arg root "$root" --arg hostname "$hostname" --arg workdir "$workdir" --arg cpus "$cpus" \
  --arg memory "$memory" --arg pids "$pids" --arg uids "$uid_map" --arg gids "$gid_map" \
  --arg user "$user" --arg group "$group" --arg cgroup "${own%/*}/$name" \
  --arg apparmor "$apparmor" --arg selinux "$label" \
  --argjson terminal "$terminal" --argjson read_only "$([[ $read_only ]] && echo true || echo false)" \
  --argjson volumes "$(printf '%s\n' "${volumes[@]}" | jq -R . | jq -s .)" \
  --argjson variables "$(printf '%s\n' "${variables[@]}" | jq -R . | jq -s .)" \
  --argjson cap_add "$(printf '%s\n' "${cap_add[@]}" | jq -R . | jq -s .)" \
  --argjson cap_drop "$(printf '%s\n' "${cap_drop[@]}" | jq -R . | jq -s .)" \
  --slurpfile seccomp <([[ $seccomp ]] && cat "$seccomp") \
  --args '
  def words: map(select(. != ""));
  def id_map: split(":") | map(tonumber) | [{containerID: .[0], hostID: .[1], size: .[2]}];
  .process.args = $ARGS.positional
  | .process.terminal = $terminal
  | .process.cwd = $workdir
  | .process.env += ($variables | words)
  | .process.user = {uid: ($user | tonumber), gid: ($group | tonumber)}
  | .root = {path: $root, readonly: $read_only}
  | if $hostname != "" then .hostname = $hostname else . end
  | .linux.namespaces |= map(select(.type != "user")) + [{type: "user"}]
  | .linux.uidMappings = ($uids | id_map)
  | .linux.gidMappings = ($gids | id_map)
  | .mounts += ($volumes | words | map(split(":") | {
      destination: .[1], source: .[0], type: "bind", options: ["rbind", .[2] // "rw"]}))
  | ($cap_add | words | map("CAP_" + .)) as $more
  | .process.capabilities |= with_entries(
      if .key == "inheritable" then . else .value += $more end
      | if $cap_drop | index("ALL") then .value = [] else . end)
  | .linux.cgroupsPath = $cgroup
  | if $apparmor != "" then .process.apparmorProfile = $apparmor else . end
  | if $selinux != "" then .process.selinuxLabel = $selinux else . end
  | if $cpus != "" then
      .linux.resources.cpu = {period: 100000, quota: ($cpus | tonumber * 100000)} else . end
  | if $memory != "" then  # and no swap: the sum of both is the same
      .linux.resources.memory = {limit: ($memory | tonumber), swap: ($memory | tonumber)} else . end
  | if $pids != "" then .linux.resources.pids = {limit: ($pids | tonumber)} else . end
  | if $seccomp != [] then .linux.seccomp = $seccomp[0] else . end
  ' -- "$@" <"$bundle/config.json" >"$bundle/changed.json" || stop 'jq has failed'
