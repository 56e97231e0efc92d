// Unpacks a layer: a tar file of which nobody knows who wrote it.
#pragma once

#include <string>

#include "common/unique_fd.h"
#include "stages/08a_overlayfs/layer_source.h"

namespace box {

// In the parent: unpacks the file `tar` (plain, or compressed by gzip, zstd, xz or bzip2; called
// `name` in messages) into the empty directory `directory`, and returns what the file was, read to
// its end in the same go. What it uses is taken from `left`.
//
// Every name is looked up as in a container that has `directory` for its root, see RESOLVE_IN_ROOT
// in openat2(2): no "..", no absolute path and no link in the tar leads out of it. The whiteouts of
// the OCI image spec become those of overlayfs. As root, files get their owners; otherwise they are
// ours, and without set-user-ID and set-group-ID bits. Left out are device nodes, which no
// container could open, and ACLs.
//
// Throws Failure for what is no tar file, for one that is cut off, for names with "..", for one
// that needs more than is left, and when Ctrl-C has come (see InterruptGuard).
FileDigest unpack_layer(const UniqueFd& tar, const std::string& name, const std::string& directory,
                        UnpackLimits& left);

}  // namespace box
