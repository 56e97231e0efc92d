#include "harness/agent/snapshot.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <sstream>

#include "common/check.h"
#include "common/error_pipe.h"
#include "common/unique_fd.h"
#include "harness/agent/files.h"
#include "harness/agent/process_table.h"
#include "harness/agent/sandbox.h"

namespace box {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// A mount's id changes when it is mounted again; the rest of the line does not.
std::vector<std::string> mounts() {
  std::vector<std::string> lines;
  for (const auto& line : lines_of(read_text("/proc/self/mountinfo", 8 << 20).text)) {
    std::istringstream fields(line);
    std::string id, parent, rest;
    fields >> id >> parent;
    std::getline(fields >> std::ws, rest);
    lines.push_back(rest);
  }
  return lines;
}

// The cgroups below `path`, and which of them are empty. Those in use belong to other programs of
// this machine; those that a container leaves behind are empty.
void list_cgroups(const std::string& path, std::vector<std::string>& lines) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()), closedir);
  if (folder == nullptr) return;
  bool leaf = true;
  while (const dirent* entry = readdir(folder.get())) {
    const std::string name = entry->d_name;
    if (entry->d_type != DT_DIR || name == "." || name == "..") continue;
    leaf = false;
    list_cgroups(path + "/" + name, lines);
  }
  const bool empty = leaf && read_text(path + "/cgroup.procs", 1).text.empty();
  lines.push_back(path + (empty ? " empty" : " in use"));
}

