// A plan: an upgrade of this site written down as steps. plan() makes it from a snapshot of the
// site; it can be printed, compared and stored. Pure; plan_core.h runs it.
//
// Steps for one appliance, in order (kind: what it does; way back; may one rest after it):
//   resolve     metadata refreshed, target found in it           nothing to undo         yes
//   fetch       package fetched, staged and verified by base     stays in the cache      yes
//   preflight   disk, self-test, migration rehearsed on a copy   nothing to undo         yes
//   backup      the log backed up                                nothing to undo         yes
//   candidate   new release beside the old one, ready, settled   stop the candidate      no
//   probe       a probe session through the candidate            stop the candidate      yes
//   switch      the writer moves to the candidate                base goes back          no
//   soak        health gates for soak_ms                         base goes back          yes
//   pin         base is told that there is no going back         none from here          no
//   finalise    the feature level is raised                      none                    -
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"
#include "update/core/manifest.h"

namespace everspan::upgrade {

enum class StepKind : std::uint8_t {
  resolve,
  fetch,
  preflight,
  backup,
  candidate,
  probe,
  switch_over,
  soak,
  pin,
  finalise,
  hand_over,  // Of a site_plan.h only: the other node becomes the primary.
  unknown,    // Written by a newer release: parks the plan.
};
enum class StepState : std::uint8_t {
  waiting,  // Not begun.
  intent,   // Its intent is stored; the effect may or may not have happened.
  done,     // Observed.
  failed,   // Observed; the plan goes back or ends.
  undone,   // Was done, then taken back.
};
enum class Status : std::uint8_t {
  running,
  paused,
  going_back,
  upgraded,
  rolled_back,
  parked,
  failed,  // Ended; parked may be resumed.
};
enum class Undo : std::uint8_t { none, stop_candidate, back };

struct Step {
  std::string id;
  NodeId node;  // Where a list shows the steps of several (site_plan.h); else zero.
  StepKind kind = StepKind::unknown;
  std::string kind_word;  // As stored; kept for unknown kinds.
  StepState state = StepState::waiting;
  std::uint32_t attempt = 0;  // 0: never begun.
  WallTime started_at;
  WallTime ended_at;
  std::string detail;
};

struct Release {
  std::string version;
  std::string digest;  // Hex; names the release folder of base.
  std::string target_name;
  std::uint64_t bytes = 0;
  std::uint32_t feature_level = 0;
};

struct Policy {
  std::chrono::milliseconds soak{600000};
  bool auto_finalize = false;
  std::chrono::milliseconds silence{
      3000};  // Base goes back when the new one is silent for so long.
  std::chrono::milliseconds candidate_timeout{30000};  // Started, but not ready.
  std::chrono::milliseconds settle{2000};  // Ready for so long without a break: no crash loop.
};

struct Plan {
  PlanId id;
  LineageId lineage;
  NodeId node;
  std::string method = "single";
  Release from;
  Release to;
  Policy policy;
  std::vector<Step> steps;
};

// What plan() looks at.
struct SiteSnapshot {
  LineageId lineage;
  NodeId node;
  Version version;     // Running now.
  std::string digest;  // Of the running release; base's word.
  Version base_version;
  Version security_floor;  // Base's; zero: none.
  std::string platform;
  std::uint32_t feature_level = 0;  // Stored level of the site.
  std::uint32_t log_format = 1;
  struct Candidate {  // A release that the signed metadata offers.
    std::string target_name;
    std::string digest;
    std::uint64_t bytes = 0;
    update::Manifest manifest;
  };
  std::vector<Candidate> releases;
  bool plan_under_way = false;
};

struct Target {
  std::string version;                // Empty: the newest that can follow the running release.
  bool no_way_back_accepted = false;  // A person was asked.
};

// Codes: busy (another plan), no_release, unknown_release, already_installed, wrong_platform,
// below_floor, needs_base, needs_step (with the release to install first), no_way_back (it raises
// the floor at once).
[[nodiscard]] Result<Plan> plan(const SiteSnapshot& site, const Policy& policy,
                                const Target& target, PlanId id);

[[nodiscard]] std::string_view word(StepKind kind);
[[nodiscard]] std::string_view word(StepState state);
[[nodiscard]] std::string_view word(Status status);
[[nodiscard]] std::string_view title(StepKind kind);     // For people.
[[nodiscard]] std::string_view way_back(StepKind kind);  // For people.
[[nodiscard]] bool may_rest_after(StepKind kind);

}  // namespace everspan::upgrade
