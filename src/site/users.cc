#include "site/users.h"

#include <algorithm>

#include "proto/records.pb.h"
#include "site/records.h"
#include "site/revocations.h"

namespace everspan::site {
namespace {

bool has(const std::vector<std::string>& scopes, std::string_view scope) {
  return std::ranges::find(scopes, scope) != scopes.end();
}

// W2
Result<void> may_manage(const access::Identity& by, const auto& scopes) {
  for (const std::string& scope : scopes)
    if (!has(by.scopes, scope))
      return fail("forbidden",
                  "This account has or would get the scope \"" + printable(scope, 40) +
                      "\", which you do not have",
                  "Nothing was changed", "Ask an administrator");
  return {};
}

}  // namespace

Users::Users(Context& context, access::Area area)
    : site_(context), area_(area), prefix_(account_key(area, context.node, "")) {}

bool Users::is_administrator(const pb::Account& account) const {
  const std::vector<std::string> scopes(account.scopes().begin(), account.scopes().end());
  return !account.disabled() &&
         std::ranges::all_of(access::scopes_of(area_),
                             [&](std::string_view each) { return has(scopes, each); });
}

UserRow Users::row_of(const pb::Account& account, Revision revision) const {
  return {.name = account.name(),
          .scopes = {account.scopes().begin(), account.scopes().end()},
          .administrator = is_administrator(account),
          .disabled = account.disabled(),
          .created_at = {account.created_at_ms()},
          .revision = revision};
}

std::string Users::command(const std::string& words) const {
  return "everspan user " + words + (area_ == access::Area::site ? "" : " --appliance");
}

std::unexpected<Error> Users::no_user(const std::string& name) const {
  const char* whose =
      area_ == access::Area::site ? "There is no user " : "This appliance has no account ";
  return fail("not_found", whose + printable(name, 80), "Nothing was changed",
              "See " + command("list"));
}

Result<std::vector<UserRow>> Users::list() {
  const auto records = site_.log.list(kKindAccount, prefix_);
  if (!records) return fail(records);
  std::vector<UserRow> rows;
  for (const store::Record& record : *records) {
    const auto account = parse_record<pb::Account>(kKindAccount, record.bytes);
    if (!account) return fail(account);
    rows.push_back(row_of(*account, record.revision));
  }
  return rows;
}

Result<UserRow> Users::find(const std::string& name) {
  if (!access::check_name("user's name", name)) return no_user(name);
  const auto record = site_.log.get(kKindAccount, key_of(name));
  if (!record) return fail(record);
  if (!*record) return no_user(name);
  const auto account = parse_record<pb::Account>(kKindAccount, (*record)->bytes);
  if (!account) return fail(account);
  return row_of(*account, (*record)->revision);
}

net::Task<Result<store::Outcome>> Users::add(access::Identity by, UserRow user,
                                             std::string password_hash, WriteOptions options) {
  if (auto may = access::require(by, area_, ""); !may) co_return fail(may);
  if (auto good = access::check_name("user's name", user.name); !good) co_return fail(good);
  if (auto good = access::check_scopes(area_, user.scopes); !good) co_return fail(good);
  if (auto may = may_manage(by, user.scopes); !may) co_return fail(may);
  const std::int64_t now_ms = site_.now().unix_ms;
  pb::Account account;
  account.set_name(user.name);
  account.set_area(area_ == access::Area::site ? pb::AREA_SITE : pb::AREA_APPLIANCE);
  if (area_ == access::Area::appliance) account.set_node_id(site_.node.raw());
  account.set_password_hash(std::move(password_hash));
  for (std::string& scope : user.scopes) account.add_scopes(std::move(scope));
  account.set_created_at_ms(now_ms);
  account.set_password_changed_at_ms(now_ms);
  store::Transaction transaction;
  transaction.request_id = options.request_id;
  transaction.writes.push_back(store::Write::put(std::string(kKindAccount), key_of(user.name),
                                                 account.SerializeAsString(), Revision{0}));
  if (auto good = add_revocation(transaction, nullptr, &account, by.account); !good)
    co_return fail(good);
  auto outcome = co_await site_.writer.submit(std::move(transaction));
  if (!outcome && outcome.error().code == "conflict")
    co_return fail("conflict", "There is an account " + user.name + " already",
                   "Nothing was changed",
                   "Choose another name, or change it: " + command("show " + user.name));
  co_return outcome;
}

net::Task<Result<store::Outcome>> Users::change_scopes(access::Identity by, std::string name,
                                                       std::vector<std::string> give,
                                                       std::vector<std::string> take,
                                                       WriteOptions options) {
  for (const auto* words : {&give, &take})
    if (auto good = access::check_scopes(area_, *words); !good) co_return fail(good);
  Edit edit = [give = std::move(give), take = std::move(take)](pb::Account& account) {
    std::vector<std::string> scopes;
    for (const std::string& scope : account.scopes())
      if (!has(take, scope)) scopes.push_back(scope);
    for (const std::string& scope : give)
      if (!has(scopes, scope)) scopes.push_back(scope);
    account.clear_scopes();
    for (std::string& scope : scopes) account.add_scopes(std::move(scope));
    return Result<After>(After::keep);
  };
  auto outcome = co_await change(std::move(by), std::move(name), std::move(edit), options);
  co_return outcome;
}

net::Task<Result<store::Outcome>> Users::set_password(access::Identity by, std::string name,
                                                      std::string password_hash,
                                                      WriteOptions options) {
  const std::int64_t now_ms = site_.now().unix_ms;
  Edit edit = [hash = std::move(password_hash), now_ms](pb::Account& account) {
    account.set_password_hash(hash);
    account.set_password_changed_at_ms(now_ms);
    return Result<After>(After::keep);
  };
  auto outcome = co_await change(std::move(by), std::move(name), std::move(edit), options);
  co_return outcome;
}

net::Task<Result<store::Outcome>> Users::set_disabled(access::Identity by, std::string name,
                                                      bool disabled, WriteOptions options) {
  const std::int64_t now_ms = site_.now().unix_ms;
  Edit edit = [disabled, now_ms](pb::Account& account) {
    account.set_disabled(disabled);
    if (disabled) account.set_password_changed_at_ms(now_ms);  // W3: its tokens are void for good.
    return Result<After>(After::keep);
  };
  auto outcome = co_await change(std::move(by), std::move(name), std::move(edit), options);
  co_return outcome;
}

net::Task<Result<store::Outcome>> Users::remove(access::Identity by, std::string name,
                                                WriteOptions options) {
  Edit edit = [](pb::Account&) { return Result<After>(After::erase); };
  auto outcome = co_await change(std::move(by), std::move(name), std::move(edit), options);
  co_return outcome;
}

// Its record is written again as it is, under its revision: that is the condition (W1).
Result<store::Record> Users::another_administrator(const std::string& key) {
  auto records = site_.log.list(kKindAccount, prefix_);
  if (!records) return fail(records);
  for (store::Record& record : *records) {
    if (record.key == key) continue;
    const auto account = parse_record<pb::Account>(kKindAccount, record.bytes);
    if (!account) return fail(account);
    if (is_administrator(*account)) return std::move(record);
  }
  const std::string whole = area_ == access::Area::site ? "the site" : "this appliance";
  return fail("refused", "This is the last administrator: " + whole + " would have nobody left",
              "Nothing was changed",
              "Give another one every scope first: " + command("grant NAME --administrator"));
}

Result<void> Users::add_revocation(store::Transaction& to, const pb::Account* before,
                                   const pb::Account* after, const std::string& by) {
  if (area_ != access::Area::site) return {};  // An appliance's accounts have no sessions.
  auto write = Revocations(site_).write_for(before, after, by);
  if (!write) return fail(write);
  if (*write) to.writes.push_back(std::move(**write));
  return {};
}

Result<store::Transaction> Users::transaction_for(const access::Identity& by,
                                                  const store::Record& record, const Edit& edit) {
  if (auto may = access::require(by, area_, ""); !may) return fail(may);
  auto account = parse_record<pb::Account>(kKindAccount, record.bytes);
  if (!account) return fail(account);
  if (auto may = may_manage(by, account->scopes()); !may) return fail(may);
  const pb::Account before = *account;
  const auto after = edit(*account);
  if (!after) return fail(after);
  if (auto may = may_manage(by, account->scopes()); !may) return fail(may);
  store::Transaction transaction;
  const std::string kind(kKindAccount);
  if (*after == After::erase) {
    transaction.writes.push_back(store::Write::erase(kind, record.key, record.revision));
  } else {
    transaction.writes.push_back(
        store::Write::put(kind, record.key, account->SerializeAsString(), record.revision));
  }
  const bool stays = *after == After::keep;
  if (auto good = add_revocation(transaction, &before, stays ? &*account : nullptr, by.account);
      !good)
    return fail(good);
  if (!is_administrator(before) || (stays && is_administrator(*account))) return transaction;
  auto other = another_administrator(record.key);
  if (!other) return fail(other);
  transaction.writes.push_back(
      store::Write::put(kind, other->key, std::move(other->bytes), other->revision));
  return transaction;
}

net::Task<Result<store::Outcome>> Users::change(access::Identity by, std::string name, Edit edit,
                                                WriteOptions options) {
  if (!access::check_name("user's name", name)) co_return no_user(name);
  for (int tries = 0; tries < store::kUpdateTries; ++tries) {
    const auto before = site_.log.outcome(options.request_id);
    if (!before) co_return fail(before);
    if (*before) {
      store::Outcome outcome = **before;
      outcome.repeated = true;
      co_return outcome;
    }
    const auto record = site_.log.get(kKindAccount, key_of(name));
    if (!record) co_return fail(record);
    if (!*record) co_return no_user(name);
    if (options.if_match && *options.if_match != (*record)->revision)
      co_return fail("conflict", "The user was changed since you read it", "Nothing was changed",
                     "Read it again and decide anew");
    auto transaction = transaction_for(by, **record, edit);
    if (!transaction) co_return fail(transaction);
    transaction->request_id = options.request_id;
    auto outcome = co_await site_.writer.submit(std::move(*transaction));
    if (outcome || outcome.error().code != "conflict" || options.if_match) co_return outcome;
  }
  co_return fail("conflict", "Others kept changing this user", "Nothing was changed", "Try again");
}

}  // namespace everspan::site
