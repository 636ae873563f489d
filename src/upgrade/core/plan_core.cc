#include "upgrade/core/plan_core.h"

#include <algorithm>

#include "upgrade/core/limits.h"
#include "upgrade/core/plan_rules.h"

namespace everspan::upgrade {
namespace {

// One call of next(): the state, the time, and what goes out.
class Machine {
 public:
  Machine(PlanState state, Clocks clocks)
      : state_(std::move(state)), s_(state_.stored), now_(state_.now), at_(clocks) {}

  NextResult take(const Event& event) {
    std::visit([&](const auto& e) { on(e); }, event);
    return {std::move(state_), std::move(out_)};
  }

 private:
  // ---- events
  void on(const Begun& e) {
    now_ = {};
    switch (s_.status) {
      case Status::running:
        return go_on(e.seen);
      case Status::paused:
        if (past_switch() && is_from(e.seen)) went_back(e.seen);
        return;
      case Status::going_back:
        return go_on_back(e.seen);
      case Status::upgraded:
      case Status::rolled_back:
      case Status::parked:
      case Status::failed:
        return;
    }
  }

  void on(const Saved&) {
    if (now_.saves_pending == 0) return;
    if (--now_.saves_pending > 0) return;
    out_.insert(out_.end(), now_.after_save.begin(), now_.after_save.end());
    now_.after_save.clear();
  }

  void on(const Answered& e) {
    if (e.key.empty() || e.key != now_.waiting_for || now_.saves_pending > 0) return;  // U6
    now_.waiting_for.clear();
    if (s_.status == Status::going_back) return undo_answered(e);
    if (s_.status != Status::running) return;
    if (!e.ok) return step_failed(e.code, e.message);
    switch (step().kind) {
      case StepKind::fetch:
      case StepKind::candidate:
      case StepKind::switch_over:
      case StepKind::finalise:
        now_.answered_ok = true;  // U3: now see whether it is so.
        out_.emplace_back(Observe{});
        return;
      default:
        return advance("");
    }
  }

  void on(const QueryAnswered& e) {
    if (e.key.empty() || e.key != now_.querying) return;
    now_.querying.clear();
    now_.deadline = Instant::max();
    // Asked only by the process of the old release, which base has made the writer again or left
    // so.
    if (!e.known) return send(step_key(), *action_of(step().kind));
    if (!e.ok) return step_failed(e.code, e.message);
    step().detail = "switched, then went back";
    go_back("went_back", "The new release was switched to and base went back by itself");
  }

  void on(const Observed& e) {
    if (now_.saves_pending > 0) return;
    if (s_.status == Status::going_back) return undo_observed(e.seen);
    if (s_.status != Status::running) return;
    if (now_.resuming) {
      now_.resuming = false;
      return go_on(e.seen);
    }
    if (past_switch() && is_from(e.seen)) return went_back(e.seen);
    if (now_.answered_ok) step_observed(e.seen);
  }

  void on(const Health& e) {
    if (s_.status != Status::running || now_.saves_pending > 0) return;
    const bool soaking = step().kind == StepKind::soak && step().state == StepState::intent;
    if (!soaking && !awaits_finalize(s_)) return;
    now_.sample_at = at_.instant + kSampleEvery;
    if (!e.healthy) {
      now_.soak_since = Instant::max();  // U4: without a break.
      now_.answered_ok = false;
      if (++now_.unhealthy_in_a_row < kUnhealthyMax) return;
      return go_back("unhealthy", "The new release is not healthy: " + e.why);
    }
    now_.unhealthy_in_a_row = 0;
    if (!soaking) return;
    if (now_.soak_since == Instant::max()) now_.soak_since = at_.instant;
    if (at_.instant - now_.soak_since < s_.plan.policy.soak) return;
    now_.answered_ok =
        true;  // U3: what is healthy may be the old release, which base went back to.
    out_.emplace_back(Observe{});
  }

  void on(const Asked& e) {
    if (!may_ask(s_, e.request)) return;
    switch (e.request) {
      case Request::pause:
        s_.pause_asked = true;
        if (awaits_finalize(s_)) return rest();
        return save();
      case Request::resume:
        s_.pause_asked = false;
        if (s_.status == Status::running) return save();  // Not at rest yet: takes the wish back.
        s_.status = s_.undo == Undo::none ? Status::running : Status::going_back;
        s_.why.clear();
        s_.why_code.clear();
        now_ = keep_pending();
        now_.resuming = true;
        return save_then({Observe{}});
      case Request::rollback:
        s_.rollback_asked = true;
        // While the switch is under way nobody knows yet which way back applies.
        if (step().kind == StepKind::switch_over && step().state == StepState::intent)
          return save();
        return go_back("asked", "A person asked to go back");
      case Request::finalize:
        s_.finalize_asked = true;
        if (s_.status == Status::running && awaits_start_of_pin()) return start_step();
        return save();
    }
  }

