// Endpoints: list, show, remove, enrolment tokens, enrolment itself.
#include <algorithm>

#include "api/detail/route.h"
#include "common/log.h"

namespace everspan::api {
namespace {

json::object endpoint_json(const EndpointId& id, const std::string& name,
                           const std::string& platform, const std::string& release,
                           const std::string& note, WallTime enrolled_at, const LiveSnapshot& live,
                           std::size_t sessions, WallTime now) {
  const auto agent = std::ranges::find(live.agents, id, &LiveAgent::endpoint);
  const bool online = agent != live.agents.end();
  return {{"id", id.hex()},
          {"name", name},
          {"platform", platform},
          {"release", online && !agent->release.empty() ? agent->release : release},
          {"note", note},
          {"online", online},
          {"last_seen", online ? time_json(now) : json::value(nullptr)},
          {"enrolled_at", time_json(enrolled_at)},
          {"sessions", sessions}};
}

std::size_t count_sessions(const std::vector<site::SessionRow>& sessions, const EndpointId& id) {
  return static_cast<std::size_t>(std::ranges::count(sessions, id, &site::SessionRow::endpoint));
}

constexpr std::size_t kLiveSessionsMax = 100'000;

net::Task<Result<Answer>> list(State& state, Call call) {
  const std::string word = call.request.query_value("note");
  if (auto good = site::check_note(word); !good)
    co_return fail("bad_request", "note is a word to look for in the notes of endpoints");
  site::Catalog& catalog = state.services.site.catalog;
  if (auto fresh = catalog.refresh(); !fresh) co_return fail(fresh);
  const auto endpoints = catalog.endpoints(word);
  if (!endpoints) co_return fail(endpoints);
  const auto sessions = catalog.sessions(true, kLiveSessionsMax);
  if (!sessions) co_return fail(sessions);
  const auto live = co_await state.services.live.snapshot();
  if (!live) co_return fail(live);
  const WallTime now = state.services.site.now();
  json::array rows;
  for (const site::EndpointRow& each : *endpoints)
    rows.push_back(endpoint_json(each.id, each.name, each.platform, each.release, each.note,
                                 each.enrolled_at, *live, count_sessions(*sessions, each.id), now));
  Answer answer;
  answer.body = {{"endpoints", std::move(rows)}};
  co_return answer;
}

net::Task<Result<Answer>> show(State& state, Call call) {
  const auto endpoint = state.endpoints.find(call.value("name"));
  if (!endpoint) co_return fail(endpoint);
  if (!*endpoint)
    co_return fail("not_found", "There is no endpoint " + printable(call.value("name"), 80));
  site::Catalog& catalog = state.services.site.catalog;
  if (auto fresh = catalog.refresh(); !fresh) co_return fail(fresh);
  const auto sessions = catalog.sessions(true, kLiveSessionsMax);
  if (!sessions) co_return fail(sessions);
  const auto live = co_await state.services.live.snapshot();
  if (!live) co_return fail(live);
  const site::EndpointRecord& found = **endpoint;
  Answer answer;
  answer.body = endpoint_json(found.id, found.name, found.platform, found.release, found.note,
                              found.enrolled_at, *live, count_sessions(*sessions, found.id),
                              state.services.site.now());
  answer.etag = found.revision;
  co_return answer;
}

net::Task<Result<Answer>> put_note(State& state, Call call) {
  BodyReader body(call.body);
  const std::string note = body.text("note", 4 * site::kNoteCharactersMax);
  if (auto good = body.finish(); !good) co_return fail(good);
  const auto outcome = co_await state.endpoints.set_note(call.value("name"), note, call.write());
  if (!outcome) co_return fail(outcome);
  Answer answer = write_answer(*outcome);
  answer.body["name"] = call.value("name");
  answer.body["note"] = note;
  answer.subject = call.value("name");
  answer.detail = {{"note", note}, {"revision", outcome->revision.value}};
  co_return answer;
}

// Sessions of an endpoint that is gone end with it. Returns how many did.
net::Task<std::size_t> end_sessions(State& state, EndpointId id, std::string why) {
  site::Catalog& catalog = state.services.site.catalog;
  const auto fresh = catalog.refresh();
  const auto sessions = catalog.sessions(true, kLiveSessionsMax);
  std::size_t ended = 0;
  if (!fresh || !sessions) {
    log_warning(
        "api.endpoint_sessions_left",
        {{"endpoint", id.hex()}, {"why", (!fresh ? fresh.error() : sessions.error()).text()}});
    co_return ended;
  }
  for (const site::SessionRow& each : *sessions) {
    if (each.endpoint != id) continue;
    site::SessionEnd end{.id = each.id, .reason = why};
    const site::WriteOptions options{.request_id = random_id<RequestId>()};
    const auto done = co_await state.sessions.end(std::move(end), options);
    if (done) {
      state.services.live.end_session(each.id, done->signed_tombstone);
      ++ended;
    } else {
      log_warning("api.session_left", {{"session", each.id.hex()}, {"why", done.error().text()}});
    }
  }
  co_return ended;
}

net::Task<Result<Answer>> remove(State& state, Call call) {
  const auto endpoint = state.endpoints.find(call.value("name"));
  if (!endpoint) co_return fail(endpoint);
  const auto outcome = co_await state.endpoints.remove(call.value("name"), call.write());
  if (!outcome) co_return fail(outcome);
  Answer answer = write_answer(*outcome);
  answer.subject = call.value("name");
  if (*endpoint && !outcome->repeated) {
    const EndpointId id = (*endpoint)->id;
    state.services.live.close_endpoint(id);
    const auto ended = co_await end_sessions(state, id, "endpoint removed by " + call.who.account);
    answer.body["sessions_ended"] = ended;
    answer.detail = {{"endpoint_id", id.hex()}, {"sessions_ended", ended}};
  }
  co_return answer;
}

net::Task<Result<Answer>> make_token(State& state, Call call) {
  BodyReader body(call.body);
  site::NewEnrolToken wanted;
  wanted.uses = static_cast<std::uint32_t>(body.number_or("uses", 1, site::kEnrolUsesMax, 1));
  wanted.expires_in_s = body.number_or("expires_in_s", 60, site::kEnrolSecondsMax, 86'400);
  wanted.name = body.text_or("name", 63, "");
  wanted.created_by = call.who.account;
  if (auto good = body.finish(); !good) co_return fail(good);
  const std::uint32_t uses = wanted.uses;
  const auto made = co_await state.endpoints.make_token(std::move(wanted), call.write());
  if (!made) co_return fail(made);
  Answer answer = write_answer(made->outcome);
  answer.body["token"] = made->token;
  answer.body["expires_at"] = time_json(made->expires_at);
  answer.subject = made->id.hex();
  answer.detail = {{"uses", uses}, {"expires_at", time_json(made->expires_at)}};
  co_return answer;
}

// Refusals are counted by address, so that nobody fills the journal with them.
void enrol_refused(State& state, const Call& call, const Error& why) {
  {
    const std::scoped_lock lock(state.throttles);
    const std::string address = access::throttle_address(call.address);
    state.enrolments.began(address, state.services.monotonic());
    state.enrolments.ended(address, false, state.services.monotonic());
  }
  json::object detail{{"code", why.code}, {"why", why.message}};
  journal_soon(state, call.address, "enrol.refused", "", std::move(detail));
}

net::Task<Result<Answer>> enrol(State& state, Call call) {
  {
    const std::scoped_lock lock(state.throttles);
    if (const auto wait = state.enrolments.wait(access::throttle_address(call.address),
                                                state.services.monotonic()))
      co_return slow_down("Too many enrolments were refused", *wait);
  }
  BodyReader body(call.body);
  site::Enrolment asked;
  asked.token = body.text("token", 512);
  asked.name = body.text("name", 63);
  asked.public_key = body.base64url("public_key", 32);
  asked.platform = body.text("platform", 64);
  asked.release = body.text("release", 64);
  asked.address = call.address;
  if (auto good = body.finish(); !good) co_return fail(good);
  const std::string name = asked.name;
  const auto enrolled = co_await state.endpoints.enrol(std::move(asked));
  if (!enrolled) {
    enrol_refused(state, call, enrolled.error());
    co_return fail(enrolled);
  }
  const site::SiteIdentity& site = state.services.site.identity;
  Answer answer = write_answer(enrolled->outcome);
  answer.body["endpoint_id"] = enrolled->endpoint.id.hex();
  answer.body["site_id"] = site.id.hex();
  answer.body["grant_key"] = to_base64url(as_bytes(site.grant_public_key));
  answer.body["ca_pem"] = site.ca_pem;
  answer.body["candidates"] = addresses_json(state.services.live.candidates());
  answer.subject = name;
  answer.detail = {{"endpoint_id", enrolled->endpoint.id.hex()},
                   {"platform", enrolled->endpoint.platform}};
  co_return answer;
}

constexpr Route kRoutes[] = {
    {"GET", "/api/v1/endpoints", Needs::site, "", list},
    {"GET", "/api/v1/endpoints/{name}", Needs::site, "", show},
    {"PUT", "/api/v1/endpoints/{name}", Needs::site, "endpoints", put_note, "endpoint.note_put"},
    {"DELETE", "/api/v1/endpoints/{name}", Needs::site, "endpoints", remove, "endpoint.removed"},
    {"POST", "/api/v1/enrol-tokens", Needs::site, "endpoints", make_token, "enrol_token.made"},
    {"POST", "/api/v1/enrol", Needs::nothing, "", enrol, "endpoint.enrolled"},
};

}  // namespace

std::span<const Route> endpoint_routes() {
  return kRoutes;
}

}  // namespace everspan::api
