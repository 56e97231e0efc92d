// Stage 11: the command line of an OCI runtime, which is runc's, as conmon, podman and containerd's
// shim call it.
#pragma once

#include <string>
#include <vector>

#include "stages/11_oci/container_cgroup.h"

namespace box {

// One command with its options. An option that a command does not have keeps its default.
struct Request {
  std::string program;
  std::string command;  // "create"

  // Global options.
  std::string root;  // where the state is
  std::string log;
  std::string log_format = "text";  // or "json"
  bool debug = false;
  CgroupManager cgroups = CgroupManager::kFiles;

  std::string id;
  std::string bundle = ".";
  bool for_ordinary_user = false;  // spec --rootless
  std::string pid_file;
  std::string console_socket;
  int preserved_fds = 0;
  bool new_keyring = true;
  bool detach = false;
  bool keep = false;   // run
  bool force = false;  // delete
  bool all = false;    // kill
  std::string signal = "SIGTERM";
  std::string format;
  bool quiet = false;  // list
  std::string resources;
  bool stats = false;   // events
  double interval = 5;  // seconds

  // exec
  std::string process;
  std::vector<std::string> arguments;  // also of ps
  std::vector<std::string> environment;
  std::string cwd;
  std::string user;
  std::string cgroup;
  bool terminal = false;
  bool no_new_privs = false;
  bool ignore_paused = false;
};

// Reads the command line. Throws Failure, or CommandLine::Answered when it has printed what was
// asked for.
void parse_request(int argc, char** argv, Request& request);

// Writes the failure to --log, if there is one. stderr is the caller's.
void log_failure(const Request& request, const std::string& level, const std::string& message);

}  // namespace box
