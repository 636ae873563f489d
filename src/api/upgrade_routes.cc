// Updates known from the depot, and upgrades as plans.
#include "api/detail/route.h"
#include "upgrade/runner.h"

namespace everspan::api {
namespace {

json::object updates_json(const UpdateList& list) {
  json::array rows;
  for (const UpdateRow& row : list.releases)
    rows.push_back(json::object{{"version", row.version},
                                {"digest", row.digest},
                                {"bytes", row.bytes},
                                {"notes", row.notes},
                                {"installed", row.installed},
                                {"installable", row.installable},
                                {"why_not", row.why_not}});
  return {{"source", list.source},
          {"checked_at", time_json(list.checked_at)},
          {"releases", std::move(rows)}};
}

net::Task<Result<Answer>> updates(State& state, Call) {
  const auto list = co_await state.services.updates.list();
  if (!list) co_return fail(list);
  Answer answer;
  answer.body = updates_json(*list);
  co_return answer;
}

net::Task<Result<Answer>> refresh(State& state, Call) {
  const auto list = co_await state.services.updates.refresh();
  if (!list) co_return fail(list);
  Answer answer;
  answer.body = updates_json(*list);
  answer.subject = list->source;
  answer.detail = {{"releases", list->releases.size()}};
  co_return answer;
}

json::object release_json(const upgrade::Release& release) {
  return {{"version", release.version}, {"digest", release.digest}, {"bytes", release.bytes}};
}

// `running`: with what became of each step; else as a plan that nobody began.
json::array steps_json(const upgrade::Plan& plan, bool running) {
  json::array steps;
  for (const upgrade::Step& step : plan.steps) {
    json::object row{
        {"id", step.id},
        {"kind", step.kind_word.empty() ? std::string(upgrade::word(step.kind)) : step.kind_word},
        {"node", (step.node.is_zero() ? plan.node : step.node).hex()},
        {"title", std::string(upgrade::title(step.kind))},
        {"safe", upgrade::may_rest_after(step.kind)},
        {"way_back", std::string(upgrade::way_back(step.kind))}};
    if (running) {
      row["state"] = std::string(upgrade::word(step.state));
      row["attempt"] = step.attempt;
      row["started_at"] = time_json(step.started_at);
      row["ended_at"] = time_json(step.ended_at);
      row["detail"] = step.detail;
    }
    steps.push_back(std::move(row));
  }
  return steps;
}

net::Task<Result<Answer>> status(State& state, Call) {
  const auto view = co_await state.services.upgrade.status();
  if (!view) co_return fail(view);
  Answer answer;
  answer.body = {{"plan", nullptr},
                 {"state", view->progress.state},
                 {"step", view->progress.step},
                 {"why", ""},
                 {"steps", json::array()},
                 {"sessions_moved", view->sessions_moved},
                 {"sessions_total", view->sessions_total},
                 {"legs_left", nullptr}};
  if (view->legs_left) answer.body["legs_left"] = *view->legs_left;
  if (view->progress.any) {
    const auto& stored = view->progress.stored;
    answer.body["plan"] = stored.plan.id.hex();
    answer.body["method"] = stored.plan.method;
    answer.body["from"] = release_json(stored.plan.from);
    answer.body["to"] = release_json(stored.plan.to);
    answer.body["why"] = stored.why;
    answer.body["why_code"] = stored.why_code;
    answer.body["started_at"] = time_json(stored.started_at);
    answer.body["ended_at"] = time_json(stored.ended_at);
    answer.body["steps"] = steps_json(stored.plan, true);
  }
  co_return answer;
}

Result<void> check_method(const std::string& method) {
  if (method.empty() || method == "single" || method == "async" || method == "sync") return {};
  return fail("bad_request", "The method is async or sync, of one appliance single",
              "Nothing was changed", "Leave the method out");
}

net::Task<Result<Answer>> plan(State& state, Call call) {
  BodyReader body(call.body);
  upgrade::ApplyRequest request;
  request.target.version = body.text_or("to", 64, "");
  const std::string method = body.text_or("method", 16, "");
  if (auto good = body.finish(); !good) co_return fail(good);
  if (auto good = check_method(method); !good) co_return fail(good);
  request.method = method;
  const auto made = co_await state.services.upgrade.plan(std::move(request));
  if (!made) co_return fail(made);
  Answer answer;
  answer.body = {{"plan",
                  {{"id", made->id.hex()},
                   {"from", release_json(made->from)},
                   {"to", release_json(made->to)},
                   {"method", made->method},
                   {"steps", steps_json(*made, false)}}}};
  co_return answer;
}

net::Task<Result<Answer>> begin(State& state, const Call& call, upgrade::ApplyRequest request) {
  request.request = call.request_id;
  const std::string to = request.target.version;
  const auto asked = co_await state.services.upgrade.apply(std::move(request));
  if (!asked) co_return fail(asked);
  Answer answer;
  answer.body = {{"plan", asked->plan.hex()}};
  answer.subject = asked->plan.hex();
  answer.detail = {{"to", to}};
  answer.repeated = asked->repeated;
  co_return answer;
}

constexpr std::int64_t kSoakSecondsMax = 7 * 86'400;

net::Task<Result<Answer>> apply(State& state, Call call) {
  BodyReader body(call.body);
  upgrade::ApplyRequest request;
  request.target.version = body.text_or("to", 64, "");
  const std::string method = body.text_or("method", 16, "");
  request.policy.soak = std::chrono::seconds(body.number_or(
      "soak_s", 0, kSoakSecondsMax,
      std::chrono::duration_cast<std::chrono::seconds>(request.policy.soak).count()));
  request.policy.auto_finalize = body.flag_or("auto_finalize", request.policy.auto_finalize);
  if (auto good = body.finish(); !good) co_return fail(good);
  if (auto good = check_method(method); !good) co_return fail(good);
  request.method = method;
  co_return co_await begin(state, call, std::move(request));
}

net::Task<Result<Answer>> install(State& state, Call call) {
  BodyReader body(call.body);
  upgrade::ApplyRequest request;
  request.target.version = body.text("version", 64);
  if (auto good = body.finish(); !good) co_return fail(good);
  co_return co_await begin(state, call, std::move(request));
}

net::Task<Result<Answer>> ask(State& state, Call call, upgrade::Request what) {
  BodyReader body(call.body);
  if (auto good = body.finish(); !good) co_return fail(good);
  const auto asked = co_await state.services.upgrade.request(what, call.request_id);
  if (!asked) co_return fail(asked);
  Answer answer;
  answer.repeated = asked->repeated;
  co_return answer;
}
net::Task<Result<Answer>> pause(State& state, Call call) {
  return ask(state, std::move(call), upgrade::Request::pause);
}
net::Task<Result<Answer>> resume(State& state, Call call) {
  return ask(state, std::move(call), upgrade::Request::resume);
}
net::Task<Result<Answer>> roll_back(State& state, Call call) {
  return ask(state, std::move(call), upgrade::Request::rollback);
}
net::Task<Result<Answer>> finalize(State& state, Call call) {
  return ask(state, std::move(call), upgrade::Request::finalize);
}

constexpr Route kRoutes[] = {
    {"GET", "/api/v1/updates", Needs::site, "", updates},
    {"GET", "/api/v1/appliance/updates", Needs::appliance, "updates", updates},
    {"POST", "/api/v1/appliance/updates/refresh", Needs::appliance, "updates", refresh,
     "updates.refreshed"},
    {"POST", "/api/v1/appliance/updates/install", Needs::appliance, "updates", install,
     "upgrade.applied"},
    {"GET", "/api/v1/upgrade", Needs::site, "", status},
    {"POST", "/api/v1/upgrade/plan", Needs::site, "upgrade", plan},
    {"POST", "/api/v1/upgrade/apply", Needs::site, "upgrade", apply, "upgrade.applied"},
    {"POST", "/api/v1/upgrade/pause", Needs::site, "upgrade", pause, "upgrade.paused"},
    {"POST", "/api/v1/upgrade/resume", Needs::site, "upgrade", resume, "upgrade.resumed"},
    {"POST", "/api/v1/upgrade/rollback", Needs::site, "upgrade", roll_back, "upgrade.rollback"},
    {"POST", "/api/v1/upgrade/finalize", Needs::site, "upgrade", finalize, "upgrade.finalize"},
};

}  // namespace

std::span<const Route> upgrade_routes() {
  return kRoutes;
}

}  // namespace everspan::api
