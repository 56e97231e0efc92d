// The agent's protocol: one JSON object per line. A request has an "id" and a "do"; its reply has
// the same "id" and either "ok" or "error".
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "harness/agent/supervisor.h"

namespace box {

class Requests {
 public:
  // `answer` is called with each reply, a line without its end.
  Requests(Supervisor& supervisor, std::function<void(const std::string&)> answer);
  ~Requests();

  // Replies at once, or later if the request waits for something. Never throws: if a request is
  // wrong, its reply says why.
  void take(const std::string& line);
  // Sends the replies that are ready by now.
  void answer_waiting();
  [[nodiscard]] std::optional<Clock::time_point> next_deadline() const;

 private:
  struct Waiting;
  Supervisor& supervisor_;
  std::function<void(const std::string&)> answer_;
  std::unique_ptr<Waiting> waiting_;
};

}  // namespace box