  void on(const TimePassed&) {
    if (now_.saves_pending > 0) return;
    if (due(now_.retry_at)) {
      if (s_.status == Status::going_back) return start_undo();
      if (s_.status == Status::running) return start_step();
    }
    if (due(now_.sample_at)) {
      out_.emplace_back(SampleHealth{});
      out_.emplace_back(Observe{});
    }
    if (due(now_.look_at)) out_.emplace_back(Observe{});
    if (!due(now_.deadline)) return;
    if (!now_.querying.empty()) {  // Base did not answer: ask again.
      now_.deadline = at_.instant + kSwitchTime;
      out_.emplace_back(Query{now_.querying});
      return;
    }
    now_.waiting_for.clear();
    if (s_.status == Status::going_back) return undo_again("timeout", "no answer in time");
    if (s_.status == Status::running) step_failed("timeout", "it took too long");
  }

  // ---- the way forward --------------------------------------------------------------------------
  void go_on(const Observation& seen) {
    if (step().kind == StepKind::unknown)
      return park("unknown_step",
                  "The step '" + step().kind_word + "' is not known to this release");
    if (!is_from(seen) && !is_to(seen))
      return park("unexpected_release",
                  "Neither the old nor the new release of the plan is active");
    if (step().kind == StepKind::switch_over && step().state == StepState::intent) {
      if (is_to(seen)) return advance("");
      now_.querying = step_key();
      now_.deadline = at_.instant + kSwitchTime;
      out_.emplace_back(Query{now_.querying});
      return;
    }
    if (past_switch()) {
      if (is_from(seen)) return went_back(seen);
    } else if (is_to(seen)) {
      return park("unexpected_release", "The new release became active outside of the plan");
    } else if (needs_candidate(step()) && seen.candidate_digest != s_.plan.to.digest) {
      return candidate_lost();
    }
    if (step().state == StepState::intent) return repeat_step();
    begin_or_rest();
  }

  // The intent was stored; nobody knows whether the effect happened: the same key again (U2).
  void repeat_step() {
    arm();
    if (step().kind == StepKind::soak) return sample();
    send(step_key(), *action_of(step().kind));
  }

  void start_step() {
    Step& st = step();
    if (st.kind == StepKind::unknown)
      return park("unknown_step", "The step '" + st.kind_word + "' is not known to this release");
    st.state = StepState::intent;
    st.attempt += 1;
    if (st.attempt == 1) st.started_at = at_.wall;
    st.detail.clear();
    arm();
    if (st.kind == StepKind::soak) {
      now_.deadline = Instant::max();
      return save_then({SampleHealth{}});
    }
    now_.waiting_for = step_key();
    save_then({Do{*action_of(st.kind), step_key()}});
  }

  void arm() {
    now_.answered_ok = false;
    now_.retry_at = now_.look_at = now_.sample_at = Instant::max();
    now_.ready_since = now_.soak_since = Instant::max();
    now_.unhealthy_in_a_row = 0;
    now_.deadline = step().kind == StepKind::soak
                        ? Instant::max()
                        : at_.instant + time_for(step().kind, s_.plan.policy);
  }

  void step_observed(const Observation& seen) {
    const std::string& to = s_.plan.to.digest;
    switch (step().kind) {
      case StepKind::fetch:
        if (std::ranges::find(seen.staged, to) != seen.staged.end()) return advance("");
        return step_failed("not_staged", "Base does not have the release after staging it");
      case StepKind::candidate:
        return candidate_observed(seen);
      case StepKind::switch_over:
        if (is_to(seen)) return advance("");
        now_.look_at = at_.instant + kLookEvery;  // Until the deadline.
        return;
      case StepKind::soak:
        if (is_to(seen)) return advance("healthy throughout");
        return;
      case StepKind::finalise:
        if (seen.feature_level >= s_.plan.to.feature_level) return advance("");
        return step_failed("not_raised", "The feature level is still below the new release's");
      default:
        return;
    }
  }

  void candidate_observed(const Observation& seen) {
    if (seen.candidate_digest != s_.plan.to.digest)
      return step_failed("candidate_ended", "The new release ended while it was started");
    if (!seen.candidate_ready) {
      now_.ready_since = Instant::max();
    } else if (now_.ready_since == Instant::max()) {
      now_.ready_since = at_.instant;
    } else if (at_.instant - now_.ready_since >= s_.plan.policy.settle) {
      return advance("ready");
    }
    now_.look_at = at_.instant + kLookEvery;
  }

