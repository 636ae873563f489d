// Sessions: open, list, show, end.
#include <algorithm>
#include <charconv>

#include "api/detail/route.h"
#include "common/log.h"

namespace everspan::api {
namespace {

constexpr std::size_t kListMax = 1000;

json::object session_json(const site::SessionRow& row, const LiveSnapshot& live) {
  const auto found = std::ranges::find(live.sessions, row.id, &LiveSession::id);
  const bool here = !row.ended && found != live.sessions.end();
  return {{"id", row.id.hex()},
          {"endpoint", row.endpoint_name},
          {"endpoint_id", row.endpoint.hex()},
          {"person", row.person},
          {"state", row.ended ? "ended" : "live"},
          {"started_at", time_json(row.opened_at)},
          {"ended_at", row.ended ? time_json(row.ended_at) : json::value(nullptr)},
          {"reason", row.ended ? row.end_reason : row.open_reason},
          {"recording", row.recording},
          {"bytes_c2a", here ? found->bytes_c2a : row.bytes_c2a},
          {"bytes_a2c", here ? found->bytes_a2c : row.bytes_a2c},
          {"legs", {{"console", here && found->console}, {"agent", here && found->agent}}}};
}

Result<SessionId> id_of(const Call& call) {
  auto id = SessionId::from_hex(call.value("id"));
  if (!id) return fail("bad_request", "A session's id is 32 hex digits");
  return id;
}

net::Task<Result<Answer>> list(State& state, Call call) {
  const std::string which = call.request.query_value("state");
  if (!which.empty() && which != "live" && which != "all")
    co_return fail("bad_request", "state is \"live\" or \"all\"");
  site::Catalog& catalog = state.services.site.catalog;
  if (auto fresh = catalog.refresh(); !fresh) co_return fail(fresh);
  const auto rows = catalog.sessions(which != "all", kListMax);
  if (!rows) co_return fail(rows);
  const auto live = co_await state.services.live.snapshot();
  if (!live) co_return fail(live);
  json::array sessions;
  for (const site::SessionRow& row : *rows) sessions.push_back(session_json(row, *live));
  Answer answer;
  answer.body = {{"sessions", std::move(sessions)}};
  co_return answer;
}

net::Task<Result<Answer>> show(State& state, Call call) {
  const auto id = id_of(call);
  if (!id) co_return fail(id);
  site::Catalog& catalog = state.services.site.catalog;
  if (auto fresh = catalog.refresh(); !fresh) co_return fail(fresh);
  const auto row = catalog.session(*id);
  if (!row) co_return fail(row);
  if (!*row) co_return fail("not_found", "There is no session " + id->hex());
  const auto live = co_await state.services.live.snapshot();
  if (!live) co_return fail(live);
  Answer answer;
  answer.body = session_json(**row, *live);
  co_return answer;
}

Result<site::SessionOpening> read_opening(const Call& call) {
  BodyReader body(call.body);
  site::SessionOpening asked;
  asked.endpoint = body.text("endpoint", 63);
  asked.console_key = body.base64url("console_key", 32);
  asked.rights = body.texts("rights", 8, 32);
  asked.reason = body.text_or("reason", 500, "");
  asked.person = call.who.account;
  asked.address = call.address;
  if (auto good = body.finish(); !good) return fail(good);
  return asked;
}

// Each with the node behind it, for who wants a certain one.
json::array candidates_json(const std::vector<net::Address>& candidates,
                            const std::vector<NodeAt>& nodes) {
  json::array out;
  for (const net::Address& each : candidates) {
    json::object row{{"host", each.host}, {"port", each.port}};
    const auto node = std::ranges::find(nodes, each, &NodeAt::address);
    if (node != nodes.end()) {
      row["node_id"] = node->node.hex();
      row["role"] = node->role;
    }
    out.push_back(std::move(row));
  }
  return out;
}

net::Task<Result<Answer>> open(State& state, Call call) {
  auto asked = read_opening(call);
  if (!asked) co_return fail(asked);
  const auto endpoint = state.endpoints.find(asked->endpoint);
  if (!endpoint) co_return fail(endpoint);
  if (!*endpoint)
    co_return fail("not_found", "There is no endpoint " + printable(asked->endpoint, 80), "",
                   "See endpoint list");
  if (!state.services.live.agent_online((*endpoint)->id))
    co_return fail("endpoint_offline", "The agent of " + asked->endpoint + " is not connected",
                   "Nothing was changed", "Try again when it is; see endpoint show");
  const json::array rights = texts_json(asked->rights);
  const std::string reason = asked->reason;
  const std::string name = asked->endpoint;
  const auto opened = co_await state.sessions.open(std::move(*asked), call.write());
  if (!opened) co_return fail(opened);

  const auto sent = state.services.live.open_session(opened->endpoint, opened->signed_grant);
  if (!sent) {
    site::SessionEnd end{.id = opened->id, .reason = "the agent could not be reached"};
    const site::WriteOptions options{.request_id = random_id<RequestId>()};
    const auto ended = co_await state.sessions.end(std::move(end), options);
    if (!ended)
      log_warning("api.session_left",
                  {{"session", opened->id.hex()}, {"why", ended.error().text()}});
    co_return fail(sent);
  }
  Answer answer = write_answer(opened->outcome);
  answer.body["session"] = opened->id.hex();
  answer.body["grant"] = to_base64url(as_bytes(opened->signed_grant));
  answer.body["candidates"] =
      candidates_json(state.services.live.candidates(), state.services.failover.nodes());
  answer.body["expires_at"] = time_json(opened->expires_at);
  answer.body["site_id"] = state.services.site.identity.id.hex();
  answer.subject = opened->id.hex();
  answer.detail = {{"endpoint", name}, {"rights", rights}, {"reason", reason}};
  co_return answer;
}

net::Task<Result<Answer>> end(State& state, Call call) {
  const auto id = id_of(call);
  if (!id) co_return fail(id);
  BodyReader body(call.body);
  const std::string given = body.text_or("reason", 150, "");
  if (auto good = body.finish(); !good) co_return fail(good);
  const auto live = co_await state.services.live.snapshot();
  if (!live) co_return fail(live);
  site::SessionEnd asked{.id = *id, .reason = "ended by " + call.who.account};
  if (!given.empty()) asked.reason += ": " + given;
  const auto running = std::ranges::find(live->sessions, *id, &LiveSession::id);
  if (running != live->sessions.end()) {
    asked.bytes_c2a = running->bytes_c2a;
    asked.bytes_a2c = running->bytes_a2c;
  }
  const auto ended = co_await state.sessions.end(std::move(asked), call.write());
  if (!ended) co_return fail(ended);
  state.services.live.end_session(*id, ended->signed_tombstone);
  Answer answer = write_answer(ended->outcome);
  answer.body["reason"] = ended->reason;
  answer.subject = id->hex();
  answer.detail = {{"reason", ended->reason}};
  answer.repeated = answer.repeated || ended->was_ended;
  co_return answer;
}

constexpr Route kRoutes[] = {
    {"GET", "/api/v1/sessions", Needs::site, "", list},
    {"GET", "/api/v1/sessions/{id}", Needs::site, "", show},
    {"POST", "/api/v1/sessions", Needs::site, "sessions", open, "session.opened"},
    {"DELETE", "/api/v1/sessions/{id}", Needs::site, "sessions", end, "session.ended"},
};

}  // namespace

std::span<const Route> session_routes() {
  return kRoutes;
}

}  // namespace everspan::api
