#include "site/accounts.h"

#include <algorithm>

#include "access/core/tokens.h"
#include "common/crypto.h"
#include "proto/records.pb.h"
#include "site/records.h"
#include "site/settings.h"

namespace everspan::site {
namespace {

constexpr std::size_t kTokensErasedAtOnce = 16;

std::unexpected<Error> unauthenticated() {
  return fail("unauthenticated", "This token is not known, or has expired", "", "Log in again");
}

pb::Area stored_area(access::Area area) {
  return area == access::Area::site ? pb::AREA_SITE : pb::AREA_APPLIANCE;
}

AccountRecord record_of(const pb::Account& stored, access::Area area, Revision revision) {
  return {.area = area,
          .name = stored.name(),
          .password_hash = stored.password_hash(),
          .scopes = {stored.scopes().begin(), stored.scopes().end()},
          .disabled = stored.disabled(),
          .revision = revision};
}

}  // namespace

Result<std::optional<AccountRecord>> Accounts::find(access::Area area, const std::string& name) {
  if (!access::check_name("account", name)) return std::nullopt;
  const auto record = site_.log.get(kKindAccount, account_key(area, site_.node, name));
  if (!record) return fail(record);
  if (!*record) return std::nullopt;
  const auto stored = parse_record<pb::Account>(kKindAccount, (*record)->bytes);
  if (!stored) return fail(stored);
  return record_of(*stored, area, (*record)->revision);
}

net::Task<Result<store::Outcome>> Accounts::create(AccountRecord account, WriteOptions options) {
  if (auto good = access::check_name("account", account.name); !good) co_return fail(good);
  if (auto good = access::check_scopes(account.area, account.scopes); !good) co_return fail(good);
  pb::Account stored;
  stored.set_name(account.name);
  stored.set_area(stored_area(account.area));
  stored.set_password_hash(account.password_hash);
  for (const std::string& scope : account.scopes) stored.add_scopes(scope);
  stored.set_disabled(account.disabled);
  stored.set_created_at_ms(site_.now().unix_ms);
  stored.set_password_changed_at_ms(site_.now().unix_ms);
  if (account.area == access::Area::appliance) stored.set_node_id(site_.node.raw());
  store::Transaction transaction;
  transaction.request_id = options.request_id;
  transaction.writes.push_back(store::Write::put(
      std::string(kKindAccount), account_key(account.area, site_.node, account.name),
      stored.SerializeAsString(), Revision{0}));
  auto outcome = co_await site_.writer.submit(std::move(transaction));
  if (!outcome && outcome.error().code == "conflict")
    co_return fail("conflict", "There is an account " + account.name + " already");
  co_return outcome;
}

net::Task<Result<store::Outcome>> Accounts::set_disabled(access::Area area, std::string name,
                                                         bool disabled, WriteOptions options) {
  store::Edit edit = store::edit_message<pb::Account>(
      [disabled](pb::Account& account) { account.set_disabled(disabled); });
  auto outcome =
      co_await update_record(site_.log, site_.writer, std::string(kKindAccount),
                             account_key(area, site_.node, name), std::move(edit), true, options);
  co_return outcome;
}

net::Task<Result<store::Outcome>> Accounts::set_password(access::Area area, std::string name,
                                                         std::string password_hash,
                                                         WriteOptions options) {
  const std::int64_t now_ms = site_.now().unix_ms;
  store::Edit edit = store::edit_message<pb::Account>(
      [hash = std::move(password_hash), now_ms](pb::Account& account) {
        account.set_password_hash(hash);
        account.set_password_changed_at_ms(now_ms);
      });
  auto outcome =
      co_await update_record(site_.log, site_.writer, std::string(kKindAccount),
                             account_key(area, site_.node, name), std::move(edit), true, options);
  co_return outcome;
}

net::Task<Result<IssuedToken>> Accounts::issue_token(AccountRecord account, std::string address) {
  const WallTime now = site_.now();
  const std::string key = account_key(account.area, site_.node, account.name);
  const std::int64_t ttl_s = Settings(site_).number("login.ttl_s");
  IssuedToken issued{
      .token = access::make_bearer_token(account.area, random_bytes(access::kTokenSecretBytes)),
      .who = {account.area, account.name, account.scopes},
      .expires_at = now.after(std::chrono::seconds(ttl_s))};
  pb::Token stored;
  stored.set_account(account.name);
  stored.set_area(stored_area(account.area));
  stored.set_created_at_ms(now.unix_ms);
  stored.set_expires_at_ms(issued.expires_at.unix_ms);
  stored.set_address(std::move(address));
  if (account.area == access::Area::appliance) stored.set_node_id(site_.node.raw());

  store::Transaction transaction;
  transaction.request_id = random_id<RequestId>();
  transaction.writes.push_back(store::Write::put(std::string(kKindToken),
                                                 access::bearer_token_key(issued.token),
                                                 stored.SerializeAsString(), Revision{0}));
  if (auto fresh = site_.catalog.refresh(); !fresh) co_return fail(fresh);
  const auto old =
      site_.catalog.tokens_to_erase(key, now, kTokensPerAccountMax - 1, kTokensErasedAtOnce);
  if (!old) co_return fail(old);
  for (const std::string& each : *old)
    transaction.writes.push_back(store::Write::erase(std::string(kKindToken), each));
  const auto outcome = co_await site_.writer.submit(std::move(transaction));
  if (!outcome) co_return fail(outcome);
  co_return issued;
}

Result<access::Identity> Accounts::authenticate(std::string_view token) {
  const auto area = access::bearer_token_area(token);
  if (!area) return unauthenticated();
  const auto record = site_.log.get(kKindToken, access::bearer_token_key(token));
  if (!record) return fail(record);
  if (!*record) return unauthenticated();
  const auto stored = parse_record<pb::Token>(kKindToken, (*record)->bytes);
  if (!stored) return fail(stored);
  if (stored->area() != stored_area(*area)) return unauthenticated();
  if (*area == access::Area::appliance && stored->node_id() != site_.node.raw())
    return unauthenticated();
  if (site_.now().unix_ms >= stored->expires_at_ms()) return unauthenticated();

  const auto account =
      site_.log.get(kKindAccount, account_key(*area, site_.node, stored->account()));
  if (!account) return fail(account);
  if (!*account) return unauthenticated();
  const auto owner = parse_record<pb::Account>(kKindAccount, (*account)->bytes);
  if (!owner) return fail(owner);
  if (owner->disabled() || stored->created_at_ms() < owner->password_changed_at_ms())
    return unauthenticated();
  return access::Identity{*area, owner->name(), {owner->scopes().begin(), owner->scopes().end()}};
}

net::Task<Result<store::Outcome>> Accounts::revoke_token(std::string token, WriteOptions options) {
  store::Transaction transaction;
  transaction.request_id = options.request_id;
  transaction.writes.push_back(
      store::Write::erase(std::string(kKindToken), access::bearer_token_key(token)));
  auto outcome = co_await site_.writer.submit(std::move(transaction));
  co_return outcome;
}

}  // namespace everspan::site
