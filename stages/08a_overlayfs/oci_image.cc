#include "stages/08a_overlayfs/oci_image.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string_view>
#include <utility>

#include "common/architecture.h"
#include "common/check.h"
#include "stages/08a_overlayfs/docker_archive.h"
#include "stages/08a_overlayfs/image_files.h"

namespace box {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kMaxIndexes = 4;             // an index may list another index
constexpr std::size_t kMaxLayers = 500;    // OVL_MAX_STACK of the kernel's overlayfs
constexpr std::size_t kMaxVolumes = 1000;  // each a directory to make at each start

json parse_object(const std::string& name, const std::string& text) {
  json value = parse_image_json(name, text);
  if (!value.is_object()) throw Failure(name + ": is not a JSON object");
  return value;
}

class Layout {
 public:
  explicit Layout(std::string directory) : directory_(std::move(directory)) {}

  [[nodiscard]] OciImage read(const std::string& tag) const;

 private:
  [[nodiscard]] Blob blob(const json& descriptor) const;
  [[nodiscard]] std::string read_blob(const json& descriptor) const;
  [[nodiscard]] json choose(const json& index, const std::string& tag) const;
  [[nodiscard]] json manifest(json descriptor) const;

  std::string directory_;
};

Blob Layout::blob(const json& descriptor) const {
  Blob blob;
  try {
    blob.sha256 = sha256_in(member<std::string>(descriptor, "digest"));
  } catch (const Failure& failure) {
    throw Failure(directory_ + ": " + failure.what());
  }
  blob.bytes = member<std::uint64_t>(descriptor, "size");
  blob.path = directory_ + "/blobs/sha256/" + blob.sha256;
  return blob;
}

std::string Layout::read_blob(const json& descriptor) const {
  const Blob wanted = blob(descriptor);
  std::string text = read_image_file(wanted.path);
  if (sha256_of(text) != wanted.sha256) {
    throw Failure(wanted.path + ": its content has another digest", "copy the image again");
  }
  return text;
}

std::string tag_of(const json& descriptor) {
  return member<std::string>(member<json>(descriptor, "annotations"),
                             "org.opencontainers.image.ref.name");
}

// "linux/amd64/v3" of a descriptor; a part that it does not give counts as matching.
struct Platform {
  explicit Platform(const json& descriptor) {
    const auto platform = member<json>(descriptor, "platform");
    os = member<std::string>(platform, "os");
    architecture = member<std::string>(platform, "architecture");
    variant = member<std::string>(platform, "variant");
  }
  [[nodiscard]] bool is_ours() const {
    return (os.empty() || os == "linux") &&
           (architecture.empty() || architecture == kGoArchitecture);
  }
  // Every machine of the architecture runs it.
  [[nodiscard]] bool is_baseline() const {
    return variant.empty() || variant == "v1" || (architecture == "arm64" && variant == "v8");
  }
  [[nodiscard]] std::string text() const {
    return os + "/" + architecture + (variant.empty() ? "" : "/" + variant);
  }

  std::string os;
  std::string architecture;
  std::string variant;
};

// Of several that fit, "the first matching entry should be used", says the spec's image-index.md.
json Layout::choose(const json& index, const std::string& tag) const {
  const json all = member<json>(index, "manifests");
  std::vector<json> named;
  std::vector<json> ours;
  std::set<std::string> tags;
  std::set<std::string> tags_of_ours;
  std::set<std::string> platforms;
  for (const json& descriptor : all) {
    const std::string name = tag_of(descriptor);
    if (!name.empty()) tags.insert(name);
    if (!tag.empty() && name != tag) continue;
    named.push_back(descriptor);
    const Platform platform(descriptor);
    if (!platform.os.empty()) platforms.insert(platform.text());
    if (!platform.is_ours()) continue;
    ours.push_back(descriptor);
    if (!name.empty()) tags_of_ours.insert(name);
  }
  const auto list = [](const std::set<std::string>& words) {
    return words.empty() ? "" : "it has " + json(fmt::format("{}", fmt::join(words, ", "))).dump();
  };
  if (named.empty()) {
    throw Failure(directory_ + ": has no image" + (tag.empty() ? "" : " called " + tag),
                  list(tags));
  }
  // A single image for another CPU may run under qemu-user(1), but not one for another system.
  if (ours.empty() && named.size() == 1 && Platform(named[0]).os == "linux") return named[0];
  if (ours.empty()) {
    throw Failure(directory_ + ": has no image for linux/" + kGoArchitecture, list(platforms));
  }
  if (tags_of_ours.size() > 1) {
    throw Failure(directory_ + ": has several images; name one as DIR:TAG", list(tags));
  }
  const auto baseline = std::find_if(ours.begin(), ours.end(), [](const json& descriptor) {
    return Platform(descriptor).is_baseline();
  });
  return baseline == ours.end() ? ours.front() : *baseline;
}

// An index of several platforms may be in the place of the manifest.
json Layout::manifest(json descriptor) const {
  for (int depth = 0; depth < kMaxIndexes; ++depth) {
    json found = parse_object(blob(descriptor).path, read_blob(descriptor));
    if (!found.contains("manifests")) return found;
    descriptor = choose(found, "");
  }
  throw Failure(directory_ + ": its indexes are nested too deeply");
}

OciImage Layout::read(const std::string& tag) const {
  const std::string index = directory_ + "/index.json";
  const json manifest = this->manifest(choose(parse_object(index, read_image_file(index)), tag));
  const auto config = member<json>(manifest, "config");
  OciImage image = parse_image_config(blob(config).path, read_blob(config));
  for (const json& descriptor : member<json>(manifest, "layers")) {
    image.layers.push_back(blob(descriptor));
    const std::string& path = image.layers.back().path;
    struct stat st = {};
    if (lstat(path.c_str(), &st) == -1) throw Failure(errno, path);
  }
  return image;
}

void check_marker(const std::string& directory) {
  const std::string marker = directory + "/oci-layout";
  const auto version =
      member<std::string>(parse_object(marker, read_image_file(marker)), "imageLayoutVersion");
  if (!version.starts_with("1.")) throw Failure(marker + ": its version is not 1");
}

}  // namespace

