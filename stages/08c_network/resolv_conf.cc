#include "stages/08c_network/resolv_conf.h"

#include <fstream>
#include <sstream>

#include "common/check.h"

namespace box {
namespace {

std::string read_text(const char* path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace

std::string without_loopback(const std::string& host) {
  std::istringstream lines(host);
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key;
    std::string value;
    words >> key >> value;
    const bool loopback = value.rfind("127.", 0) == 0 || value.rfind("::1", 0) == 0;
    if (key != "nameserver" || !loopback) text += line + "\n";
  }
  return text;
}

std::string resolv_conf_of_bridge() {
  std::string text = without_loopback(read_text("/etc/resolv.conf"));
  if (text.find("nameserver") == std::string::npos) {
    // systemd-resolved is a name server at 127.0.0.53; in this file are those that it asks.
    text += without_loopback(read_text("/run/systemd/resolve/resolv.conf"));
  }
  if (text.find("nameserver") == std::string::npos) {
    warn("the container has no name server: the host's are at its own loopback, or there are none",
         "give it a file that names one: -v FILE:/etc/resolv.conf:ro");
  }
  return text;
}

}  // namespace box
