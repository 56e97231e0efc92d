#include "harness/agent/requests.h"

#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <list>
#include <nlohmann/json.hpp>

#include "common/check.h"
#include "harness/agent/files.h"
#include "harness/agent/process_table.h"
#include "harness/agent/sandbox.h"
#include "harness/agent/snapshot.h"

namespace box {
namespace {

using Json = nlohmann::json;
using std::chrono::milliseconds;

constexpr int kProtocol = 1;

// The output of programs need not be UTF-8, as JSON must be.
std::string one_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string name_of_errno(int error) {
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : std::to_string(error);
}

int signal_of(const Json& value) {
  if (value.is_number_integer()) return value.get<int>();
  const auto name = value.get<std::string>();
  for (int signal = 1; signal < NSIG; ++signal) {
    const char* abbreviation = sigabbrev_np(signal);
    if (abbreviation != nullptr && name == abbreviation) return signal;
  }
  throw Failure("there is no signal " + name);
}

std::vector<int> signals_of(const Json& request, const char* key) {
  std::vector<int> signals;
  for (const Json& value : request.value(key, Json::array())) signals.push_back(signal_of(value));
  return signals;
}

Limit limit_of(const std::string& name, const Json& value) {
  const std::map<std::string, int> kResources = {
      {"as", RLIMIT_AS},         {"core", RLIMIT_CORE},   {"cpu", RLIMIT_CPU},
      {"data", RLIMIT_DATA},     {"fsize", RLIMIT_FSIZE}, {"memlock", RLIMIT_MEMLOCK},
      {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC}, {"stack", RLIMIT_STACK},
  };
  const auto resource = kResources.find(name);
  if (resource == kResources.end()) throw Failure("there is no limit " + name);
  const auto number = value.get<rlim_t>();
  return {resource->second, {number, number}};
}

Refusal refusal_of(const Json& json) {
  Refusal refusal;
  refusal.call = json.at("call").get<std::string>();
  refusal.argument = json.value("argument", refusal.argument);
  refusal.any_of = json.value("any_of", refusal.any_of);
  refusal.equals = json.value("equals", refusal.equals);
  refusal.error = json.value("error", EPERM);
  return refusal;
}

StartRequest start_request_of(const Json& request) {
  StartRequest start;
  start.argv = request.at("argv").get<std::vector<std::string>>();
  start.program = request.value("program", "");
  const Json environment = request.value("env", Json::object());
  for (const auto& [key, value] : environment.items()) {
    start.environment.push_back(key + "=" + value.get<std::string>());
  }
  start.directory = request.value("cwd", "");
  start.cgroup = request.value("cgroup", "");
  start.input = request.value("stdin", "");
  start.close_input = request.value("close_stdin", true);
  if (request.contains("terminal")) {
    start.terminal = true;
    start.rows = request["terminal"].value("rows", start.rows);
    start.columns = request["terminal"].value("columns", start.columns);
  }
  if (request.contains("user")) {
    const Json& user = request["user"];
    start.uid = user.at("uid").get<uid_t>();
    start.gid = user.value("gid", *start.uid);
    start.groups = user.value("groups", std::vector<gid_t>{});
  }
  for (const Json& file : request.value("files", Json::array())) {
    start.files.push_back({file.at("fd").get<int>(), file.at("path").get<std::string>(),
                           file.value("writable", false)});
  }
  start.closed = request.value("closed", std::vector<int>{});
  start.ignored = signals_of(request, "ignore");
  start.blocked = signals_of(request, "block");
  const Json limits = request.value("limits", Json::object());
  for (const auto& [name, value] : limits.items()) {
    start.limits.push_back(limit_of(name, value));
  }
  for (const Json& one : request.value("refuse", Json::array())) {
    start.refusals.push_back(refusal_of(one));
  }
  if (request.contains("nth")) {
    start.nth = request["nth"].get<int>();
    start.nth_of = request.value("nth_of", "");
  }
  if (request.contains("umask")) start.umask = request["umask"].get<mode_t>();
  start.own_session = request.value("own_session", true);
  start.own_group = request.value("own_group", true);
  start.output_limit = request.value("output_limit", start.output_limit);
  start.time_limit = milliseconds(request.value("time_limit_ms", start.time_limit.count()));
  return start;
}

Json json_of(const Process& process) {
  const std::string folder = "/proc/" + std::to_string(process.pid);
  return {{"pid", process.pid},
          {"ppid", process.parent},
          {"pgid", process.group},
          {"sid", process.session},
          {"state", std::string(1, process.state)},
          {"name", process.name},
          {"argv", command_line_of(process.pid)},
          {"exe", read_link(folder + "/exe").text}};
}

Json json_of(const std::vector<Process>& processes) {
  Json list = Json::array();
  for (const Process& process : processes) list.push_back(json_of(process));
  return list;
}

Json json_of(const Run& run) {
  Json json = {{"run", run.number}, {"pid", run.pid}, {"why", run.why}};
  const auto limit = run.output_limit;
  json["stdout"] = run.output.substr(0, limit);
  json["stderr"] = run.errors.substr(0, limit);
  json["too_much"] = run.output.size() > limit || run.errors.size() > limit;
  json["over"] = run.is_over();
  if (run.nth_call) json["calls"] = run.nth_call->calls();
  if (run.is_over()) {
    const int status = *run.wait_status;
    if (WIFEXITED(status)) json["exit"] = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) json["signal"] = WTERMSIG(status);
    json["ms"] = std::chrono::duration<double, std::milli>(run.ended - run.started).count();
  }
  return json;
}

Json json_of(const FileText& file) {
  if (file.error != 0) return {{"errno", name_of_errno(file.error)}};
  return {{"text", file.text}};
}

Json json_of(const FileStatus& status) {
  if (status.error != 0) return {{"errno", name_of_errno(status.error)}};
  return {{"dev", status.device}, {"ino", status.inode},
          {"mode", status.mode},  {"uid", status.uid},
          {"gid", status.gid},    {"rdev", {status.rdev_major, status.rdev_minor}},
          {"size", status.size},  {"mount_point", status.is_mount_point}};
}

std::vector<std::string> paths_of(const Json& request) {
  return request.at("paths").get<std::vector<std::string>>();
}

// Calls `question` for each of the request's paths.
template <typename Question>
Json for_each_path(const Json& request, const Question& question) {
  Json answers = Json::object();
  for (const auto& path : paths_of(request)) answers[path] = question(path);
  return answers;
}

// A directory's entries, each with its target if it is a link: used to read /proc/PID/fd.
Json entries_of(const std::string& path) {
  const DirectoryList list = list_directory(path);
  if (list.error != 0) return {{"errno", name_of_errno(list.error)}};
  Json entries = Json::object();
  for (const auto& name : list.names) {
    const FileText target = read_link(path + "/" + name);
    entries[name] = target.error == 0 ? Json(target.text) : Json(nullptr);
  }
  return {{"entries", entries}};
}

NewFile new_file_of(const Json& json) {
  const std::map<std::string, NewFile::Kind> kKinds = {{"file", NewFile::Kind::kFile},
                                                       {"directory", NewFile::Kind::kDirectory},
                                                       {"link", NewFile::Kind::kLink},
                                                       {"device", NewFile::Kind::kDevice},
                                                       {"fifo", NewFile::Kind::kFifo}};
  NewFile file;
  const auto kind = kKinds.find(json.value("kind", "file"));
  if (kind == kKinds.end()) throw Failure("there is no kind of file " + json.at("kind").dump());
  file.kind = kind->second;
  file.path = json.at("path").get<std::string>();
  file.text = json.value("text", "");
  file.copy_from = json.value("copy_from", "");
  if (json.contains("mode")) file.mode = json["mode"].get<unsigned>();
  if (json.contains("uid")) file.uid = json["uid"].get<uid_t>();
  if (json.contains("gid")) file.gid = json["gid"].get<gid_t>();
  file.major = json.value("major", 0U);
  file.minor = json.value("minor", 0U);
  return file;
}

Json hello() {
  utsname system = {};
  check_quietly(uname(&system), "uname()");
  Json written = Json::object();
  for (const WrittenFolder& one : written_folders()) written[one.folder] = one.shown_at;
  return {{"protocol", kProtocol},       {"pid", getpid()},          {"uid", geteuid()},
          {"own_host", getpid() == 1},   {"kernel", system.release}, {"machine", system.machine},
          {"hostname", system.nodename}, {"written", written}};
}

}  // namespace

