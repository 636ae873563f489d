#include "upgrade/core/site_plan.h"

#include <algorithm>

#include "upgrade/core/limits.h"
#include "upgrade/core/plan_rules.h"

namespace everspan::upgrade {
namespace {

constexpr std::uint32_t kHandOverAttemptsMax = 10;
constexpr Duration kHandOverTime = 40s;

bool soaked(const PlanState::Stored& part) {
  return part.status == Status::upgraded || upgrade::awaits_finalize(part);
}
bool untouched(const PlanState::Stored& part) {
  return part.cursor == 0 && part.plan.steps.front().attempt == 0;
}
bool pinned(const PlanState::Stored& part) {
  return !upgrade::may_ask(part, Request::rollback);
}

class Machine {
 public:
  Machine(SitePlan plan, Clocks clocks)
      : plan_(std::move(plan)), s_(plan_.stored), now_(plan_.now), at_(clocks) {}

  SiteNext take(const SiteEvent& event) {
    std::visit([&](const auto& e) { on(e); }, event);
    if (!upgrade::ended(s_)) drive();
    return {std::move(plan_), std::move(out_)};
  }

 private:
  // ---- events
  void on(const DriverBegan&) {
    now_ = {};
    now_.parts.resize(s_.parts.size());
    now_.begun.assign(s_.parts.size(), false);
    now_.looked_for.assign(s_.parts.size(), false);
  }
  void on(const Saved&) {
    if (now_.saves.empty()) return;
    const int whose = now_.saves.front();
    now_.saves.pop_front();
    if (whose >= 0) return feed(static_cast<std::size_t>(whose), Saved{});
    if (std::ranges::find(now_.saves, -1) != now_.saves.end()) return;
    out_.insert(out_.end(), now_.after_save.begin(), now_.after_save.end());
    now_.after_save.clear();
  }
  void on(const Answered& e) {
    if (!e.key.empty() && e.key == now_.waiting_for) return handed_over(e);
    for (std::size_t i = 0; i < s_.parts.size(); ++i)
      if (now_.begun[i] && now_.parts[i].now.waiting_for == e.key) return feed(i, e);
  }
  void on(const QueryAnswered& e) {
    for (std::size_t i = 0; i < s_.parts.size(); ++i)
      if (now_.begun[i] && now_.parts[i].now.querying == e.key) return feed(i, e);
  }
  void on(const NodeObserved& e) {
    for (std::size_t i = 0; i < s_.parts.size(); ++i) {
      if (s_.parts[i].plan.node != e.node) continue;
      if (now_.begun[i]) return feed(i, Observed{e.seen});
      if (!now_.looked_for[i]) return;
      now_.looked_for[i] = false;
      now_.begun[i] = true;
      feed(i, Begun{e.seen});
      // It rested when the plan did; the plan goes on.
      if (s_.parts[i].status == Status::paused && s_.status != Status::paused)
        feed(i, Asked{Request::resume});
      return;
    }
  }
  void on(const NodeHealth& e) {
    for (std::size_t i = 0; i < s_.parts.size(); ++i)
      if (s_.parts[i].plan.node == e.node && now_.begun[i]) return feed(i, e.health);
  }
  void on(const RolesObserved& e) {
    now_.looking = false;
    if (s_.status == Status::going_back) return back_roles(e.roles);
    if (s_.status != Status::running || !at_hand_over()) return;
    if (e.roles.primary == target()) {
      s_.hand_over = StepState::done;
      s_.hand_over_at = at_.wall;
      now_.waiting_for.clear();
      now_.deadline = now_.look_at = Instant::max();
      return save_then({});
    }
    if (now_.waiting_for.empty() && s_.hand_over == StepState::intent) {
      // Stored, and nobody knows whether it went out: the roles say that it did not happen.
      return begin_hand_over();
    }
    now_.look_at = at_.instant + kLookEvery;
  }
  void on(const Asked& e) {
    if (!upgrade::may_ask(s_, e.request)) return;
    switch (e.request) {
      case Request::pause:
        s_.pause_asked = true;
        break;
      case Request::resume:
        s_.pause_asked = false;
        if (s_.status == Status::paused || s_.status == Status::parked) {
          s_.status = going_back_before_rest() ? Status::going_back : Status::running;
          s_.why.clear();
          s_.why_code.clear();
        }
        for (std::size_t i = 0; i < s_.parts.size(); ++i)
          if (now_.begun[i]) feed(i, e);
        break;
      case Request::rollback:
        s_.rollback_asked = true;
        go_back("asked", "A person asked to go back");
        break;
      case Request::finalize:
        s_.finalize_asked = true;
        break;
    }
    save_then({});
    if (e.request == Request::pause)
      for (std::size_t i = 0; i < s_.parts.size(); ++i)
        if (now_.begun[i] && i == under_way()) feed(i, e);
  }
  void on(const TimePassed&) {
    for (std::size_t i = 0; i < s_.parts.size(); ++i)
      if (now_.begun[i] && upgrade::wake_at(now_.parts[i]) <= at_.instant) feed(i, TimePassed{});
    if (due(now_.look_at)) look();
    if (due(now_.deadline)) hand_over_failed("timeout", "The other node did not take over in time");
  }

