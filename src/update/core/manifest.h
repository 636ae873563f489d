// What a package says about itself: the first entry of its archive, and the whole of a release's
// identity: the release digest is the SHA-256 of the manifest's bytes, and these name every file's
// SHA-256. Unknown members are ignored, so that later releases may say more. Pure.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "common/version.h"
#include "update/core/json.h"

namespace everspan::update {

// ">=0.1.0 <0.3.0": comparators that must all hold (>=, >, <=, <, = or none for equality).
class VersionRange {
 public:
  VersionRange() = default;  // Everything.
  static Result<VersionRange> parse(std::string_view text);
  [[nodiscard]] bool contains(const Version& version) const;
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  struct Bound {
    std::string op;
    Version version;
  };
  std::vector<Bound> bounds_;
  std::string text_;
};

struct ManifestFile {
  std::string path;  // Relative, '/'-separated, no "." or "..", no hidden first component.
  std::uint64_t size = 0;
  std::string sha256;         // Hex.
  std::uint32_t mode = 0644;  // 0644 or 0755.
};

struct Manifest {
  std::string kind;  // "site", "base", "client".
  Version version;
  std::string platform;  // "linux-x86_64".
  std::vector<ManifestFile> files;
  VersionRange needs_base;
  std::vector<VersionRange> needs_from;  // Site releases that it can follow; empty: any.
  std::uint32_t wire_min = 0;
  std::uint32_t wire_max = 0;
  std::uint32_t log_format = 0;
  std::uint32_t feature_level = 0;
  Version security_floor;
  std::string notes;

  [[nodiscard]] bool follows(const Version& installed) const;
};

// Code: bad_package.
[[nodiscard]] Result<Manifest> parse_manifest(std::string_view bytes);
[[nodiscard]] std::string write_manifest(const Manifest& manifest);
// The part that the signed targets metadata repeats (`custom`), so that releases can be listed and
// a plan made before anything large is fetched. Without `files`.
[[nodiscard]] Json manifest_summary(const Manifest& manifest, std::string_view digest);
[[nodiscard]] Result<Manifest> parse_manifest_summary(const Json& custom, std::string& digest);

[[nodiscard]] bool is_safe_path(std::string_view path);
// everspan-site-0.2.0-linux-x86_64.pkg
[[nodiscard]] std::string package_file_name(const Manifest& manifest);
[[nodiscard]] std::string host_platform();  // Of this build: "linux-x86_64".

}  // namespace everspan::update
