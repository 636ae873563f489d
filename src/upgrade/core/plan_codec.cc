#include "upgrade/core/plan_codec.h"

#include <algorithm>
#include <array>

#include "proto/plan.pb.h"

namespace everspan::upgrade {
namespace {

constexpr std::array kStatuses = {Status::running,  Status::paused,      Status::going_back,
                                  Status::upgraded, Status::rolled_back, Status::parked,
                                  Status::failed};
constexpr std::array kKinds = {StepKind::resolve,     StepKind::fetch,     StepKind::preflight,
                               StepKind::backup,      StepKind::candidate, StepKind::probe,
                               StepKind::switch_over, StepKind::soak,      StepKind::pin,
                               StepKind::finalise,    StepKind::hand_over};
constexpr std::array<std::pair<StepState, const char*>, 5> kStates = {
    {{StepState::waiting, "waiting"},
     {StepState::intent, "intent"},
     {StepState::done, "done"},
     {StepState::failed, "failed"},
     {StepState::undone, "undone"}}};
constexpr std::array<std::pair<Undo, const char*>, 3> kUndos = {
    {{Undo::none, ""}, {Undo::stop_candidate, "stop_candidate"}, {Undo::back, "back"}}};
constexpr int kStepsMax = 10000;
constexpr int kPartsMax = 1000;  // Nodes.

[[nodiscard]] std::unexpected<Error> bad(std::string what) {
  return fail("bad_plan", "The stored plan is malformed: " + std::move(what), "",
              "It stays as it is; end it with `everspan upgrade rollback`");
}

void write_release(const Release& from, pb::PlanRelease& to) {
  to.set_version(from.version);
  to.set_digest(from.digest);
  to.set_target_name(from.target_name);
  to.set_bytes(from.bytes);
  to.set_feature_level(from.feature_level);
}
Release read_release(const pb::PlanRelease& from) {
  return {from.version(), from.digest(), from.target_name(), from.bytes(), from.feature_level()};
}

void write_policy(const Policy& from, pb::PlanPolicy& to) {
  const auto ms = [](std::chrono::milliseconds d) { return static_cast<std::uint32_t>(d.count()); };
  to.set_soak_ms(static_cast<std::uint64_t>(from.soak.count()));
  to.set_auto_finalize(from.auto_finalize);
  to.set_silence_ms(ms(from.silence));
  to.set_candidate_timeout_ms(ms(from.candidate_timeout));
  to.set_settle_ms(ms(from.settle));
}
Policy read_policy(const pb::PlanPolicy& from) {
  Policy to;
  const auto ms = [](std::uint64_t n) {
    return std::chrono::milliseconds(std::min<std::uint64_t>(n, 366ULL * 86400 * 1000));
  };
  to.soak = ms(from.soak_ms());
  to.auto_finalize = from.auto_finalize();
  to.silence = ms(from.silence_ms());
  to.candidate_timeout = ms(from.candidate_timeout_ms());
  to.settle = ms(from.settle_ms());
  return to;
}

// Steps keep their order and their unknown members; they are matched by position, since a plan's
// steps never change places.
void write_steps(const Plan& plan, pb::PlanRecord& record) {
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const Step& step = plan.steps[i];
    pb::PlanStepRecord& to = static_cast<int>(i) < record.steps_size()
                                 ? *record.mutable_steps(static_cast<int>(i))
                                 : *record.add_steps();
    to.set_id(step.id);
    to.set_kind(step.kind_word);
    to.set_node(step.node.is_zero() ? plan.node.raw() : step.node.raw());
    for (const auto& [state, word] : kStates)
      if (state == step.state) to.set_state(word);
    to.set_attempt(step.attempt);
    to.set_started_at_ms(step.started_at.unix_ms);
    to.set_ended_at_ms(step.ended_at.unix_ms);
    to.set_detail(step.detail);
  }
}

Result<void> read_steps(const pb::PlanRecord& record, Plan& plan) {
  if (record.steps_size() == 0 || record.steps_size() > kStepsMax) return bad("its steps");
  for (const pb::PlanStepRecord& from : record.steps()) {
    Step step;
    step.id = from.id();
    step.kind_word = from.kind();
    for (const StepKind kind : kKinds)
      if (word(kind) == from.kind()) step.kind = kind;
    const auto* state =
        std::ranges::find_if(kStates, [&](const auto& s) { return s.second == from.state(); });
    if (state == kStates.end()) return bad("a step's state");
    step.state = state->first;
    step.attempt = from.attempt();
    step.started_at = {from.started_at_ms()};
    step.ended_at = {from.ended_at_ms()};
    step.detail = from.detail();
    plan.steps.push_back(std::move(step));
  }
  const auto node = NodeId::from_raw(record.steps(0).node());
  if (!node) return fail(node);
  plan.node = *node;
  return {};
}

}  // namespace

