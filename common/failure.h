// The only exception of this toolkit: what failed, why, and the exit status to end with.
#pragma once

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

namespace box {

// Exit statuses of docker run and of shells, see "Exit status" in bash(1).
inline constexpr int kExitSetupFailed = 125;    // no container, or a wrong command line
inline constexpr int kExitCannotExecute = 126;  // the command is there, but cannot be executed
inline constexpr int kExitNotFound = 127;       // the command is not there

class Failure : public std::system_error {
 public:
  // `error` is an errno, or 0 if no system call failed.
  Failure(int error, std::string what, int exit_status = kExitSetupFailed, std::string hint = "")
      : std::system_error(error, std::generic_category()),
        what_(error == 0 ? std::move(what) : what + ": " + code().message()),
        exit_status_(exit_status),
        hint_(std::move(hint)) {}

  // A wrong command line, or a request that cannot be fulfilled.
  explicit Failure(std::string what, std::string hint = "")
      : Failure(0, std::move(what), kExitSetupFailed, std::move(hint)) {}

  // A failure as another process reported it: `what` contains the reason already.
  static Failure reported(int error, std::string what, int exit_status, std::string hint) {
    Failure failure(error, "", exit_status, std::move(hint));
    failure.what_ = std::move(what);
    return failure;
  }

  [[nodiscard]] const char* what() const noexcept override { return what_.c_str(); }
  [[nodiscard]] int error() const { return code().value(); }
  [[nodiscard]] int exit_status() const { return exit_status_; }
  [[nodiscard]] const std::string& hint() const { return hint_; }  // one line, or empty

 private:
  std::string what_;
  int exit_status_;
  std::string hint_;
};

}  // namespace box
