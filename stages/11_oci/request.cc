#include "stages/11_oci/request.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <seccomp.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "common/check.h"
#include "common/command_line.h"
#include "common/printable.h"
#include "common/unique_fd.h"
#include "stages/11_oci/state.h"

namespace box {
namespace {

constexpr const char* kVersion = "0.1.0";

// In the form that go-runc, and so containerd, reads.
std::string version_text(const std::string& program) {
  const scmp_version* seccomp = seccomp_version();
  return fmt::format("{} version {}\nspec: 1.2.0\nlibseccomp: {}.{}.{}", program, kVersion,
                     seccomp->major, seccomp->minor, seccomp->micro);
}

// What is read before it is checked.
struct Raw {
  std::string rootless = "auto";
  std::string cgroup_manager = "cgroupfs";
  bool systemd_cgroup = false;
  bool no_pivot = false;
  bool no_new_keyring = false;
  bool no_subreaper = false;
};

class Parser {
 public:
  explicit Parser(Request& request) : request_(request) {
    app_.name(request.program);
    app_.description(
        "An OCI runtime: the layers of stages 01 to 10, with a config.json in place"
        " of the command line.");
    app_.set_version_flag("--version,-v", version_text(request.program));
    app_.require_subcommand(1);
    app_.add_option("--root", request_.root, "where the state of the containers is");
    app_.add_option("--log", request_.log, "write failures to this file, too");
    app_.add_option("--log-format", request_.log_format, "text or json")
        ->check(CLI::IsMember({"text", "json"}));
    app_.add_flag("--debug", request_.debug,
                  "show each system call that builds the container, with its result");
    app_.add_flag("--systemd-cgroup", raw_.systemd_cgroup,
                  "refused: this runtime makes cgroups itself");
    app_.add_option("--cgroup-manager", raw_.cgroup_manager, "cgroupfs or disabled");
    app_.add_option("--rootless", raw_.rootless, "accepted: it is found out");
    add_commands();
  }

  void parse(int argc, char** argv) {
    app_.parse(argc, argv);
    request_.command = app_.get_subcommands().front()->get_name();
    check();
  }

  [[nodiscard]] CLI::App& app() { return app_; }

 private:
  CLI::App* add(const std::string& name, const std::string& help, bool with_id = true) {
    CLI::App* command = app_.add_subcommand(name, help);
    if (with_id) command->add_option("ID", request_.id, "the container")->required();
    return command;
  }

  void add_commands() {
    add_options_of_create(add("create", "build a container, which then waits for start"));
    add("start", "run the command of a created container");
    CLI::App* run = add("run", "create and start a container, and wait for its end");
    add_options_of_create(run);
    run->add_flag("-d,--detach", request_.detach, "do not wait");
    run->add_flag("--keep", request_.keep, "do not delete it after its end");
    add("state", "print the state as JSON");
    CLI::App* kill = add("kill", "send a signal");
    kill->add_option("SIGNAL", request_.signal, "its name or number (default: SIGTERM)");
    kill->add_flag("-a,--all", request_.all, "to all processes of the container");
    add("delete", "remove what an ended container has left")
        ->add_flag("-f,--force", request_.force, "kill it first; no error if there is none");
    CLI::App* list = add("list", "list the containers", false);
    list->add_option("-f,--format", request_.format, "table or json")
        ->check(CLI::IsMember({"table", "json"}));
    list->add_flag("-q,--quiet", request_.quiet, "the ids alone");
    CLI::App* ps = add("ps", "list the processes of a container");
    ps->add_option("-f,--format", request_.format, "table or json")
        ->check(CLI::IsMember({"table", "json"}));
    ps->add_option("ARGUMENTS", request_.arguments, "accepted, as runc has it");
    add("pause", "stop all processes of a container");
    add("resume", "let them go on");
    add("update", "change the limits of a container")
        ->add_option("-r,--resources", request_.resources, "a JSON file; -: the input")
        ->required();
    CLI::App* events = add("events", "print what the container uses");
    events->add_flag("--stats", request_.stats, "once");
    static const std::map<std::string, double> kUnits = {{"ms", 0.001}, {"s", 1}, {"m", 60}};
    events->add_option("--interval", request_.interval, "how long to wait in between, as 5s")
        ->transform(CLI::AsNumberWithUnit(kUnits))
        ->check(CLI::Range(0.001, 1e6));
    add("features", "print what this runtime can do, as JSON", false);
    CLI::App* spec = add("spec", "write a config.json to begin with", false);
    spec->add_option("-b,--bundle", request_.bundle, "the folder");
    spec->add_flag("--rootless", request_.for_ordinary_user,
                   "with a user namespace, in which root is you");
    add_exec();
  }

