// Unpacks a layer: a tar file from an untrusted source.
#pragma once

#include <string>

#include "common/unique_fd.h"
#include "stages/08a_overlayfs/layer_source.h"

namespace box {

// In the parent: unpacks the file `tar` (plain, or compressed by gzip, zstd, xz or bzip2; called
// `name` in messages) into the empty directory `directory`, and returns the file's size and
// digests, computed on the way. Subtracts what it uses from `left`.
//
// Every name is looked up as in a container whose root is `directory`, see RESOLVE_IN_ROOT in
// openat2(2): no "..", no absolute path and no link in the tar leads out of it. The whiteouts of
// the OCI image specification become those of overlayfs. If we are root, files get their owners;
// otherwise they belong to us, without set-user-ID and set-group-ID bits. Device nodes, which no
// container could open, and ACLs are left out.
//
// Throws Failure for a file that is not a tar, is cut off, has names with ".." or needs more than
// is left, and after Ctrl-C (see InterruptGuard).
FileDigest unpack_layer(const UniqueFd& tar, const std::string& name, const std::string& directory,
                        UnpackLimits& left);

}  // namespace box
