// What a release checks of itself before anything depends on it: its libraries, and that it can
// read this very site: the log's chain, its identity, its read model built from a copy.
#pragma once
#include <string>

#include "common/result.h"

namespace everspan::node {

// `log_copy`: a copy of the log, which is this call's alone. Prints nothing.
[[nodiscard]] Result<void> run_self_test(const std::string& log_copy);

}  // namespace everspan::node