  void add_options_for_starting(CLI::App* command) {
    command->add_option("--pid-file", request_.pid_file, "write the number of its process there");
    command->add_option("--console-socket", request_.console_socket,
                        "the socket to which the master of its terminal is sent");
    command
        ->add_option("--preserve-fds", request_.preserved_fds,
                     "pass on so many descriptors from 3 on")
        ->check(CLI::Range(0, 1000));
  }

  void add_options_of_create(CLI::App* command) {
    command->add_option("-b,--bundle", request_.bundle, "the folder with config.json");
    add_options_for_starting(command);
    command->add_flag("--no-pivot", raw_.no_pivot, "refused: chroot(2) can be left");
    command->add_flag("--no-new-keyring", raw_.no_new_keyring, "keep the caller's session keyring");
    command->add_flag("--no-subreaper", raw_.no_subreaper, "accepted: there is none");
  }

  void add_exec() {
    CLI::App* exec = add("exec", "run another process in a container");
    add_options_for_starting(exec);
    exec->add_option("-p,--process", request_.process, "a file with the process as JSON");
    exec->add_flag("-d,--detach", request_.detach, "do not wait");
    exec->add_flag("-t,--tty", request_.terminal, "with a terminal");
    exec->add_option("-e,--env", request_.environment, "KEY=VALUE")->allow_extra_args(false);
    exec->add_option("--cwd", request_.cwd, "its working directory");
    exec->add_option("-u,--user", request_.user, "UID[:GID]");
    exec->add_option("--cgroup", request_.cgroup, "a cgroup below the container's");
    exec->add_flag("--no-new-privs", request_.no_new_privs, "set-user-ID programs gain nothing");
    exec->add_flag("--ignore-paused", request_.ignore_paused, "also in a paused container");
    exec->prefix_command();
    exec_ = exec;
  }

  void check() {
    request_.new_keyring = !raw_.no_new_keyring;
    if (raw_.systemd_cgroup || raw_.cgroup_manager == "systemd") {
      throw Failure(
          "--systemd-cgroup: this runtime makes cgroups itself, and does not ask systemd"
          " for them");
    }
    if (raw_.cgroup_manager != "cgroupfs" && raw_.cgroup_manager != "disabled") {
      throw Failure("--cgroup-manager " + raw_.cgroup_manager +
                    ": there are cgroupfs and disabled");
    }
    if (raw_.cgroup_manager == "disabled") request_.cgroups = CgroupManager::kDisabled;
    if (raw_.no_pivot) throw Failure("--no-pivot: a root that chroot(2) changes can be left");
    if (request_.root.empty()) request_.root = default_state_root(request_.program);
    if (!request_.root.starts_with('/')) {
      request_.root = std::filesystem::absolute(request_.root).string();
    }
    if (!request_.id.empty()) check_id(request_.id);
    if (request_.command == "exec") request_.arguments = exec_->remaining();
    if (request_.debug) start_tracing();
  }

  Request& request_;
  Raw raw_;
  CLI::App app_;
  CLI::App* exec_ = nullptr;
};

}  // namespace

void parse_request(int argc, char** argv, Request& request) {
  request.program = argc > 0 ? std::filesystem::path(argv[0]).filename().string() : "11_oci";
  Parser parser(request);
  try {
    parser.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      throw Failure(error.what(), request.program + " --help lists the commands");
    }
    (void)parser.app().exit(error);  // --help, --version
    throw CommandLine::Answered{};
  }
}

void log_failure(const Request& request, const std::string& level, const std::string& message) {
  if (request.log.empty()) return;
  const std::string text = printable(message);
  const std::string time = time_as_text();
  const std::string line =
      request.log_format == "json"
          ? nlohmann::ordered_json({{"level", level}, {"msg", text}, {"time", time}}).dump() + "\n"
          : fmt::format("time=\"{}\" level={} msg={}\n", time, level, nlohmann::json(text).dump());
  const UniqueFd file(open(request.log.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
  (void)!write(file.get(), line.data(), line.size());  // stderr says the same
}

}  // namespace box
