// Who may go on with his sessions: the records behind access/core/session_right.h.
//
// A revocation is written in the transaction that changes the account, so one is there exactly when
// the other is. Below feature level 2 it is not written; then what the account says now decides
// alone, and whoever is disabled and enabled within the same moment keeps his sessions.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "access/core/session_right.h"
#include "site/context.h"

namespace everspan::pb {
class Account;
}

namespace everspan::site {

struct VoidSession {
  SessionId id;
  std::string person;
  std::string reason;  // For its tombstone.
};

class Revocations {
 public:
  explicit Revocations(Context& context) : site_(context) {}

  // Of all live sessions, those that must end. Asked again after they ended: none.
  [[nodiscard]] Result<std::vector<VoidSession>> void_sessions();
  // The write that belongs to a change of an account of the site; null: it was or is not there.
  // nullopt: none is needed, or the feature level does not allow it yet.
  [[nodiscard]] Result<std::optional<store::Write>> write_for(const pb::Account* before,
                                                              const pb::Account* after,
                                                              const std::string& by);

 private:
  [[nodiscard]] Result<access::Standing> standing(const std::string& person);
  Context& site_;
};

}  // namespace everspan::site
