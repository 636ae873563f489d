// What a node that joins the site gets of its own in the log.
#pragma once
#include <vector>

#include "site/context.h"

namespace everspan::site {

// Accounts and settings of this node's appliance, for `joined`, where it has none of that name: it
// is administered by the same people, by the same passwords, until they change them there. For the
// transaction that makes it a node of the site; none: it has them all.
[[nodiscard]] Result<std::vector<store::Write>> appliance_records_for(Context& site,
                                                                      const NodeId& joined);

}  // namespace everspan::site
