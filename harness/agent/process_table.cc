#include "harness/agent/process_table.h"

#include <dirent.h>

#include <cstdlib>
#include <memory>
#include <set>
#include <sstream>

#include "harness/agent/files.h"

namespace box {
namespace {

// Reads /proc/PID/stat: "PID (NAME) STATE PPID PGRP SESSION ...", and later, as the 22nd field,
// when it was started. NAME may contain spaces and ")".
bool read_stat(const std::string& pid, Process& process) {
  const FileText stat = read_text("/proc/" + pid + "/stat", 4096);
  const auto open = stat.text.find('(');
  const auto close = stat.text.rfind(')');
  if (stat.error != 0 || open == std::string::npos || close == std::string::npos) return false;
  process.name = stat.text.substr(open + 1, close - open - 1);
  std::istringstream rest(stat.text.substr(close + 1));
  process.pid = std::atoi(pid.c_str());
  rest >> process.state >> process.parent >> process.group >> process.session;
  std::string other;
  for (int field = 7; field < 22; ++field) rest >> other;
  return static_cast<bool>(rest >> process.started);
}

}  // namespace

std::vector<Process> all_processes() {
  std::vector<Process> processes;
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(opendir("/proc"), closedir);
  if (proc == nullptr) return processes;
  while (const dirent* entry = readdir(proc.get())) {
    Process process;
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    if (read_stat(entry->d_name, process)) processes.push_back(process);
  }
  return processes;
}

Process process_of(pid_t pid) {
  Process process;
  (void)read_stat(std::to_string(pid), process);
  return process;
}

std::vector<Process> descendants_of(pid_t ancestor, const std::vector<Process>& processes) {
  std::set<pid_t> family = {ancestor};
  std::vector<Process> found;
  for (bool grown = true; grown;) {
    grown = false;
    for (const Process& process : processes) {
      if (family.count(process.parent) == 0 || !family.insert(process.pid).second) continue;
      found.push_back(process);
      grown = true;
    }
  }
  return found;
}

std::vector<std::string> command_line_of(pid_t process) {
  const FileText file = read_text("/proc/" + std::to_string(process) + "/cmdline", 64 * 1024);
  std::vector<std::string> words;
  std::istringstream text(file.text);
  for (std::string word; std::getline(text, word, '\0');) words.push_back(word);
  return words;
}

}  // namespace box
