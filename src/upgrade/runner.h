// Drives the plan in the process that is the writer, and shows how far it is.
//
// UpgradeEffects is what it needs from the node: each call answers with what happened; calls that
// carry a key must act once a key (base keeps a table for its own; the others set a state, or check
// it first). Requests reach base in the order of the calls; while base is away they wait for it and
// are sent again under the same key (the core's deadlines end the wait). Everything runs on one
// executor. The node makes a runner when this process becomes the writer (Activated) and cancels it
// when the writer is released; the stored plan goes on from where it was.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/result.h"
#include "net/async.h"
#include "upgrade/core/site_plan.h"

namespace everspan::upgrade {

struct EffectCall {
  NodeId node;      // Where.
  std::string key;  // lineage/plan/step/attempt
  PlanId plan;
  Release from;
  Release to;
  Policy policy;
};
struct EffectAnswer {  // Of base's effect table.
  bool ok = false;
  std::string code;
  std::string message;
};

class UpgradeEffects {
 public:
  virtual ~UpgradeEffects() = default;

  // This node as plan() sees it; `refresh` asks the depot first, else the stored metadata is used.
  [[nodiscard]] virtual net::Task<Result<SiteSnapshot>> site_snapshot(bool refresh) = 0;
  // The other node of a pair; nullopt: there is none. Code unreachable.
  [[nodiscard]] virtual net::Task<Result<std::optional<SiteSnapshot>>> backup_snapshot(
      bool refresh) = 0;

  // The record in settings. save: committed when it returns; code not_writer: another process
  // writes. `request`: who asked for it by an id (else zero) gets the first outcome when he asks
  // again, for it is committed with the record.
  [[nodiscard]] virtual net::Task<Result<std::optional<std::string>>> load_plan() = 0;
  [[nodiscard]] virtual net::Task<Result<void>> save_plan(std::string record,
                                                          RequestId request) = 0;

  // Performs one action of the plan. resolve: refresh, `to.digest` still offered. fetch: download,
  // then base's Stage (base request key = call.key). preflight: disk, self-test of the staged
  // binary, migration rehearsed on a copy. backup: of the log. start_candidate, stop_candidate,
  // switch_over (with policy.silence), good, back: base requests under call.key. probe: a probe
  // session through the candidate and its readiness. raise_level: to call.to.feature_level, unless
  // it is there already.
  [[nodiscard]] virtual net::Task<Result<void>> perform(Action action, EffectCall call) = 0;
  // Base's QueryEffect; nullopt: base does not know the key.
  [[nodiscard]] virtual net::Task<Result<std::optional<EffectAnswer>>> query(NodeId node,
                                                                             std::string key) = 0;
  // Of a node: its base's status, and the stored feature level. Code unreachable.
  [[nodiscard]] virtual net::Task<Result<Observation>> observe(NodeId node) = 0;
  // Of the process that serves on a node. Code unreachable: nothing is known of it.
  [[nodiscard]] virtual net::Task<Result<Health>> sample_health(NodeId node) = 0;
  [[nodiscard]] virtual net::Task<Result<Roles>> observe_roles() = 0;
  // Makes `to` the primary; when that is another node this process drives no longer.
  [[nodiscard]] virtual net::Task<Result<void>> hand_over(NodeId to) = 0;

  // One line per step for the journal; never fails the plan.
  virtual void step_changed(const Plan& plan, const Step& step) = 0;
};

// GET /api/v1/upgrade (docs/api.md); the node adds sessions_moved and sessions_total.
struct Progress {
  bool any = false;
  PlanState::Stored stored;
  std::string state =
      "none";        // none running paused soaking awaiting_finalize done rolled_back parked failed
  std::string step;  // Id of the step under way.
};

struct ApplyRequest {
  Target target;
  std::string method;  // "single", "async", "sync"; empty: what fits the site (a pair: async).
  Policy policy;
  RequestId request;  // Zero: none was given.
  PlanId plan;        // Of the plan to be made; zero: a random one.
};

class UpgradeRunner {
 public:
  UpgradeRunner(net::Executor executor, UpgradeEffects& effects);
  ~UpgradeRunner();  // After run() has returned.
  UpgradeRunner(const UpgradeRunner&) = delete;
  UpgradeRunner& operator=(const UpgradeRunner&) = delete;

  // Takes up the stored plan, if there is one, then serves apply() and request(). Runs until
  // cancelled or until this process is no longer the writer (code not_writer). Spawn it into the
  // node's TaskScope.
  [[nodiscard]] net::Task<Result<void>> run();

  // What would be done; changes nothing.
  [[nodiscard]] net::Task<Result<SitePlan::Stored>> dry_run(ApplyRequest request);
  // Plans, stores and starts. Codes of plan(); busy.
  [[nodiscard]] net::Task<Result<PlanId>> apply(ApplyRequest request);
  // Returns when the request is stored, with `id`. Codes of may_ask(); no_plan; conflict (the plan
  // went on meanwhile, nothing was stored).
  [[nodiscard]] net::Task<Result<void>> request(Request what, RequestId id = {});

  // It has taken up what is stored, and drives.
  [[nodiscard]] bool running() const;

  [[nodiscard]] Progress progress() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// The state word of docs/api.md.
[[nodiscard]] std::string_view api_state(const PlanState::Stored& stored);

}  // namespace everspan::upgrade
