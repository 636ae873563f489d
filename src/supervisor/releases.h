// Releases on disk: DIR/releases/<digest>/{manifest.json, ...}, complete and read-only; the digest
// is the SHA-256 of manifest.json. What is run is run by the descriptor that was hashed.
#pragma once
#include <string>
#include <vector>

#include "common/result.h"
#include "net/fd.h"
#include "supervisor/core/slots_types.h"
#include "supervisor/layout.h"

namespace everspan::supervisor {

inline constexpr std::string_view kSiteProgram = "everspan-site";

class Releases {
 public:
  explicit Releases(Layout layout) : layout_(std::move(layout)) {}

  // Folders whose manifest hashes to their name; others are logged and left out.
  [[nodiscard]] Result<std::vector<Release>> list() const;
  // The first release: a folder with a manifest.json, or a program (then base writes the manifest;
  // the version is what `program --version` would say, so base's own is taken: they ship together).
  [[nodiscard]] Result<Release> import(const std::string& folder_or_program) const;
  // Copies what `from` (written by somebody less trusted, perhaps still open to him) holds of the
  // release `digest`, hashing what is copied; root's, read-only, fsynced, renamed into place.
  // Codes: bad_release, disk_full, io.
  [[nodiscard]] Result<Release> adopt(const std::string& from, const std::string& digest) const;
  // The site program of a release, whole file hashed through this descriptor against the manifest.
  // Codes: unknown_release, bad_release.
  [[nodiscard]] Result<net::Fd> open_program(const std::string& digest) const;

 private:
  [[nodiscard]] std::string folder(const std::string& digest) const {
    return layout_.releases() + "/" + digest;
  }
  Layout layout_;
};

}  // namespace everspan::supervisor
