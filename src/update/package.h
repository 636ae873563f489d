// Packages: everspan-<kind>-<version>-<platform>.pkg, a tar compressed with zstd: manifest.json
// first, then the files in the manifest's order. Regular files only: no links, no folders, no
// devices, no owners, no times, so that the same input gives the same bytes. Blocking.
//
// unpack_package trusts nothing of the archive: paths, sizes and modes come from the manifest.
// Codes: bad_package, too_large, disk_full, io.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "common/result.h"
#include "update/core/manifest.h"

namespace everspan::update {

struct PackageInput {
  std::string path;    // In the package: "bin/everspan-site".
  std::string source;  // File on disk.
  std::uint32_t mode = 0755;
};
struct PackageStats {
  std::string digest;  // Of the release.
  std::string sha256;  // Of the package file.
  std::uint64_t bytes = 0;
};

// `manifest.files` is filled in from `inputs`. Writes `out_path` atomically.
[[nodiscard]] Result<PackageStats> build_package(Manifest manifest,
                                                 const std::vector<PackageInput>& inputs,
                                                 const std::string& out_path);
struct UnpackedPackage {
  Manifest manifest;
  std::string digest;
};
// Makes `out_dir` (0755; must not exist) with manifest.json and the files, all fsynced. Removes it
// again on failure.
[[nodiscard]] Result<UnpackedPackage> unpack_package(const std::string& package_path,
                                                     const std::string& out_dir);
[[nodiscard]] Result<UnpackedPackage> read_package_manifest(const std::string& package_path);

}  // namespace everspan::update
