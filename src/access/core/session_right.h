// Whether a person may go on with a session, by what is committed about him now. Pure.
//
// Invariants
//   V1  A session outlives neither its person's account, nor that account's being enabled, nor its
//       scope "sessions"; what comes back later (enabled, the scope given anew, another account of
//       the same name) does not bring it back: a revocation is numbered by its revision in the log,
//       and every session that was opened before it is void.
//   V2  It depends on committed records only, not on who looks, when, or how often. So whoever
//       serves may look again after any crash and finds the same.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"

namespace everspan::access {

// What the log says about one person of the site.
struct Standing {
  bool account = false;  // There is one of this name.
  bool disabled = false;
  std::vector<std::string> scopes;
  struct Revocation {
    Revision revision;  // Of the record.
    std::string reason;
  };
  std::optional<Revocation> revocation;  // The last one.
};

[[nodiscard]] bool may_have_sessions(const Standing& now);
// Why the session whose record was written at `opened` is void; nullopt: it goes on.
[[nodiscard]] std::optional<std::string> why_void(const Standing& now, Revision opened);
// Words for a revocation: what changed from `before` to `after`. nullopt: the right is as it was.
[[nodiscard]] std::optional<std::string> why_revoked(const Standing& before, const Standing& after);

}  // namespace everspan::access
