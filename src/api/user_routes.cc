// Who has an account, and what he may do: users of the site, and this appliance's own accounts. The
// route says which (Needs), and so the caller's area is the area that is administered.
#include "access/passwords.h"
#include "api/detail/route.h"
#include "site/users.h"

namespace everspan::api {
namespace {

constexpr std::size_t kScopesMax = 32;
constexpr std::size_t kScopeBytesMax = 32;

json::object user_json(const site::UserRow& user) {
  return {{"name", user.name},
          {"scopes", texts_json(user.scopes)},
          {"administrator", user.administrator},
          {"disabled", user.disabled},
          {"created_at", time_json(user.created_at)}};
}

site::Users users_of(State& state, access::Area area) {
  return site::Users(state.services.site, area);
}

net::Task<Result<Answer>> list(State& state, Call call) {
  const auto users = users_of(state, call.who.area).list();
  if (!users) co_return fail(users);
  json::array rows;
  for (const site::UserRow& user : *users) rows.push_back(user_json(user));
  Answer answer;
  answer.body = {{"users", std::move(rows)}};
  co_return answer;
}

net::Task<Result<Answer>> show(State& state, Call call) {
  const auto user = users_of(state, call.who.area).find(call.value("name"));
  if (!user) co_return fail(user);
  Answer answer;
  answer.body = user_json(*user);
  answer.etag = user->revision;
  co_return answer;
}

// What every change answers: where the write stands, and the user as he is now (not when removed).
Result<Answer> changed(State& state, access::Area area, const std::string& name,
                       const store::Outcome& outcome) {
  Answer answer = write_answer(outcome);
  answer.subject = std::string(access::area_name(area)) + "/" + name;
  const auto user = users_of(state, area).find(name);
  if (!user && user.error().code == "not_found") {
    answer.body["name"] = name;
    return answer;
  }
  if (!user) return fail(user);
  for (auto& member : user_json(*user)) answer.body[member.key()] = std::move(member.value());
  return answer;
}

net::Task<Result<Answer>> add(State& state, Call call) {
  BodyReader body(call.body);
  site::UserRow user;
  user.name = body.text("name", 63);
  std::string password = body.text("password", access::kPasswordBytesMax);
  user.scopes = body.texts("scopes", kScopesMax, kScopeBytesMax);
  if (auto good = body.finish(); !good) co_return fail(good);
  if (auto good = access::check_new_password(password); !good) co_return fail(good);
  auto hash = co_await state.services.passwords.hash(std::move(password));
  if (!hash) co_return fail(hash);
  const std::string name = user.name;
  const json::array scopes = texts_json(user.scopes);
  site::Users users = users_of(state, call.who.area);
  const auto outcome =
      co_await users.add(call.who, std::move(user), std::move(*hash), call.write());
  if (!outcome) co_return fail(outcome);
  auto answer = changed(state, call.who.area, name, *outcome);
  if (answer) answer->detail = {{"scopes", scopes}};
  co_return answer;
}

net::Task<Result<Answer>> scopes(State& state, Call call) {
  BodyReader body(call.body);
  const auto words = [&](const char* name) {
    return call.body.contains(name) ? body.texts(name, kScopesMax, kScopeBytesMax)
                                    : std::vector<std::string>();
  };
  const std::vector<std::string> give = words("give");
  const std::vector<std::string> take = words("take");
  if (auto good = body.finish(); !good) co_return fail(good);
  const std::string name = call.value("name");
  site::Users users = users_of(state, call.who.area);
  const auto outcome = co_await users.change_scopes(call.who, name, give, take, call.write());
  if (!outcome) co_return fail(outcome);
  auto answer = changed(state, call.who.area, name, *outcome);
  if (answer) answer->detail = {{"give", texts_json(give)}, {"take", texts_json(take)}};
  co_return answer;
}

net::Task<Result<Answer>> password(State& state, Call call) {
  BodyReader body(call.body);
  std::string fresh = body.text("password", access::kPasswordBytesMax);
  if (auto good = body.finish(); !good) co_return fail(good);
  if (auto good = access::check_new_password(fresh); !good) co_return fail(good);
  auto hash = co_await state.services.passwords.hash(std::move(fresh));
  if (!hash) co_return fail(hash);
  const std::string name = call.value("name");
  site::Users users = users_of(state, call.who.area);
  const auto outcome = co_await users.set_password(call.who, name, std::move(*hash), call.write());
  if (!outcome) co_return fail(outcome);
  co_return changed(state, call.who.area, name, *outcome);
}

// A stolen token must not become the account: the old password is asked for, and guesses at it are
// slowed down as at the log-in.
net::Task<Result<bool>> knows_password(State& state, const Call& call, std::string password) {
  const std::string account =
      std::string(access::area_name(call.who.area)) + "/" + call.who.account;
  {
    const std::scoped_lock lock(state.throttles);
    if (const auto wait = state.logins.begin(account, call.address, state.services.monotonic()))
      co_return slow_down("Too many log-ins failed", *wait);
  }
  const auto stored = state.accounts.find(call.who.area, call.who.account);
  Result<bool> good = false;
  if (stored && *stored) {
    std::string hash = (*stored)->password_hash;
    good = co_await state.services.passwords.verify(std::move(hash), std::move(password));
  }
  const std::scoped_lock lock(state.throttles);
  if (!stored || !good)
    state.logins.abandoned(account, call.address);
  else
    state.logins.ended(account, call.address, *good, state.services.monotonic());
  if (!stored) co_return fail(stored);
  co_return good;
}

net::Task<Result<Answer>> own_password(State& state, Call call) {
  BodyReader body(call.body);
  std::string old = body.text("old_password", access::kPasswordBytesMax);
  std::string fresh = body.text("password", access::kPasswordBytesMax);
  if (auto good = body.finish(); !good) co_return fail(good);
  if (auto good = access::check_new_password(fresh); !good) co_return fail(good);
  const auto known = co_await knows_password(state, call, std::move(old));
  if (!known) co_return fail(known);
  if (!*known)
    co_return fail("forbidden", "The old password is wrong", "Nothing was changed", "Try again");
  auto hash = co_await state.services.passwords.hash(std::move(fresh));
  if (!hash) co_return fail(hash);
  const std::string name = call.who.account;
  site::Users users = users_of(state, call.who.area);
  const auto outcome = co_await users.set_password(call.who, name, std::move(*hash), call.write());
  if (!outcome) co_return fail(outcome);
  co_return changed(state, call.who.area, name, *outcome);
}

net::Task<Result<Answer>> set_disabled(State& state, Call call, bool disabled) {
  BodyReader body(call.body);
  if (auto good = body.finish(); !good) co_return fail(good);
  const std::string name = call.value("name");
  site::Users users = users_of(state, call.who.area);
  const auto outcome = co_await users.set_disabled(call.who, name, disabled, call.write());
  if (!outcome) co_return fail(outcome);
  co_return changed(state, call.who.area, name, *outcome);
}
net::Task<Result<Answer>> disable(State& state, Call call) {
  return set_disabled(state, std::move(call), true);
}
net::Task<Result<Answer>> enable(State& state, Call call) {
  return set_disabled(state, std::move(call), false);
}

net::Task<Result<Answer>> remove(State& state, Call call) {
  BodyReader body(call.body);
  if (auto good = body.finish(); !good) co_return fail(good);
  const std::string name = call.value("name");
  site::Users users = users_of(state, call.who.area);
  const auto outcome = co_await users.remove(call.who, name, call.write());
  if (!outcome) co_return fail(outcome);
  co_return changed(state, call.who.area, name, *outcome);
}

constexpr Route kRoutes[] = {
    {"GET", "/api/v1/users", Needs::site, "users", list},
    {"GET", "/api/v1/users/{name}", Needs::site, "users", show},
    {"POST", "/api/v1/users", Needs::site, "users", add, "user.added"},
    {"PUT", "/api/v1/users/{name}/scopes", Needs::site, "users", scopes, "user.scopes_changed"},
    {"PUT", "/api/v1/users/{name}/password", Needs::site, "users", password, "user.password_set"},
    {"POST", "/api/v1/users/{name}/disable", Needs::site, "users", disable, "user.disabled"},
    {"POST", "/api/v1/users/{name}/enable", Needs::site, "users", enable, "user.enabled"},
    {"DELETE", "/api/v1/users/{name}", Needs::site, "users", remove, "user.removed"},
    {"PUT", "/api/v1/password", Needs::site, "", own_password, "user.own_password_set"},

    {"GET", "/api/v1/appliance/users", Needs::appliance, "node", list},
    {"GET", "/api/v1/appliance/users/{name}", Needs::appliance, "node", show},
    {"POST", "/api/v1/appliance/users", Needs::appliance, "node", add, "user.added"},
    {"PUT", "/api/v1/appliance/users/{name}/scopes", Needs::appliance, "node", scopes,
     "user.scopes_changed"},
    {"PUT", "/api/v1/appliance/users/{name}/password", Needs::appliance, "node", password,
     "user.password_set"},
    {"POST", "/api/v1/appliance/users/{name}/disable", Needs::appliance, "node", disable,
     "user.disabled"},
    {"POST", "/api/v1/appliance/users/{name}/enable", Needs::appliance, "node", enable,
     "user.enabled"},
    {"DELETE", "/api/v1/appliance/users/{name}", Needs::appliance, "node", remove, "user.removed"},
    {"PUT", "/api/v1/appliance/password", Needs::appliance, "", own_password,
     "user.own_password_set"},
};

}  // namespace

std::span<const Route> user_routes() {
  return kRoutes;
}

}  // namespace everspan::api
