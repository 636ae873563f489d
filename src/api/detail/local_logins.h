// Log-ins that only this process knows: on a node that cannot store a token, because it is not the
// primary. Of the site, where the primary cannot be reached (without them nobody whose token has
// run out could make this node the primary); of the appliance, always.
//
// Invariants
//   L1  Held in memory by the token's SHA-256, at most kMost, the oldest goes first; gone with the
//       process.
//   L2  Good while the account's record is the one that the password was checked against (a new
//       password, other scopes or a disabled account end it), and for kTtl at most.
//
// Thread-safe.
#pragma once
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "site/accounts.h"

namespace everspan::api {

class LocalLogins {
 public:
  static constexpr std::size_t kMost = 64;
  static constexpr std::chrono::hours kTtl{1};

  struct Login {
    access::Area area = access::Area::site;
    std::string account;
    Revision revision;  // Of the account's record.
    WallTime expires_at;
  };

  [[nodiscard]] site::IssuedToken issue(const site::AccountRecord& account, WallTime now);
  [[nodiscard]] std::optional<Login> find(std::string_view token, WallTime now);
  bool forget(std::string_view token);  // False: it was none of these.

 private:
  std::mutex mutex_;
  std::map<std::string, Login> logins_;
};

}  // namespace everspan::api