namespace {

void write_plan(const PlanState::Stored& stored, pb::PlanRecord& record) {
  const Plan& plan = stored.plan;
  record.set_plan_id(plan.id.raw());
  record.set_lineage(plan.lineage.raw());
  record.set_method(plan.method);
  write_release(plan.from, *record.mutable_from());
  write_release(plan.to, *record.mutable_to());
  write_policy(plan.policy, *record.mutable_policy());
  write_steps(plan, record);
  record.set_status(std::string(word(stored.status)));
  record.set_cursor(stored.cursor);
  record.set_why(stored.why);
  record.set_why_code(stored.why_code);
  record.set_pause_asked(stored.pause_asked);
  record.set_rollback_asked(stored.rollback_asked);
  record.set_finalize_asked(stored.finalize_asked);
  for (const auto& [undo, word] : kUndos)
    if (undo == stored.undo) record.set_undo(word);
  record.set_undo_attempt(stored.undo_attempt);
  record.set_started_at_ms(stored.started_at.unix_ms);
  record.set_ended_at_ms(stored.ended_at.unix_ms);
}

Result<PlanState::Stored> read_plan(const pb::PlanRecord& record) {
  PlanState::Stored out;
  const auto id = PlanId::from_raw(record.plan_id());
  const auto lineage = LineageId::from_raw(record.lineage());
  if (!id) return fail(id);
  if (!lineage) return fail(lineage);
  out.plan.id = *id;
  out.plan.lineage = *lineage;
  out.plan.method = record.method();
  out.plan.from = read_release(record.from());
  out.plan.to = read_release(record.to());
  out.plan.policy = read_policy(record.policy());
  if (const auto steps = read_steps(record, out.plan); !steps) return fail(steps);
  const auto* status =
      std::ranges::find_if(kStatuses, [&](Status s) { return word(s) == record.status(); });
  const auto* undo =
      std::ranges::find_if(kUndos, [&](const auto& u) { return u.second == record.undo(); });
  if (status == kStatuses.end()) return bad("its status");
  if (undo == kUndos.end()) return bad("its way back");
  out.status = *status;
  out.undo = undo->first;
  out.cursor = record.cursor();
  const bool at_end = out.cursor == out.plan.steps.size() && out.status == Status::upgraded;
  if (out.cursor >= out.plan.steps.size() && !at_end) return bad("its step under way");
  out.why = record.why();
  out.why_code = record.why_code();
  out.pause_asked = record.pause_asked();
  out.rollback_asked = record.rollback_asked();
  out.finalize_asked = record.finalize_asked();
  out.undo_attempt = record.undo_attempt();
  out.started_at = {record.started_at_ms()};
  out.ended_at = {record.ended_at_ms()};
  return out;
}

void write_role_step(const char* id, const NodeId& node, StepState state, std::uint32_t attempt,
                     WallTime ended_at, pb::PlanStepRecord& to) {
  to.set_id(id);
  to.set_kind("handover");
  to.set_node(node.raw());
  for (const auto& [known, word] : kStates)
    if (known == state) to.set_state(word);
  to.set_attempt(attempt);
  to.set_ended_at_ms(ended_at.unix_ms);
}
Result<StepState> read_step_state(const std::string& text) {
  const auto* state =
      std::ranges::find_if(kStates, [&](const auto& s) { return s.second == text; });
  if (state == kStates.end()) return bad("a step's state");
  return state->first;
}

}  // namespace

