#include "common/command_line.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "common/check.h"
#include "common/other_options.h"
#include "common/printable.h"

namespace box {
namespace {

constexpr const char* kVersion = "0.1.0";

[[noreturn]] void print(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) == EOF || std::fflush(stdout) != 0) {
    throw Failure(errno, "write(stdout)");
  }
  throw CommandLine::Answered{};
}

// Our caller chooses argv[0], which need not be a file's name, see execve(2).
std::string name_in(const std::string& word) {
  const std::string name = printable(word.substr(word.rfind('/') + 1));
  return name.empty() ? "box" : name;
}

class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* app, std::string /*name*/) const override {
    return "Usage: " + app->get_name() + " [OPTIONS] [--] COMMAND [ARG...]\n";
  }
};

}  // namespace

struct CommandLine::Parser {
  int argc;
  char** argv;
  std::string program;
  CLI::App app;
  bool verbose = false;
  bool needless = false;  // an option of docker run(1) that asks for what happens anyway
  bool tty = false;
  std::string name;
  std::vector<std::string>* command = nullptr;
  std::vector<std::function<void()>> checks;
  std::vector<Hint> hints;

  Parser(int count, char** words)
      : argc(count), argv(words), program(name_in(count > 0 ? words[0] : "")) {}

  [[nodiscard]] std::string see_help() const { return program + " --help lists the options"; }

  // CLI11's message begins with the option's name, but goes on about CLI11's own types.
  [[nodiscard]] std::string in_our_words(const CLI::ParseError& error) const {
    const std::string text = error.what();
    for (const CLI::Option* option : app.get_options()) {
      const std::string name = option->get_name();
      const auto at = text.find(name);
      // --env is not meant by a message about --env-file.
      if (at == std::string::npos || text.find('-', at + name.size()) == at + name.size()) continue;
      const std::string value = option->get_type_name();  // "" for a flag
      return value.empty() ? name + " takes no value" : name + " needs a value: " + value;
    }
    return text;
  }

  // The words that CLI11 leaves to us: COMMAND and its arguments, or an unknown option.
  void take_command(std::vector<std::string> words) {
    if (!words.empty() && words.front() == "--") {
      words.erase(words.begin());
    } else if (!words.empty() && words.front().size() > 1 && words.front().front() == '-') {
      const std::string instead = instead_of(words.front());
      throw Failure("unknown option " + words.front(), instead.empty() ? see_help() : instead);
    }
    *command = std::move(words);
  }

  // What users of docker run(1) type without thinking.
  void accept_dockers_options() {
    const std::string group = "As with docker run, though the container is the same without them";
    app.add_flag("-i,--interactive", needless, "keep stdin")->group(group);
    app.add_flag("-t,--tty", tty, "refuse to start where stdin is no terminal")->group(group);
    app.add_flag("--rm", needless, "remove the container when it ends")->group(group);
    app.add_option("--name", name, "call it NAME")
        ->type_name("NAME")
        ->allow_extra_args(false)
        ->group(group);
  }

  // As docker run does, before a script waits for a terminal that is not there.
  void check_tty() const {
    if (!tty || isatty(STDIN_FILENO) == 1) return;
    throw Failure("--tty: stdin is not a terminal", "leave it out");
  }

  void need_command() const {
    if (command->empty()) throw Failure("no COMMAND given", "try " + program + " /bin/sh");
  }
};

CommandLine::CommandLine(int argc, char** argv) : parser_(std::make_unique<Parser>(argc, argv)) {
  CLI::App& app = parser_->app;
  app.name(parser_->program);
  app.prefix_command();  // the first word that is not an option, and all words after it, belong to
                         // the command
  app.set_help_flag("-h,--help", "show this help");
  app.set_version_flag("--version", parser_->program + " " + kVersion, "show the version");
  app.add_flag("--verbose", parser_->verbose,
               "show each system call that builds the container, with its result");
  parser_->accept_dockers_options();
  app.formatter(std::make_shared<HelpFormatter>());
  app.get_formatter()->column_width(36);
  app.footer(
      "Exit status: the command's own; 128+n when signal n ended it; 125 when the container\n"
      "could not be set up; 126 when COMMAND cannot be executed; 127 when it is not found.\n");
}

CommandLine::~CommandLine() = default;

void CommandLine::add_flag(const std::string& names, bool& value, const std::string& help) {
  parser_->app.add_flag(names, value, help);
}

void CommandLine::add_option(const std::string& names, const std::string& value_name,
                             const std::string& help,
                             const std::function<void(const std::string&)>& set) {
  const std::string name = names.substr(names.find("--"));
  parser_->app
      .add_option_function<std::vector<std::string>>(
          names,
          [name, set](const std::vector<std::string>& values) {
            for (const auto& value : values) {
              try {
                set(value);
              } catch (const Failure& failure) {
                throw Failure(name + " " + value + ": " + failure.what(), failure.hint());
              }
            }
          },
          help)
      ->type_name(value_name)
      ->allow_extra_args(
          false);  // otherwise "-e A=1 COMMAND" would swallow COMMAND as a second value
}

void CommandLine::add_option(const std::string& names, const std::string& value_name,
                             const std::string& help, std::string& value) {
  add_option(names, value_name, help, [&value](const std::string& word) { value = word; });
}

void CommandLine::add_command(std::vector<std::string>& command) { parser_->command = &command; }

void CommandLine::add_check(std::function<void()> check) {
  parser_->checks.push_back(std::move(check));
}

void CommandLine::add_hint(Hint hint) { parser_->hints.push_back(std::move(hint)); }

void CommandLine::parse() {
  CLI::App& app = parser_->app;
  try {
    app.parse(parser_->argc, parser_->argv);
  } catch (const CLI::CallForHelp&) {
    std::string help = app.help();
    // CLI11 2.3 ends a group with two empty lines.
    if (const auto at = help.find("\n\n\n"); at != std::string::npos) help.erase(at, 1);
    print(help);
  } catch (const CLI::CallForVersion& version) {
    print(version.what() + std::string("\n"));
  } catch (const CLI::ParseError& error) {
    throw Failure(parser_->in_our_words(error), parser_->see_help());
  }
  parser_->take_command(app.remaining());
  parser_->check_tty();
  for (const auto& check : parser_->checks) check();
  parser_->need_command();
  if (parser_->verbose) start_tracing();
}

const std::string& CommandLine::program() const { return parser_->program; }

std::string CommandLine::hint_for(const Failure& failure) const {
  if (!failure.hint().empty()) return failure.hint();
  for (const auto& hint : parser_->hints) {
    try {
      if (std::string text = hint(failure); !text.empty()) return text;
    } catch (const Failure&) {
      // The hint depends on a file that cannot be read; the failure itself must still be reported.
    }
  }
  return "";
}

}  // namespace box
