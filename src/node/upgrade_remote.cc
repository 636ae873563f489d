// NodeUpgrade: a plan that has steps on the other node, both halves. The primary drives; the other
// does what its base would do for a plan of its own, under the same keys.
#include <algorithm>

#include "common/log.h"
#include "node/upgrade_service.h"
#include "proto/base.pb.h"
#include "proto/node_link.pb.h"
#include "upgrade/core/plan_codec.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

constexpr auto kAskWithin = 10s;
constexpr auto kAskAgain = 200ms;
constexpr auto kEffectWithin = 60min;  // The plan's own deadlines end it earlier.

constexpr upgrade::Action kActions[] = {
    upgrade::Action::resolve, upgrade::Action::fetch,           upgrade::Action::preflight,
    upgrade::Action::backup,  upgrade::Action::start_candidate, upgrade::Action::stop_candidate,
    upgrade::Action::probe,   upgrade::Action::switch_over,     upgrade::Action::good,
    upgrade::Action::back,    upgrade::Action::raise_level};

std::string plan_bytes(const upgrade::EffectCall& call) {
  upgrade::PlanState::Stored stored;
  stored.plan.id = call.plan;
  stored.plan.node = call.node;
  stored.plan.from = call.from;
  stored.plan.to = call.to;
  stored.plan.policy = call.policy;
  upgrade::Step step;
  step.id = "effect";
  step.kind_word = "effect";
  stored.plan.steps.push_back(std::move(step));
  return upgrade::encode_plan(stored);
}

}  // namespace

// ---- the side that drives ----

net::Task<Result<void>> NodeUpgrade::perform(upgrade::Action action, upgrade::EffectCall call) {
  // The level is a record of the site: whoever drives writes it.
  if (call.node == parts_.node || call.node.is_zero() || action == upgrade::Action::raise_level)
    co_return co_await perform_here(action, std::move(call));
  co_return co_await perform_there(action, std::move(call));
}

net::Task<Result<void>> NodeUpgrade::perform_there(upgrade::Action action,
                                                   upgrade::EffectCall call) {
  pb::NodeEffect effect;
  effect.set_action(std::string(upgrade::word(action)));
  effect.set_key(call.key);
  effect.set_plan(plan_bytes(call));
  const Source source = source_now();
  effect.set_source(source.url);
  effect.set_source_ca_pem(source.ca_pem);
  const std::string body = effect.SerializeAsString();
  const Instant deadline = net::now() + kEffectWithin;
  for (;;) {
    const Result<std::string> answer = co_await parts_.call_other("upgrade.effect", body, deadline);
    if (answer) co_return Result<void>();
    // The process that was asked may have been replaced by just this effect: its successor is
    // asked again under the same key, and base answers what became of it.
    if (answer.error().code != "unreachable") co_return fail(answer);
    const bool waited = co_await net::sleep_for(kAskAgain);
    if (!waited || net::now() >= deadline) co_return fail(answer);
  }
}

net::Task<Result<std::optional<upgrade::EffectAnswer>>> NodeUpgrade::query(NodeId node,
                                                                           std::string key) {
  if (node == parts_.node) co_return co_await query_here(std::move(key));
  const Result<std::string> answer =
      co_await parts_.call_other("upgrade.query", std::move(key), net::now() + kAskWithin);
  if (!answer) co_return fail(answer);
  pb::NodeQueried queried;
  if (!queried.ParseFromString(*answer)) co_return fail("bad_answer", "An answer without sense");
  if (!queried.known()) co_return std::optional<upgrade::EffectAnswer>();
  co_return std::optional<upgrade::EffectAnswer>(
      upgrade::EffectAnswer{queried.ok(), queried.code(), queried.message()});
}

net::Task<Result<upgrade::Observation>> NodeUpgrade::observe(NodeId node) {
  if (node == parts_.node) co_return co_await observe_here();
  const Result<std::string> answer =
      co_await parts_.call_other("upgrade.observe", std::string(), net::now() + kAskWithin);
  if (!answer) co_return fail(answer);
  pb::NodeObservation in;
  if (!in.ParseFromString(*answer)) co_return fail("bad_answer", "An answer without sense");
  upgrade::Observation seen;
  seen.active_digest = in.active_digest();
  seen.candidate_digest = in.candidate_digest();
  seen.candidate_ready = in.candidate_ready();
  seen.staged.assign(in.staged().begin(), in.staged().end());
  seen.last_switch = printable(in.last_switch(), 200);
  seen.feature_level = in.feature_level();
  co_return seen;
}

net::Task<Result<upgrade::Health>> NodeUpgrade::sample_health(NodeId node) {
  if (node == parts_.node) co_return parts_.health();
  const Result<std::string> answer =
      co_await parts_.call_other("upgrade.health", std::string(), net::now() + kAskWithin);
  // A link that is replaced while a process takes over says nothing about health.
  if (!answer) co_return fail("unreachable", answer.error().message);
  pb::NodeHealth in;
  if (!in.ParseFromString(*answer)) co_return fail("bad_answer", "An answer without sense");
  co_return upgrade::Health{in.healthy(), printable(in.why(), 200)};
}

