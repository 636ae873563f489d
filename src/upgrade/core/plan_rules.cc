#include "upgrade/core/plan_rules.h"

#include <algorithm>
#include <utility>

#include "upgrade/core/limits.h"

namespace everspan::upgrade {
namespace {

constexpr std::pair<StepKind, Action> kActions[] = {
    {StepKind::resolve, Action::resolve},           {StepKind::fetch, Action::fetch},
    {StepKind::preflight, Action::preflight},       {StepKind::backup, Action::backup},
    {StepKind::candidate, Action::start_candidate}, {StepKind::probe, Action::probe},
    {StepKind::switch_over, Action::switch_over},   {StepKind::pin, Action::good},
    {StepKind::finalise, Action::raise_level}};

}  // namespace

const Action* action_of(StepKind kind) {
  for (const auto& [step, action] : kActions)
    if (step == kind) return &action;
  return nullptr;
}

Duration time_for(StepKind kind, const Policy& policy) {
  switch (kind) {
    case StepKind::resolve:
      return kResolveTime;
    case StepKind::fetch:
      return kFetchTime;
    case StepKind::preflight:
      return kPreflightTime;
    case StepKind::backup:
      return kBackupTime;
    case StepKind::candidate:
      return Duration(policy.candidate_timeout) + Duration(policy.settle);
    case StepKind::probe:
      return kProbeTime;
    case StepKind::switch_over:
      return kSwitchTime;
    case StepKind::pin:
      return kPinTime;
    case StepKind::finalise:
      return kFinaliseTime;
    case StepKind::soak:
    case StepKind::hand_over:
    case StepKind::unknown:
      break;
  }
  return kResolveTime;
}

std::uint32_t attempts_for(StepKind kind) {
  switch (kind) {
    case StepKind::resolve:
    case StepKind::fetch:
    case StepKind::backup:
      return kTransferAttemptsMax;
    case StepKind::pin:
    case StepKind::finalise:
      return kPinAttemptsMax;
    case StepKind::candidate:
    case StepKind::switch_over:
      return kCandidateAttemptsMax;
    default:
      return 1;
  }
}

// The outside may be better in a moment; what base or a check refused will be refused again.
bool worth_another_try(StepKind kind, std::string_view code) {
  if (kind == StepKind::pin || kind == StepKind::finalise) return true;
  if (kind == StepKind::candidate ||
      kind == StepKind::switch_over)  // Base did nothing; soon it may.
    return code == "retiring" || code == "not_serving";
  for (const std::string_view good :
       {"unreachable", "timeout", "truncated", "http_error", "cut", "busy", "unavailable",
        "missing_metadata", "base_gone", "stage_failed"})  // The last: its checker was killed.
    if (code == good) return true;
  return false;
}

std::string_view word(Action action) {
  switch (action) {
    case Action::resolve:
      return "resolve";
    case Action::fetch:
      return "fetch";
    case Action::preflight:
      return "preflight";
    case Action::backup:
      return "backup";
    case Action::start_candidate:
      return "start_candidate";
    case Action::stop_candidate:
      return "stop_candidate";
    case Action::probe:
      return "probe";
    case Action::switch_over:
      return "switch";
    case Action::good:
      return "good";
    case Action::back:
      return "back";
    case Action::raise_level:
      return "raise_level";
  }
  return "?";
}

Instant wake_at(const PlanState& state) {
  const PlanState::Volatile& now = state.now;
  if (now.saves_pending > 0) return Instant::max();
  return std::min({now.deadline, now.retry_at, now.look_at, now.sample_at});
}

bool ended(const PlanState::Stored& stored) {
  return stored.status == Status::upgraded || stored.status == Status::rolled_back ||
         stored.status == Status::failed;
}

bool awaits_finalize(const PlanState::Stored& stored) {
  if (stored.cursor >= stored.plan.steps.size()) return false;
  const Step& step = stored.plan.steps[stored.cursor];
  return stored.status == Status::running && step.kind == StepKind::pin &&
         step.state == StepState::waiting;
}

Result<void> may_ask(bool ended, Status status, bool pause_asked, bool final, Request request) {
  if (ended) return fail("ended", "This upgrade has ended: " + std::string(word(status)));
  switch (request) {
    case Request::resume:
      if (status == Status::paused || status == Status::parked || pause_asked) return {};
      return fail("not_paused", "The upgrade is not paused");
    case Request::pause:
      if (status == Status::running && !final) return {};
      return fail("not_running", "The upgrade cannot pause now");
    case Request::rollback:
      if (final)
        return fail("no_way_back",
                    "The new release is final: there is no way back in this version");
      if (status == Status::going_back) return fail("going_back", "It is going back already");
      return {};
    case Request::finalize:
      if (status == Status::going_back) return fail("going_back", "The upgrade is going back");
      return {};
  }
  return fail("bad_request", "Unknown request");
}

Result<void> may_ask(const PlanState::Stored& stored, Request request) {
  const bool over = ended(stored);
  const Step* step = over ? nullptr : &stored.plan.steps[stored.cursor];
  const bool final =
      step != nullptr && (step->kind == StepKind::finalise ||
                          (step->kind == StepKind::pin && step->state != StepState::waiting));
  return may_ask(over, stored.status, stored.pause_asked, final, request);
}

std::string effect_key(const PlanState::Stored& stored, std::string_view step,
                       std::uint32_t attempt) {
  return stored.plan.lineage.hex() + "/" + stored.plan.id.hex() + "/" + std::string(step) + "/" +
         std::to_string(attempt);
}

std::uint32_t index_of(const Plan& plan, StepKind kind) {
  const auto at = std::ranges::find(plan.steps, kind, &Step::kind);
  return static_cast<std::uint32_t>(at - plan.steps.begin());
}

bool needs_candidate(const Step& step) {
  return step.kind == StepKind::probe ||
         (step.kind == StepKind::switch_over && step.state == StepState::waiting);
}

bool candidate_begun(const PlanState::Stored& stored) {
  const std::uint32_t at = index_of(stored.plan, StepKind::candidate);
  return stored.cursor >= at && at < stored.plan.steps.size() && stored.plan.steps[at].attempt > 0;
}

PlanState begin(Plan plan, WallTime now) {
  PlanState state;
  state.stored.plan = std::move(plan);
  state.stored.started_at = now;
  return state;
}

PlanState resume_from(PlanState::Stored stored) {
  PlanState state;
  state.stored = std::move(stored);
  return state;
}

}  // namespace everspan::upgrade