  // ---- where the plan stands
  void drive() {
    if (s_.status == Status::paused || s_.status == Status::parked) return;
    begin_parts();
    if (!take_parts()) return;
    if (s_.status == Status::going_back) return drive_back();
    const std::size_t at = under_way();
    if (at < s_.parts.size()) return;  // Its own events move it.
    if (s_.hands_over && s_.hand_over != StepState::done && soaked(s_.parts.front())) {
      if (s_.pause_asked) return rest();
      if (s_.hand_over == StepState::waiting) return begin_hand_over();
      if (now_.waiting_for.empty() && !now_.looking && now_.look_at == Instant::max()) look();
      return;
    }
    if (std::ranges::all_of(s_.parts, soaked)) pin();
  }

  // The part whose steps run now; past the end: none.
  [[nodiscard]] std::size_t under_way() const {
    for (std::size_t i = 0; i < s_.parts.size(); ++i) {
      if (soaked(s_.parts[i])) continue;
      if (i > 0 && s_.hands_over && s_.hand_over != StepState::done) return s_.parts.size();
      return i;
    }
    return s_.parts.size();
  }
  [[nodiscard]] bool at_hand_over() const {
    return s_.hands_over && s_.hand_over != StepState::done && soaked(s_.parts.front());
  }
  [[nodiscard]] NodeId target() const { return s_.parts.front().plan.node; }

  // Each part that is under way, or that waits to be pinned, is watched by its own machine.
  void begin_parts() {
    for (std::size_t i = 0; i < s_.parts.size(); ++i) {
      if (now_.begun[i] || now_.looked_for[i] || upgrade::ended(s_.parts[i])) continue;
      const bool goes_back = s_.status == Status::going_back && !untouched(s_.parts[i]);
      if (!goes_back && i != under_way() && !soaked(s_.parts[i])) continue;
      if (s_.status != Status::going_back && i == under_way() && s_.pause_asked &&
          untouched(s_.parts[i]))
        return rest();
      now_.looked_for[i] = true;
      out_.emplace_back(NodeObserve{s_.parts[i].plan.node});
    }
  }

  // What the parts came to. False: the plan rests or has ended.
  bool take_parts() {
    for (std::size_t i = 0; i < s_.parts.size(); ++i) {
      const PlanState::Stored& part = s_.parts[i];
      if (now_.begun[i] && part.status == Status::parked) {
        s_.status = Status::parked;
        s_.why = part.why;
        s_.why_code = part.why_code;
        save_then({});
        return false;
      }
      if (now_.begun[i] && part.status == Status::paused && s_.status == Status::running) {
        rest();
        return false;
      }
      if (s_.status != Status::running) continue;
      if (part.status == Status::going_back || part.status == Status::rolled_back ||
          part.status == Status::failed)
        go_back(part.why_code, part.why);  // V5
    }
    return true;
  }