net::Task<Result<upgrade::Roles>> NodeUpgrade::observe_roles() {
  co_return parts_.roles();
}

net::Task<Result<void>> NodeUpgrade::hand_over(NodeId to) {
  co_return co_await parts_.hand_over(to == parts_.node);
}

net::Task<Result<std::optional<upgrade::SiteSnapshot>>> NodeUpgrade::backup_snapshot(bool) {
  using Snapshot = std::optional<upgrade::SiteSnapshot>;
  const std::optional<NodeId> other = parts_.other();
  if (!other) co_return Snapshot();
  const Result<std::string> answer =
      co_await parts_.call_other("upgrade.snapshot", std::string(), net::now() + kAskWithin);
  if (!answer) co_return fail(answer);
  pb::NodeSnapshot in;
  if (!in.ParseFromString(*answer)) co_return fail("bad_answer", "An answer without sense");
  Result<upgrade::SiteSnapshot> here = co_await site_snapshot(false);
  if (!here) co_return fail(here);
  upgrade::SiteSnapshot out;
  out.lineage = here->lineage;
  out.node = *other;
  out.digest = in.digest();
  const Result<Version> version = Version::parse(in.version());
  if (!version) co_return fail(version);
  out.version = *version;
  const Result<Version> base = Version::parse(in.base_version());
  if (!base) co_return fail(base);
  out.base_version = *base;
  if (!in.security_floor().empty()) {
    const Result<Version> floor = Version::parse(in.security_floor());
    if (!floor) co_return fail(floor);
    out.security_floor = *floor;
  }
  out.platform = in.platform();
  out.feature_level = in.feature_level();
  out.releases = std::move(here->releases);  // One repository; the other verifies for itself.
  co_return Snapshot(std::move(out));
}

// ---- the side that is asked ----

net::Task<Result<std::string>> NodeUpgrade::answer_other(std::string what, std::string body) {
  if (what == "upgrade.effect") {
    pb::NodeEffect effect;
    if (!effect.ParseFromString(body)) co_return fail("bad_message", "An effect without sense");
    const auto* const action = std::ranges::find_if(
        kActions, [&](upgrade::Action each) { return upgrade::word(each) == effect.action(); });
    if (action == std::end(kActions))
      co_return fail("unknown_call",
                     "This release does not know the step " + printable(effect.action(), 40));
    const Result<upgrade::PlanState::Stored> plan = upgrade::decode_plan(effect.plan());
    if (!plan) co_return fail(plan);
    given_source_ = {effect.source(), effect.source_ca_pem()};
    const Result<void> done = co_await perform_here(
        *action, upgrade::EffectCall{parts_.node, effect.key(), plan->plan.id, plan->plan.from,
                                     plan->plan.to, plan->plan.policy});
    if (!done) co_return fail(done);
    co_return std::string("done");
  }
  if (what == "upgrade.observe") {
    const Result<upgrade::Observation> seen = co_await observe_here();
    if (!seen) co_return fail(seen);
    pb::NodeObservation out;
    out.set_active_digest(seen->active_digest);
    out.set_candidate_digest(seen->candidate_digest);
    out.set_candidate_ready(seen->candidate_ready);
    for (const std::string& digest : seen->staged) out.add_staged(digest);
    out.set_last_switch(seen->last_switch);
    out.set_feature_level(seen->feature_level);
    co_return out.SerializeAsString();
  }
  if (what == "upgrade.health") {
    const upgrade::Health health = parts_.health();
    pb::NodeHealth out;
    out.set_healthy(health.healthy);
    out.set_why(health.why);
    co_return out.SerializeAsString();
  }
  if (what == "upgrade.query") {
    const Result<std::optional<upgrade::EffectAnswer>> answer =
        co_await query_here(std::move(body));
    if (!answer) co_return fail(answer);
    pb::NodeQueried out;
    out.set_known(answer->has_value());
    if (*answer) {
      out.set_ok((*answer)->ok);
      out.set_code((*answer)->code);
      out.set_message((*answer)->message);
    }
    co_return out.SerializeAsString();
  }
  if (what == "upgrade.snapshot") {
    const Result<upgrade::SiteSnapshot> site = co_await snapshot_of_base();
    if (!site) co_return fail(site);
    pb::NodeSnapshot out;
    out.set_version(site->version.text());
    out.set_digest(site->digest);
    out.set_base_version(site->base_version.text());
    if (site->security_floor != Version{}) out.set_security_floor(site->security_floor.text());
    out.set_platform(site->platform);
    out.set_feature_level(site->feature_level);
    co_return out.SerializeAsString();
  }
  co_return fail("unknown_call", "This release does not know what was asked");
}

}  // namespace everspan::node
