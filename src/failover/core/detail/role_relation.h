// What two nodes' registers mean to each other, and what people are told about roles. Pure.
#pragma once
#include <cstdint>

#include "failover/core/role_core.h"

namespace everspan::failover::detail {

enum class Relation : std::uint8_t {
  agree,   // One turn, one holder.
  ahead,   // The other has not heard of ours.
  takes,   // Theirs is later and names this node.
  follow,  // Theirs is later and names the other, as ours did.
  adopt,   // Another lineage, which the other holds, and this node is not serving one (R9).
  wait,    // Another lineage: the other will adopt ours.
  differ,  // R7
};
[[nodiscard]] Relation relate(const NodeId& self, const Register& ours, const Register& theirs);

[[nodiscard]] bool has(const std::vector<NodeId>& nodes, const NodeId& node);
[[nodiscard]] std::vector<NodeId> sorted(std::vector<NodeId> nodes);

[[nodiscard]] Error no_peer();
[[nodiscard]] Error unreachable();
[[nodiscard]] Error reachable(const char* command);
[[nodiscard]] Error roles_change();
[[nodiscard]] Error histories_differ();
[[nodiscard]] Error not_in_sync();
[[nodiscard]] Error in_doubt();
[[nodiscard]] Error lost_while_asking();

}  // namespace everspan::failover::detail
