// What a site may ask for, and the table of what was done (S4).
#include <algorithm>
#include <utility>

#include "common/version.h"
#include "supervisor/core/slots_core.h"

namespace everspan::supervisor {
namespace {

// No floor: nothing is below. A version that cannot be read is below every floor.
bool is_below(const std::string& version, const std::string& floor) {
  if (floor.empty()) return false;
  const auto least = Version::parse(floor);
  const auto asked = Version::parse(version);
  return !least || !asked || *asked < *least;
}

}  // namespace

bool SlotsCore::may_ask(const Request& r) const {
  const bool reads =
      std::holds_alternative<QueryRequest>(r.what) || std::holds_alternative<StatusRequest>(r.what);
  const auto* slot = find(r.from);
  if (slot == nullptr) return false;
  if (reads || slot->role == Role::active) return true;
  // The fallback may say that the new one is bad; an unproven candidate may do nothing.
  return slot->role == Role::fallback && std::holds_alternative<BackRequest>(r.what);
}

void SlotsCore::on(const Request& event) {
  if (auto* live = live_of(event.from)) live->heard_at = now_;
  if (!may_ask(event))
    return refuse(event, "not_active", "Only the active site may ask this of base");
  const bool reads = std::holds_alternative<QueryRequest>(event.what) ||
                     std::holds_alternative<StatusRequest>(event.what);
  if (!reads) {
    if (event.key.empty() || event.key.size() > limits_.key_bytes_max)
      return refuse(event, "bad_key", "A request needs a key of 1 to 256 bytes");
    if (const auto* known = effect(event.key)) {
      if (known->outcome.pending)
        waiting_.emplace(event.key, event.from);
      else
        act(Reply{.to = event.from, .key = event.key, .outcome = known->outcome});
      return;
    }
    if (handover_ && handover_->key == event.key) {
      waiting_.emplace(event.key, event.from);
      return;
    }
    if (stopping_) return refuse(event, "stopping", "The node is being stopped");
  }
  std::visit([&](const auto& what) { ask(event, what); }, event.what);
}

void SlotsCore::ask(const Request& r, const StageRequest& what) {
  begin_effect(r, EffectKind::stage);
  act(RunStage{.key = r.key, .what = what});
}

void SlotsCore::ask(const Request& r, const SelfTestRequest& what) {
  if (std::ranges::find(releases_, what.digest, &Release::digest) == releases_.end())
    return refuse(r, "unknown_release", "This release is not staged here", "Stage it first");
  begin_effect(r, EffectKind::self_test);
  act(RunSelfTest{.key = r.key, .what = what});
}

void SlotsCore::on(const SelfTestDone& event) {
  end_effect(event.key, EffectKind::self_test, event.outcome);
}

void SlotsCore::on(const StageDone& event) {
  if (event.outcome.ok) on(ReleaseKnown{event.release});
  end_effect(event.key, EffectKind::stage, event.outcome);
}

void SlotsCore::ask(const Request& r, const StartCandidateRequest& what) {
  const auto release = std::ranges::find(releases_, what.digest, &Release::digest);
  if (release == releases_.end())
    return refuse(r, "unknown_release", "This release is not staged here", "Stage it first");
  if (is_below(release->version, state_.security_floor))
    return refuse(r, "below_floor", "This release is older than the security floor allows");
  if (slot_of(Role::fallback))
    return refuse(r, "watching", "The last switch is still watched",
                  "Finalise it or go back first");
  if (handover_) return refuse(r, "switching", "A switch is under way");
  if (std::ranges::any_of(state_.slots, [](const Slot& s) { return s.role == Role::retiring; }))
    return refuse(r, "retiring", "An earlier process has not ended yet", "Try again in a moment");
  if (slot_of(Role::candidate))
    return refuse(r, "candidate_exists", "A candidate runs already", "Stop it first");
  begin_effect(r, EffectKind::start_candidate);
  restart_.erase(Role::candidate);
  state_.slots.push_back({.role = Role::candidate, .digest = what.digest});
}

void SlotsCore::ask(const Request& r, const StopCandidateRequest& what) {
  if (handover_) return refuse(r, "switching", "A switch is under way");
  begin_effect(r, EffectKind::stop_candidate);
  auto* slot = slot_of(Role::candidate);
  if (slot == nullptr) {
    const bool ending =
        std::ranges::any_of(state_.slots, [](const Slot& s) { return s.role == Role::retiring; });
    if (!ending) end_effect(r.key, EffectKind::stop_candidate, Outcome{.ok = true});
    return;
  }
  retire(*slot, what.why);
  end_effects(EffectKind::start_candidate,
              Outcome{.code = "stopped", .message = "The candidate was stopped: " + what.why});
  if (live_of(slot->instance) == nullptr) {
    erase(slot->instance);
    end_effect(r.key, EffectKind::stop_candidate, Outcome{.ok = true});
  }
}

void SlotsCore::ask(const Request& r, const SwitchRequest& what) {
  if (handover_) return refuse(r, "switching", "A switch is under way");
  const auto* to = slot_of(Role::candidate);
  if (to == nullptr || to->digest != what.digest)
    return refuse(r, "no_candidate", "No candidate of this release runs", "Start it first");
  const auto* live = live_of(to->instance);
  if (!to->ready || !connected(to->instance) || !live->healthy)
    return refuse(r, "candidate_not_ready", "The candidate is not ready");
  const auto* from = slot_of(Role::active);
  if (from == nullptr || !serving() || !connected(from->instance))
    return refuse(r, "not_serving", "The active site does not serve yet", "Try again in a moment");
  const auto silence = what.silence_ms == 0
                           ? limits_.watch_silence_default_ms
                           : std::max(what.silence_ms, limits_.watch_silence_least_ms);
  handover_ = Handover{.from = from->instance,
                       .to = to->instance,
                       .key = r.key,
                       .back = false,
                       .why = {},
                       .silence_ms = silence,
                       .deadline = now_ + limits_.release_wait};
  live_of(from->instance)->heard_at = now_;
  waiting_.emplace(r.key, r.from);
  act(SendReleaseWriter{.instance = from->instance, .generation = state_.generation});
}

void SlotsCore::ask(const Request& r, const BackRequest& what) {
  if (handover_) return refuse(r, "switching", "A switch is under way");
  const auto* to = slot_of(Role::fallback);
  if (to == nullptr) return refuse(r, "no_fallback", "There is nothing to go back to");
  if (!to->ready || !connected(to->instance))
    return refuse(r, "fallback_not_ready", "The earlier release is not ready",
                  "Try again in a moment");
  const auto* from = slot_of(Role::active);
  if (!serving() || !connected(from->instance))
    return refuse(r, "not_serving", "The active site does not serve yet",
                  "If it stays so, base goes back by itself");
  handover_ = Handover{.from = from->instance,
                       .to = to->instance,
                       .key = r.key,
                       .back = true,
                       .why = what.why,
                       .silence_ms = 0,
                       .deadline = now_ + limits_.release_wait};
  live_of(from->instance)->heard_at = now_;
  waiting_.emplace(r.key, r.from);
  act(SendReleaseWriter{.instance = from->instance, .generation = state_.generation});
}

void SlotsCore::ask(const Request& r, const GoodRequest& what) {
  if (handover_) return refuse(r, "switching", "A switch is under way");
  const auto* active = slot_of(Role::active);
  if (!what.digest.empty() && (active == nullptr || active->digest != what.digest))
    return refuse(r, "not_active", "Another release is active", "It went back: plan again");
  auto* fallback = slot_of(Role::fallback);
  if (fallback != nullptr && !serving())
    return refuse(r, "not_serving", "The new release does not serve yet", "Try again in a moment");
  begin_effect(r, EffectKind::good);
  if (fallback != nullptr) {
    const auto instance = fallback->instance;
    retire(*fallback, "the new release is good");
    if (live_of(instance) == nullptr) erase(instance);
  }
  state_.watch_silence_ms = 0;
  raise_floor();
  end_effect(r.key, EffectKind::good, Outcome{.ok = true});
}

void SlotsCore::raise_floor() {
  const auto* active = find(Role::active);
  if (active == nullptr) return;
  const auto release = std::ranges::find(releases_, active->digest, &Release::digest);
  if (release == releases_.end() || !Version::parse(release->security_floor)) return;
  if (state_.security_floor.empty() || is_below(state_.security_floor, release->security_floor))
    state_.security_floor = release->security_floor;
}

void SlotsCore::ask(const Request& r, const QueryRequest& what) {
  const auto* e = effect(what.of);
  act(Reply{.to = r.from,
            .key = r.key,
            .outcome = e != nullptr ? e->outcome : Outcome{},
            .known = e != nullptr && !e->outcome.pending});
}

void SlotsCore::ask(const Request& r, const StatusRequest&) {
  act(Reply{.to = r.from, .key = r.key, .outcome = Outcome{.ok = true}, .with_status = true});
}

// Nothing was done, so nothing is kept: the same key may be tried again.
void SlotsCore::refuse(const Request& r, std::string code, std::string message, std::string next) {
  act(Reply{.to = r.from,
            .key = r.key,
            .outcome = Outcome{
                .code = std::move(code), .message = std::move(message), .next = std::move(next)}});
}

void SlotsCore::begin_effect(const Request& r, EffectKind kind) {
  state_.effects.push_back({.key = r.key, .kind = kind, .outcome = Outcome{.pending = true}});
  waiting_.emplace(r.key, r.from);
  dirty_ = true;
}

void SlotsCore::end_effect(const std::string& key, EffectKind kind, Outcome outcome) {
  auto* e = effect(key);
  if (e == nullptr) {
    state_.effects.push_back({.key = key, .kind = kind});
    e = &state_.effects.back();
  }
  e->outcome = std::move(outcome);
  dirty_ = true;
  const auto [first, last] = waiting_.equal_range(key);
  for (auto at = first; at != last; ++at)
    act(Reply{.to = at->second, .key = key, .outcome = e->outcome});
  waiting_.erase(key);
}

void SlotsCore::end_effects(EffectKind kind, const Outcome& outcome) {
  std::vector<std::string> keys;
  for (const auto& e : state_.effects)
    if (e.kind == kind && e.outcome.pending) keys.push_back(e.key);
  for (const auto& key : keys) end_effect(key, kind, outcome);
}

Effect* SlotsCore::effect(std::string_view key) {
  const auto at = std::ranges::find(state_.effects, key, &Effect::key);
  return at == state_.effects.end() ? nullptr : &*at;
}

}  // namespace everspan::supervisor
