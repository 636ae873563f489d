// Verifies, without asking anybody, what a site allows a person at this endpoint (DESIGN section
// 5). Pure.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/time.h"

namespace everspan::agent {

struct TrustedSite {
  std::string site_id;      // 16 bytes
  std::string grant_key;    // 32 bytes, pinned at enrolment
  std::string endpoint_id;  // 16 bytes, ours
  std::uint64_t epoch_seen = 0;
};

struct CheckedGrant {
  std::string session_id;
  std::string person;
  std::vector<std::string> rights;
  std::uint64_t epoch = 0;
  bool strict = true;  // Anything but "metadata" is recorded strictly.
  std::uint32_t ttl_s = 0;

  [[nodiscard]] bool allows(const std::string& right) const;
};

inline constexpr std::int64_t kClockSkewMs = 5 * 60 * 1000;  // Between site and endpoint.

// `opening`: the times count; a session that lives goes on until its time to live.
// Codes: bad_grant, strange_key, other_site, other_endpoint, expired_grant, future_grant,
// old_epoch.
[[nodiscard]] Result<CheckedGrant> check_grant(const std::string& signed_grant,
                                               const TrustedSite& site, WallTime now, bool opening);

}  // namespace everspan::agent