  // ---- hand-over
  void begin_hand_over() {
    if (s_.hand_over_attempt >= kHandOverAttemptsMax)
      return go_back("no_hand_over", "The other node does not take over");
    s_.hand_over = StepState::intent;
    s_.hand_over_attempt += 1;
    now_.waiting_for = key("handover", s_.hand_over_attempt);
    now_.deadline = at_.instant + kHandOverTime;
    now_.look_at = at_.instant + kLookEvery;
    save_then({HandOver{target(), now_.waiting_for}});
  }
  void handed_over(const Answered& e) {
    now_.waiting_for.clear();
    now_.deadline = Instant::max();
    if (!e.ok) return hand_over_failed(e.code, e.message);
    look();  // V4
  }
  void hand_over_failed(const std::string& code, const std::string& message) {
    now_.waiting_for.clear();
    now_.deadline = Instant::max();
    last_failure_ = code + ": " + message;
    now_.look_at = at_.instant + kRetryDelay;  // Then what is seen decides, and it is asked again.
  }
  void look() {
    if (now_.looking) return;
    now_.looking = true;
    out_.emplace_back(ObserveRoles{});
  }

  // ---- pins
  void pin() {
    const auto upgraded = [](const PlanState::Stored& part) {
      return part.status == Status::upgraded;
    };
    if (std::ranges::all_of(s_.parts, upgraded)) return end(Status::upgraded, "", "");
    if (s_.pause_asked) return rest();
    if (!s_.finalize_asked && !s_.auto_finalize) return;
    for (std::size_t i = 0; i < s_.parts.size(); ++i) {
      if (s_.parts[i].status == Status::upgraded) continue;
      if (now_.begun[i] && !s_.parts[i].finalize_asked) feed(i, Asked{Request::finalize});
      if (s_.parts[i].status != Status::upgraded) return;
    }
    end(Status::upgraded, "", "");
  }

  // ---- the way back (V3)
  void go_back(const std::string& code, const std::string& why) {
    if (s_.status == Status::going_back || upgrade::ended(s_)) return;
    s_.status = Status::going_back;
    s_.why_code = code;
    s_.why = why;
    now_.waiting_for.clear();
    now_.deadline = now_.look_at = Instant::max();
    save_then({});
    begin_parts();
    drive_back();
  }
  void drive_back() {
    for (std::size_t i = s_.parts.size(); i-- > 0;) {
      // The hand-over was in between: it is taken back before the first part is.
      if (i == 0 && s_.hands_over && s_.hand_over != StepState::waiting &&
          s_.hand_back != StepState::done)
        return hand_back();
      PlanState::Stored& part = s_.parts[i];
      if (upgrade::ended(part)) {
        if (part.status == Status::failed && part.why_code == "cannot_go_back")
          return end(Status::failed, part.why_code, part.why);
        continue;
      }
      if (untouched(part)) continue;
      if (now_.begun[i] && part.status != Status::going_back && !part.rollback_asked)
        feed(i, Asked{Request::rollback});
      if (!upgrade::ended(part)) return;
    }
    const bool nothing_done = std::ranges::all_of(s_.parts, [](const PlanState::Stored& part) {
      return part.status == Status::failed || untouched(part);
    });
    end(nothing_done && s_.why_code != "asked" ? Status::failed : Status::rolled_back, s_.why_code,
        s_.why);
  }
  void hand_back() {
    if (now_.looking || !now_.waiting_for.empty() || now_.look_at != Instant::max()) return;
    look();
  }
  void back_roles(const Roles& roles) {
    if (roles.primary == s_.first_primary) {
      s_.hand_back = StepState::done;
      s_.hand_back_at = at_.wall;
      now_.waiting_for.clear();
      now_.deadline = now_.look_at = Instant::max();
      save_then({});
      return drive_back();
    }
    if (!now_.waiting_for.empty()) {
      now_.look_at = at_.instant + kLookEvery;
      return;
    }
    if (s_.hand_back_attempt >= kUndoAttemptsMax)
      return end(Status::failed, "cannot_go_back",
                 s_.why + "; the first primary does not take over again: " + last_failure_);
    s_.hand_back = StepState::intent;
    s_.hand_back_attempt += 1;
    now_.waiting_for = key("handback", s_.hand_back_attempt);
    now_.deadline = at_.instant + kHandOverTime;
    now_.look_at = at_.instant + kLookEvery;
    save_then({HandOver{s_.first_primary, now_.waiting_for}});
  }

