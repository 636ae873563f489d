// Accounts of both areas and the bearer tokens that stand for a log-in. Passwords are checked by
// the caller (access/passwords.h), which also throttles; here only what is stored.
//
// Invariants
//   A1  A token is stored by its SHA-256 only.
//   A2  A token holds while it has not expired, its account exists, is not disabled, and has had no
//       new password since. Scopes are the account's as of now, not as of the log-in.
//   A3  An appliance's accounts and tokens are good on their own node only.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "access/core/scopes.h"
#include "site/context.h"

namespace everspan::site {

inline constexpr std::size_t kTokensPerAccountMax = 256;  // The oldest goes first.

struct AccountRecord {
  access::Area area = access::Area::site;
  std::string name;
  std::string password_hash;
  std::vector<std::string> scopes;
  bool disabled = false;
  Revision revision;
};

struct IssuedToken {
  std::string token;  // Secret: shown to its owner only.
  access::Identity who;
  WallTime expires_at;
};

class Accounts {
 public:
  explicit Accounts(Context& context) : site_(context) {}

  [[nodiscard]] Result<std::optional<AccountRecord>> find(access::Area area,
                                                          const std::string& name);
  // `password_hash` was made by access::PasswordWorkers. Codes: conflict (the name is taken),
  // bad_name, bad_scope.
  [[nodiscard]] net::Task<Result<store::Outcome>> create(AccountRecord account,
                                                         WriteOptions options);
  [[nodiscard]] net::Task<Result<store::Outcome>> set_disabled(access::Area area, std::string name,
                                                               bool disabled, WriteOptions options);
  [[nodiscard]] net::Task<Result<store::Outcome>> set_password(access::Area area, std::string name,
                                                               std::string password_hash,
                                                               WriteOptions options);

  // After the password was found right.
  [[nodiscard]] net::Task<Result<IssuedToken>> issue_token(AccountRecord account,
                                                           std::string address);
  // Code unauthenticated.
  [[nodiscard]] Result<access::Identity> authenticate(std::string_view token);
  [[nodiscard]] net::Task<Result<store::Outcome>> revoke_token(std::string token,
                                                               WriteOptions options);

 private:
  Context& site_;
};

}  // namespace everspan::site
