// Upgrades of this node: performs what a plan says (over base, the depot, the log and a probe
// session), runs it while this process is the writer, and answers the API's questions about
// releases and plans. On the control executor; the API's calls come from its own and are brought
// here.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "api/services.h"
#include "net/async.h"
#include "node/base_link.h"
#include "node/data_paths.h"
#include "node/handover_link.h"
#include "node/site_view.h"
#include "node/worker_pool.h"
#include "node/write_path.h"
#include "store/journal.h"
#include "upgrade/runner.h"

namespace everspan::node {

class NodeUpgrade : public upgrade::UpgradeEffects,
                    public api::UpgradeService,
                    public api::UpdateService {
 public:
  struct Source {  // Of signed releases, as the appliance's administrator set it.
    std::string url;
    std::string ca_pem;
  };
  struct Parts {
    net::Executor control;
    WorkerPool& pool;
    DataPaths paths;
    BaseLink& base;
    site::Writer& writes;
    std::function<bool()> serving;  // This process of this node takes the site's writes.
    store::LogReader& log;
    SiteView& view;
    store::Journal& journal;
    NodeId node;
    std::function<Source()> source;
    std::string trusted_root;  // root.json that base trusts; empty: none.
    std::string request_key;   // Of the site: plans' ids follow from their requests'.
    // A probe session through the other (candidate) process.
    std::function<net::Task<Result<std::string>>()> probe_candidate;
    std::function<upgrade::Health()> health;
    // The other node of the pair; none: there is no pair.
    std::function<std::optional<NodeId>()> other;
    std::function<upgrade::Roles()> roles;
    std::function<net::Task<Result<std::string>>(std::string what, std::string body,
                                                 Instant deadline)>
        call_other;
    std::function<net::Task<Result<void>>(bool to_this_node)> hand_over;
  };
  explicit NodeUpgrade(Parts parts);
  ~NodeUpgrade() override;

  // While this process is the writer. Control executor.
  void start_runner();
  [[nodiscard]] net::Task<> stop_runner();
  // The legs of the other process are to come here: until set_moves() says that none is left, or
  // no_more_moves() that it is gone, it is not told to leave.
  void expect_moves();
  void set_moves(const Moves& moves);
  void no_more_moves();

  // upgrade::UpgradeEffects
  [[nodiscard]] net::Task<Result<upgrade::SiteSnapshot>> site_snapshot(bool refresh) override;
  [[nodiscard]] net::Task<Result<std::optional<std::string>>> load_plan() override;
  [[nodiscard]] net::Task<Result<void>> save_plan(std::string record, RequestId request) override;
  [[nodiscard]] net::Task<Result<void>> perform(upgrade::Action action,
                                                upgrade::EffectCall call) override;
  [[nodiscard]] net::Task<Result<std::optional<upgrade::SiteSnapshot>>> backup_snapshot(
      bool refresh) override;
  [[nodiscard]] net::Task<Result<std::optional<upgrade::EffectAnswer>>> query(
      NodeId node, std::string key) override;
  [[nodiscard]] net::Task<Result<upgrade::Observation>> observe(NodeId node) override;
  [[nodiscard]] net::Task<Result<upgrade::Health>> sample_health(NodeId node) override;
  [[nodiscard]] net::Task<Result<upgrade::Roles>> observe_roles() override;
  [[nodiscard]] net::Task<Result<void>> hand_over(NodeId to) override;
  void step_changed(const upgrade::Plan& plan, const upgrade::Step& step) override;

  // api::UpgradeService
  [[nodiscard]] net::Task<Result<upgrade::Plan>> plan(upgrade::ApplyRequest request) override;
  [[nodiscard]] net::Task<Result<api::UpgradeAsked>> apply(upgrade::ApplyRequest request) override;
  [[nodiscard]] net::Task<Result<api::UpgradeAsked>> request(upgrade::Request what,
                                                             RequestId id) override;
  [[nodiscard]] net::Task<Result<api::UpgradeView>> status() override;

  // api::UpdateService
  [[nodiscard]] net::Task<Result<api::UpdateList>> list() override;
  [[nodiscard]] net::Task<Result<api::UpdateList>> refresh() override;

  [[nodiscard]] net::Task<Result<std::unique_ptr<pb::BaseReply>>> base_status();

  // A call of the other node's plan (upgrade_remote.cc). Code unknown_call.
  [[nodiscard]] net::Task<Result<std::string>> answer_other(std::string what, std::string body);

 private:
  [[nodiscard]] net::Task<Result<void>> perform_here(upgrade::Action action,
                                                     upgrade::EffectCall call);
  [[nodiscard]] net::Task<Result<std::optional<upgrade::EffectAnswer>>> query_here(std::string key);
  [[nodiscard]] net::Task<Result<upgrade::Observation>> observe_here();
  [[nodiscard]] net::Task<Result<void>> perform_there(upgrade::Action action,
                                                      upgrade::EffectCall call);
  [[nodiscard]] net::Task<Result<upgrade::SiteSnapshot>> snapshot_of_base();
  [[nodiscard]] Source source_now() const;
  [[nodiscard]] net::Task<> run_runner();
  [[nodiscard]] net::Task<Result<void>> resolve(upgrade::EffectCall call);
  [[nodiscard]] net::Task<Result<void>> fetch(upgrade::EffectCall call);
  [[nodiscard]] net::Task<Result<void>> preflight(upgrade::EffectCall call);
  [[nodiscard]] net::Task<Result<void>> back_up(upgrade::EffectCall call);
  [[nodiscard]] net::Task<> legs_have_moved();
  [[nodiscard]] net::Task<Result<void>> raise_level(upgrade::EffectCall call);
  [[nodiscard]] net::Task<Result<void>> ask_base(std::unique_ptr<pb::BaseRequest> request,
                                                 Duration within);
  [[nodiscard]] net::Task<Result<api::UpdateList>> list_here(bool refresh);
  [[nodiscard]] net::Task<Result<std::vector<upgrade::SiteSnapshot::Candidate>>> releases(
      bool refresh);
  [[nodiscard]] net::Task<Result<upgrade::Plan>> plan_here(upgrade::ApplyRequest request);
  [[nodiscard]] net::Task<Result<api::UpgradeAsked>> apply_here(upgrade::ApplyRequest request);
  [[nodiscard]] net::Task<Result<api::UpgradeAsked>> apply_once(upgrade::ApplyRequest request);
  [[nodiscard]] net::Task<Result<api::UpgradeAsked>> request_here(upgrade::Request what,
                                                                  RequestId id);
  [[nodiscard]] net::Task<Result<void>> request_once(upgrade::Request what, RequestId id);
  [[nodiscard]] net::Task<Result<std::optional<store::Outcome>>> first_outcome(RequestId id);
  [[nodiscard]] net::Task<Result<void>> runner_drives();
  [[nodiscard]] net::Task<Result<api::UpgradeView>> status_here();

  Parts parts_;
  std::unique_ptr<upgrade::UpgradeRunner> runner_;
  std::unique_ptr<net::TaskScope> runner_tasks_;
  net::Wakeup writes_again_;
  std::uint64_t next_status_ = 1;
  std::optional<Moves> moves_;  // None: nothing is known of any in this process.
  net::Wakeup moves_ended_;
  std::set<RequestId> under_way_;  // Requests that are being answered here.
  WallTime checked_at_;
  Source given_source_;                   // By the primary, for a node that has none of its own.
  std::shared_ptr<std::mutex> metadata_;  // One at a time uses the metadata folder (pool threads).
};

}  // namespace everspan::node
