#include "stages/08a_overlayfs/oci_image.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nettle/sha2.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "common/check.h"
#include "common/printable.h"
#include "common/unique_fd.h"

namespace box {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMostBytes = 4UL * 1024 * 1024;  // of a manifest; as containerd has it
constexpr int kDeepest = 4;                              // an index may list another index

// Not a link: in a stranger's folder it may lead anywhere. Not a FIFO, at which we would wait.
std::string read_whole(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat st = {};
  if (file.get() == -1 || fstat(file.get(), &st) == -1) throw Failure(errno, path);
  if (!S_ISREG(st.st_mode)) throw Failure(path + ": is no regular file");
  if (static_cast<std::uint64_t>(st.st_size) > kMostBytes) {
    throw Failure(fmt::format("{}: has more than {} bytes", path, kMostBytes));
  }
  std::string text(static_cast<std::size_t>(st.st_size), '\0');
  const auto size = check_quietly(TEMP_FAILURE_RETRY(read(file.get(), text.data(), text.size())),
                                  "read({})", path);
  text.resize(static_cast<std::size_t>(size));
  return text;
}

// Lists in lists are limited: a copy of the value, and its end, take stack for each.
json parse(const std::string& path, const std::string& text) {
  constexpr int kMaxDepth = 64;
  const auto limit_depth = [&](int depth, json::parse_event_t, const json&) {
    if (depth > kMaxDepth) throw Failure(path + ": its JSON is more than 64 levels deep");
    return true;
  };
  json value = json::parse(text, limit_depth, false);
  if (!value.is_object()) throw Failure(path + ": is no JSON object");
  return value;
}

std::string sha256_of(const std::string& text) {
  sha256_ctx context;
  sha256_init(&context);
  sha256_update(&context, text.size(), reinterpret_cast<const std::uint8_t*>(text.data()));
  std::array<std::uint8_t, SHA256_DIGEST_SIZE> digest = {};
  nettle_sha256_digest(&context, digest.size(), digest.data());
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

// A member that may be missing or null, as Go's encoding of an empty list is.
template <typename Value>
Value member(const json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? Value() : found->get<Value>();
}

class Layout {
 public:
  explicit Layout(std::string directory) : directory_(std::move(directory)) {}

  [[nodiscard]] OciImage read(const std::string& tag) const;

 private:
  [[nodiscard]] Blob blob(const json& descriptor) const;
  [[nodiscard]] json read_blob(const json& descriptor) const;
  [[nodiscard]] json choose(const json& index, const std::string& tag) const;
  [[nodiscard]] json manifest(json descriptor) const;

  std::string directory_;
};

// A descriptor's digest becomes a path: it must be one, and not "sha256:../../etc/shadow".
Blob Layout::blob(const json& descriptor) const {
  constexpr std::string_view kAlgorithm = "sha256:";
  const auto digest = member<std::string>(descriptor, "digest");
  Blob blob;
  if (digest.starts_with(kAlgorithm)) blob.sha256 = digest.substr(kAlgorithm.size());
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (blob.sha256.size() != 2 * SHA256_DIGEST_SIZE ||
      !std::all_of(blob.sha256.begin(), blob.sha256.end(), is_digit)) {
    throw Failure(directory_ + ": names a blob by " + printable(json(digest).dump()) +
                  ", which is no SHA-256 digest");
  }
  blob.bytes = member<std::uint64_t>(descriptor, "size");
  blob.path = directory_ + "/blobs/sha256/" + blob.sha256;
  return blob;
}

json Layout::read_blob(const json& descriptor) const {
  const Blob wanted = blob(descriptor);
  const std::string text = read_whole(wanted.path);
  if (sha256_of(text) != wanted.sha256) {
    throw Failure(wanted.path + ": its content has another digest", "copy the image once more");
  }
  return parse(wanted.path, text);
}

std::string tag_of(const json& descriptor) {
  return member<std::string>(member<json>(descriptor, "annotations"),
                             "org.opencontainers.image.ref.name");
}

// In Go's words, as the spec wants it.
std::string this_architecture() {
  utsname machine = {};
  check_quietly(uname(&machine), "uname()");
  const std::string name = machine.machine;
  return name == "x86_64" ? "amd64" : name == "aarch64" ? "arm64" : name;
}

json Layout::choose(const json& index, const std::string& tag) const {
  const json all = member<json>(index, "manifests");
  std::vector<json> found;
  std::string tags;
  for (const json& descriptor : all) {
    const std::string name = tag_of(descriptor);
    if (!name.empty()) tags += (tags.empty() ? "" : ", ") + name;
    if (tag.empty() || name == tag) found.push_back(descriptor);
  }
  if (found.size() > 1) {
    std::erase_if(found, [](const json& descriptor) {
      const auto platform = member<json>(descriptor, "platform");
      const auto architecture = member<std::string>(platform, "architecture");
      return !architecture.empty() && architecture != this_architecture();
    });
  }
  const std::string has = tags.empty() ? "" : "it has " + printable(json(tags).dump());
  if (found.empty()) {
    throw Failure(directory_ + ": has no image" + (tag.empty() ? "" : " called " + printable(tag)),
                  has);
  }
  if (found.size() > 1) {
    throw Failure(directory_ + ": has several images; name one as DIR:TAG", has);
  }
  return found.front();
}

// An index of several platforms lies where else the manifest does.
json Layout::manifest(json descriptor) const {
  for (int depth = 0; depth < kDeepest; ++depth) {
    json found = read_blob(descriptor);
    if (!found.contains("manifests")) return found;
    descriptor = choose(found, "");
  }
  throw Failure(directory_ + ": an index in an index in an index");
}

OciImage Layout::read(const std::string& tag) const {
  const std::string index = directory_ + "/index.json";
  const json manifest = this->manifest(choose(parse(index, read_whole(index)), tag));
  OciImage image;
  for (const json& descriptor : member<json>(manifest, "layers")) {
    image.layers.push_back(blob(descriptor));
    const std::string& path = image.layers.back().path;
    struct stat st = {};
    if (lstat(path.c_str(), &st) == -1) throw Failure(errno, path);
  }
  if (image.layers.empty()) throw Failure(directory_ + ": the image has no layers");

  const json config = member<json>(read_blob(member<json>(manifest, "config")), "config");
  image.entrypoint = member<std::vector<std::string>>(config, "Entrypoint");
  image.command = member<std::vector<std::string>>(config, "Cmd");
  image.workdir = member<std::string>(config, "WorkingDir");
  image.user = member<std::string>(config, "User");
  for (const auto& variable : member<std::vector<std::string>>(config, "Env")) {
    const auto equals = variable.find('=');
    if (equals == std::string::npos || equals == 0) continue;
    image.environment[variable.substr(0, equals)] = variable.substr(equals + 1);
  }
  return image;
}

}  // namespace

OciImage read_image(const std::string& reference) {
  std::error_code error;
  std::string directory = std::filesystem::canonical(reference, error);
  std::string tag;
  if (const auto colon = reference.rfind(':'); error && colon != std::string::npos) {
    directory = std::filesystem::canonical(reference.substr(0, colon), error);
    tag = reference.substr(colon + 1);
  }
  if (error) throw Failure(error.message());
  try {
    const std::string marker = directory + "/oci-layout";
    if (access(marker.c_str(), F_OK) == -1) {
      throw Failure("is no OCI image layout: it has no file oci-layout",
                    "skopeo copy docker-archive:FILE.tar oci:DIR makes one");
    }
    const auto version =
        member<std::string>(parse(marker, read_whole(marker)), "imageLayoutVersion");
    if (!version.starts_with("1.")) throw Failure(marker + ": its version is not 1");
    return Layout(directory).read(tag);
  } catch (const json::exception& wrong) {
    throw Failure(directory + ": is not as the OCI image spec says: " + printable(wrong.what()));
  }
}

}  // namespace box
