// The command line that every stage shares: NN_name [OPTIONS] [--] COMMAND [ARG...]
//
// A layer declares its own options here and keeps their values; nothing in common/ knows them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/failure.h"

namespace box {

class CommandLine {
 public:
  // Answers the one thing to do about a failure, or "" when it is not the cause. It is asked in the
  // parent, and decides by what it observes on the machine, never by errno alone.
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
  // COMMAND [ARG...]: all from the first word that is no option.
  void add_command(std::vector<std::string>& command);
  // Called when all options have been read, to refuse what they cannot mean together, or to find a
  // COMMAND where none is given: after that there must be one.
  void add_check(std::function<void()> check);
  void add_hint(Hint hint);

  // Reads argv into the declared variables. Throws Failure for a wrong command line; after --help
  // and --version have been answered, throws Answered.
  struct Answered {};
  void parse();

  // The file name of argv[0]: the stage, as in messages, prompts and the default host name.
  [[nodiscard]] const std::string& program() const;

  // The failure's own hint, or the first that a layer knows, or "".
  [[nodiscard]] std::string hint_for(const Failure& failure) const;

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace box
