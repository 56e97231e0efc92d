#include "stages/09_lsm/kernel_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "common/check.h"
#include "common/printable.h"

namespace box {
namespace {

constexpr std::size_t kLongestRecord = 8192;  // the kernel's own limit

}  // namespace

KernelLog::KernelLog() {
  if (!tracing()) return;
  log_ = UniqueFd(open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (log_.get() == -1) {
    trace(
        "open(/dev/kmsg): denials will not be shown here, because only root may read the"
        " kernel's log");
    return;
  }
  check_quietly(lseek(log_.get(), 0, SEEK_END), "lseek(/dev/kmsg, SEEK_END)");
}

void KernelLog::show_denials(const std::string& label) const {
  std::string record(kLongestRecord, '\0');
  while (log_.get() != -1) {
    const auto size = read(log_.get(), record.data(), record.size());
    if (size == -1 && (errno == EPIPE || errno == EINTR)) continue;  // EPIPE: some are overwritten
    if (size <= 0) return;  // EAGAIN: this was the last one
    const std::string denial = denial_in(record.substr(0, static_cast<std::size_t>(size)), label);
    if (!denial.empty()) trace("denied: " + printable(denial));
  }
}

std::string denial_in(const std::string& record, const std::string& label) {
  const std::string line = record.substr(0, record.find('\n'));
  if (line.find(";audit: type=1400 ") == std::string::npos) return "";
  for (const std::string begin : {"apparmor=\"DENIED\" ", "avc:  denied  "}) {
    const auto start = line.find(begin);
    if (start == std::string::npos) continue;
    const bool is_ours = line.find(" profile=\"" + label + "\"", start) != std::string::npos ||
                         line.find(" scontext=" + label + " ", start) != std::string::npos;
    return is_ours ? line.substr(start) : "";
  }
  return "";
}

}  // namespace box
