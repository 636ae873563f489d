#include "agent/core/grant_check.h"

#include <algorithm>

#include "common/crypto.h"
#include "proto/link.pb.h"

namespace everspan::agent {
namespace {
using namespace std::string_view_literals;
constexpr std::size_t kRightsMax = 32;
constexpr std::uint32_t kTtlDefaultS = 15 * 60;
constexpr std::uint32_t kTtlMaxS = 24 * 60 * 60;
}  // namespace

bool CheckedGrant::allows(const std::string& right) const {
  return std::find(rights.begin(), rights.end(), right) != rights.end();
}

Result<CheckedGrant> check_grant(const std::string& signed_grant, const TrustedSite& site,
                                 WallTime now, bool opening) {
  pb::SignedGrant outer;
  pb::Grant grant;
  if (!outer.ParseFromString(signed_grant)) return fail("bad_grant", "The grant is malformed");
  if (outer.key_id() != to_string(Bytes(sha256(site.grant_key)).first(16)))
    return fail("strange_key", "The grant is signed by a key that is not this site's");
  if (!verify_signature(site.grant_key, std::string("everspan grant 1\0"sv) + outer.grant(),
                        outer.signature()))
    return fail("bad_grant", "The grant's signature is wrong");
  if (!grant.ParseFromString(outer.grant()))
    return fail("bad_grant", "The grant is malformed under a good signature");
  if (grant.site_id() != site.site_id) return fail("other_site", "The grant is another site's");
  if (grant.endpoint_id() != site.endpoint_id)
    return fail("other_endpoint", "The grant is for another endpoint");
  if (grant.session_id().size() != 16 || grant.console_key().size() != 32 ||
      grant.rights_size() > static_cast<int>(kRightsMax))
    return fail("bad_grant", "The grant lacks a session or a console key");
  if (opening && grant.not_after_ms() < now.unix_ms - kClockSkewMs)
    return fail("expired_grant", "The grant has expired", "",
                "Open a new session, or set this machine's clock");
  if (opening && grant.not_before_ms() > now.unix_ms + kClockSkewMs)
    return fail("future_grant", "The grant is not valid yet", "", "Set this machine's clock");
  if (opening && grant.epoch() < site.epoch_seen)
    return fail("old_epoch", "The grant comes from a node whose turn is over");
  CheckedGrant out{.session_id = grant.session_id(),
                   .person = grant.person(),
                   .epoch = grant.epoch(),
                   .strict = grant.recording() != "metadata",
                   .ttl_s = grant.ttl_s() == 0 ? kTtlDefaultS : std::min(grant.ttl_s(), kTtlMaxS)};
  out.rights.assign(grant.rights().begin(), grant.rights().end());
  return out;
}

}  // namespace everspan::agent
