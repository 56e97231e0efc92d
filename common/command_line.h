// The command line that every stage shares: NN_name [OPTIONS] [--] COMMAND [ARG...]
//
// A layer declares its own options here and keeps their values; nothing in common/ depends on them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/failure.h"

namespace box {

class CommandLine {
 public:
  // Returns the one thing that the user can do about a failure, or "" if the layer is not its
  // cause. The parent calls it; it decides by what it observes on the machine, never by errno
  // alone.
  using Hint = std::function<std::string(const Failure&)>;

  CommandLine(int argc, char** argv);
  ~CommandLine();

  // `names` as in "-e,--env". `value` must outlive parse().
  void add_flag(const std::string& names, bool& value, const std::string& help);
  // `set` is called for each value; it throws Failure with what is wrong with the value.
  void add_option(const std::string& names, const std::string& value_name, const std::string& help,
                  const std::function<void(const std::string&)>& set);
  void add_option(const std::string& names, const std::string& value_name, const std::string& help,
                  std::string& value);
  // COMMAND [ARG...]: all words from the first one that is not an option.
  void add_command(std::vector<std::string>& command);
  // Called when all options have been read, to refuse options that contradict each other, or to
  // supply a COMMAND where none is given: after that there must be one.
  void add_check(std::function<void()> check);
  void add_hint(Hint hint);

  // Reads argv into the declared variables. Throws Failure for a wrong command line, and Answered
  // after it has printed what --help or --version asks for.
  struct Answered {};
  void parse();

  // The file name of argv[0]: the stage, as in messages, prompts and the default host name.
  [[nodiscard]] const std::string& program() const;

  // Returns the failure's own hint, or else the first that a layer returns, or "".
  [[nodiscard]] std::string hint_for(const Failure& failure) const;

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace box
