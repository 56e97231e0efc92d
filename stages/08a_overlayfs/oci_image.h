// Reads an OCI image layout: a folder of blobs, each called by its own SHA-256, see
// https://github.com/opencontainers/image-spec/blob/main/image-layout.md
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace box {

// A file of the layout, as another file of it describes it.
struct Blob {
  std::string path;
  std::string sha256;  // what its content must have, 64 hexadecimal digits
  std::uint64_t bytes = 0;
};

struct OciImage {
  std::vector<Blob> layers;  // lowest first
  // What the container shall run if nobody says otherwise, see the spec's config.md.
  std::vector<std::string> entrypoint;
  std::vector<std::string> command;
  std::map<std::string, std::string> environment;
  std::string workdir;
  std::string user;  // "", or UID[:GID], by number or by name
};

// In the parent: reads the image `reference`, which is DIR or DIR:TAG, for this machine's kind of
// CPU. Checks the digests of what it reads; of the layers it only sees that they are there. Throws
// Failure.
[[nodiscard]] OciImage read_image(const std::string& reference);

}  // namespace box
