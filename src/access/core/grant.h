// Grants (what a person may do at one endpoint in one session) and tombstones (a session has
// ended), signed by the site with Ed25519 and checked by node and agent alike, offline.
//
//   signature over "everspan grant 1\0" + Grant bytes, "everspan tombstone 1\0" + Tombstone bytes
//
// Invariants
//   G1  verify_grant gives claims only for the given site, signed by the given key, with every
//       field in form. What the signer did not set is a refusal, not a default.
//   G2  Times are checked apart (check_grant_time): they bound the first attach only; a session
//       that lives goes on until its time to live.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/crypto.h"
#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"

namespace everspan::pb {
class SignedGrant;
class SignedTombstone;
}  // namespace everspan::pb

namespace everspan::access {

inline constexpr std::string_view kRecordingStrict = "strict";
inline constexpr std::string_view kRecordingMetadata = "metadata";
// Signed as metadata with a mark beside it, so that an older reader hashes instead of refusing.
inline constexpr std::string_view kRecordingOff = "off";
inline constexpr std::size_t kSignedGrantBytesMax = 4096;
inline constexpr std::uint32_t kSessionTtlSecondsMin = 10;
inline constexpr std::uint32_t kSessionTtlSecondsMax = 86'400;
// A grant's first attach may come this much before or after its times: clocks differ.
inline constexpr std::chrono::milliseconds kClockTolerance = std::chrono::minutes(2);

struct GrantClaims {
  SiteId site;
  SessionId session;
  EndpointId endpoint;
  std::string person;
  std::string console_key;          // 32 bytes, Ed25519.
  std::vector<std::string> rights;  // As signed; ones that are not known give nothing.
  WallTime not_before;
  WallTime not_after;
  Epoch epoch;
  std::string recording;  // kRecordingStrict, kRecordingMetadata or kRecordingOff.
  std::uint32_t ttl_s = 0;
};

// First 16 bytes of SHA-256 of the public key.
[[nodiscard]] std::string grant_key_id(std::string_view public_key);

// Serialised SignedGrant. Codes: bad_grant (a claim out of form).
[[nodiscard]] Result<std::string> sign_grant(const GrantClaims& claims, const SigningKey& key);
// Codes: bad_grant (form, key, signature), other_site.
[[nodiscard]] Result<GrantClaims> verify_grant(const pb::SignedGrant& grant, const SiteId& site,
                                               std::string_view grant_public_key);
[[nodiscard]] Result<GrantClaims> verify_grant(std::string_view signed_grant, const SiteId& site,
                                               std::string_view grant_public_key);
// Codes: grant_expired, grant_not_yet.
[[nodiscard]] Result<void> check_grant_time(const GrantClaims& claims, WallTime now);

struct TombstoneClaims {
  SiteId site;
  SessionId session;
  std::string reason;  // At most 200 bytes.
  WallTime ended_at;
};
// Serialised SignedTombstone.
[[nodiscard]] std::string sign_tombstone(const TombstoneClaims& claims, const SigningKey& key);
// Codes: bad_tombstone, other_site.
[[nodiscard]] Result<TombstoneClaims> verify_tombstone(const pb::SignedTombstone& tombstone,
                                                       const SiteId& site,
                                                       std::string_view grant_public_key);
[[nodiscard]] Result<TombstoneClaims> verify_tombstone(std::string_view signed_tombstone,
                                                       const SiteId& site,
                                                       std::string_view grant_public_key);

}  // namespace everspan::access
