// Stage 06: --volume and --tmpfs.
#include <filesystem>

#include "harness/fuzz/fuzz.h"
#include "stages/06_pivot_root/volume.h"

namespace {

using box::fuzz::accepted;
using box::fuzz::require;

void check_target(const std::string& target) {
  require(target.starts_with('/') && target != "/", "the target is below /");
  for (const auto& part : std::filesystem::path(target).relative_path()) {
    require(part != ".." && part != "." && !part.empty(), "the target leads nowhere else");
  }
  for (const char* taken : {"/proc", "/sys"}) {
    require(target != taken && !target.starts_with(std::string(taken) + "/"),
            "the target is not where the container's own mounts are");
  }
}

void check_volume(const std::string& text) {
  const auto volume = accepted([&] { return box::parse_volume(text); });
  if (!volume) return;
  require(!volume->source.empty() && text.starts_with(volume->source + ":"),
          "the source is what stands before the colon");
  check_target(volume->target);
  const std::string printed = volume->source + ":" + volume->target + ":" +
                              (volume->read_only ? "ro" : "rw") +
                              (volume->no_exec ? ",noexec" : "") + (volume->idmap ? ",idmap" : "");
  const auto again = accepted([&] { return box::parse_volume(printed); });
  require(again && again->source == volume->source && again->target == volume->target &&
              again->read_only == volume->read_only && again->no_exec == volume->no_exec &&
              again->idmap == volume->idmap,
          "what is printed is what was read");
}

void check_tmpfs(const std::string& text) {
  const auto tmpfs = accepted([&] { return box::parse_tmpfs(text); });
  if (!tmpfs) return;
  require(tmpfs->source.empty(), "a tmpfs has no source");
  check_target(tmpfs->target);
  for (const auto& [key, value] : tmpfs->tmpfs) {
    require((key + value).find_first_of(",= ") == std::string::npos,
            "an option of a tmpfs brings no other");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(box::fuzz::text_of(data, size));
  check_volume(text);
  check_tmpfs(text);
  return 0;
}
