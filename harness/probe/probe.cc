#include "harness/probe/probe.h"

#include <fcntl.h>

const char* nonce = "";
char** words_after = nullptr;
char* own_path = nullptr;

namespace {

constexpr const char* kUp =
    "../../../../../../../../../../../../../../../../../../../../../../../../../../../../../../../"
    "..";

}  // namespace

void add_text_of(Answer& answer, int fd) {
  char text[2048] = {};
  const ssize_t size = fd == -1 ? -1 : read(fd, text, sizeof text - 1);
  answer.add_result(size != -1);
  if (size != -1) answer.add("text", text);
  if (size != -1) answer.add("size", size);
  if (fd != -1) close(fd);
}

void add_text_from(Answer& answer, int directory, const char* path) {
  char long_path[4096];
  snprintf(long_path, sizeof long_path, "%s/%s", kUp, path);
  add_text_of(answer, openat(directory, long_path, O_RDONLY | O_NONBLOCK));
}

void call_ourselves_child() {
  constexpr const char* kName = "child";
  snprintf(own_path + strlen(own_path) - strlen(kName), strlen(kName) + 1, "%s", kName);
}
