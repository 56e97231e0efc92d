"""A client of the CRI, through which the kubelet drives containerd."""

from __future__ import annotations

import re

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# As far as it is used, of kubernetes/cri-api, pkg/apis/runtime/v1/api.proto. What is sent is the
# same for an enum and an int32, and for a map of strings and a list of KeyValue.
API = """
message KeyValue { string key = 1; string value = 2; }
message Int64Value { int64 value = 1; }
message UInt64Value { uint64 value = 1; }

message VersionRequest { string version = 1; }
message VersionResponse { string version = 1; string runtime_name = 2; string runtime_version = 3; }

message NamespaceOption { int32 network = 1; int32 pid = 2; int32 ipc = 3; string target_id = 4; }
message LinuxSandboxSecurityContext { NamespaceOption namespace_options = 1; bool privileged = 6; }
message LinuxPodSandboxConfig {
  string cgroup_parent = 1; LinuxSandboxSecurityContext security_context = 2;
  repeated KeyValue sysctls = 3;
}
message DNSConfig { repeated string servers = 1; }
message PodSandboxMetadata { string name = 1; string uid = 2; string namespace = 3; }
message PodSandboxConfig {
  PodSandboxMetadata metadata = 1; string hostname = 2; string log_directory = 3;
  DNSConfig dns_config = 4; LinuxPodSandboxConfig linux = 8;
}
message RunPodSandboxRequest { PodSandboxConfig config = 1; string runtime_handler = 2; }
message RunPodSandboxResponse { string pod_sandbox_id = 1; }
message StopPodSandboxRequest { string pod_sandbox_id = 1; }
message StopPodSandboxResponse { }
message RemovePodSandboxRequest { string pod_sandbox_id = 1; }
message RemovePodSandboxResponse { }
message PodSandboxNetworkStatus { string ip = 1; }
message PodSandboxStatus {
  string id = 1; PodSandboxMetadata metadata = 2; int32 state = 3;
  PodSandboxNetworkStatus network = 5; string runtime_handler = 9;
}
message PodSandboxStatusRequest { string pod_sandbox_id = 1; }
message PodSandboxStatusResponse { PodSandboxStatus status = 1; }
message PodSandbox { string id = 1; }
message ListPodSandboxRequest { }
message ListPodSandboxResponse { repeated PodSandbox items = 1; }

message ContainerMetadata { string name = 1; uint32 attempt = 2; }
message ImageSpec { string image = 1; }
message Mount { string container_path = 1; string host_path = 2; bool readonly = 3; }
message Capability { repeated string add_capabilities = 1; repeated string drop_capabilities = 2; }
message LinuxContainerResources {
  int64 cpu_period = 1; int64 cpu_quota = 2; int64 cpu_shares = 3; int64 memory_limit_in_bytes = 4;
  int64 oom_score_adj = 5;
}
message LinuxContainerSecurityContext {
  Capability capabilities = 1; bool privileged = 2; NamespaceOption namespace_options = 3;
  Int64Value run_as_user = 5; bool readonly_rootfs = 7; repeated int64 supplemental_groups = 8;
  bool no_new_privs = 11; Int64Value run_as_group = 12; repeated string masked_paths = 13;
  repeated string readonly_paths = 14;
}
message LinuxContainerConfig {
  LinuxContainerResources resources = 1; LinuxContainerSecurityContext security_context = 2;
}
message ContainerConfig {
  ContainerMetadata metadata = 1; ImageSpec image = 2; repeated string command = 3;
  repeated string args = 4; string working_dir = 5; repeated KeyValue envs = 6;
  repeated Mount mounts = 7; string log_path = 11; LinuxContainerConfig linux = 15;
}
message CreateContainerRequest {
  string pod_sandbox_id = 1; ContainerConfig config = 2; PodSandboxConfig sandbox_config = 3;
}
message CreateContainerResponse { string container_id = 1; }
message StartContainerRequest { string container_id = 1; }
message StartContainerResponse { }
message StopContainerRequest { string container_id = 1; int64 timeout = 2; }
message StopContainerResponse { }
message RemoveContainerRequest { string container_id = 1; }
message RemoveContainerResponse { }
message ContainerStatus {
  string id = 1; int32 state = 3; int32 exit_code = 7; string reason = 10; string message = 11;
}
message ContainerStatusRequest { string container_id = 1; }
message ContainerStatusResponse { ContainerStatus status = 1; }
message UpdateContainerResourcesRequest {
  string container_id = 1; LinuxContainerResources linux = 2;
}
message UpdateContainerResourcesResponse { }
message ExecSyncRequest { string container_id = 1; repeated string cmd = 2; int64 timeout = 3; }
message ExecSyncResponse { bytes stdout = 1; bytes stderr = 2; int32 exit_code = 3; }
message ContainerAttributes { string id = 1; }
message CpuUsage { int64 timestamp = 1; UInt64Value usage_core_nano_seconds = 2; }
message MemoryUsage { int64 timestamp = 1; UInt64Value working_set_bytes = 2; }
message ContainerStats {
  ContainerAttributes attributes = 1; CpuUsage cpu = 2; MemoryUsage memory = 3;
}
message ContainerStatsRequest { string container_id = 1; }
message ContainerStatsResponse { ContainerStats stats = 1; }
"""

POD, CONTAINER, NODE = range(3)  # NamespaceMode
READY, NOT_READY = range(2)  # PodSandboxState
CREATED, RUNNING, EXITED = range(3)  # ContainerState


def messages_of(api: str) -> dict[str, type]:
    """The classes of protobuf for the messages of `api`."""
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="api.proto", package="runtime.v1",
                                              syntax="proto3")
    for name, body in re.findall(r"message (\w+) \{(.*?)\}", api, re.DOTALL):
        message = file.message_type.add(name=name)
        for repeated, kind, field, number in re.findall(r"(repeated )?(\w+) (\w+) = (\d+);", body):
            added = message.field.add(name=field, number=int(number))
            added.label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            if kind[0].isupper():
                added.type, added.type_name = field_type.TYPE_MESSAGE, f".runtime.v1.{kind}"
            else:
                added.type = field_type.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {message.name: factory.GetPrototype(
        pool.FindMessageTypeByName(f"runtime.v1.{message.name}")) for message in file.message_type}


MESSAGES = messages_of(API)


class Cri:
    """A connection."""

    def __init__(self, socket: str, timeout: float) -> None:
        self.channel = grpc.insecure_channel(f"unix:{socket}")
        self.timeout = timeout

    def call(self, method: str, **fields):
        """Returns the response; raises grpc.RpcError if containerd refuses."""
        request, response = MESSAGES[f"{method}Request"], MESSAGES[f"{method}Response"]
        remote = self.channel.unary_unary(f"/runtime.v1.RuntimeService/{method}",
                                          request_serializer=request.SerializeToString,
                                          response_deserializer=response.FromString)
        return remote(request(**fields), timeout=self.timeout)
