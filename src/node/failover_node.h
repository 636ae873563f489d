// What people ask of the pair (api::FailoverService), and the first meeting of two nodes:
// establishing (docs/decisions/2026-11-27-pair.md). Calls come from the API's executor and are
// brought to the control executor; everything else is called there.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "api/services.h"
#include "node/node_link.h"
#include "node/pair_service.h"
#include "node/worker_pool.h"

namespace everspan::pb {
class EstablishAnswer;
class EstablishAsk;
}  // namespace everspan::pb

namespace everspan::node {

class FailoverNode : public api::FailoverService {
 public:
  struct Parts {
    net::Executor control;
    PairService& pair;
    WorkerPool& pool;
    std::string orphan_folder;
    NodeId node;
    // The other node's address goes into the site's certificate, where the site signs its own.
    std::function<net::Task<Result<void>>(std::string host)> name_in_certificate;
    // The other node's appliance gets this one's accounts and settings, where it has none.
    std::function<net::Task<Result<void>>(NodeId node)> give_appliance;
  };
  explicit FailoverNode(Parts parts);
  ~FailoverNode() override;

  // An establish link that another node dialled: this node would be the backup.
  void accepted(ProvedLink link);
  void roles_changed();
  [[nodiscard]] net::Task<> join();

  // api::FailoverService
  [[nodiscard]] net::Task<Result<api::FailoverStatus>> failover_status() override;
  [[nodiscard]] net::Task<Result<api::FailoverKey>> failover_key() override;
  [[nodiscard]] net::Task<Result<api::FailoverKey>> make_failover_key(bool replace,
                                                                      api::Caller caller) override;
  [[nodiscard]] net::Task<Result<api::EstablishReport>> establish(api::EstablishRequest request,
                                                                  api::Caller caller) override;
  [[nodiscard]] net::Task<Result<api::SyncReport>> sync_now(std::optional<Revision> target,
                                                            Instant deadline,
                                                            api::Caller caller) override;
  [[nodiscard]] net::Task<Result<api::BecomeReport>> become(api::BecomeRequest request,
                                                            api::Caller caller) override;
  [[nodiscard]] net::Task<Result<void>> break_relationship(bool forget,
                                                           api::Caller caller) override;
  [[nodiscard]] net::Task<Result<std::vector<api::OrphanRow>>> orphans() override;
  [[nodiscard]] net::Task<Result<api::Orphan>> orphan(std::string name, Revision after,
                                                      std::uint32_t limit) override;
  [[nodiscard]] std::vector<api::NodeAt> nodes() override;
  [[nodiscard]] std::optional<api::PrimaryElsewhere> primary_elsewhere() override;

 private:
  class Meeting;
  [[nodiscard]] net::Task<Result<api::EstablishReport>> establish_here(
      api::EstablishRequest request, std::string who);
  [[nodiscard]] net::Task<Result<api::BecomeReport>> become_here(api::BecomeRequest request,
                                                                 std::string who);
  [[nodiscard]] net::Task<Result<api::SyncReport>> sync_here(std::optional<Revision> target,
                                                             Instant deadline);
  [[nodiscard]] net::Task<Result<api::FailoverKey>> key_here();
  [[nodiscard]] net::Task<Result<api::FailoverKey>> make_key_here(bool replace, std::string who);
  [[nodiscard]] net::Task<Result<api::FailoverStatus>> status_task();
  [[nodiscard]] api::FailoverStatus status_here() const;
  // pair_establish.cc
  [[nodiscard]] net::Task<> serve_meeting(std::shared_ptr<Meeting> meeting);
  [[nodiscard]] net::Task<> answer_meeting(std::shared_ptr<Meeting> meeting, std::uint64_t id,
                                           std::string what, std::string body);
  [[nodiscard]] net::Task<Result<pb::EstablishAnswer>> check_as_backup(const Meeting& meeting,
                                                                       const pb::EstablishAsk& ask);
  [[nodiscard]] net::Task<Result<void>> commit_as_backup(const Meeting& meeting,
                                                         const pb::EstablishAsk& ask);
  [[nodiscard]] net::Task<Result<api::EstablishReport>> meet(api::EstablishRequest request,
                                                             std::string who);

  Parts parts_;
  // Asked from any thread without waiting: kept by roles_changed().
  std::mutex mutex_;
  std::optional<api::PrimaryElsewhere> elsewhere_;
  std::vector<api::NodeAt> nodes_;
  bool busy_ = false;
  net::TaskScope tasks_;
};

}  // namespace everspan::node
