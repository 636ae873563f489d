// Plans of one node and of two: made from what the nodes say of themselves, and shown as one list.
#include <algorithm>

#include "upgrade/core/site_plan.h"

namespace everspan::upgrade {
namespace {

// What belongs to a part of a pair's plan: each node verifies for itself, the log is backed up
// where the writer is, the level raised by whoever is last.
void keep_steps(Plan& plan, bool backs_up, bool last) {
  std::erase_if(plan.steps, [&](const Step& step) {
    if (step.kind == StepKind::backup) return !backs_up;
    if (step.kind == StepKind::finalise) return !last;
    return false;
  });
}

Result<Plan> plan_of(const SiteSnapshot& node, std::string_view which, const Policy& policy,
                     const Target& target, PlanId id) {
  Result<Plan> made = plan(node, policy, target, id);
  if (made) return made;
  Error error = made.error();
  error.message = "The " + std::string(which) + ": " + error.message;
  return std::unexpected(std::move(error));
}

}  // namespace

Result<SitePlan::Stored> plan_single(const SiteSnapshot& node, const Policy& policy,
                                     const Target& target, PlanId id) {
  Result<Plan> made = plan(node, policy, target, id);
  if (!made) return fail(made);
  SitePlan::Stored out;
  out.id = id;
  out.lineage = made->lineage;
  out.first_primary = made->node;
  out.parts.emplace_back();
  out.parts.back().plan = std::move(*made);
  return out;
}

Result<SitePlan::Stored> plan_pair(const SiteSnapshot& primary, const SiteSnapshot& backup,
                                   bool in_sync, const std::string& method, const Policy& policy,
                                   const Target& target, PlanId id) {
  if (method != "async" && method != "sync")
    return fail("bad_method", "A pair is upgraded by the method async or sync");
  if (!in_sync)
    return fail("not_in_sync", "The backup is not in sync, so there would be no standby",
                "Nothing was changed", "See `everspan failover status`");
  if (primary.digest != backup.digest)
    return fail("mixed",
                "The two nodes run different releases: " + primary.version.text() + " and " +
                    backup.version.text(),
                "Nothing was changed", "Finish or take back the upgrade that is under way");
  Policy parts = policy;
  parts.auto_finalize = false;  // All parts together, or none.
  Result<Plan> of_primary = plan_of(primary, "primary", parts, target, id);
  if (!of_primary) return fail(of_primary);
  Target same = target;
  same.version = of_primary->to.version;
  Result<Plan> of_backup = plan_of(backup, "backup", parts, same, id);
  if (!of_backup) return fail(of_backup);
  const bool backup_first = method == "async";
  keep_steps(*of_primary, true, backup_first);
  keep_steps(*of_backup, false, !backup_first);
  SitePlan::Stored out;
  out.id = id;
  out.lineage = of_primary->lineage;
  out.method = method;
  out.first_primary = primary.node;
  out.hands_over = backup_first;
  out.auto_finalize = policy.auto_finalize;
  out.parts.resize(2);
  for (std::size_t i = 0; i < 2; ++i) {
    Plan& part = (i == 0) == backup_first ? *of_backup : *of_primary;
    part.method = method;
    // Keys of effects name the node, for both nodes' parts have steps of the same kinds.
    for (Step& step : part.steps) step.id += "@" + part.node.hex().substr(0, 8);
    out.parts[i].plan = std::move(part);
  }
  return out;
}

PlanState::Stored flat(const SitePlan::Stored& stored) {
  if (stored.parts.size() == 1) return stored.parts.front();
  PlanState::Stored out = stored.parts.front();
  out.plan.method = stored.method;
  out.plan.steps.clear();
  const auto roles_step = [&](const char* id, StepState state, std::uint32_t attempt, NodeId node,
                              WallTime ended_at) {
    Step step;
    step.id = id;
    step.kind = StepKind::hand_over;
    step.kind_word = "handover";
    step.node = node;
    step.state = state;
    step.attempt = attempt;
    step.ended_at = ended_at;
    out.plan.steps.push_back(std::move(step));
  };
  const auto add_part = [&](const PlanState::Stored& part, bool final_steps) {
    for (const Step& from : part.plan.steps) {
      if ((from.kind == StepKind::pin || from.kind == StepKind::finalise) != final_steps) continue;
      Step step = from;
      step.node = part.plan.node;
      out.plan.steps.push_back(std::move(step));
    }
  };
  for (std::size_t i = 0; i < stored.parts.size(); ++i) {
    add_part(stored.parts[i], false);
    if (i == 0 && stored.hands_over)
      roles_step("handover", stored.hand_over, stored.hand_over_attempt,
                 stored.parts.front().plan.node, stored.hand_over_at);
  }
  for (const PlanState::Stored& part : stored.parts) add_part(part, true);
  if (stored.hand_back != StepState::waiting)
    roles_step("handback", stored.hand_back, stored.hand_back_attempt, stored.first_primary,
               stored.hand_back_at);
  const auto& steps = out.plan.steps;
  const auto at = std::ranges::find_if(steps, [](const Step& step) {
    return step.state == StepState::waiting || step.state == StepState::intent;
  });
  out.cursor = static_cast<std::uint32_t>(at - steps.begin());
  if (at == steps.end() && stored.status != Status::upgraded) out.cursor -= 1;
  out.status = stored.status;
  out.why = stored.why;
  out.why_code = stored.why_code;
  out.pause_asked = stored.pause_asked;
  out.rollback_asked = stored.rollback_asked;
  out.finalize_asked = stored.finalize_asked;
  out.started_at = stored.started_at;
  out.ended_at = stored.ended_at;
  return out;
}

}  // namespace everspan::upgrade
