// Administration of accounts by people: the site's, or this appliance's own (one area an object).
// What a log-in may do with one is accounts.h.
//
// Invariants
//   W1  The area always has an administrator: an account that is not disabled and has every scope.
//       The transaction that takes one away names another one's revision as a condition, so that
//       two at once cannot take the last two.
//   W2  Nobody hands on, or takes hold of, what he does not have: who makes or changes an account
//       has every scope that it has, before and after.
//   W3  A new password, disabling and removing void the account's tokens for good: enabling it, or
//       another account of that name, does not bring them back.
//   W4  (Site.) With the right to have sessions begins or ends a revocation (revocations.h), in the same
//       transaction: the sessions of before end.
//   W5  (Appliance.) Only this node's own accounts are seen and changed, whatever others the log has.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "access/core/scopes.h"
#include "site/context.h"

namespace everspan::pb {
class Account;
}

namespace everspan::site {

struct UserRow {
  std::string name;
  std::vector<std::string> scopes;
  bool administrator = false;  // As W1 has it.
  bool disabled = false;
  WallTime created_at;
  Revision revision;
};

class Users {
 public:
  explicit Users(Context& context, access::Area area = access::Area::site);

  [[nodiscard]] Result<std::vector<UserRow>> list();            // In order of name.
  [[nodiscard]] Result<UserRow> find(const std::string& name);  // Code not_found.

  // All: codes not_found, forbidden (W2), refused (W1), conflict, bad_name, bad_scope. `by` is who
  // asks; password hashes come from access::PasswordWorkers.
  [[nodiscard]] net::Task<Result<store::Outcome>> add(access::Identity by, UserRow user,
                                                      std::string password_hash,
                                                      WriteOptions options);
  [[nodiscard]] net::Task<Result<store::Outcome>> change_scopes(access::Identity by,
                                                                std::string name,
                                                                std::vector<std::string> give,
                                                                std::vector<std::string> take,
                                                                WriteOptions options);
  [[nodiscard]] net::Task<Result<store::Outcome>> set_password(access::Identity by,
                                                               std::string name,
                                                               std::string password_hash,
                                                               WriteOptions options);
  [[nodiscard]] net::Task<Result<store::Outcome>> set_disabled(access::Identity by,
                                                               std::string name, bool disabled,
                                                               WriteOptions options);
  [[nodiscard]] net::Task<Result<store::Outcome>> remove(access::Identity by, std::string name,
                                                         WriteOptions options);

 private:
  enum class After : std::uint8_t { keep, erase };
  using Edit = std::function<Result<After>(pb::Account&)>;
  [[nodiscard]] net::Task<Result<store::Outcome>> change(access::Identity by, std::string name,
                                                         Edit edit, WriteOptions options);
  [[nodiscard]] Result<store::Transaction> transaction_for(const access::Identity& by,
                                                           const store::Record& record,
                                                           const Edit& edit);
  [[nodiscard]] Result<store::Record> another_administrator(const std::string& key);
  [[nodiscard]] Result<void> add_revocation(store::Transaction& to, const pb::Account* before,
                                            const pb::Account* after, const std::string& by);  // W4
  [[nodiscard]] std::string key_of(const std::string& name) const { return prefix_ + name; }
  [[nodiscard]] bool is_administrator(const pb::Account& account) const;
  [[nodiscard]] UserRow row_of(const pb::Account& account, Revision revision) const;
  [[nodiscard]] std::unexpected<Error> no_user(const std::string& name) const;
  // "everspan user list", with the area where it is not the site.
  [[nodiscard]] std::string command(const std::string& words) const;
  Context& site_;
  access::Area area_;
  std::string prefix_;  // Of its keys.
};

}  // namespace everspan::site
