// The update client: keeps a folder of trusted metadata up to date from a repository (TUF 1.0
// client workflow), lists releases, downloads targets. Deciding is in core/tuf_core.h. Blocking;
// one client per folder at a time.
//
// Folder: root.json, timestamp.json, snapshot.json, targets.json as received, byte for byte, and
// root_history/N.root.json, so that the folder can be handed to verify_release as it is. Each file
// is replaced atomically (rename, fsync) when it has been verified, so a refresh that fails leaves
// a client that can refresh later.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/time.h"
#include "update/core/manifest.h"
#include "update/fetcher.h"

namespace everspan::update {

struct AvailableRelease {
  std::string target_name;
  std::uint64_t bytes = 0;
  std::string package_sha256;  // Hex.
  std::string digest;          // Of the release, as the depot says; base computes it itself.
  Manifest manifest;           // Without files.
};

class UpdateClient {
 public:
  // Begins to trust `root_bytes` (checked: signed by its own threshold). Keeps what is there
  // already, if it is the same root chain. Codes as in verify.h.
  [[nodiscard]] static Result<void> init(const std::string& metadata_dir,
                                         const std::string& root_bytes);

  explicit UpdateClient(std::string metadata_dir);
  ~UpdateClient();
  UpdateClient(UpdateClient&&) noexcept;

  [[nodiscard]] Result<void> refresh(Fetcher& fetcher, const std::string& metadata_url,
                                     WallTime now);
  // What the stored metadata says without asking anybody; refused when it is expired.
  [[nodiscard]] Result<void> load(WallTime now);

  // After refresh() or load(). Targets that are no Everspan package, or of a newer format, are left
  // out.
  [[nodiscard]] std::vector<AvailableRelease> releases() const;  // Oldest first.

  using Progress = std::function<void(std::uint64_t done, std::uint64_t total)>;
  // Fetches a target into `out_dir`, resumes a part that is there (`.part`), checks length and
  // SHA-256 while streaming, and returns the path. A complete file that is there already is checked
  // and kept.
  [[nodiscard]] Result<std::string> download(Fetcher& fetcher, const std::string& targets_url,
                                             const std::string& target_name,
                                             const std::string& out_dir,
                                             const Progress& progress = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace everspan::update
