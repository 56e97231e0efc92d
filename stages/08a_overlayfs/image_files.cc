#include "stages/08a_overlayfs/image_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/openat2.h>
#include <nettle/sha2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "common/check.h"
#include "common/json_node.h"

namespace box {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxBytes =
    4UL * 1024 * 1024;  // of a manifest; the same limit as containerd's

}  // namespace

UniqueFd open_image_file(const std::string& path) {
  open_how how = {};
  how.flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC;  // a FIFO would make us wait for its other end
  how.resolve = RESOLVE_NO_SYMLINKS;
  UniqueFd file(static_cast<int>(syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how)));
  struct stat st = {};
  if (file.get() == -1 && errno == ELOOP) {
    throw Failure(path +
                      ": is a symbolic link, or its path contains one, which could lead"
                      " anywhere",
                  "replace the links by files: cp -rL DIR OTHER");
  }
  if (file.get() == -1 || fstat(file.get(), &st) == -1) throw Failure(errno, path);
  if (!S_ISREG(st.st_mode)) throw Failure(path + ": is not a regular file");
  return file;
}

std::string read_image_file(const std::string& path) {
  const UniqueFd file = open_image_file(path);
  struct stat st = {};
  check_quietly(fstat(file.get(), &st), "fstat({})", path);
  if (static_cast<std::uint64_t>(st.st_size) > kMaxBytes) {
    throw Failure(fmt::format("{}: has more than {} bytes", path, kMaxBytes));
  }
  std::string text(static_cast<std::size_t>(st.st_size), '\0');
  const auto size = check_quietly(TEMP_FAILURE_RETRY(read(file.get(), text.data(), text.size())),
                                  "read({})", path);
  text.resize(static_cast<std::size_t>(size));
  return text;
}

// A C string would end at a null character, and be something else than what was checked.
static bool refuse_hostile(int depth, json::parse_event_t event, const json& value) {
  if (value.is_string() && value.get_ref<const std::string&>().find('\0') != std::string::npos) {
    throw Failure("a string of its JSON contains a null character");
  }
  return limit_depth(depth, event, value);
}

json parse_image_json(const std::string& name, const std::string& text) {
  try {
    json value = json::parse(text, refuse_hostile, false);
    if (!value.is_structured()) throw Failure("is not a JSON object");
    return value;
  } catch (const Failure& failure) {
    throw Failure(name + ": " + failure.what());
  }
}

std::string sha256_of(const std::string& text) {
  sha256_ctx context;
  sha256_init(&context);
  sha256_update(&context, text.size(), reinterpret_cast<const std::uint8_t*>(text.data()));
  std::array<std::uint8_t, SHA256_DIGEST_SIZE> digest = {};
  nettle_sha256_digest(&context, digest.size(), digest.data());
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

std::string sha256_in(const std::string& digest) {
  constexpr std::string_view kAlgorithm = "sha256:";
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  std::string digits;
  if (digest.starts_with(kAlgorithm)) digits = digest.substr(kAlgorithm.size());
  if (digits.size() != 2 * SHA256_DIGEST_SIZE ||
      !std::all_of(digits.begin(), digits.end(), is_digit)) {
    throw Failure("names a blob by " + json(digest).dump() + ", which is not a SHA-256 digest");
  }
  return digits;
}

}  // namespace box
