// What two nodes tell each other about their pair, to and from the core's types. Bytes of a proved
// node, bounded by the link; a malformed part is an error, never a guess.
#pragma once
#include "common/result.h"
#include "failover/core/role_core.h"

namespace everspan::pb {
class NodePoint;
class NodeRegister;
}  // namespace everspan::pb

namespace everspan::node {

void put_point(const store::LogHead& head, pb::NodePoint& out);
[[nodiscard]] Result<store::LogHead> read_point(const pb::NodePoint& in);
void put_register(const failover::Register& reg, pb::NodeRegister& out);
[[nodiscard]] Result<failover::Register> read_register(const pb::NodeRegister& in);
[[nodiscard]] Result<failover::Prepared> read_prepared(std::uint64_t epoch,
                                                       const pb::NodePoint& head);

}  // namespace everspan::node
