#include "access/core/grant.h"

#include "access/core/scopes.h"
#include "proto/link.pb.h"

namespace everspan::access {
namespace {

// The NUL ends the prefix, so that no message of one kind is ever a message of another.
constexpr std::string_view kGrantPrefix("everspan grant 1\0", 17);
constexpr std::string_view kTombstonePrefix("everspan tombstone 1\0", 21);
constexpr std::size_t kPublicKeyBytes = 32;
constexpr std::size_t kRightsMax = 16;
constexpr std::size_t kReasonBytesMax = 200;

std::unexpected<Error> bad_grant(const char* why) {
  return fail("bad_grant", std::string("The grant was refused: ") + why, "",
              "Open the session again through the site");
}
std::unexpected<Error> bad_tombstone(const char* why) {
  return fail("bad_tombstone", std::string("The end of the session was refused: ") + why);
}

// At most kReasonBytesMax bytes, never half a UTF-8 sequence: protobuf refuses to read such text.
std::string cut_reason(const std::string& reason) {
  if (reason.size() <= kReasonBytesMax) return reason;
  std::size_t end = kReasonBytesMax;
  while (end > 0 && (static_cast<unsigned char>(reason[end]) & 0xc0U) == 0x80U) --end;
  return reason.substr(0, end);
}

Result<void> check_claims(const GrantClaims& claims) {
  if (claims.site.is_zero() || claims.session.is_zero() || claims.endpoint.is_zero())
    return bad_grant("an id is missing");
  if (claims.person.empty() || claims.person.size() > 256) return bad_grant("no person");
  if (claims.console_key.size() != kPublicKeyBytes) return bad_grant("no console key");
  if (claims.rights.empty() || claims.rights.size() > kRightsMax) return bad_grant("no rights");
  for (const std::string& right : claims.rights)
    if (right.size() > 64) return bad_grant("a right is too long");
  if (claims.not_after <= claims.not_before) return bad_grant("its times are reversed");
  if (claims.recording != kRecordingStrict && claims.recording != kRecordingMetadata &&
      claims.recording != kRecordingOff)
    return bad_grant("its recording policy is not known");
  if (claims.ttl_s < kSessionTtlSecondsMin || claims.ttl_s > kSessionTtlSecondsMax)
    return bad_grant("its time to live is out of range");
  return {};
}

Result<GrantClaims> claims_of(const pb::Grant& grant) {
  const auto site = SiteId::from_raw(grant.site_id());
  const auto session = SessionId::from_raw(grant.session_id());
  const auto endpoint = EndpointId::from_raw(grant.endpoint_id());
  if (!site || !session || !endpoint) return bad_grant("an id is out of form");
  GrantClaims claims{.site = *site,
                     .session = *session,
                     .endpoint = *endpoint,
                     .person = grant.person(),
                     .console_key = grant.console_key(),
                     .rights = {grant.rights().begin(), grant.rights().end()},
                     .not_before = {grant.not_before_ms()},
                     .not_after = {grant.not_after_ms()},
                     .epoch = {grant.epoch()},
                     .recording = grant.recording(),
                     .ttl_s = grant.ttl_s()};
  // The mark narrows `metadata` only: beside any other word it is no word of ours.
  if (grant.recording_off()) {
    if (claims.recording != kRecordingMetadata)
      return bad_grant("its recording policy is not known");
    claims.recording = kRecordingOff;
  } else if (claims.recording == kRecordingOff) {
    return bad_grant("its recording policy is not known");
  }
  if (auto good = check_claims(claims); !good) return fail(good);
  return claims;
}

}  // namespace

std::string grant_key_id(std::string_view public_key) {
  const Sha256 digest = sha256(public_key);
  return to_string(Bytes(digest).first(16));
}

Result<std::string> sign_grant(const GrantClaims& claims, const SigningKey& key) {
  if (auto good = check_claims(claims); !good) return fail(good);
  pb::Grant grant;
  grant.set_site_id(claims.site.raw());
  grant.set_session_id(claims.session.raw());
  grant.set_endpoint_id(claims.endpoint.raw());
  grant.set_person(claims.person);
  grant.set_console_key(claims.console_key);
  for (const std::string& right : claims.rights) grant.add_rights(right);
  grant.set_not_before_ms(claims.not_before.unix_ms);
  grant.set_not_after_ms(claims.not_after.unix_ms);
  grant.set_epoch(claims.epoch.value);
  const bool off = claims.recording == kRecordingOff;
  grant.set_recording(off ? std::string(kRecordingMetadata) : claims.recording);
  grant.set_recording_off(off);
  grant.set_ttl_s(claims.ttl_s);
  pb::SignedGrant signed_grant;
  signed_grant.set_grant(grant.SerializeAsString());
  signed_grant.set_signature(key.sign(std::string(kGrantPrefix) + signed_grant.grant()));
  signed_grant.set_key_id(grant_key_id(key.public_key()));
  return signed_grant.SerializeAsString();
}

Result<GrantClaims> verify_grant(const pb::SignedGrant& grant, const SiteId& site,
                                 std::string_view grant_public_key) {
  if (grant.grant().size() > kSignedGrantBytesMax) return bad_grant("it is too long");
  if (grant.key_id() != grant_key_id(grant_public_key))
    return bad_grant("it was signed with a key that is not this site's");
  if (!verify_signature(grant_public_key, std::string(kGrantPrefix) + grant.grant(),
                        grant.signature()))
    return bad_grant("its signature is wrong");
  pb::Grant inner;
  if (!inner.ParseFromString(grant.grant())) return bad_grant("it cannot be read");
  auto claims = claims_of(inner);
  if (!claims) return claims;
  if (claims->site != site) return fail("other_site", "The grant is of another site");
  return claims;
}

Result<GrantClaims> verify_grant(std::string_view signed_grant, const SiteId& site,
                                 std::string_view grant_public_key) {
  pb::SignedGrant parsed;
  if (signed_grant.size() > kSignedGrantBytesMax + 256 ||
      !parsed.ParseFromArray(signed_grant.data(), static_cast<int>(signed_grant.size())))
    return bad_grant("it cannot be read");
  return verify_grant(parsed, site, grant_public_key);
}

Result<void> check_grant_time(const GrantClaims& claims, WallTime now) {
  if (now.unix_ms > claims.not_after.unix_ms + kClockTolerance.count())
    return fail("grant_expired", "The grant has expired", "",
                "Open the session again; check both clocks if it is new");
  if (now.unix_ms < claims.not_before.unix_ms - kClockTolerance.count())
    return fail("grant_not_yet", "The grant is not valid yet", "", "Check both clocks");
  return {};
}

std::string sign_tombstone(const TombstoneClaims& claims, const SigningKey& key) {
  pb::Tombstone tombstone;
  tombstone.set_site_id(claims.site.raw());
  tombstone.set_session_id(claims.session.raw());
  tombstone.set_reason(cut_reason(claims.reason));
  tombstone.set_ended_at_ms(claims.ended_at.unix_ms);
  pb::SignedTombstone signed_tombstone;
  signed_tombstone.set_tombstone(tombstone.SerializeAsString());
  signed_tombstone.set_signature(
      key.sign(std::string(kTombstonePrefix) + signed_tombstone.tombstone()));
  return signed_tombstone.SerializeAsString();
}

Result<TombstoneClaims> verify_tombstone(const pb::SignedTombstone& tombstone, const SiteId& site,
                                         std::string_view grant_public_key) {
  if (tombstone.tombstone().size() > kSignedGrantBytesMax) return bad_tombstone("it is too long");
  if (!verify_signature(grant_public_key, std::string(kTombstonePrefix) + tombstone.tombstone(),
                        tombstone.signature()))
    return bad_tombstone("its signature is wrong");
  pb::Tombstone inner;
  if (!inner.ParseFromString(tombstone.tombstone())) return bad_tombstone("it cannot be read");
  const auto of_site = SiteId::from_raw(inner.site_id());
  const auto session = SessionId::from_raw(inner.session_id());
  if (!of_site || !session) return bad_tombstone("an id is out of form");
  if (*of_site != site) return fail("other_site", "The end of the session is of another site");
  return TombstoneClaims{*of_site, *session, inner.reason(), {inner.ended_at_ms()}};
}

Result<TombstoneClaims> verify_tombstone(std::string_view signed_tombstone, const SiteId& site,
                                         std::string_view grant_public_key) {
  pb::SignedTombstone parsed;
  if (signed_tombstone.size() > kSignedGrantBytesMax + 256 ||
      !parsed.ParseFromArray(signed_tombstone.data(), static_cast<int>(signed_tombstone.size())))
    return bad_tombstone("it cannot be read");
  return verify_tombstone(parsed, site, grant_public_key);
}

}  // namespace everspan::access
