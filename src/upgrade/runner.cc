#include "upgrade/runner.h"

#include <deque>

#include "common/crypto.h"
#include "common/log.h"
#include "upgrade/core/limits.h"
#include "upgrade/core/plan_codec.h"

namespace everspan::upgrade {
namespace {

using net::Task;

// How long to wait before asking base or the log again when a look failed.
constexpr Duration kLookAgain = 500ms;

}  // namespace

// Lives as long as the runner; tasks hold references to it and are joined before run() returns.
struct UpgradeRunner::State {
  State(net::Executor executor, UpgradeEffects& effects)
      : effects(effects), executor(executor), wakeup(executor), tasks(executor) {}

  // Of a person: notified when the event was taken and what it changed is stored.
  struct Asking {
    Asking(net::Executor executor, RequestId id) : taken(std::move(executor)), id(id) {}
    net::Wakeup taken;
    RequestId id;
    bool stored = false;
  };
  struct Incoming {
    SiteEvent event;
    std::shared_ptr<Asking> asking;
  };

  UpgradeEffects& effects;
  net::Executor executor;
  net::Wakeup wakeup;
  net::TaskScope tasks;
  std::deque<Incoming> inbox;
  std::optional<SitePlan> plan;  // The one under way, or the last one that ended.
  bool running = false;
  bool applying = false;
  Result<void> gone;  // Why this process may not drive any longer.

  void post(SiteEvent event, std::shared_ptr<Asking> asking = {}) {
    inbox.push_back({std::move(event), std::move(asking)});
    wakeup.notify();
  }
  [[nodiscard]] EffectCall call(NodeId node, std::string key) const {
    for (const PlanState::Stored& part : plan->stored.parts)
      if (part.plan.node == node)
        return {node, std::move(key), part.plan.id, part.plan.from, part.plan.to, part.plan.policy};
    return {};
  }
  void tell_steps(const std::vector<Step>& before) {
    const Plan p = flat(plan->stored).plan;
    for (std::size_t i = 0; i < p.steps.size(); ++i)
      if (i >= before.size() || before[i].state != p.steps[i].state ||
          before[i].attempt != p.steps[i].attempt)
        effects.step_changed(p, p.steps[i]);
  }

