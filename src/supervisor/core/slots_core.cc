#include "supervisor/core/slots_core.h"

#include <algorithm>
#include <utility>

#include "common/check.h"

namespace everspan::supervisor {

std::string_view to_string(Role role) {
  switch (role) {
    case Role::active:
      return "active";
    case Role::candidate:
      return "candidate";
    case Role::fallback:
      return "fallback";
    case Role::retiring:
      return "retiring";
  }
  return "unknown";
}

std::string_view to_string(EffectKind kind) {
  switch (kind) {
    case EffectKind::self_test:
      return "self_test";
    case EffectKind::stage:
      return "stage";
    case EffectKind::start_candidate:
      return "start_candidate";
    case EffectKind::stop_candidate:
      return "stop_candidate";
    case EffectKind::switch_over:
      return "switch";
    case EffectKind::good:
      return "good";
    case EffectKind::back:
      return "back";
  }
  return "unknown";
}

SlotsCore::SlotsCore(State state, Limits limits, Instant now)
    : state_(std::move(state)), limits_(limits), now_(now), wake_at_(now) {
  for (const auto& slot : state_.slots) {
    if (!slot.process) continue;
    Live live;
    live.started_at = now;
    live.heard_at = now;
    if (slot.role == Role::candidate && !slot.ready) live.ready_by = now + limits_.ready_wait;
    if (slot.role == Role::retiring) {
      live.exit_by = now + limits_.retire_wait;
      live.retired_at = now;
    }
    live_[slot.instance] = live;
  }
  // Jobs died with the base that ran them. Doing them again is harmless, so the retry may.
  if (std::erase_if(state_.effects, [](const Effect& e) {
        return (e.kind == EffectKind::stage || e.kind == EffectKind::self_test) &&
               e.outcome.pending;
      }) > 0)
    dirty_ = true;
}

std::vector<Action> SlotsCore::handle(const Event& event, Instant now) {
  now_ = std::max(now_, now);
  forgive_lost_time();
  std::visit([this](const auto& e) { on(e); }, event);
  settle();
  while (state_.effects.size() > limits_.effects_max) state_.effects.erase(state_.effects.begin());
  auto actions = std::exchange(actions_, {});
  if (std::exchange(dirty_, false)) actions.insert(actions.begin(), Persist{});  // S3
  plan_wake();
  return actions;
}

void SlotsCore::on(const FirstRelease& event) {
  if (!state_.slots.empty()) return;
  state_.slots.push_back({.role = Role::active, .digest = event.digest});
  dirty_ = true;
}

void SlotsCore::on(const ReleaseKnown& event) {
  std::erase_if(releases_, [&](const Release& r) { return r.digest == event.release.digest; });
  releases_.push_back(event.release);
}

void SlotsCore::on(const Started& event) {
  auto* slot = slot_of(event.instance);
  auto* live = live_of(event.instance);
  check(slot != nullptr && live != nullptr, "Started is for an instance that was asked for");
  slot->process = event.process;
  dirty_ = true;
  live->connected = true;
  live->heard_at = now_;
  // Generation 0: the right to write comes with Activate only.
  act(SendWelcome{.instance = event.instance, .role = slot->role, .generation = 0});
}

void SlotsCore::on(const StartFailed& event) {
  on(Exited{.instance = event.instance, .how = "could not be started: " + event.why});
}

void SlotsCore::on(const Returned& event) {
  auto* slot = slot_of(event.instance);
  auto* live = live_of(event.instance);
  if (slot == nullptr || live == nullptr || live->kill_sent) return;
  live->connected = true;
  live->healthy = true;
  live->heard_at = now_;
  live->says_linked = event.linked;
  for (const auto& other : state_.slots) {
    if (other.instance == event.instance || !connected(other.instance)) continue;
    if (!event.linked || !live_of(other.instance)->says_linked) continue;
    linked_ = {std::min(event.instance, other.instance), std::max(event.instance, other.instance)};
  }
  const bool holds = state_.holder == event.instance;
  act(SendWelcome{
      .instance = event.instance, .role = slot->role, .generation = holds ? state_.generation : 0});
  if (slot->role == Role::retiring) act(SendRetire{.instance = event.instance, .why = "retired"});
  // S7: it may have released to the base that died; a new grant is right in both cases.
  if (holds && slot->role == Role::active && !stopping_) grant(*slot);
}

void SlotsCore::on(const Disconnected& event) {
  auto* live = live_of(event.instance);
  if (live == nullptr || !live->connected) return;
  live->connected = false;  // Silence or Exited decides; it may also dial again.
  if (linked_.first == event.instance || linked_.second == event.instance) linked_ = {0, 0};
  // A hand-over needs both by wire: its answer could be lost with the socket.
  if (handover_ && handover_->from == event.instance && state_.holder == event.instance) {
    kill(event.instance, "hung up in a hand-over");
  } else if (handover_ && handover_->to == event.instance) {
    kill(event.instance, "hung up in a hand-over");
  }
}

void SlotsCore::on(const Ready& event) {
  auto* slot = slot_of(event.instance);
  auto* live = live_of(event.instance);
  if (slot == nullptr || live == nullptr) return;
  live->heard_at = now_;
  live->ready_by.reset();
  if (!slot->ready) {
    slot->ready = true;
    dirty_ = true;
  }
  if (slot->role == Role::candidate)
    end_effects(EffectKind::start_candidate, Outcome{.ok = true, .digest = slot->digest});
}

void SlotsCore::on(const Heartbeat& event) {
  auto* slot = slot_of(event.instance);
  auto* live = live_of(event.instance);
  if (slot == nullptr || live == nullptr) return;
  live->heard_at = now_;
  live->healthy = event.healthy;
  // Killed, it would break each session that has not moved yet.
  if (event.ends_left > 0 && live->exit_by && live->retired_at && !stopping_)
    live->exit_by = std::min(now_ + limits_.retire_wait, *live->retired_at + limits_.retire_most);
  if (event.healthy || !slot->ready) return;
  const std::string why = "unhealthy: " + event.why;
  if (slot->role == Role::candidate) kill(event.instance, why);                          // S5
  if (slot->role == Role::active && slot_of(Role::fallback)) kill(event.instance, why);  // S6
}

void SlotsCore::on(const Activated& event) {
  auto* slot = slot_of(event.instance);
  auto* live = live_of(event.instance);
  if (slot == nullptr || live == nullptr) return;
  live->heard_at = now_;
  if (state_.holder != event.instance || state_.generation != event.generation) return;
  live->activated = true;
  live->activate_by.reset();
  if (state_.switch_key.empty()) return;
  const auto key = std::exchange(state_.switch_key, {});
  dirty_ = true;
  if (auto* e = effect(key); e != nullptr && e->outcome.pending) {
    if (e->kind == EffectKind::switch_over) state_.last_switch = "switched";
    end_effect(key, e->kind, Outcome{.ok = true, .digest = slot->digest});
  }
}

void SlotsCore::on(const NotActivated& event) {
  if (state_.holder != event.instance || state_.generation != event.generation) return;
  kill(event.instance, "did not take the writer: " + event.why);
}

void SlotsCore::on(const Released& event) {
  // S1: only the holder's word about its own generation counts.
  if (state_.holder != event.instance || state_.generation != event.generation) return;
  if (auto* live = live_of(event.instance)) {
    live->heard_at = now_;
    live->activated = false;
    live->activate_by.reset();
  }
  state_.holder = 0;
  dirty_ = true;
  if (handover_ && handover_->from == event.instance) finish_handover();
}

void SlotsCore::on(const Exited& event) {
  auto* slot = slot_of(event.instance);
  if (slot == nullptr) return;
  auto* live = live_of(event.instance);
  const bool killed = live != nullptr && live->kill_sent;
  const std::string how = killed ? live->kill_why : event.how;
  const Duration ran = live != nullptr ? now_ - live->started_at : Duration{};
  const auto pid = slot->process ? slot->process->pid : 0;
  const Role role = slot->role;
  act(Note{.event = "base.exited",
           .text = std::string(to_string(role)) + " pid " + std::to_string(pid) + ": " + how});
  slot->process.reset();
  slot->ready = false;
  live_.erase(event.instance);
  if (state_.holder == event.instance) state_.holder = 0;
  if (linked_.first == event.instance || linked_.second == event.instance) linked_ = {0, 0};
  dirty_ = true;
  for (const auto& other : state_.slots)
    if (connected(other.instance))
      act(SendPeerGone{.instance = other.instance, .pid = pid, .how = how});
  if (role == Role::retiring) {
    erase(event.instance);
    if (!std::ranges::any_of(state_.slots, [](const Slot& s) { return s.role == Role::retiring; }))
      end_effects(EffectKind::stop_candidate, Outcome{.ok = true});
    return;
  }
  if (stopping_) return;
  const bool is_from = handover_ && handover_->from == event.instance;
  if (role == Role::active && is_from) {
    restart_later(handover_->back ? Role::candidate : Role::fallback, ran);
    return finish_handover();
  }
  if (role == Role::active && slot_of(Role::fallback) && !event.blameless) return go_back(how);
  if (handover_ && handover_->to == event.instance)
    abort_handover("gone", "The process to switch to ended: " + how);
  if (role == Role::candidate) {
    erase(event.instance);
    return end_effects(
        EffectKind::start_candidate,
        Outcome{.code = "candidate_failed", .message = "The candidate ended: " + how});
  }
  restart_later(role, event.blameless ? limits_.well_after : ran);
}

void SlotsCore::on(const StopAll&) {
  if (std::exchange(stopping_, true)) return;
  if (handover_) abort_handover("stopping", "The node is being stopped");
  for (const auto& slot : state_.slots) {
    auto* live = live_of(slot.instance);
    if (live == nullptr) continue;
    live->exit_by = now_ + limits_.retire_wait;
    if (live->connected)
      act(SendRetire{.instance = slot.instance, .why = "the node is being stopped"});
    else
      kill(slot.instance, "the node is being stopped");
  }
}

const Slot* SlotsCore::find(InstanceId instance) const {
  const auto at = std::ranges::find(state_.slots, instance, &Slot::instance);
  return instance == 0 || at == state_.slots.end() ? nullptr : &*at;
}
const Slot* SlotsCore::find(Role role) const {
  const auto at = std::ranges::find(state_.slots, role, &Slot::role);
  return at == state_.slots.end() ? nullptr : &*at;
}
Slot* SlotsCore::slot_of(InstanceId instance) {
  return const_cast<Slot*>(find(instance));
}
Slot* SlotsCore::slot_of(Role role) {
  return const_cast<Slot*>(find(role));
}
SlotsCore::Live* SlotsCore::live_of(InstanceId instance) {
  const auto at = live_.find(instance);
  return at == live_.end() ? nullptr : &at->second;
}
bool SlotsCore::connected(InstanceId instance) const {
  const auto at = live_.find(instance);
  return at != live_.end() && at->second.connected && !at->second.kill_sent;
}
bool SlotsCore::serving() const {
  const auto* slot = find(Role::active);
  if (slot == nullptr || state_.holder != slot->instance) return false;
  const auto at = live_.find(slot->instance);
  return at != live_.end() && at->second.activated;
}
void SlotsCore::erase(InstanceId instance) {
  live_.erase(instance);
  std::erase_if(state_.slots, [&](const Slot& s) { return s.instance == instance; });
  dirty_ = true;
}

}  // namespace everspan::supervisor
