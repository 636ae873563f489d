// The failover pair: status, key, establishing, syncing, roles, orphans. The service journals what
// it does; here only refused calls are.
#include <algorithm>
#include <charconv>

#include "api/detail/errors.h"
#include "api/detail/failover_json.h"
#include "api/detail/route.h"

namespace everspan::api {
namespace {

constexpr std::size_t kAddressBytesMax = 300;  // A DNS name and a port.
constexpr std::size_t kKeyBytesMax = 128;
constexpr std::int64_t kSyncWaitMaxS = 60;  // Who wants longer asks again with the same target.
constexpr std::uint32_t kOrphanEntriesMax = 1000;

Caller caller_of(const Call& call) {
  return {.who = call.person, .request = call.request_id};
}

Answer journalled(json::object body) {
  Answer answer;
  answer.body = std::move(body);
  answer.journalled = true;
  return answer;
}

json::object status_json(State& state, const FailoverStatus& status) {
  return failover_json(status, state.services.failover.nodes(), state.services.site.now());
}

net::Task<Result<Answer>> status(State& state, Call) {
  const auto now = co_await state.services.failover.failover_status();
  if (!now) co_return fail(now);
  Answer answer;
  answer.body = status_json(state, *now);
  co_return answer;
}

json::object key_json(const FailoverKey& key) {
  json::object out{{"present", key.present}, {"fingerprint", key.fingerprint}, {"path", key.path}};
  if (!key.key.empty()) out["key"] = key.key;
  return out;
}

net::Task<Result<Answer>> show_key(State& state, Call) {
  auto key = co_await state.services.failover.failover_key();
  if (!key) co_return fail(key);
  key->key.clear();  // Whoever made it has it.
  Answer answer;
  answer.body = key_json(*key);
  co_return answer;
}

net::Task<Result<Answer>> make_key(State& state, Call call) {
  BodyReader body(call.body);
  const bool replace = body.flag_or("replace", false);
  if (auto good = body.finish(); !good) co_return fail(good);
  const auto key = co_await state.services.failover.make_failover_key(replace, caller_of(call));
  if (!key) co_return fail(key);
  co_return journalled(key_json(*key));
}

Result<net::Address> address_of(BodyReader& body, const char* name) {
  const std::string text = body.text(name, kAddressBytesMax);
  if (text.empty()) return net::Address{};  // finish() says what is wrong, if it is missing.
  auto address = net::Address::parse(text);
  if (!address || address->port == 0)
    return fail("bad_request", "\"" + std::string(name) + "\" must be HOST:PORT",
                "Nothing was changed");
  return address;
}

Result<EstablishRequest> read_establish(const json::object& given) {
  BodyReader body(given);
  EstablishRequest asked;
  const auto backup = address_of(body, "backup");
  const auto reverse = address_of(body, "reverse");
  asked.key = body.text_or("key", kKeyBytesMax, "");
  asked.overwrite_backup = body.flag_or("overwrite_backup", false);
  asked.dry_run = body.flag_or("dry_run", false);
  if (auto good = body.finish(); !good) return fail(good);
  if (!backup) return fail(backup);
  if (!reverse) return fail(reverse);
  if (backup->port == 0 || reverse->port == 0)
    return fail("bad_request", "\"backup\" and \"reverse\" must be HOST:PORT",
                "Nothing was changed");
  asked.backup = *backup;
  asked.reverse = *reverse;
  return asked;
}

net::Task<Result<Answer>> establish(State& state, Call call) {
  auto asked = read_establish(call.body);
  if (!asked) co_return fail(asked);
  const bool dry_run = asked->dry_run;
  const auto report =
      co_await state.services.failover.establish(std::move(*asked), caller_of(call));
  if (!report) co_return fail(report);
  json::object body{{"checks", checks_json(report->checks)},
                    {"established", report->established},
                    {"backup", nullptr},
                    {"would", report->would},
                    {"refused", nullptr}};
  if (!report->backup.is_zero()) body["backup"] = report->backup.hex();
  if (report->refused) body["refused"] = error_json(*report->refused);
  const bool failed = report->refused.has_value() && !dry_run;
  if (failed) body["error"] = error_json(*report->refused);
  Answer answer = journalled(std::move(body));
  // The checks belong to the answer also where it is a refusal.
  if (failed) answer.status = status_of(report->refused->code);
  co_return answer;
}

net::Task<Result<Answer>> sync(State& state, Call call) {
  BodyReader body(call.body);
  const std::int64_t target = body.number_or("target", 0, INT64_MAX, 0);
  const std::int64_t wait_s = body.number_or("wait_s", 0, kSyncWaitMaxS, 20);
  if (auto good = body.finish(); !good) co_return fail(good);
  std::optional<Revision> wanted;
  if (target > 0) wanted = Revision{static_cast<std::uint64_t>(target)};
  const Instant deadline = state.services.monotonic() + std::chrono::seconds(wait_s);
  const auto report = co_await state.services.failover.sync_now(wanted, deadline, caller_of(call));
  if (!report) co_return fail(report);
  co_return journalled({{"done", report->done},
                        {"target", report->target.value},
                        {"missing", report->missing},
                        {"status", status_json(state, report->status)}});
}

net::Task<Result<Answer>> become(State& state, Call call) {
  BodyReader body(call.body);
  const std::string role = body.text("role", 16);
  BecomeRequest asked;
  asked.even_if_unreachable = body.flag_or("even_if_unreachable", false);
  asked.agreed = body.text_or("agreed", 256, "");
  if (auto good = body.finish(); !good) co_return fail(good);
  if (role != "primary" && role != "backup")
    co_return fail("bad_request", "\"role\" is \"primary\" or \"backup\"", "Nothing was changed");
  asked.primary = role == "primary";
  const auto report = co_await state.services.failover.become(std::move(asked), caller_of(call));
  if (!report) co_return fail(report);
  co_return journalled({{"done", report->done},
                        {"role", report->role},
                        {"epoch", report->epoch.value},
                        {"lineage", report->lineage.hex()},
                        {"may_be_lost", report->may_be_lost},
                        {"token", report->token}});
}

net::Task<Result<Answer>> break_pair(State& state, Call call) {
  BodyReader body(call.body);
  const bool forget = body.flag_or("forget", false);
  if (auto good = body.finish(); !good) co_return fail(good);
  const auto broken = co_await state.services.failover.break_relationship(forget, caller_of(call));
  if (!broken) co_return fail(broken);
  co_return journalled({{"broken", true}, {"forgotten", forget}});
}

net::Task<Result<Answer>> orphans(State& state, Call) {
  const auto rows = co_await state.services.failover.orphans();
  if (!rows) co_return fail(rows);
  json::array out;
  for (const OrphanRow& row : *rows) out.push_back(orphan_json(row));
  Answer answer;
  answer.body = {{"orphans", std::move(out)}};
  co_return answer;
}

// It becomes a path on the node.
Result<void> check_orphan_name(const std::string& name) {
  const bool good = !name.empty() && name.size() <= 128 && name.front() != '.' &&
                    std::ranges::all_of(name, [](char c) {
                      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                             (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
                    });
  if (good) return {};
  return fail("not_found", "There is no orphan file of that name", "", "See failover orphan list");
}

Result<std::uint64_t> number_in_query(const Call& call, const char* name, std::uint64_t otherwise) {
  const std::string text = call.request.query_value(name);
  if (text.empty()) return otherwise;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    return fail("bad_request", std::string(name) + " must be a number");
  return value;
}

net::Task<Result<Answer>> orphan(State& state, Call call) {
  const std::string name = call.value("name");
  if (auto good = check_orphan_name(name); !good) co_return fail(good);
  const auto after = number_in_query(call, "after", 0);
  if (!after) co_return fail(after);
  const auto limit = number_in_query(call, "limit", 100);
  if (!limit) co_return fail(limit);
  if (*limit == 0 || *limit > kOrphanEntriesMax)
    co_return fail("bad_request", "limit is 1 to " + std::to_string(kOrphanEntriesMax));
  const Revision from{*after};
  const auto most = static_cast<std::uint32_t>(*limit);
  const auto found = co_await state.services.failover.orphan(name, from, most);
  if (!found) co_return fail(found);
  Answer answer;
  answer.body = orphan_json(found->about);
  answer.body["entries"] = orphan_entries_json(found->entries);
  answer.body["more"] = found->more;
  co_return answer;
}

constexpr Route kRoutes[] = {
    {"GET", "/api/v1/failover", Needs::any_area, "", status},
    {"GET", "/api/v1/appliance/failover/key", Needs::appliance, "node", show_key},
    {"POST", "/api/v1/appliance/failover/key", Needs::appliance, "node", make_key,
     "failover.key_made"},
    {"POST", "/api/v1/failover/establish", Needs::site, "failover", establish,
     "failover.established"},
    {"POST", "/api/v1/failover/sync", Needs::site, "failover", sync, "failover.synced"},
    {"POST", "/api/v1/failover/become", Needs::site, "failover", become, "failover.role_asked"},
    {"POST", "/api/v1/failover/break", Needs::site, "failover", break_pair, "failover.broken"},
    {"GET", "/api/v1/failover/orphans", Needs::site, "failover", orphans},
    {"GET", "/api/v1/failover/orphans/{name}", Needs::site, "failover", orphan},
};

}  // namespace

std::span<const Route> failover_routes() {
  return kRoutes;
}

}  // namespace everspan::api
