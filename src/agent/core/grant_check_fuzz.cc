// Foreign bytes as the grant of a session, as an agent checks it: as they are, and signed by the
// site, whose key may be stolen or whose release may be another.
#include <cstdlib>

#include "agent/core/grant_check.h"
#include "common/bytes.h"
#include "common/crypto.h"
#include "proto/link.pb.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace everspan;
  using namespace everspan::agent;
  static const SigningKey key = SigningKey::from_seed(std::string(32, 's')).value();
  static const TrustedSite site{.site_id = std::string(16, 'i'),
                                .grant_key = key.public_key(),
                                .endpoint_id = std::string(16, 'e'),
                                .epoch_seen = 3};
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  if (check_grant(bytes, site, WallTime{1'700'000'000'000}, true)) std::abort();
  pb::SignedGrant outer;
  outer.set_grant(bytes);
  outer.set_signature(key.sign(std::string("everspan grant 1\0", 17) + bytes));
  outer.set_key_id(to_string(Bytes(sha256(site.grant_key)).first(16)));
  const std::string signed_grant = outer.SerializeAsString();
  for (const bool opening : {true, false}) {
    const auto checked = check_grant(signed_grant, site, WallTime{1'700'000'000'000}, opening);
    if (!checked) continue;
    if (checked->session_id.size() != 16 || checked->epoch < site.epoch_seen) std::abort();
    if (checked->ttl_s == 0) std::abort();
  }
  return 0;
}
