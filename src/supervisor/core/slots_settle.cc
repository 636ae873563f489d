// What follows from where things stand: starts, grants, deadlines, links.
#include <algorithm>
#include <utility>

#include "common/check.h"
#include "supervisor/core/slots_core.h"

namespace everspan::supervisor {
namespace {
// Base was not run in time by more than this: the difference is nobody's silence (S8).
constexpr Duration kLateBy = std::chrono::milliseconds(250);
constexpr Duration kWakeBusy = std::chrono::milliseconds(50);
constexpr Duration kWakeIdle = std::chrono::milliseconds(500);
}  // namespace

void SlotsCore::settle() {
  if (!stopping_) settle_starts();
  for (const auto& slot : std::vector<Slot>(state_.slots))
    if (auto* live = live_of(slot.instance)) settle_times(slot, *live);
  if (handover_) settle_handover();
  if (stopping_) {
    if (live_.empty()) act(Stopped{});
    return;
  }
  settle_grant();
  settle_links();
}

void SlotsCore::settle_starts() {
  for (auto& slot : state_.slots) {
    if (slot.process || live_.contains(slot.instance) || slot.role == Role::retiring) continue;
    if (now_ < restart_[slot.role].at) continue;
    slot.instance = state_.next_instance++;
    slot.ready = false;
    dirty_ = true;
    Live live;
    live.started_at = now_;
    live.heard_at = now_;
    if (slot.role == Role::candidate) live.ready_by = now_ + limits_.ready_wait;
    live_[slot.instance] = live;
    act(StartProcess{.instance = slot.instance, .digest = slot.digest});
  }
}

void SlotsCore::settle_grant() {
  auto* slot = slot_of(Role::active);
  if (slot == nullptr || state_.holder != 0 || handover_) return;
  if (slot->ready && connected(slot->instance)) grant(*slot);
}

void SlotsCore::grant(Slot& slot) {
  check(state_.holder == 0 || state_.holder == slot.instance, "S1: one holder");
  auto* live = live_of(slot.instance);
  check(live != nullptr, "only a running process is granted");
  state_.generation += 1;  // S2
  state_.holder = slot.instance;
  dirty_ = true;
  live->activated = false;
  // Alone, another start would be no faster; one that hangs is noticed by its silence.
  const bool alone = slot_of(Role::fallback) == nullptr;
  live->activate_by = now_ + (alone ? limits_.ready_wait : limits_.activate_wait);
  act(SendActivate{.instance = slot.instance, .generation = state_.generation});
}

void SlotsCore::settle_times(const Slot& slot, Live& live) {
  if (live.kill_sent) return;
  const auto id = slot.instance;
  if (live.exit_by && now_ >= *live.exit_by) return kill(id, "did not end when retired");
  if (live.ready_by && now_ >= *live.ready_by) return kill(id, "was not ready in time");
  if (live.activate_by && now_ >= *live.activate_by)
    return kill(id, "did not start to serve in time");
  Duration limit = limits_.silence;
  if (slot.role == Role::active && slot_of(Role::fallback) != nullptr)
    limit = std::chrono::milliseconds(state_.watch_silence_ms);
  if (handover_ && handover_->from == id) limit = std::min(limit, limits_.handover_silence);
  if (!live.connected) limit = std::max(limit, limits_.return_wait);
  if (slot.process && now_ - live.heard_at >= limit)
    kill(id,
         "silent for " +
             std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(limit).count()) +
             " ms");
}

void SlotsCore::settle_handover() {
  if (now_ < handover_->deadline) return;
  // Heard, or the silence check had killed it: it is alive and only cannot finish. Nothing is lost
  // by going on as before.
  const auto* from = live_of(handover_->from);
  if (from != nullptr && !from->kill_sent)
    abort_handover("not_released", "The serving process did not finish its work in time");
}

void SlotsCore::settle_links() {
  const auto* active = slot_of(Role::active);
  const auto* other = slot_of(Role::candidate);
  if (other == nullptr) other = slot_of(Role::fallback);
  if (active == nullptr || other == nullptr) return;
  if (!connected(active->instance) || !connected(other->instance)) return;
  const std::pair want{std::min(active->instance, other->instance),
                       std::max(active->instance, other->instance)};
  if (linked_ == want) return;
  linked_ = want;
  act(LinkPeers{.one = active->instance, .other = other->instance});
}

