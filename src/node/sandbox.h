// Takes from the site process what it never needs: starting programs, tracing others, mounts,
// modules, new namespaces, keys. A hole in a parser then gives no shell (DESIGN section 2: no
// privileges).
#pragma once
#include "common/result.h"

namespace everspan::node {

// For this process and all its threads, for good. The refused calls answer EPERM.
[[nodiscard]] Result<void> enter_sandbox();

}  // namespace everspan::node
