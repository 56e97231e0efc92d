// Shows the progress of a copy, and its result.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "stages/03_userspace/copy_tree.h"

namespace box {

// A bar in the last line of the terminal, if stderr is a terminal. Otherwise nothing is drawn.
class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar();  // removes the bar
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Whether it is worthwhile to find out the total.
  [[nodiscard]] bool is_seen() const { return on_terminal_; }
  void set_total(std::uint64_t bytes) { total_ = bytes; }

  // Redraws, but no more often than a user can see: call it as often as you like.
  void show(std::uint64_t bytes);

 private:
  bool on_terminal_;
  bool drawn_ = false;
  std::uint64_t total_ = 0;
  std::chrono::steady_clock::time_point next_;
};

// One line of at most `width` characters.
[[nodiscard]] std::string draw_bar(std::uint64_t done, std::uint64_t total, int width);

// "914 MB", in units of 1000, as dd(1) and docker count.
[[nodiscard]] std::string format_bytes(std::uint64_t bytes);

// "copied 8541 files, 914 MB in 1.2 s; skipped 2, the first: /usr/x: Permission denied"
[[nodiscard]] std::string summarize(const Copied& copied, std::chrono::duration<double> time);

}  // namespace box