  void candidate_lost() {
    for (Step& st : s_.plan.steps) {
      if (st.kind != StepKind::candidate) continue;
      if (st.attempt >= kCandidateAttemptsMax)
        return go_back("candidate_ended", "The new release ended before the switch");
      s_.cursor = index_of(s_.plan, StepKind::candidate);
      for (std::size_t i = s_.cursor; i < s_.plan.steps.size(); ++i)
        s_.plan.steps[i].state = StepState::waiting;
    }
    start_step();
  }

  void advance(std::string detail) {
    Step& st = step();
    st.state = StepState::done;
    st.ended_at = at_.wall;
    st.detail = std::move(detail);
    now_ = keep_pending();
    s_.cursor += 1;
    if (s_.cursor >= s_.plan.steps.size()) return end(Status::upgraded, "", "");
    begin_or_rest();
  }

  void begin_or_rest() {
    if (s_.rollback_asked && may_ask(s_, Request::rollback))
      return go_back("asked", "A person asked to go back");
    const bool rests = s_.cursor > 0 && may_rest_after(s_.plan.steps[s_.cursor - 1].kind);
    if (s_.pause_asked && (rests || s_.cursor == 0)) return rest();
    if (awaits_start_of_pin() && !s_.plan.policy.auto_finalize && !s_.finalize_asked)
      return save_then({SampleHealth{}});  // May stay for days; health is still watched.
    start_step();
  }

  void rest() {
    s_.status = Status::paused;
    s_.pause_asked = false;
    now_ = keep_pending();
    save();
  }

  void step_failed(const std::string& code, const std::string& message) {
    Step& st = step();
    now_ = keep_pending();
    if (st.attempt < attempts_for(st.kind) && worth_another_try(st.kind, code)) {
      st.detail = code + ": " + message;
      now_.retry_at = at_.instant + std::min<Duration>(kRetryDelay * st.attempt, kRetryDelayMax);
      return save();
    }
    st.detail = code + ": " + message;
    if (no_way_back()) return park(code, "'" + st.id + "' does not succeed: " + message);
    go_back(code, message);
  }

  // ---- the way back -----------------------------------------------------------------------------
  void go_back(const std::string& code, const std::string& why) {
    s_.why_code = code;
    s_.why = why;
    Step& st = step();
    if (st.state == StepState::intent) {
      st.state = StepState::failed;
      st.ended_at = at_.wall;
      if (st.detail.empty()) st.detail = why;
    }
    now_ = keep_pending();
    if (past_switch()) {
      s_.undo = Undo::back;
    } else if (candidate_begun(s_)) {
      s_.undo = Undo::stop_candidate;
    } else {
      return end(code == "asked" ? Status::rolled_back : Status::failed, code, why);
    }
    s_.status = Status::going_back;
    s_.undo_attempt = 0;
    start_undo();
  }

  // Base did it already; what is left is to stop the new release if it stands by as candidate.
  void went_back(const Observation& seen) {
    if (no_way_back() && step().kind == StepKind::finalise)
      return park("unexpected_release", "The old release is active after the new one was pinned");
    s_.why_code = "went_back";
    s_.why = seen.last_switch.empty() ? "Base went back to the old release" : seen.last_switch;
    Step& st = step();
    if (st.state == StepState::intent) {
      st.state = StepState::failed;
      st.ended_at = at_.wall;
      st.detail = s_.why;
    }
    rolled_back_or_stop(seen);
  }

  void rolled_back_or_stop(const Observation& seen) {
    now_ = keep_pending();
    if (seen.candidate_digest != s_.plan.to.digest)
      return end(Status::rolled_back, s_.why_code, s_.why);
    if (s_.status != Status::going_back || s_.undo != Undo::stop_candidate) s_.undo_attempt = 0;
    s_.status = Status::going_back;
    s_.undo = Undo::stop_candidate;
    start_undo();
  }

  void go_on_back(const Observation& seen) {
    if (!is_from(seen) && !is_to(seen))
      return park("unexpected_release",
                  "Neither the old nor the new release of the plan is active");
    if (is_from(seen) && s_.undo == Undo::back) return rolled_back_or_stop(seen);
    // A candidate that is not seen may still be on its way to base: it is stopped all the same.
    if (is_to(seen) && s_.undo != Undo::back) return undo_switch();  // It came through.
    now_.deadline = at_.instant + kUndoTime;
    send(undo_key(), undo_action());
  }

  void undo_switch() {
    s_.undo = Undo::back;
    s_.undo_attempt = 0;
    start_undo();
  }
  void start_undo() {
    s_.undo_attempt += 1;
    now_.answered_ok = false;
    now_.retry_at = now_.look_at = Instant::max();
    now_.deadline = at_.instant + kUndoTime;
    now_.waiting_for = undo_key();
    save_then({Do{undo_action(), undo_key()}});
  }

