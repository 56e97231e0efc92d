#include "common/interrupt.h"

#include <cstddef>

#include "common/check.h"

namespace box {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
volatile sig_atomic_t received = 0;

void note(int signal) { received = signal; }

}  // namespace

InterruptGuard::InterruptGuard() {
  received = 0;
  for (std::size_t i = 0; i < std::size(kSignals); ++i) {
    check_quietly(sigaction(kSignals[i], nullptr, &before_[i]), "sigaction()");
    if (before_[i].sa_handler == SIG_IGN) continue;
    struct sigaction action = {};
    action.sa_handler = note;  // no SA_RESTART: a call that waits returns EINTR
    check_quietly(sigaction(kSignals[i], &action, nullptr), "sigaction()");
  }
}

InterruptGuard::~InterruptGuard() {
  for (std::size_t i = 0; i < std::size(kSignals); ++i) {
    (void)sigaction(kSignals[i], &before_[i], nullptr);  // cannot fail: it was valid before
  }
}

void throw_if_interrupted() {
  if (received != 0) throw Failure(0, "interrupted", 128 + received);
}

}  // namespace box
