#include "stages/08a_overlayfs/docker_archive.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <vector>

#include "common/check.h"
#include "common/open_in_root.h"
#include "common/unique_fd.h"
#include "stages/08a_overlayfs/image_files.h"

namespace box {
namespace {

using nlohmann::json;

// The file `name` of the archive, by its path without links. Docker's archives contain links from a
// layer to the same layer of another image; none of them can lead out of `directory`.
std::string find_file(const std::string& directory, const std::string& name) {
  const UniqueFd folder(check_quietly(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC),
                                      "open({})", directory));
  const UniqueFd file(open_in_root(folder.get(), name, O_PATH));
  if (file.get() == -1) throw Failure(errno, directory + "/" + name);
  char path[PATH_MAX];
  const auto size = check_quietly(
      readlink(fmt::format("/proc/self/fd/{}", file.get()).c_str(), path, sizeof path),
      "readlink({})", name);
  return {path, static_cast<std::size_t>(size)};
}

// "docker.io/library/busybox:latest" is also called "busybox:latest" and "latest".
bool is_called(const std::string& name, const std::string& tag) {
  return name == tag || name.ends_with("/" + tag) || name.ends_with(":" + tag);
}

json choose(const std::string& directory, const json& images, const std::string& tag) {
  std::vector<json> found;
  std::vector<std::string> all;
  for (const json& image : images) {
    bool fits = tag.empty();
    for (const auto& name : member<std::vector<std::string>>(image, "RepoTags")) {
      all.push_back(name);
      fits = fits || is_called(name, tag);
    }
    if (fits) found.push_back(image);
  }
  const std::string has =
      all.empty() ? "" : "it has " + json(fmt::format("{}", fmt::join(all, ", "))).dump();
  if (found.empty()) {
    throw Failure(directory + ": has no image" + (tag.empty() ? "" : " called " + tag), has);
  }
  if (found.size() > 1) {
    throw Failure(directory + ": has several images; name one as FILE:TAG", has);
  }
  return found.front();
}

}  // namespace

OciImage read_docker_archive(const std::string& directory, const std::string& tag) {
  const std::string manifest = directory + "/manifest.json";
  const json entry = choose(directory, parse_image_json(manifest, read_image_file(manifest)), tag);
  const std::string config = find_file(directory, member<std::string>(entry, "Config"));
  const std::string text = read_image_file(config);
  OciImage image = parse_image_config(config, text);

  // Layers are identified by the digests of their uncompressed tars, which the config lists.
  const auto files = member<std::vector<std::string>>(entry, "Layers");
  const auto digests = member<std::vector<std::string>>(
      member<json>(parse_image_json(config, text), "rootfs"), "diff_ids");
  if (files.size() != digests.size()) {
    throw Failure(fmt::format("{}: has {} layers, but digests for {}", directory, files.size(),
                              digests.size()));
  }
  for (std::size_t i = 0; i < files.size(); ++i) {
    Blob blob;
    blob.path = find_file(directory, files[i]);
    blob.sha256 = sha256_in(digests[i]);
    struct stat st = {};
    check_quietly(stat(blob.path.c_str(), &st), "stat({})", blob.path);
    blob.bytes = static_cast<std::uint64_t>(st.st_size);
    image.layers.push_back(blob);
  }
  return image;
}

}  // namespace box
