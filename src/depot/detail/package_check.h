// A package looked at whole: hash, length, manifest, and every file in it by unpacking it aside.
#pragma once
#include <cstdint>
#include <string>

#include "common/result.h"
#include "update/core/manifest.h"

namespace everspan::depot::detail {

struct CheckedPackage {
  update::Manifest manifest;
  std::string digest;
  std::string sha256;
  std::uint64_t bytes = 0;
};
[[nodiscard]] Result<CheckedPackage> check_package(const std::string& path);
[[nodiscard]] Result<std::string> hash_file(const std::string& path);

}  // namespace everspan::depot::detail