  // ---- ends
  void end(Status status, const std::string& code, const std::string& why) {
    s_.status = status;
    s_.why_code = code;
    s_.why = why;
    s_.ended_at = at_.wall;
    save_then({});
  }
  void rest() {
    s_.status = Status::paused;
    s_.pause_asked = false;
    save_then({});
  }
  [[nodiscard]] bool going_back_before_rest() const {
    return s_.rollback_asked || std::ranges::any_of(s_.parts, [](const PlanState::Stored& part) {
             return part.undo != Undo::none || part.status == Status::rolled_back ||
                    part.status == Status::failed;
           });
  }

  // ---- small words
  void feed(std::size_t i, const Event& event) {
    PlanState part = std::move(now_.parts[i]);
    part.stored = std::move(s_.parts[i]);
    NextResult result = upgrade::next(std::move(part), event, at_);
    s_.parts[i] = std::move(result.state.stored);
    now_.parts[i] = std::move(result.state);
    const NodeId node = s_.parts[i].plan.node;
    for (Effect& effect : result.effects) {
      if (std::holds_alternative<Save>(effect)) {
        now_.saves.push_back(static_cast<int>(i));
        out_.emplace_back(Save{});
      } else if (auto* what = std::get_if<Do>(&effect)) {
        out_.emplace_back(NodeDo{node, what->action, std::move(what->key)});
      } else if (auto* query = std::get_if<Query>(&effect)) {
        out_.emplace_back(NodeQuery{node, std::move(query->key)});
      } else if (std::holds_alternative<Observe>(effect)) {
        out_.emplace_back(NodeObserve{node});
      } else if (std::holds_alternative<SampleHealth>(effect)) {
        out_.emplace_back(NodeSample{node});
      }
    }
  }
  void save_then(std::vector<SiteEffect> effects) {
    now_.saves.push_back(-1);
    now_.after_save.insert(now_.after_save.end(), effects.begin(), effects.end());
    out_.emplace_back(Save{});
  }
  [[nodiscard]] std::string key(std::string_view step, std::uint32_t attempt) const {
    return s_.lineage.hex() + "/" + s_.id.hex() + "/" + std::string(step) + "/" +
           std::to_string(attempt);
  }
  bool due(Instant& when) {
    if (when == Instant::max() || at_.instant < when) return false;
    when = Instant::max();
    return true;
  }

  SitePlan plan_;
  SitePlan::Stored& s_;
  SitePlan::Volatile& now_;
  Clocks at_;
  std::string last_failure_;
  std::vector<SiteEffect> out_;
};

}  // namespace

SitePlan begin_site(SitePlan::Stored stored, WallTime now) {
  stored.started_at = now;
  for (PlanState::Stored& part : stored.parts) part.started_at = now;
  return resume_site(std::move(stored));
}

SitePlan resume_site(SitePlan::Stored stored) {
  SitePlan plan;
  plan.now.parts.resize(stored.parts.size());
  plan.now.begun.assign(stored.parts.size(), false);
  plan.now.looked_for.assign(stored.parts.size(), false);
  plan.stored = std::move(stored);
  return plan;
}

SiteNext next(SitePlan plan, const SiteEvent& event, Clocks clocks) {
  if (ended(plan.stored) && !std::holds_alternative<Saved>(event)) return {std::move(plan), {}};
  return Machine(std::move(plan), clocks).take(event);
}

Instant wake_at(const SitePlan& plan) {
  Instant wake = std::min(plan.now.deadline, plan.now.look_at);
  for (std::size_t i = 0; i < plan.stored.parts.size(); ++i)
    if (plan.now.begun[i]) wake = std::min(wake, wake_at(plan.now.parts[i]));
  return wake;
}

bool ended(const SitePlan::Stored& stored) {
  return stored.status == Status::upgraded || stored.status == Status::rolled_back ||
         stored.status == Status::failed;
}

bool awaits_finalize(const SitePlan::Stored& stored) {
  return stored.status == Status::running &&
         std::ranges::all_of(stored.parts,
                             [](const PlanState::Stored& part) { return awaits_finalize(part); });
}

Result<void> may_ask(const SitePlan::Stored& stored, Request request) {
  const bool final = std::ranges::any_of(stored.parts, [](const PlanState::Stored& part) {
    return !ended(part) ? pinned(part) && part.status != Status::going_back
                        : part.status == Status::upgraded;
  });
  return may_ask(ended(stored), stored.status, stored.pause_asked, final, request);
}

}  // namespace everspan::upgrade
