// Reads a package from an open descriptor. Nothing in the archive decides where or how much is
// written.
#pragma once
#include <string>

#include "update/package.h"

namespace everspan::update::detail {

struct UnpackResult {
  UnpackedPackage package;
  std::string sha256;  // Of all bytes of the package, as they were read here.
  std::uint64_t bytes = 0;
};
// From the descriptor's beginning. `out_dir` empty: only the manifest is read (sha256 then covers
// less).
[[nodiscard]] Result<UnpackResult> unpack_fd(int fd, const std::string& out_dir);
void remove_tree(const std::string& dir);

}  // namespace everspan::update::detail
