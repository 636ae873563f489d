// The upgrade of a site of one or two nodes: a plan_core.h machine for each node, in an order, with
// a hand-over between them where the method says so. Pure.
//
//   single  [node]
//   sync    [primary] [backup]                        pins, finalise
//   async   [backup] [hand over to it] [old primary]  pins, finalise
//
// Each node's part runs up to the end of its soak and waits there, watched, until all parts are
// there; then each is pinned, and the last part raises the feature level.
//
// clang-format off
// Invariants, besides U1 to U7 of each part
//   V1  At most one part has a step under way before the pins; the other node is a standby.
//   V2  A part is pinned only when every part has soaked, and finalised only when all are pinned.
//   V3  Going back undoes in reverse: the later part, the hand-over, the earlier part.
//   V4  A hand-over is done when the roles are *observed* so. Its driver may change with it: the
//       new primary begins with what is stored.
//   V5  A part that goes back by itself takes the whole plan back.
// clang-format on
#pragma once
#include <deque>
#include <string>
#include <variant>
#include <vector>

#include "upgrade/core/plan_core.h"

namespace everspan::upgrade {

struct Roles {
  NodeId primary;
  bool in_sync = false;  // The other has everything, and is connected.
};

struct NodeObserved {
  NodeId node;
  Observation seen;
};
struct NodeHealth {
  NodeId node;
  Health health;
};
struct RolesObserved {
  Roles roles;
};
struct DriverBegan {};  // In this process, or again: nothing is in flight.
using SiteEvent = std::variant<DriverBegan, Saved, Answered, QueryAnswered, NodeObserved,
                               RolesObserved, NodeHealth, Asked, TimePassed>;

struct NodeDo {
  NodeId node;
  Action action = Action::resolve;
  std::string key;
};
struct HandOver {  // Deliver Answered{key}; the driver may be gone by then.
  NodeId to;
  std::string key;
};
struct NodeQuery {
  NodeId node;
  std::string key;
};
struct NodeObserve {
  NodeId node;
};
struct NodeSample {
  NodeId node;
};
struct ObserveRoles {};
using SiteEffect =
    std::variant<Save, NodeDo, HandOver, NodeQuery, NodeObserve, NodeSample, ObserveRoles>;

struct SitePlan {
  struct Stored {
    PlanId id;
    LineageId lineage;
    std::string method = "single";
    std::vector<PlanState::Stored> parts;  // In the order of the upgrade; at least one.
    NodeId first_primary;                  // When the plan was made.
    bool hands_over = false;
    StepState hand_over = StepState::waiting;
    std::uint32_t hand_over_attempt = 0;
    StepState hand_back = StepState::waiting;
    std::uint32_t hand_back_attempt = 0;
    WallTime hand_over_at, hand_back_at;  // Ended.
    Status status = Status::running;
    std::string why;
    std::string why_code;
    bool pause_asked = false;
    bool rollback_asked = false;
    bool finalize_asked = false;
    bool auto_finalize = false;  // Without being asked, once every part has soaked.
    WallTime started_at;
    WallTime ended_at;
    std::string original;  // As PlanState::Stored's.
  } stored;

  struct Volatile {
    std::vector<PlanState> parts;        // Their volatile halves; `stored` is moved in and out.
    std::vector<bool> begun;             // Got its Begun in this process.
    std::vector<bool> looked_for;        // An observation for its Begun is on its way.
    std::deque<int> saves;               // Whose Saved comes next; -1: the plan's own.
    std::vector<SiteEffect> after_save;  // Of the plan's own saves.
    std::string waiting_for;             // Key of a hand-over.
    Instant deadline = Instant::max();
    Instant look_at = Instant::max();
    bool looking = false;  // Roles are being observed.
  } now;
};

[[nodiscard]] SitePlan begin_site(SitePlan::Stored stored, WallTime now);
[[nodiscard]] SitePlan resume_site(SitePlan::Stored stored);

struct SiteNext {
  SitePlan plan;
  std::vector<SiteEffect> effects;
};
[[nodiscard]] SiteNext next(SitePlan plan, const SiteEvent& event, Clocks clocks);
[[nodiscard]] Instant wake_at(const SitePlan& plan);
[[nodiscard]] bool ended(const SitePlan::Stored& stored);
// Every part has soaked; waits for the request to finalise.
[[nodiscard]] bool awaits_finalize(const SitePlan::Stored& stored);
[[nodiscard]] Result<void> may_ask(const SitePlan::Stored& stored, Request request);

// The upgrade of a pair, in the order of `method`: "async" (the backup first, then it becomes the
// primary) or "sync" (the primary first; roles stay). Codes of plan(), of the node that is named in
// the message; not_in_sync; mixed (the two run different releases).
[[nodiscard]] Result<SitePlan::Stored> plan_pair(const SiteSnapshot& primary,
                                                 const SiteSnapshot& backup, bool in_sync,
                                                 const std::string& method, const Policy& policy,
                                                 const Target& target, PlanId id);
// The upgrade of one node.
[[nodiscard]] Result<SitePlan::Stored> plan_single(const SiteSnapshot& node, const Policy& policy,
                                                   const Target& target, PlanId id);

// For people and the API: one list of steps, each with its node, and which is under way.
[[nodiscard]] PlanState::Stored flat(const SitePlan::Stored& stored);

}  // namespace everspan::upgrade
