#include "node/core/absence.h"

namespace everspan::node {

std::vector<SessionId> Absence::look(const std::vector<Live>& directory,
                                     const std::set<SessionId>& attached, Instant now) {
  std::map<SessionId, Instant> still_absent;
  std::vector<SessionId> over;
  for (const Live& live : directory) {
    if (attached.contains(live.session)) continue;
    const auto known = absent_since_.find(live.session);
    const Instant since = known == absent_since_.end() ? now : known->second;
    still_absent[live.session] = since;
    if (now - since >= live.ttl) over.push_back(live.session);
  }
  absent_since_ = std::move(still_absent);
  return over;
}

}  // namespace everspan::node
