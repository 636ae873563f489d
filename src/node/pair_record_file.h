// The file DIR/node/register: what this node must not forget of its pair
// (failover/core/role_record.h). Blocking: call on a worker.
#pragma once
#include <optional>
#include <string>

#include "common/result.h"
#include "failover/core/role_core.h"

namespace everspan::node {

// None: there is no such file. Code bad_register: it is there and cannot be right; nothing is
// guessed.
[[nodiscard]] Result<std::optional<failover::RoleRecord>> read_role_record(
    const std::string& folder);
// Durable when it returns; on a full disk, too, once one was written.
[[nodiscard]] Result<void> write_role_record(const std::string& folder,
                                             const failover::RoleRecord& record);

}  // namespace everspan::node
