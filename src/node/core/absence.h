// Which live sessions have been without any leg for longer than their time to live. Pure.
//
// The relay ends the sessions that it carries; a session whose ends never came back after a restart
// is known to nobody but the directory. Absence is counted from when it was first noticed, so a
// process that has just started ends nothing early.
#pragma once
#include <map>
#include <set>
#include <vector>

#include "common/ids.h"
#include "common/time.h"

namespace everspan::node {

class Absence {
 public:
  struct Live {
    SessionId session;
    std::chrono::seconds ttl{0};
  };
  // `directory`: sessions that have not ended. `attached`: those with a leg somewhere. Returns what
  // to end.
  [[nodiscard]] std::vector<SessionId> look(const std::vector<Live>& directory,
                                            const std::set<SessionId>& attached, Instant now);

 private:
  std::map<SessionId, Instant> absent_since_;
};

}  // namespace everspan::node
