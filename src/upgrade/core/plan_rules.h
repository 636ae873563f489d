// How long each step may take, how often it is tried again, and after which answers. Pure; of
// plan_core.
#pragma once
#include <string_view>

#include "upgrade/core/plan_core.h"

namespace everspan::upgrade {

[[nodiscard]] Duration time_for(StepKind kind, const Policy& policy);
[[nodiscard]] std::uint32_t attempts_for(StepKind kind);
// The same call may succeed a moment later: base is busy, the depot did not answer.
[[nodiscard]] bool worth_another_try(StepKind kind, std::string_view code);

// What a person may ask of an upgrade that stands so; `final`: the new release is pinned. Codes:
// ended, not_paused, not_running, no_way_back, going_back.
[[nodiscard]] Result<void> may_ask(bool ended, Status status, bool pause_asked, bool final,
                                   Request request);

// The place of the plan's step of this kind; past the end: it has none.
[[nodiscard]] std::uint32_t index_of(const Plan& plan, StepKind kind);
// A step that works with a candidate that was seen ready.
[[nodiscard]] bool needs_candidate(const Step& step);
// The new release was started, so there is one to be stopped.
[[nodiscard]] bool candidate_begun(const PlanState::Stored& stored);

// What is asked of the node for this step; null: it is waited for only (soak), or not known.
[[nodiscard]] const Action* action_of(StepKind kind);

}  // namespace everspan::upgrade
