#include "harness/faults/inject/call_text.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <seccomp.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "common/failure.h"

namespace box {
namespace {

constexpr std::size_t kLongestText = 100;

// A letter for each argument: s a string, t text whose length is the next argument, d a number,
// f the folder of an *at() call, x a hexadecimal number, - not shown.
struct Form {
  std::string_view name;
  std::string_view arguments;
};
constexpr Form kForms[] = {
    {"access", "sd"},       {"chdir", "s"},        {"chmod", "sx"},      {"chroot", "s"},
    {"close", "d"},         {"dup2", "dd"},        {"execve", "s"},      {"faccessat", "fsx"},
    {"faccessat2", "fsx"},  {"fchmodat", "fsx"},   {"fchownat", "fsdd"}, {"fcntl", "dd"},
    {"fsconfig", "ddss"},   {"fsopen", "s"},       {"ioctl", "dx"},      {"kill", "dd"},
    {"lstat", "s"},         {"memfd_create", "s"}, {"mkdir", "sx"},      {"mkdirat", "fsx"},
    {"mknod", "sx"},        {"mknodat", "fsx"},    {"mount", "-ss"},     {"mount_setattr", "fsx"},
    {"move_mount", "fsfs"}, {"newfstatat", "fs"},  {"open", "sx"},       {"open_tree", "fsx"},
    {"openat", "fsx"},      {"openat2", "fs"},     {"pivot_root", "ss"}, {"prctl", "dd"},
    {"pwrite64", "dt"},     {"read", "dxd"},       {"readlink", "s"},    {"readlinkat", "fs"},
    {"rename", "ss"},       {"rmdir", "s"},        {"stat", "s"},        {"statx", "fs"},
    {"symlink", "ss"},      {"symlinkat", "sfs"},  {"umount2", "sx"},    {"unlink", "s"},
    {"unlinkat", "fsx"},    {"utimensat", "fs"},   {"wait4", "d"},       {"write", "dt"},
};
constexpr std::string_view kUnknown = "xxxx";

// Not across a page's end, because the next page may not be mapped.
std::string read_memory(pid_t process, std::uint64_t address, std::size_t size) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::string text(std::min(size, page - address % page), '\0');
  iovec here = {text.data(), text.size()};
  iovec there = {reinterpret_cast<void*>(address), text.size()};
  const ssize_t got = process_vm_readv(process, &here, 1, &there, 1, 0);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

std::string printable(std::string text) {
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '_';
  }
  return text;
}

std::string string_at(pid_t process, std::uint64_t address) {
  if (address == 0) return "NULL";
  const std::string text = read_memory(process, address, kLongestText);
  return printable(text.substr(0, text.find('\0')));
}

std::string folder_name(std::uint64_t argument) {
  const int fd = static_cast<int>(argument);
  return fd == AT_FDCWD ? "AT_FDCWD" : std::to_string(fd);
}

std::string argument_text(char letter, pid_t process, std::uint64_t value, std::uint64_t next) {
  switch (letter) {
    case 's':
      return string_at(process, value);
    case 't':
      return printable(read_memory(process, value, std::min<std::size_t>(next, kLongestText)));
    case 'd':
      return std::to_string(static_cast<int>(value));
    case 'f':
      return folder_name(value);
    default:
      return fmt::format("{:#x}", value);
  }
}

}  // namespace

std::string call_name(std::uint64_t number) {
  char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, static_cast<int>(number));
  if (name == nullptr) return fmt::format("call_{}", number);
  std::string text(name);
  std::free(name);
  return text;
}

int call_number(const std::string& name) {
  const int number = seccomp_syscall_resolve_name(name.c_str());
  if (number < 0) throw Failure("no system call is called " + name);
  return number;
}

std::string call_text(pid_t process, const std::string& name, const std::uint64_t* arguments) {
  const auto* form = std::find_if(std::begin(kForms), std::end(kForms),
                                  [&](const Form& known) { return known.name == name; });
  const std::string_view letters = form == std::end(kForms) ? kUnknown : form->arguments;
  std::string text;
  for (std::size_t i = 0; i < letters.size(); ++i) {
    if (letters[i] == '-') continue;
    if (!text.empty()) text += ' ';
    text += argument_text(letters[i], process, arguments[i], arguments[i + 1]);
  }
  return text;
}

}  // namespace box