std::vector<std::string> cgroups(const std::vector<std::string>& mounts) {
  std::vector<std::string> lines;
  for (const auto& mount : mounts) {
    std::istringstream fields(mount);
    std::string device, root, point;
    fields >> device >> root >> point;
    if (mount.find(" - cgroup") != std::string::npos) list_cgroups(point, lines);
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

std::vector<std::string> links() {
  std::vector<std::string> names;
  const std::unique_ptr<struct if_nameindex, void (*)(struct if_nameindex*)> index(
      if_nameindex(), if_freenameindex);
  for (auto* link = index.get(); link != nullptr && link->if_index != 0; ++link) {
    names.emplace_back(link->if_name);
  }
  return names;
}

// Runs `body` in a child, and returns its result. Throws what it threw.
template <typename Body>
std::string in_child(const Body& body) {
  int ends[2];
  check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  ErrorPipe errors;
  const pid_t child = check_quietly(fork(), "fork()");
  if (child == 0) {
    errors.run_child([&] {
      const std::string text = body();
      std::string_view rest = text;
      while (!rest.empty()) {
        const auto size =
            check_quietly(write(write_end.get(), rest.data(), rest.size()), "write()");
        rest.remove_prefix(static_cast<std::size_t>(size));
      }
      _exit(0);
    });
  }
  errors.close_child_end();
  write_end.close();
  std::string text;
  char part[16 * 1024];
  ssize_t size = 0;
  while ((size = TEMP_FAILURE_RETRY(read(read_end.get(), part, sizeof part))) > 0) {
    text.append(part, static_cast<std::size_t>(size));
  }
  (void)TEMP_FAILURE_RETRY(waitpid(child, nullptr, 0));
  (void)errors.state_of_child(-1);
  return text;
}

// Asks the kernel whether there are tables, because starting nft(8) takes longer than the rest of a
// snapshot, and most hosts have none. Returns true if the kernel does not reply.
bool may_have_nft_tables() {
  const UniqueFd netlink(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  struct {
    nlmsghdr header;
    nfgenmsg family;  // all zero: of any
  } request = {};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  if (send(netlink.get(), &request, sizeof request, 0) == -1) return true;

  struct {
    nlmsghdr header;
    int error;
  } answer = {};  // the first of a list: its end, if that is empty
  const ssize_t size = TEMP_FAILURE_RETRY(recv(netlink.get(), &answer, sizeof answer, 0));
  return size != sizeof answer || answer.header.nlmsg_type != NLMSG_DONE || answer.error != 0;
}

std::vector<std::string> nft_rules() {
  if (access("/usr/sbin/nft", X_OK) != 0 || geteuid() != 0 || !may_have_nft_tables()) return {};
  std::string text;
  const std::unique_ptr<FILE, int (*)(FILE*)> nft(
      popen("exec /usr/sbin/nft list ruleset 2>/dev/null", "re"), pclose);
  char part[4096];
  while (nft != nullptr && fgets(part, sizeof part, nft.get()) != nullptr) text += part;
  return lines_of(text);
}

std::vector<std::string> processes() {
  std::vector<std::string> lines;
  for (const Process& process : descendants_of(getpid(), all_processes())) {
    std::string line = fmt::format("{} {}", process.pid, process.name);
    for (const auto& word : command_line_of(process.pid)) line += " " + word;
    lines.push_back(line);
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

// The key and the identifier of each object: the rest of the line counts uses.
std::vector<std::string> sysv_ipc() {
  std::vector<std::string> lines;
  for (const char* kind : {"msg", "sem", "shm"}) {
    bool heading = true;
    for (const auto& line :
         lines_of(read_text(std::string("/proc/sysvipc/") + kind, 1 << 20).text)) {
      std::istringstream fields(line);
      std::string key, id;
      fields >> key >> id;
      if (!heading) lines.push_back(fmt::format("{} {} {}", kind, key, id));
      heading = false;
    }
  }
  return lines;
}

std::vector<std::string> posix_ipc() {
  std::vector<std::string> lines;
  for (const char* folder : {"/dev/mqueue", "/dev/shm"}) {
    for (const auto& name : list_directory(folder).names) {
      lines.push_back(std::string(folder) + "/" + name);
    }
  }
  return lines;
}

}  // namespace

Snapshot take_snapshot(const std::vector<std::string>& folders) {
  Snapshot snapshot;
  snapshot["mounts"] = mounts();
  snapshot["cgroups"] = cgroups(snapshot["mounts"]);
  snapshot["links"] = links();
  snapshot["nft"] = nft_rules();
  snapshot["processes"] = processes();
  char name[256] = {};
  check_quietly(gethostname(name, sizeof name - 1), "gethostname()");
  snapshot["hostname"] = {name};
  snapshot["sysvipc"] = sysv_ipc();
  snapshot["posixipc"] = posix_ipc();
  std::vector<std::string> files;
  for (const auto& folder : folders) {
    int below = -1;
    for (const WrittenFolder& one : written_folders()) {
      if (one.shown_at == folder) below = one.below;
    }
    for (const auto& line : list_tree(folder, 20000, below)) files.push_back(line);
  }
  snapshot["files"] = files;
  return snapshot;
}

std::string mounts_of(int process) {
  return in_child([process] {
    // In the other namespace, /proc is another one, or missing.
    const UniqueFd proc(
        check_quietly(open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC), "open(/proc)"));
    const auto open_namespace = [&](const char* name) {
      const std::string path = fmt::format("{}/ns/{}", process, name);
      return UniqueFd(check_quietly(openat(proc.get(), path.c_str(), O_RDONLY | O_CLOEXEC),
                                    "open(/proc/{})", path));
    };
    const UniqueFd mount_namespace = open_namespace("mnt");
    if (setns(mount_namespace.get(), CLONE_NEWNS) == -1) {
      // We are not root, but the user who made a user namespace has all capabilities in it.
      check_quietly(setns(open_namespace("user").get(), CLONE_NEWUSER), "setns(user)");
      check_quietly(setns(mount_namespace.get(), CLONE_NEWNS), "setns(mnt)");
    }
    const UniqueFd file(check_quietly(openat(proc.get(), "self/mountinfo", O_RDONLY | O_CLOEXEC),
                                      "open(mountinfo)"));
    return read_fd(file.get(), 8 << 20).text;
  });
}

}  // namespace box
