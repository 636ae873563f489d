// The four roles of TUF 1.0 as values, and their signed envelopes. Parsing is strict about what is
// signed and used, and lets unknown members be (a later release's metadata must stay readable).
// Keys of kinds that this release cannot use are kept and never count. Pure.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "common/time.h"
#include "update/core/json.h"

namespace everspan::update {

enum class Role : std::uint8_t { root, timestamp, snapshot, targets };
[[nodiscard]] std::string_view role_name(Role role);

struct PublicKey {
  std::string ed25519;  // 32 raw bytes; empty: a kind of key that this release cannot use.
};
struct RoleKeys {
  std::set<std::string> keyids;
  std::int64_t threshold = 0;
  bool operator==(const RoleKeys&) const = default;
};

struct Envelope {
  Json signed_part;
  std::string signed_bytes;  // Canonical: what the signatures cover.
  std::vector<std::pair<std::string, std::string>> signatures;  // keyid, raw signature
};

struct Header {
  std::int64_t version = 0;
  WallTime expires;
};
struct Root : Header {
  bool consistent_snapshot = false;
  std::map<std::string, PublicKey> keys;  // by keyid
  std::map<Role, RoleKeys> roles;
};
struct FileMeta {
  std::int64_t version = 0;
  std::optional<std::int64_t> length;
  std::map<std::string, std::string> hashes;  // algorithm -> hex
};
struct Timestamp : Header {
  FileMeta snapshot;
};
struct Snapshot : Header {
  std::map<std::string, FileMeta> files;  // "targets.json" and delegated ones
};
struct TargetFile {
  std::int64_t length = 0;
  std::string sha256;  // Hex; empty if only other hashes are given.
  std::string sha512;
  Json custom;
};
struct Targets : Header {
  std::map<std::string, TargetFile> files;
};

// Codes: bad_metadata, too_large.
[[nodiscard]] Result<Envelope> parse_envelope(std::string_view bytes, std::size_t bytes_max);
[[nodiscard]] Result<Root> parse_root(const Envelope& envelope);
[[nodiscard]] Result<Timestamp> parse_timestamp(const Envelope& envelope);
[[nodiscard]] Result<Snapshot> parse_snapshot(const Envelope& envelope);
[[nodiscard]] Result<Targets> parse_targets(const Envelope& envelope);

// At least the threshold of different keys of `role` in `root` signed. Codes: bad_signature,
// unknown_key.
[[nodiscard]] Result<void> check_signatures(const Envelope& envelope, const Root& root, Role role);
// Length and known hashes. Codes: bad_hash, truncated, too_large.
[[nodiscard]] Result<void> check_file(std::string_view bytes, const FileMeta& meta,
                                      std::string_view name);

// "2026-11-23T02:10:51Z", as TUF writes it.
[[nodiscard]] Result<WallTime> parse_utc(std::string_view text);
[[nodiscard]] std::string write_utc(WallTime time);  // Whole seconds.

// The keyid that our depot uses: hex SHA-256 of the key's canonical JSON. Readers take any keyid.
[[nodiscard]] Json key_json(std::string_view ed25519_public);
[[nodiscard]] std::string key_id(std::string_view ed25519_public);

}  // namespace everspan::update
