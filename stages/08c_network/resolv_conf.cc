#include "stages/08c_network/resolv_conf.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <sstream>

#include "common/check.h"
#include "common/unique_fd.h"

namespace box {
namespace {

constexpr std::size_t kLargest = 64 * 1024;

// Returns "" if there is no such file. Any other reason why it cannot be opened is a Failure.
std::string text_of(const char* path) {
  if (access(path, R_OK) == -1 && (errno == ENOENT || errno == ENOTDIR)) return "";
  const UniqueFd file(check_quietly(open(path, O_RDONLY | O_CLOEXEC), "open({})", path));
  std::string text(kLargest, '\0');
  text.resize(static_cast<std::size_t>(
      check_quietly(read(file.get(), text.data(), text.size()), "read({})", path)));
  return text;
}

// Calls `see` with each line, and with the address if it names a server.
void for_each_line(const std::string& text,
                   const std::function<void(const std::string&, const std::string&)>& see) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key;
    std::string value;
    words >> key >> value;
    see(line, key == "nameserver" ? value : "");
  }
}

constexpr const char* kHint = "mount a file that names one: -v FILE:/etc/resolv.conf:ro";

}  // namespace

std::string without_loopback(const std::string& host) {
  std::string text;
  for_each_line(host, [&](const std::string& line, const std::string& server) {
    const bool loopback = server.rfind("127.", 0) == 0 || server == "::1";
    if (!loopback) text += line + "\n";
  });
  return text;
}

bool names_a_server(const std::string& text) {
  bool found = false;
  for_each_line(text, [&](const std::string&, const std::string& server) {
    found = found || (!server.empty() && server.find(':') == std::string::npos);
  });
  return found;
}

std::string resolv_conf_of_bridge() {
  std::string text = without_loopback(text_of("/etc/resolv.conf"));
  if (!names_a_server(text)) {
    // systemd-resolved is a name server at 127.0.0.53; this file lists the servers that it asks.
    text += without_loopback(text_of("/run/systemd/resolve/resolv.conf"));
  }
  if (!names_a_server(text)) {
    warn(
        "the container has no name server, because the host has none that can be reached over IPv4",
        kHint);
  }
  return text;
}

std::string resolv_conf_of_helper(const std::string& server) {
  if (text_of("/etc/resolv.conf").find("nameserver") == std::string::npos) {
    warn("the container has no name server, because the host has none", kHint);
  }
  return "nameserver " + server + "\n";
}

}  // namespace box
