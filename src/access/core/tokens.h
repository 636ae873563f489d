// Forms of the secrets that people and programs carry. Only their SHA-256 is ever stored.
//
//   bearer token      ess1_<32 bytes, base64url> (site)   esa1_<...> (appliance)
//   enrolment token   es1.<id, 32 hex>.<secret, base64url>.<SHA-256 of the CA's DER, 64 hex>
//
// The enrolment token names the CA, so that an endpoint's first connection trusts the right site
// only.
#pragma once
#include <string>
#include <string_view>

#include "access/core/scopes.h"
#include "common/ids.h"
#include "common/result.h"

namespace everspan::access {

inline constexpr std::size_t kTokenSecretBytes = 32;

[[nodiscard]] std::string make_bearer_token(Area area, std::string_view secret32);
// The area that the token says it is for. Says nothing about whether it is known.
[[nodiscard]] Result<Area> bearer_token_area(std::string_view token);
// Key under which the token's record is stored: SHA-256 of the whole token, 64 hex digits.
[[nodiscard]] std::string bearer_token_key(std::string_view token);

using EnrolTokenId = Id<struct EnrolTokenTag>;
struct EnrolToken {
  EnrolTokenId id;
  std::string secret;     // 32 bytes.
  std::string ca_sha256;  // 64 lower-case hex digits.
};
[[nodiscard]] std::string format_enrol_token(const EnrolToken& token);
[[nodiscard]] Result<EnrolToken> parse_enrol_token(std::string_view text);
[[nodiscard]] std::string enrol_secret_hash(std::string_view secret);  // 32 bytes.

}  // namespace everspan::access
