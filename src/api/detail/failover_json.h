// How the API shows the pair (docs/api.md).
#pragma once
#include <vector>

#include "api/detail/json.h"
#include "api/services.h"

namespace everspan::api {

// [{id, address, role}]: clients learn from it where else the site answers.
[[nodiscard]] json::array nodes_json(const std::vector<NodeAt>& nodes);
[[nodiscard]] json::value peer_json(const std::optional<FailoverStatus::Peer>& peer, WallTime now);
[[nodiscard]] json::object failover_json(const FailoverStatus& status,
                                         const std::vector<NodeAt>& nodes, WallTime now);
[[nodiscard]] json::array checks_json(const std::vector<EstablishReport::Check>& checks);
[[nodiscard]] json::object error_json(const Error& error);
[[nodiscard]] json::object orphan_json(const OrphanRow& orphan);
[[nodiscard]] json::array orphan_entries_json(const std::vector<OrphanEntry>& entries);

}  // namespace everspan::api