std::string encode_plan(const PlanState::Stored& stored) {
  pb::PlanRecord record;
  if (!stored.original.empty() && !record.ParseFromString(stored.original)) record.Clear();
  write_plan(stored, record);
  return record.SerializeAsString();
}

Result<PlanState::Stored> decode_plan(std::string_view bytes) {
  pb::PlanRecord record;
  if (!record.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return bad("no record");
  auto out = read_plan(record);
  if (out) out->original = std::string(bytes);
  return out;
}

std::string encode_site_plan(const SitePlan::Stored& stored) {
  if (stored.parts.size() == 1) {
    PlanState::Stored only = stored.parts.front();
    if (!stored.original.empty()) only.original = stored.original;
    // What was asked of the plan and has not reached its only part yet.
    only.pause_asked = only.pause_asked || stored.pause_asked;
    only.rollback_asked = only.rollback_asked || stored.rollback_asked;
    only.finalize_asked = only.finalize_asked || stored.finalize_asked;
    if (stored.status == Status::paused || stored.status == Status::parked)
      only.status = stored.status;
    return encode_plan(only);
  }
  pb::PlanRecord record;
  if (!stored.original.empty() && !record.ParseFromString(stored.original)) record.Clear();
  const PlanState::Stored whole = flat(stored);
  write_plan(whole, record);
  record.mutable_policy()->set_auto_finalize(stored.auto_finalize);
  for (std::size_t i = 0; i < stored.parts.size(); ++i) {
    pb::PlanRecord& part = static_cast<int>(i) < record.parts_size()
                               ? *record.mutable_parts(static_cast<int>(i))
                               : *record.add_parts();
    write_plan(stored.parts[i], part);
  }
  record.set_first_primary(stored.first_primary.raw());
  record.set_hands_over(stored.hands_over);
  write_role_step("handover", stored.parts.front().plan.node, stored.hand_over,
                  stored.hand_over_attempt, stored.hand_over_at, *record.mutable_hand_over());
  write_role_step("handback", stored.first_primary, stored.hand_back, stored.hand_back_attempt,
                  stored.hand_back_at, *record.mutable_hand_back());
  return record.SerializeAsString();
}

Result<SitePlan::Stored> decode_site_plan(std::string_view bytes) {
  pb::PlanRecord record;
  if (!record.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return bad("no record");
  const auto whole = read_plan(record);
  if (!whole) return fail(whole);
  SitePlan::Stored out;
  out.id = whole->plan.id;
  out.lineage = whole->plan.lineage;
  out.status = whole->status;
  out.why = whole->why;
  out.why_code = whole->why_code;
  out.started_at = whole->started_at;
  out.ended_at = whole->ended_at;
  out.original = std::string(bytes);
  out.pause_asked = whole->pause_asked;
  out.rollback_asked = whole->rollback_asked;
  out.finalize_asked = whole->finalize_asked;
  if (record.parts_size() == 0) {
    out.first_primary = whole->plan.node;
    out.parts.push_back(*whole);
    out.parts.back().original = out.original;
    return out;
  }
  if (record.parts_size() > kPartsMax) return bad("its parts");
  out.method = whole->plan.method;
  out.auto_finalize = record.policy().auto_finalize();
  for (const pb::PlanRecord& part : record.parts()) {
    auto read = read_plan(part);
    if (!read) return fail(read);
    out.parts.push_back(std::move(*read));
  }
  const auto primary = NodeId::from_raw(record.first_primary());
  const auto over = read_step_state(record.hand_over().state());
  const auto back = read_step_state(record.hand_back().state());
  if (!primary) return fail(primary);
  if (!over) return fail(over);
  if (!back) return fail(back);
  out.first_primary = *primary;
  out.hands_over = record.hands_over();
  out.hand_over = *over;
  out.hand_over_attempt = record.hand_over().attempt();
  out.hand_over_at = {record.hand_over().ended_at_ms()};
  out.hand_back = *back;
  out.hand_back_attempt = record.hand_back().attempt();
  out.hand_back_at = {record.hand_back().ended_at_ms()};
  return out;
}

}  // namespace everspan::upgrade
