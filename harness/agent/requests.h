// The agent's language: one JSON object a line, a request with an "id" and a "do", answered by one
// with the same "id" and either "ok" or "error".
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "harness/agent/supervisor.h"

namespace box {

class Requests {
 public:
  // `answer` gets each answer as a line without its end.
  Requests(Supervisor& supervisor, std::function<void(const std::string&)> answer);
  ~Requests();

  // Answers at once, or later if the request waits for something. Never throws: what is wrong with
  // a request is its answer.
  void take(const std::string& line);
  // Answers what can be answered by now.
  void answer_waiting();
  [[nodiscard]] std::optional<Clock::time_point> next_deadline() const;

 private:
  struct Waiting;
  Supervisor& supervisor_;
  std::function<void(const std::string&)> answer_;
  std::unique_ptr<Waiting> waiting_;
};

}  // namespace box
