#include "access/core/tokens.h"

#include "common/bytes.h"
#include "common/check.h"
#include "common/crypto.h"

namespace everspan::access {
namespace {

constexpr std::string_view kSitePrefix = "ess1_";
constexpr std::string_view kAppliancePrefix = "esa1_";
constexpr std::string_view kEnrolPrefix = "es1.";
constexpr std::size_t kSecretTextBytes = 43;  // 32 bytes in base64url.

std::unexpected<Error> bad_token() {
  return fail("unauthenticated", "This is not a token of ours", "", "Log in");
}
std::unexpected<Error> bad_enrol() {
  return fail("bad_token", "This is not an enrolment token", "",
              "Copy the whole text from endpoint enrol-token");
}

}  // namespace

std::string make_bearer_token(Area area, std::string_view secret32) {
  check(secret32.size() == kTokenSecretBytes, "a token's secret has 32 bytes");
  return std::string(area == Area::site ? kSitePrefix : kAppliancePrefix) +
         to_base64url(as_bytes(secret32));
}

Result<Area> bearer_token_area(std::string_view token) {
  if (token.size() != kSitePrefix.size() + kSecretTextBytes) return bad_token();
  const auto secret = from_base64url(token.substr(kSitePrefix.size()));
  if (!secret || secret->size() != kTokenSecretBytes) return bad_token();
  if (token.starts_with(kSitePrefix)) return Area::site;
  if (token.starts_with(kAppliancePrefix)) return Area::appliance;
  return bad_token();
}

std::string bearer_token_key(std::string_view token) {
  return sha256_hex(token);
}

std::string format_enrol_token(const EnrolToken& token) {
  check(token.secret.size() == kTokenSecretBytes, "a token's secret has 32 bytes");
  return std::string(kEnrolPrefix) + token.id.hex() + '.' + to_base64url(as_bytes(token.secret)) +
         '.' + token.ca_sha256;
}

Result<EnrolToken> parse_enrol_token(std::string_view text) {
  if (!text.starts_with(kEnrolPrefix)) return bad_enrol();
  text.remove_prefix(kEnrolPrefix.size());
  if (text.size() != 32 + 1 + kSecretTextBytes + 1 + 64) return bad_enrol();
  if (text[32] != '.' || text[32 + 1 + kSecretTextBytes] != '.') return bad_enrol();
  const auto id = EnrolTokenId::from_hex(text.substr(0, 32));
  const auto secret = from_base64url(text.substr(33, kSecretTextBytes));
  const auto ca = from_hex(text.substr(33 + kSecretTextBytes + 1));
  if (!id || !secret || secret->size() != kTokenSecretBytes || !ca) return bad_enrol();
  return EnrolToken{*id, *secret, to_hex(as_bytes(*ca))};
}

std::string enrol_secret_hash(std::string_view secret) {
  const Sha256 digest = sha256(secret);
  return to_string(digest);
}

}  // namespace everspan::access
