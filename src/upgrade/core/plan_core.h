// Runs a plan: next(state, event) -> effects. Pure: time comes in, effects go out. The same
// function runs in production, in the simulator and in a dry run.
//
//              +--------- pause / resume ---------+
//   running --(step failed, rollback asked)--> going_back --> rolled_back
//      |  \--(refused before anything changed)--> failed
//      |  \--(unknown step, unknown active release)--> parked --resume--> running
//      +--(soak passed, finalised)--> upgraded
//
// Invariants (tests and the simulator cite the number)
//   U1  No effect goes out before its intent is committed: Save comes first, and what follows it
//       waits.
//   U2  An effect's key (lineage/plan/step/attempt) is never used for two effects; who performs it
//       keeps key -> outcome, so that a repeated key acts once.
//   U3  A step is done when it is *observed* (what base says is active, ready), not when a call
//       returned.
//   U4  Never pin or finalise before the soak passed, in one process, without a break.
//   U5  After pin's intent there is no way back, and none is attempted.
//   U6  An answer for another key than the one waited for changes nothing (late, repeated).
//   U7  Attempts are bounded; every wait has a deadline.
//
// Whoever drives it: the process that is the writer. After a switch that is the *new* process,
// after going back the old one; each begins with Begun{observation}.
#pragma once
#include <string>
#include <variant>
#include <vector>

#include "upgrade/core/plan.h"

namespace everspan::upgrade {

// What base and the log say now; never what somebody answered.
struct Observation {
  std::string active_digest;
  std::string candidate_digest;  // Empty: none.
  bool candidate_ready = false;
  std::vector<std::string> staged;  // Digests of the releases that base has verified and unpacked.
  std::string last_switch;          // Base's words, for people: "", "switched", "went back: <why>".
  std::uint32_t feature_level = 0;
};

struct Begun {  // The driver started, or started again: nothing is in flight that it knows of.
  Observation seen;
};
struct Saved {};  // The state as of the last Save is committed.
struct Answered {
  std::string key;
  bool ok = false;
  std::string code;
  std::string message;
};
struct QueryAnswered {  // Of base's effect table.
  std::string key;
  bool known = false;
  bool ok = false;
  std::string code;
  std::string message;
};
struct Observed {
  Observation seen;
};
struct Health {
  bool healthy = false;
  std::string why;
};
enum class Request : std::uint8_t { pause, resume, rollback, finalize };
struct Asked {
  Request request = Request::pause;
};
struct TimePassed {};
using Event =
    std::variant<Begun, Saved, Answered, QueryAnswered, Observed, Health, Asked, TimePassed>;

enum class Action : std::uint8_t {
  resolve,
  fetch,
  preflight,
  backup,
  start_candidate,
  stop_candidate,
  probe,
  switch_over,
  good,
  back,
  raise_level,
};
[[nodiscard]] std::string_view word(Action action);

struct Save {
};  // Commit the state; then deliver Saved. Failing to: stop driving (another one writes).
struct Do {  // Deliver Answered{key}.
  Action action = Action::resolve;
  std::string key;
};
struct Query {  // Deliver QueryAnswered{key}.
  std::string key;
};
struct Observe {};       // Deliver Observed.
struct SampleHealth {};  // Deliver Health.
using Effect = std::variant<Save, Do, Query, Observe, SampleHealth>;

// A plan and how far it is. `stored` is what a driver that takes over gets back; the rest is
// forgotten.
struct PlanState {
  struct Stored {
    Plan plan;
    Status status = Status::running;
    std::uint32_t cursor = 0;
    std::string why;
    std::string why_code;
    bool pause_asked = false;
    bool rollback_asked = false;
    bool finalize_asked = false;
    Undo undo = Undo::none;
    std::uint32_t undo_attempt = 0;
    WallTime started_at;
    WallTime ended_at;
    std::string
        original;  // Bytes that it was read from: members that this release does not know survive.
  } stored;

  struct Volatile {
    std::vector<Effect> after_save;  // Go out when the last Saved has arrived (U1).
    int saves_pending = 0;
    std::string waiting_for;   // Key of the answer that is waited for; empty: none.
    std::string querying;      // Key that base was asked about; empty: none.
    bool answered_ok = false;  // The call returned well; the observation is still waited for (U3).
    bool resuming = false;     // Go on when the next observation is there.
    Instant deadline = Instant::max();  // Of the effect or observation under way.
    Instant retry_at = Instant::max();
    Instant look_at = Instant::max();    // Next observation.
    Instant sample_at = Instant::max();  // Next health sample.
    Instant ready_since = Instant::max();
    Instant soak_since = Instant::max();
    int unhealthy_in_a_row = 0;
  } now;
};

struct Clocks {
  Instant instant;
  WallTime wall;
};

[[nodiscard]] PlanState begin(Plan plan, WallTime now);
[[nodiscard]] PlanState resume_from(PlanState::Stored stored);

struct NextResult {
  PlanState state;
  std::vector<Effect> effects;
};
[[nodiscard]] NextResult next(PlanState state, const Event& event, Clocks clocks);
// Deliver TimePassed no later than this.
[[nodiscard]] Instant wake_at(const PlanState& state);
[[nodiscard]] bool ended(const PlanState::Stored& stored);  // Upgraded, rolled back or failed.
// Soaked; waits for the request to finalise.
[[nodiscard]] bool awaits_finalize(const PlanState::Stored& stored);
// May this request be made now? Codes: no_way_back, not_paused, ended.
[[nodiscard]] Result<void> may_ask(const PlanState::Stored& stored, Request request);

[[nodiscard]] std::string effect_key(const PlanState::Stored& stored, std::string_view step,
                                     std::uint32_t attempt);

}  // namespace everspan::upgrade
