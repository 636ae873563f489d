// Log in and out.
#include "access/passwords.h"
#include "api/detail/failover_json.h"
#include "api/detail/route.h"
#include "common/crypto.h"

namespace everspan::api {
namespace {

struct LoginBody {
  std::string account;
  std::string password;
  access::Area area = access::Area::site;
};

Result<LoginBody> read_login(const json::object& body) {
  BodyReader reader(body);
  LoginBody login;
  login.account = reader.text("account", 256);
  login.password = reader.text("password", access::kPasswordBytesMax);
  const std::string area = reader.text_or("area", 16, "site");
  if (auto good = reader.finish(); !good) return fail(good);
  const auto parsed = access::parse_area(area);
  if (!parsed) return fail(parsed);
  login.area = *parsed;
  return login;
}

json::object login_detail(const LoginBody& login, const Call& call) {
  return {{"area", std::string(access::area_name(login.area))}, {"address", call.address}};
}

net::Task<Result<bool>> check_password(State& state,
                                       const std::optional<site::AccountRecord>& account,
                                       std::string password) {
  const bool usable = account.has_value() && !account->disabled;
  std::string hash = usable ? account->password_hash : std::string();
  auto good = co_await state.services.passwords.verify(std::move(hash), std::move(password));
  co_return good;
}

// This node cannot store the token. Whoever can make it the primary must be able to log in to it;
// and its appliance is administered here alone, whatever its role is.
bool may_stay_local(State& state, access::Area area, const Error& why) {
  if (why.code != "not_primary") return false;
  const auto elsewhere = state.services.failover.primary_elsewhere();
  if (!elsewhere) return false;
  return area == access::Area::appliance || !elsewhere->reachable;
}

net::Task<Result<Answer>> log_in(State& state, Call call) {
  auto login = read_login(call.body);
  if (!login) co_return fail(login);
  if (login->area == access::Area::appliance &&
      !state.services.node.is_own_address(call.request.local))
    co_return fail("forbidden", "The appliance is administered on its own address only", "",
                   "Use the node's own address");
  const std::string throttled =
      std::string(access::area_name(login->area)) + "/" + printable(login->account, 64);
  {
    const std::scoped_lock lock(state.throttles);
    if (const auto wait = state.logins.begin(throttled, call.address, state.services.monotonic()))
      co_return slow_down("Too many log-ins failed", *wait);
  }
  const auto account = state.accounts.find(login->area, login->account);
  Result<bool> good = false;
  if (account) {
    good = co_await check_password(state, *account, std::move(login->password));
  }
  {
    const std::scoped_lock lock(state.throttles);
    if (!account || !good)
      state.logins.abandoned(throttled, call.address);
    else
      state.logins.ended(throttled, call.address, *good, state.services.monotonic());
  }
  if (!account) co_return fail(account);
  if (!good) co_return fail(good);
  if (!*good) {
    journal_soon(state, call.person, "login.refused", throttled, login_detail(*login, call));
    co_return fail("unauthenticated", "The account or the password is wrong", "", "Try again");
  }
  auto issued = co_await state.accounts.issue_token(**account, call.address);
  const bool local = !issued && may_stay_local(state, login->area, issued.error());
  if (local) issued = state.local_logins.issue(**account, state.services.site.now());
  if (!issued) co_return fail(issued);
  Answer answer;
  answer.who = throttled;
  answer.subject = throttled;
  answer.detail = login_detail(*login, call);
  if (local) answer.detail["local"] = true;
  answer.body = {{"token", issued->token},
                 {"account", issued->who.account},
                 {"area", std::string(access::area_name(login->area))},
                 {"scopes", texts_json(issued->who.scopes)},
                 {"expires_at", time_json(issued->expires_at)},
                 {"local", local},
                 {"nodes", nodes_json(state.services.failover.nodes())}};
  co_return answer;
}

net::Task<Result<Answer>> log_out(State& state, Call call) {
  constexpr std::string_view kScheme = "Bearer ";
  std::string token = call.request.header("authorization").substr(kScheme.size());
  Answer answer;
  answer.subject = call.person;
  if (state.local_logins.forget(token)) co_return answer;
  const auto outcome = co_await state.accounts.revoke_token(std::move(token), call.write());
  if (!outcome) co_return fail(outcome);
  co_return answer;
}

constexpr Route kRoutes[] = {
    {"POST", "/api/v1/login", Needs::nothing, "", log_in, "login"},
    {"POST", "/api/v1/logout", Needs::any_area, "", log_out, "logout"},
};

}  // namespace

std::span<const Route> login_routes() {
  return kRoutes;
}

}  // namespace everspan::api
