// Verifies a release before anything of it runs: signed metadata against the caller's own trust,
// the package against the metadata, every file against the manifest. No network. Meant for an
// unprivileged child of base: it reads trust_dir, metadata_dir and the package, and writes out_dir
// and the new trust.
//
// Invariants
//   V1  Nothing is written to the trust unless the whole verification succeeded.
//   V2  out_dir holds a complete, fsynced release on success, and does not exist after a refusal.
//   V3  The package is hashed whole before its first byte is unpacked.
// Blocking; one call per process or thread; no shared state.
//
// Codes: bad_signature (too few good signatures by the role's keys), unknown_key (signed, but by no
// key of the role), expired, rollback (older than what is trusted), bad_metadata (malformed, or the
// files do not belong together), missing_metadata, no_trust (no usable root.json in trust_dir),
// unknown_target, wrong_platform, below_floor, truncated, bad_hash, bad_package, too_large,
// disk_full, io.
#pragma once
#include <string>

#include "common/result.h"
#include "common/time.h"
#include "update/core/manifest.h"

namespace everspan::update {

struct VerifyRequest {
  std::string trust_dir;     // The caller's trusted metadata: root.json at least.
  std::string metadata_dir;  // As fetched, untrusted: a client's folder or a whole repository's.
  std::string target_name;
  std::string package_path;
  std::string out_dir;  // Must not exist; its parent must. Removed again when refused.
  WallTime now;
  std::string platform;        // host_platform() unless a test says otherwise.
  std::string new_trust_dir;   // Where the newer trust goes; empty: trust_dir itself.
  std::string security_floor;  // Refuse releases below this version; empty: none.
};

struct VerifiedRelease {
  Manifest manifest;
  std::string digest;  // Hex SHA-256 of manifest.json's bytes: names the release folder.
};

[[nodiscard]] Result<VerifiedRelease> verify_release(const VerifyRequest& request);

// For the privileged side, when the child could not write the trust itself: copies the metadata
// files that the child left in `from` (names and sizes fixed) into `trust_dir`, atomically, file by
// file, after checking them against trust_dir again.
[[nodiscard]] Result<void> adopt_trust(const std::string& trust_dir, const std::string& from,
                                       WallTime now);

// Checks an unpacked release folder against its manifest.json again (every size and hash, no file
// too many). Returns what it holds; the caller compares the digest with the one that it expects.
[[nodiscard]] Result<VerifiedRelease> check_release_dir(const std::string& dir);

}  // namespace everspan::update
