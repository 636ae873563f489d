#include "api/detail/local_logins.h"

#include <algorithm>

#include "access/core/tokens.h"
#include "common/crypto.h"

namespace everspan::api {

site::IssuedToken LocalLogins::issue(const site::AccountRecord& account, WallTime now) {
  site::IssuedToken out{
      .token = access::make_bearer_token(account.area, random_bytes(access::kTokenSecretBytes)),
      .who = {account.area, account.name, account.scopes},
      .expires_at = now.after(kTtl)};
  const std::scoped_lock lock(mutex_);
  std::erase_if(logins_,
                [&](const auto& each) { return each.second.expires_at.unix_ms <= now.unix_ms; });
  if (logins_.size() >= kMost)
    logins_.erase(std::ranges::min_element(
        logins_, {}, [](const auto& each) { return each.second.expires_at.unix_ms; }));
  logins_[access::bearer_token_key(out.token)] = {.area = account.area,
                                                  .account = account.name,
                                                  .revision = account.revision,
                                                  .expires_at = out.expires_at};
  return out;
}

std::optional<LocalLogins::Login> LocalLogins::find(std::string_view token, WallTime now) {
  const std::scoped_lock lock(mutex_);
  const auto found = logins_.find(access::bearer_token_key(token));
  if (found == logins_.end() || found->second.expires_at.unix_ms <= now.unix_ms)
    return std::nullopt;
  return found->second;
}

bool LocalLogins::forget(std::string_view token) {
  const std::scoped_lock lock(mutex_);
  return logins_.erase(access::bearer_token_key(token)) > 0;
}

}  // namespace everspan::api
