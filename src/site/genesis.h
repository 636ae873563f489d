// The first transaction of a new site: everything that later ones take for granted.
#pragma once
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"
#include "store/log.h"

namespace everspan::pb {
class SiteInit;
}

namespace everspan::site {

// Site with a new id, its authority and certificate, grant, ticket and request keys, and one
// administrator of each area with every scope of it. Blocks for about 0.2 s (password hashes).
// `node`: the node that makes the site. Codes: bad_name, bad_password, bad_certificate.
[[nodiscard]] Result<store::Transaction> first_transaction(const pb::SiteInit& init,
                                                           const NodeId& node, WallTime now);

}  // namespace everspan::site
