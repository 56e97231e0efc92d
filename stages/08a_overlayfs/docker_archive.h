// Reads the unpacked output of `docker save` or of skopeo's docker-archive: a manifest.json, a
// config and the layers' tars.
#pragma once

#include <string>

#include "stages/08a_overlayfs/oci_image.h"

namespace box {

// Reads the image `tag`, or the only one, of the archive that is unpacked in `directory`. Throws
// Failure.
[[nodiscard]] OciImage read_docker_archive(const std::string& directory, const std::string& tag);

}  // namespace box