  void undo_answered(const Answered& e) {
    if (!e.ok && s_.undo == Undo::back) return undo_again(e.code, e.message);
    // Stopping a candidate that is gone may be refused; what is seen decides.
    now_.answered_ok = true;
    out_.emplace_back(Observe{});
  }

  void undo_observed(const Observation& seen) {
    if (now_.resuming) {
      now_.resuming = false;
      return go_on_back(seen);
    }
    if (!now_.answered_ok) return;
    if (is_to(seen) && s_.undo != Undo::back) return undo_switch();  // Its answer was lost.
    if (is_from(seen) && (s_.undo == Undo::back || seen.candidate_digest != s_.plan.to.digest))
      return rolled_back_or_stop(seen);
    now_.look_at = at_.instant + kLookEvery;  // Until the deadline, then once more.
  }
  void undo_again(const std::string& code, const std::string& message) {
    now_ = keep_pending();
    if (s_.undo_attempt >= kUndoAttemptsMax)
      return end(Status::failed, "cannot_go_back",
                 s_.why + "; going back failed: " + code + ": " + message);
    now_.retry_at = at_.instant + std::min<Duration>(kRetryDelay * s_.undo_attempt, kRetryDelayMax);
  }
  // ---- ends -------------------------------------------------------------------------------------
  void end(Status status, const std::string& code, const std::string& why) {
    if (status == Status::rolled_back)
      for (Step& st : s_.plan.steps)
        if (st.state == StepState::done &&
            (st.kind == StepKind::candidate || st.kind == StepKind::probe ||
             st.kind == StepKind::switch_over || st.kind == StepKind::soak))
          st.state = StepState::undone;
    s_.status = status;
    s_.why_code = code;
    s_.why = why;
    s_.undo = Undo::none;
    s_.ended_at = at_.wall;
    now_ = keep_pending();
    save();
  }
  void park(const std::string& code, const std::string& why) {
    s_.status = Status::parked;
    s_.why_code = code;
    s_.why = why;
    now_ = keep_pending();
    save();
  }
  // ---- small words
  void save() { save_then({}); }
  void save_then(std::vector<Effect> effects) {
    now_.saves_pending += 1;
    now_.after_save.insert(now_.after_save.end(), effects.begin(), effects.end());
    out_.emplace_back(Save{});
  }
  void send(const std::string& key, Action action) {
    now_.waiting_for = key;
    if (now_.deadline == Instant::max())
      now_.deadline = at_.instant + time_for(step().kind, s_.plan.policy);
    out_.emplace_back(Do{action, key});
  }
  void sample() { out_.emplace_back(SampleHealth{}); }
  // Forgets the step under way but not a save: its answer still comes.
  [[nodiscard]] PlanState::Volatile keep_pending() const {
    PlanState::Volatile fresh;
    fresh.saves_pending = now_.saves_pending;
    return fresh;
  }
  bool due(Instant& when) {
    if (when == Instant::max() || at_.instant < when) return false;
    when = Instant::max();
    return true;
  }
  [[nodiscard]] Step& step() { return s_.plan.steps[s_.cursor]; }
  [[nodiscard]] const Step& step() const { return s_.plan.steps[s_.cursor]; }
  [[nodiscard]] std::string step_key() const { return effect_key(s_, step().id, step().attempt); }
  [[nodiscard]] std::string undo_key() const {
    return effect_key(s_, s_.undo == Undo::back ? "undo-back" : "undo-candidate", s_.undo_attempt);
  }
  [[nodiscard]] Action undo_action() const {
    return s_.undo == Undo::back ? Action::back : Action::stop_candidate;
  }
  [[nodiscard]] bool past_switch() const {
    return s_.cursor > index_of(s_.plan, StepKind::switch_over);
  }
  [[nodiscard]] bool awaits_start_of_pin() const {
    return step().kind == StepKind::pin && step().state == StepState::waiting;
  }
  [[nodiscard]] bool no_way_back() const { return !may_ask(s_, Request::rollback); }
  [[nodiscard]] bool is_from(const Observation& seen) const {
    return seen.active_digest == s_.plan.from.digest;
  }
  [[nodiscard]] bool is_to(const Observation& seen) const {
    return seen.active_digest == s_.plan.to.digest;
  }
  PlanState state_;
  PlanState::Stored& s_;
  PlanState::Volatile& now_;
  Clocks at_;
  std::vector<Effect> out_;
};

}  // namespace

NextResult next(PlanState state, const Event& event, Clocks clocks) {
  if (ended(state.stored) && !std::holds_alternative<Saved>(event)) return {std::move(state), {}};
  if (state.stored.cursor >= state.stored.plan.steps.size() && !ended(state.stored))
    return {std::move(state), {}};
  return Machine(std::move(state), clocks).take(event);
}

}  // namespace everspan::upgrade
