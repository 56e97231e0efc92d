// Every system call goes through check(), which throws if the call failed and shows it with
// --verbose.
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <string>

#include "common/failure.h"

namespace box {

// The program's name, for the lines below.
void name_program(const std::string& program);

// --verbose: from now on, in this process and in the children that it forks, check() writes each
// call and its result to stderr.
void start_tracing();
[[nodiscard]] bool tracing();

// After fork() or clone(2): the lines that follow say "child".
void trace_as(const std::string& process);

// Writes one line, for an event that is worth seeing and is not a single system call.
void trace(const std::string& line);

// Writes "program: message" to stderr, and a hint, for what the user should know although the
// program goes on. Both may contain text from an untrusted source, so they are made printable.
void warn(const std::string& message, const std::string& hint);

namespace check_internal {
[[noreturn]] void fail(int error, fmt::string_view call, fmt::format_args arguments);
void show(long long result, fmt::string_view call, fmt::format_args arguments);
}  // namespace check_internal

// Passes a system call's result through, or throws Failure "call: strerror(errno)". For plumbing
// that --verbose need not show: pipes, reads, waits.
template <typename Result, typename... Args>
Result check_quietly(Result result, fmt::format_string<Args...> call, Args&&... args) {
  const int error = errno;
  if (result == -1) check_internal::fail(error, call, fmt::make_format_args(args...));
  return result;
}

// The same, but --verbose shows the call: for the calls that build the container.
//
//   check(chroot(root.c_str()), "chroot({})", root);
template <typename Result, typename... Args>
Result check(Result result, fmt::format_string<Args...> call, Args&&... args) {
  const int error = errno;
  if (result == -1) check_internal::fail(error, call, fmt::make_format_args(args...));
  if (tracing()) check_internal::show(result, call, fmt::make_format_args(args...));
  return result;
}

}  // namespace box