OciImage parse_image_config(const std::string& name, const std::string& text) {
  const json config = member<json>(parse_object(name, text), "config");
  OciImage image;
  image.entrypoint = member<std::vector<std::string>>(config, "Entrypoint");
  image.command = member<std::vector<std::string>>(config, "Cmd");
  if (image.entrypoint == std::vector<std::string>{""})
    image.entrypoint.clear();  // the error is reset
  image.workdir = member<std::string>(config, "WorkingDir");
  image.user = member<std::string>(config, "User");
  image.stop_signal = member<std::string>(config, "StopSignal");
  for (const auto& [path, nothing] : member<std::map<std::string, json>>(config, "Volumes")) {
    image.volumes.push_back(path);
  }
  for (const auto& variable : member<std::vector<std::string>>(config, "Env")) {
    const auto equals = variable.find('=');
    if (equals == std::string::npos || equals == 0) continue;
    image.environment[variable.substr(0, equals)] = variable.substr(equals + 1);
  }
  return image;
}

ImageReference find_image(const std::string& reference) {
  std::string rest = reference;
  for (const std::string_view ours : {"oci:", "oci-archive:", "docker-archive:"}) {
    if (rest.starts_with(ours) && !fs::exists(reference)) rest.erase(0, ours.size());
  }
  std::error_code error;
  // A colon may be part of the path, and of the tag: "saved.tar:busybox:latest".
  for (auto end = rest.size(); end != std::string::npos && end != 0;
       end = rest.rfind(':', end - 1)) {
    const fs::path path = fs::canonical(rest.substr(0, end), error);
    if (!error) return {path, end == rest.size() ? "" : rest.substr(end + 1)};
  }
  for (const std::string_view others :
       {"docker:", "docker-daemon:", "dir:", "containers-storage:", "ostree:", "sif:"}) {
    if (reference.starts_with(others)) {
      throw Failure("is not a directory here", "skopeo copy " + reference +
                                                   " oci:DIR:TAG makes"
                                                   " one");
    }
  }
  (void)fs::canonical(rest.substr(0, rest.rfind(':')), error);
  throw Failure(error.message());
}

OciImage read_image(const std::string& directory, const std::string& tag) {
  try {
    OciImage image;
    if (access((directory + "/oci-layout").c_str(), F_OK) == 0) {
      check_marker(directory);
      image = Layout(directory).read(tag);
    } else if (access((directory + "/manifest.json").c_str(), F_OK) == 0) {
      image = read_docker_archive(directory, tag);
    } else {
      throw Failure("is not an OCI image layout: it has no file oci-layout",
                    "skopeo copy docker-archive:FILE.tar oci:DIR makes one");
    }
    if (image.layers.empty()) throw Failure(directory + ": the image has no layers");
    if (image.layers.size() > kMaxLayers) {
      throw Failure(fmt::format("{}: the image has {} layers, but overlayfs accepts at most {}",
                                directory, image.layers.size(), kMaxLayers));
    }
    if (image.volumes.size() > kMaxVolumes) {
      throw Failure(fmt::format("{}: the image has {} volumes, more than {}", directory,
                                image.volumes.size(), kMaxVolumes));
    }
    return image;
  } catch (const json::exception& wrong) {
    throw Failure(directory + ": does not follow the OCI image specification: " + wrong.what());
  }
}

}  // namespace box