  Task<void> take(SiteEvent event, std::shared_ptr<Asking> asking = {});
  Task<void> save(RequestId request = {});
  void begin_effect(const SiteEffect& effect);
  Task<void> do_action(NodeDo what, EffectCall call);
  Task<void> do_hand_over(HandOver what);
  Task<void> do_query(NodeQuery what);
  Task<void> do_observe(NodeId node);
  Task<void> do_observe_roles();
  Task<void> do_sample(NodeId node);
  Task<void> take_up();
};

// Effects come in order: a Save is waited for before anything after it, and its Saved is taken at
// once, so that what hangs on it goes out (U1). The first save is what was asked for.
Task<void> UpgradeRunner::State::take(SiteEvent event, std::shared_ptr<Asking> asking) {
  std::deque<SiteEvent> now{std::move(event)};
  while (!now.empty() && gone && plan) {
    const std::vector<Step> before = flat(plan->stored).plan.steps;
    SiteNext result = next(std::move(*plan), now.front(), {net::now(), net::wall_now()});
    now.pop_front();
    plan = std::move(result.plan);
    for (const SiteEffect& effect : result.effects) {
      if (!std::holds_alternative<Save>(effect)) {
        begin_effect(effect);
        continue;
      }
      const bool asked = asking && !asking->stored;
      co_await save(asked ? asking->id : RequestId{});
      if (!gone) co_return;
      if (asked) asking->stored = true;
      now.emplace_back(Saved{});
    }
    tell_steps(before);
  }
}

Task<void> UpgradeRunner::State::save(RequestId request) {
  std::string record = encode_site_plan(plan->stored);
  plan->stored.original = record;
  for (;;) {
    const Result<void> saved = co_await effects.save_plan(record, request);
    if (saved) co_return;
    const std::string& code = saved.error().code;
    log_warning("upgrade.save_failed", {{"code", code}, {"why", saved.error().message}});
    if (code != "unavailable" && code != "slow_down") {
      gone = saved;  // Another process writes, or nobody knows: whoever writes next goes on.
      co_return;
    }
    const bool waited = co_await net::sleep_for(kLookAgain);
    if (!waited) {
      gone = fail("cancelled", "The runner was stopped");
      co_return;
    }
  }
}

void UpgradeRunner::State::begin_effect(const SiteEffect& effect) {
  if (const auto* what = std::get_if<NodeDo>(&effect)) {
    tasks.spawn("upgrade." + std::string(word(what->action)),
                do_action(*what, call(what->node, what->key)));
  } else if (const auto* handing = std::get_if<HandOver>(&effect)) {
    tasks.spawn("upgrade.hand_over", do_hand_over(*handing));
  } else if (const auto* query = std::get_if<NodeQuery>(&effect)) {
    tasks.spawn("upgrade.query", do_query(*query));
  } else if (const auto* looking = std::get_if<NodeObserve>(&effect)) {
    tasks.spawn("upgrade.observe", do_observe(looking->node));
  } else if (const auto* sampling = std::get_if<NodeSample>(&effect)) {
    tasks.spawn("upgrade.health", do_sample(sampling->node));
  } else if (std::holds_alternative<ObserveRoles>(effect)) {
    tasks.spawn("upgrade.roles", do_observe_roles());
  }
}

Task<void> UpgradeRunner::State::do_action(NodeDo what, EffectCall call) {
  log_info("upgrade.effect", {{"action", std::string(word(what.action))}, {"key", what.key}});
  const Result<void> done = co_await effects.perform(what.action, std::move(call));
  Answered answer;
  answer.key = what.key;
  answer.ok = done.has_value();
  if (!done) {
    answer.code = done.error().code;
    answer.message = done.error().text();
    log_warning("upgrade.effect_failed",
                {{"key", what.key}, {"code", answer.code}, {"why", answer.message}});
  }
  post(std::move(answer));
}

Task<void> UpgradeRunner::State::do_hand_over(HandOver what) {
  log_info("upgrade.hand_over", {{"to", what.to.hex()}, {"key", what.key}});
  const Result<void> done = co_await effects.hand_over(what.to);
  Answered answer{what.key, done.has_value(), {}, {}};
  if (!done) {
    answer.code = done.error().code;
    answer.message = done.error().text();
    log_warning("upgrade.hand_over_failed", {{"code", answer.code}, {"why", answer.message}});
  }
  post(std::move(answer));
}

Task<void> UpgradeRunner::State::do_query(NodeQuery what) {
  const auto answer = co_await effects.query(what.node, what.key);
  if (!answer) co_return;  // The core asks again at its deadline.
  QueryAnswered event;
  event.key = what.key;
  event.known = answer->has_value();
  if (event.known) {
    event.ok = (*answer)->ok;
    event.code = (*answer)->code;
    event.message = (*answer)->message;
  }
  post(std::move(event));
}

Task<void> UpgradeRunner::State::do_observe(NodeId node) {
  for (;;) {
    auto seen = co_await effects.observe(node);
    if (seen) {
      post(NodeObserved{node, std::move(*seen)});
      co_return;
    }
    log_warning("upgrade.observe_failed",
                {{"code", seen.error().code}, {"why", seen.error().message}});
    const bool waited = co_await net::sleep_for(kLookAgain);
    if (!waited) co_return;
  }
}

Task<void> UpgradeRunner::State::do_observe_roles() {
  for (;;) {
    const auto roles = co_await effects.observe_roles();
    if (roles) {
      post(RolesObserved{*roles});
      co_return;
    }
    const bool waited = co_await net::sleep_for(kLookAgain);
    if (!waited) co_return;
  }
}

Task<void> UpgradeRunner::State::do_sample(NodeId node) {
  for (;;) {
    auto sample = co_await effects.sample_health(node);
    // No answer about our own health is no good health; a node that is away says nothing.
    if (!sample && sample.error().code == "unreachable") {
      const bool waited = co_await net::sleep_for(kLookAgain);
      if (!waited) co_return;
      continue;
    }
    if (!sample) sample = Health{false, sample.error().message};
    post(NodeHealth{node, std::move(*sample)});
    co_return;
  }
}

// Loads the stored plan and begins with what is seen now.
Task<void> UpgradeRunner::State::take_up() {
  const auto record = co_await effects.load_plan();
  if (!record) {
    gone = fail(record);
    co_return;
  }
  if (!*record) co_return;
  auto stored = decode_site_plan(**record);
  if (!stored) {
    log_error("upgrade.bad_plan", {{"why", stored.error().message}});
    gone = fail(stored);
    co_return;
  }
  plan = resume_site(std::move(*stored));
  if (!ended(plan->stored)) post(DriverBegan{});
}

UpgradeRunner::UpgradeRunner(net::Executor executor, UpgradeEffects& effects)
    : state_(std::make_shared<State>(std::move(executor), effects)) {}
UpgradeRunner::~UpgradeRunner() = default;

Task<Result<void>> UpgradeRunner::run() {
  const auto state = state_;
  state->gone = {};
  state->running = true;
  co_await state->take_up();
  for (;;) {
    const bool stop = co_await net::is_cancelled();
    if (stop || !state->gone) break;
    if (state->inbox.empty()) {
      const Instant wake = state->plan ? wake_at(*state->plan) : Instant::max();
      const bool notified = co_await state->wakeup.wait_until(wake);
      const SiteEvent passed = TimePassed{};
      if (!notified && state->plan && net::now() >= wake) co_await state->take(passed);
      continue;
    }
    State::Incoming incoming = std::move(state->inbox.front());
    state->inbox.pop_front();
    co_await state->take(std::move(incoming.event), incoming.asking);
    if (incoming.asking) incoming.asking->taken.notify();
  }
  state->running = false;
  const Result<void> why =
      state->gone ? Result<void>(fail("cancelled", "The runner was stopped")) : state->gone;
  for (const State::Incoming& left : state->inbox)
    if (left.asking) left.asking->taken.notify();
  state->inbox.clear();
  state->tasks.cancel();
  co_await state->tasks.join();
  co_return why;
}

Task<Result<SitePlan::Stored>> UpgradeRunner::dry_run(ApplyRequest request) {
  const auto state = state_;
  auto here = co_await state->effects.site_snapshot(true);
  if (!here) co_return fail(here);
  here->plan_under_way = state->plan && !ended(state->plan->stored);
  const auto other = co_await state->effects.backup_snapshot(true);
  if (!other) co_return fail(other);
  const PlanId id = request.plan.is_zero() ? random_id<PlanId>() : request.plan;
  if (!*other) {
    if (!request.method.empty() && request.method != "single")
      co_return fail("bad_method", "This site has one node: there is nothing to order",
                     "Nothing was changed", "Leave out --method");
    co_return plan_single(*here, request.policy, request.target, id);
  }
  const auto roles = co_await state->effects.observe_roles();
  if (!roles) co_return fail(roles);
  const std::string method = request.method.empty() ? "async" : request.method;
  co_return plan_pair(*here, **other, roles->in_sync, method, request.policy, request.target, id);
}

Task<Result<PlanId>> UpgradeRunner::apply(ApplyRequest request) {
  const auto state = state_;
  if (!state->running || !state->gone)
    co_return fail("unavailable", "This process does not write now");
  if (state->applying) co_return fail("busy", "Another upgrade is being planned");
  state->applying = true;
  const RequestId asked = request.request;
  const auto planned = co_await dry_run(std::move(request));
  state->applying = false;
  if (!planned) co_return fail(planned);
  if (state->plan && !ended(state->plan->stored))
    co_return fail("busy", "Another upgrade is under way", "", "See `everspan upgrade status`");
  const PlanId id = planned->id;
  state->plan = begin_site(*planned, net::wall_now());
  co_await state->save(asked);
  if (!state->gone) {
    state->wakeup.notify();
    co_return fail(state->gone);
  }
  state->post(DriverBegan{});
  co_return id;
}

Task<Result<void>> UpgradeRunner::request(Request what, RequestId id) {
  const auto state = state_;
  if (!state->running || !state->gone)
    co_return fail("unavailable", "This process does not write now");
  if (!state->plan) co_return fail("no_plan", "There is no upgrade under way");
  const auto may = may_ask(state->plan->stored, what);
  if (!may) co_return may;
  const auto asking = std::make_shared<State::Asking>(state->executor, id);
  state->post(Asked{what}, asking);
  const bool done = co_await asking->taken.wait_until(net::now() + 10s);
  if (!done) co_return fail("timeout", "The request was not stored in time");
  if (!state->running || !state->gone)
    co_return fail("unavailable", "This process stopped writing before the request was stored",
                   "The request may have been stored",
                   "Ask again with the same Idempotency-Key: it runs once");
  if (!asking->stored)  // Between the check above and its turn the plan went on, or ended.
    co_return fail("conflict", "The upgrade went on meanwhile", "Nothing was changed",
                   "See `everspan upgrade status`");
  co_return Result<void>{};
}

bool UpgradeRunner::running() const {
  return state_->running && state_->gone.has_value();
}

Progress UpgradeRunner::progress() const {
  Progress out;
  if (!state_->plan) return out;
  out.any = true;
  out.stored = flat(state_->plan->stored);
  out.state = std::string(api_state(out.stored));
  if (out.stored.cursor < out.stored.plan.steps.size())
    out.step = out.stored.plan.steps[out.stored.cursor].id;
  return out;
}

std::string_view api_state(const PlanState::Stored& stored) {
  if (awaits_finalize(stored)) return "awaiting_finalize";
  const bool within = stored.cursor < stored.plan.steps.size();
  if (stored.status == Status::running && within &&
      stored.plan.steps[stored.cursor].kind == StepKind::soak)
    return "soaking";
  if (stored.status == Status::upgraded) return "done";
  if (stored.status == Status::going_back) return "running";
  return word(stored.status);
}

}  // namespace everspan::upgrade
