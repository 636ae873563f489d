#include "failover/core/detail/role_relation.h"

#include <algorithm>

namespace everspan::failover {

std::string_view word(Role role) {
  switch (role) {
    case Role::alone:
      return "alone";
    case Role::primary:
      return "primary";
    case Role::releasing:
      return "releasing";
    case Role::backup:
      return "backup";
    case Role::taking:
      return "taking";
    case Role::in_doubt:
      return "in_doubt";
    case Role::diverged:
      return "diverged";
  }
  return "?";
}

namespace detail {

Relation relate(const NodeId& self, const Register& ours, const Register& theirs) {
  const bool we_hold = ours.holder == self;
  const bool they_hold = theirs.holder != self;
  if (ours.lineage != theirs.lineage) {
    if (we_hold && they_hold) {
      if (ours.rests == theirs.rests) return Relation::differ;
      return ours.rests ? Relation::adopt : Relation::wait;
    }
    if (we_hold) return Relation::wait;
    return they_hold ? Relation::adopt : Relation::differ;
  }
  if (theirs.epoch < ours.epoch) return Relation::ahead;  // R2
  if (theirs.epoch == ours.epoch)
    return theirs.holder == ours.holder ? Relation::agree : Relation::differ;
  if (theirs.holder == self) return Relation::takes;
  // Ours was not given away: only a register that went back in time can say so.
  return we_hold ? Relation::differ : Relation::follow;
}

bool has(const std::vector<NodeId>& nodes, const NodeId& node) {
  return std::ranges::find(nodes, node) != nodes.end();
}
std::vector<NodeId> sorted(std::vector<NodeId> nodes) {
  std::ranges::sort(nodes);
  const auto again = std::ranges::unique(nodes);
  nodes.erase(again.begin(), again.end());
  return nodes;
}

Error no_peer() {
  return {"no_peer", "This node is in no failover relationship", "Nothing was changed",
          "See `failover establish`"};
}
Error unreachable() {
  return {"unreachable", "The other node cannot be reached", "Nothing was changed",
          "Bring it back, or say --even-if-unreachable and read what may be lost"};
}
Error reachable(const char* command) {
  return {"reachable", "The other node can be reached", "Nothing was changed",
          std::string("Say ") + command + " without --even-if-unreachable"};
}
Error roles_change() {
  return {"busy", "The roles are changing", "Nothing was changed",
          "Look at `failover status`, then try again"};
}
Error histories_differ() {
  return {"diverged", "The two nodes have different histories", "Nothing was changed",
          "See `failover status`; pick a side"};
}
Error not_in_sync() {
  return {"not_in_sync", "The backup does not have everything yet", "Nothing was changed",
          "See `failover status`; `failover sync` waits for it"};
}
Error in_doubt() {
  return {"in_doubt",
          "The primary was lost after this node had prepared to take over: it may have released",
          "Nothing is lost",
          "When it is back the roles settle by themselves; if it is gone for good, say "
          "become-primary --even-if-unreachable"};
}
Error lost_while_asking() {
  return {"unreachable", "The other node was lost before it answered",
          "The roles are as they were, or the hand-over is done when it is back",
          "Look at `failover status`"};
}

}  // namespace detail
}  // namespace everspan::failover
