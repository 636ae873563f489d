// The repository: a folder of signed metadata (TUF 1.0, consistent snapshots) and packages, changed
// by these calls only and served as static files.
//
//   DIR/keys/                 signing keys (keys.h)
//   DIR/root.json             the root to give to appliances
//   DIR/repository/           N.root.json N.targets.json N.snapshot.json timestamp.json
//   DIR/repository/targets/   HASH.everspan-site-0.2.0-linux-x86_64.pkg
//
// Order of writing: packages, targets, snapshot, timestamp last; so a reader, or a crash, never
// meets a timestamp that names what is not there. One writer at a time (lock file). Blocking.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/time.h"
#include "depot/keys.h"

namespace everspan::depot {

struct PublishedPackage {
  std::string target_name;
  std::string version;
  std::string kind;
  std::string platform;
  std::string digest;
  std::uint64_t bytes = 0;
};

struct RepositoryState {
  std::int64_t root = 0;
  std::int64_t targets = 0;
  std::int64_t snapshot = 0;
  std::int64_t timestamp = 0;
  std::vector<PublishedPackage> packages;
  std::vector<std::string> warnings;
};

// Codes: conflict, missing_keys, bad_package, disk_full, io, and those of update/verify.h.
[[nodiscard]] Result<RepositoryState> init_repository(const std::string& dir, Ceremony people,
                                                      WallTime now);
// A package that is there already, byte for byte, is no error. Another one of the same name is:
// conflict.
[[nodiscard]] Result<RepositoryState> publish(const std::string& dir,
                                              const std::vector<std::string>& packages,
                                              WallTime now);
// Signs a new timestamp; snapshot and targets too when they are past two thirds of their life.
[[nodiscard]] Result<RepositoryState> refresh_timestamp(const std::string& dir, WallTime now);
// Independent of the writer: the client's workflow from 1.root.json on, then every package whole:
// length, hash, manifest, every file in it.
[[nodiscard]] Result<RepositoryState> verify_repository(const std::string& dir, WallTime now);

}  // namespace everspan::depot
