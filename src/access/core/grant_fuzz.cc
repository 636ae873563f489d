// Foreign bytes as grants, tombstones and tokens. Chance signs nothing, so the bytes are read as
// they are and, signed with the right key, as what a site with a bug could give out.
#include <cstdlib>

#include "access/core/grant.h"
#include "access/core/tokens.h"
#include "common/bytes.h"
#include "proto/link.pb.h"

namespace {

using namespace everspan;
using namespace everspan::access;

const SigningKey& site_key() {
  static const SigningKey key = SigningKey::from_seed(std::string(32, 's')).value();
  return key;
}

void check_claims(const GrantClaims& claims) {
  // What is accepted can be said again, and is in form.
  const auto again = sign_grant(claims, site_key());
  if (!again) std::abort();
  if (claims.console_key.size() != 32 || claims.ttl_s < kSessionTtlSecondsMin) std::abort();
  (void)check_grant_time(claims, WallTime{1'700'000'000'000}).has_value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const std::string key = site_key().public_key();
  const SiteId site = SiteId::from_raw(std::string(16, 'i')).value();
  if (verify_grant(bytes, site, key) || verify_tombstone(bytes, site, key)) std::abort();

  pb::SignedGrant grant;
  grant.set_grant(bytes);
  grant.set_signature(site_key().sign(std::string("everspan grant 1\0", 17) + bytes));
  grant.set_key_id(grant_key_id(key));
  if (const auto claims = verify_grant(grant, site, key)) check_claims(*claims);
  pb::SignedTombstone tombstone;
  tombstone.set_tombstone(bytes);
  tombstone.set_signature(site_key().sign(std::string("everspan tombstone 1\0", 21) + bytes));
  if (const auto claims = verify_tombstone(tombstone, site, key))
    if (claims->site != site) std::abort();

  (void)bearer_token_area(bytes).has_value();
  if (const auto token = parse_enrol_token(bytes))
    if (format_enrol_token(*token) != bytes) std::abort();
  return 0;
}