// The old writer released or is dead: the other one takes over.
void SlotsCore::finish_handover() {
  if (!connected(handover_->to) && connected(handover_->from))
    return abort_handover("gone", "The process to switch to is being ended");
  const auto h = *std::exchange(handover_, std::nullopt);
  check(state_.holder == 0, "S1: the old writer let go");
  auto* from = slot_of(h.from);
  auto* to = slot_of(h.to);
  check(to != nullptr, "who takes over has a slot");
  to->role = Role::active;
  state_.switch_key = h.key;
  if (auto* e = effect(h.key); e == nullptr)
    state_.effects.push_back({.key = h.key,
                              .kind = h.back ? EffectKind::back : EffectKind::switch_over,
                              .outcome = Outcome{.pending = true}});
  if (from != nullptr) from->role = h.back ? Role::candidate : Role::fallback;
  state_.watch_silence_ms = h.back ? 0 : h.silence_ms;
  if (h.back) {
    state_.last_switch = "went back: " + h.why;
    if (from != nullptr && !from->process) erase(h.from);
  }
  dirty_ = true;
  if (connected(h.from))
    act(SendRole{.instance = h.from,
                 .role = h.back ? Role::candidate : Role::fallback,
                 .generation = state_.generation,
                 .why = h.back ? "went back" : "switched"});
  to = slot_of(h.to);
  if (connected(h.to)) grant(*to);  // Else as soon as it is ready (settle_grant).
}

// Goes on as before. A writer that had been asked to let go, or did, needs a new grant to be sure.
void SlotsCore::abort_handover(std::string code, std::string message) {
  const auto h = *std::exchange(handover_, std::nullopt);
  end_effect(h.key, h.back ? EffectKind::back : EffectKind::switch_over,
             Outcome{.code = std::move(code), .message = std::move(message)});
  auto* from = slot_of(h.from);
  if (from == nullptr || !connected(h.from) || stopping_) return;
  if (state_.holder == 0 || state_.holder == h.from) grant(*from);
}

// S6. The active one is dead.
void SlotsCore::go_back(const std::string& why) {
  auto* failed = slot_of(Role::active);
  check(failed != nullptr && state_.holder == 0 && !handover_, "S1: the failed one is dead");
  erase(failed->instance);
  auto* fallback = slot_of(Role::fallback);
  fallback->role = Role::active;
  state_.watch_silence_ms = 0;
  state_.last_switch = "went back: " + why;
  restart_[Role::active] = restart_[Role::fallback];
  if (!state_.switch_key.empty()) {
    const auto key = std::exchange(state_.switch_key, {});
    if (auto* e = effect(key); e != nullptr)
      end_effect(key, e->kind,
                 Outcome{.code = "went_back", .message = "The new release failed: " + why});
  }
  act(Note{.event = "base.went_back", .text = why});
}

void SlotsCore::kill(InstanceId instance, std::string why) {
  auto* live = live_of(instance);
  if (live == nullptr || std::exchange(live->kill_sent, true)) return;
  live->kill_why = why;
  act(Kill{.instance = instance, .why = std::move(why)});
}

void SlotsCore::retire(Slot& slot, std::string why) {
  slot.role = Role::retiring;
  dirty_ = true;
  auto* live = live_of(slot.instance);
  if (live == nullptr) return;
  live->ready_by.reset();
  live->exit_by = now_ + limits_.retire_wait;
  live->retired_at = now_;
  if (live->connected) act(SendRetire{.instance = slot.instance, .why = std::move(why)});
}

void SlotsCore::restart_later(Role role, Duration ran) {
  auto& restart = restart_[role];
  if (ran >= limits_.well_after) restart.failures = 0;
  Duration wait = limits_.restart_first;
  for (int i = 0; i < restart.failures && wait < limits_.restart_most; ++i) wait *= 2;
  restart.failures += 1;
  restart.at = now_ + std::min(wait, limits_.restart_most);
}

void SlotsCore::forgive_lost_time() {
  if (now_ <= wake_at_ + kLateBy) return;
  const Duration lost = now_ - wake_at_;
  const auto later = [&](std::optional<Instant>& at) {
    if (at) *at += lost;
  };
  for (auto& [id, live] : live_) {
    live.heard_at = std::min(now_, live.heard_at + lost);
    later(live.activate_by);
    later(live.ready_by);
    later(live.exit_by);
  }
  if (handover_) handover_->deadline += lost;
}

void SlotsCore::plan_wake() {
  bool busy = stopping_ || handover_ || state_.slots.size() > 1;
  for (const auto& slot : state_.slots) busy = busy || !slot.process || !slot.ready;
  wake_at_ = now_ + (busy ? kWakeBusy : kWakeIdle);
}

}  // namespace everspan::supervisor
