// `connect --via NODE`: which of the nodes that the site offers the first leg dials. Pure.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace everspan::console {

struct OfferedNode {
  std::string host;
  std::uint16_t port = 0;
  std::string node_id;  // hex; empty: the site did not say.
  std::string role;     // "primary", "backup", ...
};

inline constexpr std::size_t kNodePrefixBytesMin = 4;  // Of an id: fewer name a node by accident.

// `wanted`: HOST:PORT, HOST, the beginning of a node's id, or "primary" or "backup". The place in
// `offered`. Codes: no_such_node, ambiguous.
[[nodiscard]] Result<std::size_t> choose_node(std::string_view wanted,
                                              const std::vector<OfferedNode>& offered);

}  // namespace everspan::console