// A request that gets its reply when a run has written something, or has ended.
struct Requests::Waiting {
  struct One {
    Json id;
    int run = 0;
    std::string text;  // to be found in the run's stdout; "": wait for the end
    Clock::time_point deadline;
    bool finish = false;  // then the run is forgotten
  };
  std::list<One> list;
};

Requests::Requests(Supervisor& supervisor, std::function<void(const std::string&)> answer)
    : supervisor_(supervisor), answer_(std::move(answer)), waiting_(std::make_unique<Waiting>()) {}

Requests::~Requests() = default;

void Requests::take(const std::string& line) {
  Json id = nullptr;
  try {
    const Json request = Json::parse(line);
    if (!request.is_object()) throw Failure("a request is a JSON object");
    id = request.value("id", Json(nullptr));
    const auto verb = request.at("do").get<std::string>();
    const auto run = [&]() -> Run& { return supervisor_.run(request.at("run").get<int>()); };
    const auto wait = [&](int number, const std::string& text, bool finish) {
      const milliseconds limit(request.value("time_limit_ms", 10000));
      waiting_->list.push_back({id, number, text, Clock::now() + limit, finish});
    };
    Json ok = Json::object();

    if (verb == "hello") {
      ok = hello();
    } else if (verb == "start") {
      ok = json_of(supervisor_.start(start_request_of(request)));
    } else if (verb == "run") {  // start, wait, and kill what is left
      wait(supervisor_.start(start_request_of(request)).number, "", true);
      return answer_waiting();
    } else if (verb == "expect") {
      wait(request.at("run").get<int>(), request.at("text").get<std::string>(), false);
      return answer_waiting();
    } else if (verb == "wait") {
      wait(request.at("run").get<int>(), "", false);
      return answer_waiting();
    } else if (verb == "write") {
      supervisor_.write_input(run(), request.value("text", ""), request.value("close", false));
    } else if (verb == "signal") {
      const int target = request.contains("pid") ? request["pid"].get<int>() : run().pid;
      if (target < 2) throw Failure("will not signal " + std::to_string(target));
      const bool group = request.value("group", false);
      check_quietly(kill(group ? -target : target, signal_of(request.at("signal"))), "kill()");
    } else if (verb == "finish") {
      Run& ended = run();
      const auto left = supervisor_.finish(ended, "killed");
      ok = json_of(ended);
      ok["unkillable"] = json_of(left);
      supervisor_.forget(ended.number);
    } else if (verb == "forget") {  // one that is over; what it has left goes on
      if (!run().is_over()) throw Failure("run " + std::to_string(run().number) + " is not over");
      supervisor_.forget(run().number);
    } else if (verb == "finish_all") {
      ok["unkillable"] = json_of(supervisor_.finish_all());
    } else if (verb == "processes") {
      ok = json_of(supervisor_.processes_of_runs());
    } else if (verb == "terminal") {
      termios modes = {};
      check_quietly(tcgetattr(run().input_fd.get(), &modes), "tcgetattr()");
      ok = {{"echo", (modes.c_lflag & ECHO) != 0},
            {"canonical", (modes.c_lflag & ICANON) != 0},
            {"foreground", tcgetpgrp(run().input_fd.get())}};
    } else if (verb == "read") {
      const auto limit = request.value("limit", std::size_t{1} << 20);
      ok =
          for_each_path(request, [&](const auto& path) { return json_of(read_text(path, limit)); });
    } else if (verb == "readlink") {
      ok = for_each_path(request, [](const auto& path) { return json_of(read_link(path)); });
    } else if (verb == "stat") {
      const bool follow = request.value("follow", true);
      ok = for_each_path(request,
                         [&](const auto& path) { return json_of(status_of(path, follow)); });
    } else if (verb == "list") {
      ok = for_each_path(request, entries_of);
    } else if (verb == "mounts_of") {
      ok["text"] = mounts_of(request.at("pid").get<int>());
    } else if (verb == "make") {
      for (const Json& file : request.at("files")) make_file(new_file_of(file));
    } else if (verb == "remove") {
      for (const auto& path : paths_of(request)) remove_all(path);
    } else if (verb == "snapshot") {
      ok = take_snapshot(request.value("folders", std::vector<std::string>{}));
    } else {
      throw Failure("there is no request " + verb);
    }
    answer_(one_line({{"id", id}, {"ok", ok}}));
  } catch (const Failure& failure) {
    answer_(one_line({{"id", id},
                      {"error", failure.what()},
                      {"errno", failure.error() != 0 ? name_of_errno(failure.error()) : ""}}));
  } catch (const std::exception& e) {  // of the JSON library: a request that makes no sense
    answer_(one_line({{"id", id}, {"error", e.what()}, {"errno", ""}}));
  }
}

void Requests::answer_waiting() {
  for (auto one = waiting_->list.begin(); one != waiting_->list.end();) {
    try {
      Run& run = supervisor_.run(one->run);
      const bool found = !one->text.empty() && run.output.find(one->text) != std::string::npos;
      const bool late = Clock::now() >= one->deadline;
      if (!found && !late && !run.is_over()) {
        ++one;
        continue;
      }
      Json ok;
      if (one->finish) {
        const auto unkillable = supervisor_.finish(run, "time limit");
        ok = json_of(run);
        ok["unkillable"] = json_of(unkillable);
        supervisor_.forget(run.number);
      } else {
        ok = json_of(run);
        ok["found"] = found;
      }
      answer_(one_line({{"id", one->id}, {"ok", ok}}));
    } catch (const std::exception& e) {
      answer_(one_line({{"id", one->id}, {"error", e.what()}, {"errno", ""}}));
    }
    one = waiting_->list.erase(one);
  }
}

std::optional<Clock::time_point> Requests::next_deadline() const {
  std::optional<Clock::time_point> next;
  for (const auto& one : waiting_->list) {
    if (!next || one.deadline < *next) next = one.deadline;
  }
  return next;
}

}  // namespace box
