// Reads an OCI image layout: a directory of blobs, each named by its SHA-256, see
// https://github.com/opencontainers/image-spec/blob/main/image-layout.md
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace box {

// A file of the layout, as another file describes it.
struct Blob {
  std::string path;    // without links
  std::string sha256;  // the digest that its content must have, 64 hexadecimal digits
  std::uint64_t bytes = 0;
};

struct OciImage {
  std::vector<Blob> layers;  // lowest first
  // The command that the container runs unless the command line has another, see the
  // specification's config.md.
  std::vector<std::string> entrypoint;
  std::vector<std::string> command;
  std::map<std::string, std::string> environment;
  std::string workdir;
  std::string user;                  // "", or UID[:GID], by number or by name
  std::vector<std::string> volumes;  // directories that it expects
  std::string stop_signal;           // not used
};

// Returns the directory, or archive, and the tag that `reference` names: DIR, DIR:TAG, FILE.tar,
// FILE.tar:TAG, also with skopeo's "oci:", "oci-archive:" or "docker-archive:" before it. Throws
// Failure.
struct ImageReference {
  std::string path;  // without links
  std::string tag;   // "": the only one
};
[[nodiscard]] ImageReference find_image(const std::string& reference);

// In the parent: reads the image `tag` of the layout in `directory`, or of an unpacked `docker
// save` archive there, for this machine's kind of CPU. Checks the digests of the files that it
// reads; for the layers it only checks that they exist. Throws Failure.
[[nodiscard]] OciImage read_image(const std::string& directory, const std::string& tag);

// The text of a config, as a blob. `name` is for messages. Throws Failure.
[[nodiscard]] OciImage parse_image_config(const std::string& name, const std::string& text);

}  // namespace box
