// This node's half of a failover pair: drives the role core, the shipping core and the epoch's
// write path over the node links (docs/decisions/2026-11-27-pair.md). A node without a peer runs it
// as well: then it is `alone`, and a write passes straight through.
//
// Only the process that holds the node's generation is active (start() to stop()); in another one
// of this node submit() goes to that process through the node's own write path.
//
// submit() from any executor, Replication's calls on the log writer's thread, everything else on
// the control executor.
#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/services.h"
#include "failover/core/role_core.h"
#include "node/data_paths.h"
#include "node/node_files.h"
#include "node/node_link.h"
#include "node/worker_pool.h"
#include "node/write_path.h"
#include "store/journal.h"
#include "store/log.h"
#include "sync/core/ship_core.h"
#include "upgrade/core/site_plan.h"

namespace everspan::pb {
class NodeCall;
class NodeCallReply;
class NodeGreeting;
}  // namespace everspan::pb

namespace everspan::node {

class PairService : public site::Writer,
                    public WritePath::Backend,
                    public WritePath::Host,
                    public WritePath::Peer,
                    public store::Replication,
                    public NodeLink::Events {
 public:
  // What the roles mean for the rest of the process.
  class Host {
   public:
    virtual ~Host() = default;
    virtual void role_changed(failover::Role role, const std::string& why) = 0;
    virtual void move_ends_to_peer() = 0;
    virtual void peer_changed() = 0;  // The link to the other node greeted, or is gone.
    using CallDone = std::function<void(Result<std::string>)>;  // On the control executor.
    virtual void answer_call(const std::string& what, const std::string& body, CallDone done) = 0;
    virtual void cannot_go_on(std::string why) = 0;
    [[nodiscard]] virtual std::vector<net::Address> own_addresses() const = 0;
    [[nodiscard]] virtual std::optional<SiteId> site_id() const = 0;
  };
  struct Parts {
    net::Executor control;
    WorkerPool& pool;
    DataPaths paths;
    NodeId node;
    WritePath& local;  // Of this node's processes.
    store::LogWriter& log;
    store::LogReader& reader;
    store::Journal& journal;
    Host& host;
    std::string platform;
  };
  explicit PairService(Parts parts);
  ~PairService() override;

  // Reads what this node must not forget. Before start().
  [[nodiscard]] Result<void> open();
  // `took_over`: another process of this node had the links until now.
  void start(bool took_over);
  // Before this process becomes the log's writer: what it may do with what it finds appended.
  [[nodiscard]] store::LogWriter::Tail before_writer();
  void stop();
  [[nodiscard]] net::Task<> join();

  // site::Writer. Code not_primary: `next` names the primary's address.
  [[nodiscard]] net::Task<Result<store::Outcome>> submit(store::Transaction transaction) override;

  // A proved link that the other node dialled; not of purpose establish.
  void accepted(ProvedLink link);

  [[nodiscard]] bool active() const { return active_; }
  void journal(std::string who, std::string what, std::string detail);
  [[nodiscard]] failover::Role role() const { return role_; }
  [[nodiscard]] bool serves() const;  // The site's writes are run here.
  [[nodiscard]] std::uint32_t feature_level() const { return parts_.local.feature_level(); }
  [[nodiscard]] std::optional<NodeId> peer() const;
  [[nodiscard]] std::optional<net::Address> peer_address() const;
  [[nodiscard]] std::vector<NodeId> in_sync() const;
  [[nodiscard]] failover::Register own_register() const { return record_.reg; }
  [[nodiscard]] Result<void> fill_greeting(pb::NodeGreeting& out) const;
  [[nodiscard]] NodeFiles& files() { return files_; }
  [[nodiscard]] api::FailoverStatus status() const;
  [[nodiscard]] upgrade::Roles roles() const;  // As an upgrade's plan sees them.

  // By a person or a plan. Codes: no_peer, unreachable, not_in_sync, busy, in_doubt.
  [[nodiscard]] net::Task<Result<void>> become(bool primary, std::string who);
  [[nodiscard]] net::Task<Result<void>> force(bool primary, std::string who);
  // Everything appended at the call is durable at the other node.
  [[nodiscard]] net::Task<Result<void>> wait_in_sync(Revision target, Instant deadline);
  // Both sides agreed (pair_establish): this node's half, durable when it returns.
  [[nodiscard]] net::Task<Result<void>> established(PeerEntry peer, failover::Register reg,
                                                    std::string who);
  [[nodiscard]] net::Task<Result<void>> broken(bool forget, std::string who);
  // A question to the other node (Host::answer_call there). Code unreachable.
  [[nodiscard]] net::Task<Result<std::string>> call(std::string what, std::string body,
                                                    Instant deadline);

  // WritePath::Backend: the turn is the epoch.
  [[nodiscard]] net::Task<Result<void>> raise(std::uint64_t turn) override;
  void run(store::Transaction transaction, Done done) override;
  void release(Released done) override;
  // WritePath::Host
  void start_accepting() override {}
  void stop_accepting() override {}
  void serving(std::uint64_t turn) override;
  void not_serving(std::uint64_t turn, std::string why) override;
  void released(std::uint64_t turn, store::LogHead head) override;
  // WritePath::Peer
  [[nodiscard]] net::Task<Result<std::unique_ptr<pb::WriteOutcome>>> forward_write(
      std::string transaction, Instant deadline) override;
  void answer_write(const pb::WriteOutcome& outcome) override;
  // store::Replication
  void appended(store::LogHead before, std::vector<Shipped> batch) override;
  void taken_back(store::LogHead head) override;
  void committed(store::LogHead committed, const std::vector<NodeId>& stores) override;
  // NodeLink::Events
  void on_message(NodeLink& link, pb::NodeMessage& message) override;
  void on_closed(NodeLink& link, const Error& why) override;

 private:
  using Roles = failover::RoleCore;
  using Ship = sync::ShipLeader;
  struct Call;

  void back_to(const store::LogHead& head);
  [[nodiscard]] net::Task<Result<store::Outcome>> submit_here(store::Transaction transaction);
  [[nodiscard]] Error not_primary() const;
  void replicate();
  [[nodiscard]] net::Task<> run_here(store::Transaction transaction, Done done);
  // pair_roles.cc
  void feed(const Roles::Event& event);
  [[nodiscard]] net::Task<> perform_loop();
  [[nodiscard]] net::Task<> perform(Roles::Action action);
  void perform_now(const Roles::Action& action);
  [[nodiscard]] net::Task<> save(Roles::Save action);
  [[nodiscard]] net::Task<> tick_loop();
  void change_role(const Roles::RoleChanged& action);
  [[nodiscard]] net::Task<Result<void>> ask(Roles::Event event, std::uint64_t token);
  [[nodiscard]] net::Task<Result<void>> begin_lineage(LineageId lineage, Epoch epoch);
  [[nodiscard]] net::Task<Result<store::LogHead>> advanced(
      std::function<void(store::LogWriter::Advanced)> begin);
  // pair_ship.cc
  void feed_ship(const Ship::Event& event);
  void perform_ship(Ship::Action action);
  [[nodiscard]] net::Task<> load(Ship::Load action);
  void ship_with_peer();
  void confirm_what_both_have();
  void follow(pb::NodeMessage& message);
  void append_from_peer(const pb::NodeMessage& message);
  void fold_as_peer(const pb::NodeMessage& message);
  void appended_from_peer(Result<store::LogHead> head);
  void answered_by_follower(const pb::NodeMessage& message);
  // pair_links.cc
  [[nodiscard]] net::Task<> dial_loop();
  [[nodiscard]] net::Task<> dial(PeerEntry peer);
  void use_link(ProvedLink link);
  [[nodiscard]] net::Task<> keep_link(std::shared_ptr<NodeLink> link);
  void drop_link(const std::string& why);
  void greet(bool ask);
  [[nodiscard]] Result<LineageId> last_lineage(const store::LogMeta& meta) const;
  void greeted(const pb::NodeGreeting& greeting);
  void send(const pb::NodeMessage& message);
  void role_message(const pb::NodeMessage& message);
  void finish_call(pb::NodeCallReply& reply);
  void answer_call(const pb::NodeCall& call);

  Parts parts_;
  NodeFiles files_;
  WritePath writes_;  // The epoch's.
  Roles roles_;
  Ship ship_;
  failover::RoleRecord record_;
  failover::Role role_ = failover::Role::alone;
  std::string role_why_;
  std::deque<api::FailoverStatus::Change> history_;
  bool active_ = false;
  bool took_over_ = false;  // From another process of this node: dial at once.
  std::shared_ptr<NodeLink> link_;
  std::uint64_t link_number_ = 0;
  bool greeted_ = false;
  std::unique_ptr<pb::NodeGreeting> greeting_;  // The other's last one.
  std::optional<WallTime> last_heard_;
  std::int64_t clock_ahead_ms_ = 0;
  std::string dial_failed_;
  std::string
      not_taken_;  // Why the follower, which may be this node, takes nothing more; empty: it does.
  bool tail_counts_ = false;  // Of the turn that is being taken: what is appended is committed.
  bool leads_ = false;
  bool follows_ = false;
  store::LogHead head_;  // Appended here, as far as is known.
  Revision committed_;
  store::LogHead peer_durable_;
  Instant ship_again_at_ = Instant::min();
  std::optional<WallTime> last_in_sync_;
  std::atomic<bool> alone_{true};  // This node alone confirms.
  bool peer_confirms_ = false;
  Instant forward_until_ = Instant::min();  // After a release: clients do not know the address yet.
  std::deque<Roles::Action> actions_;
  net::Wakeup actions_wakeup_;
  net::Wakeup tick_wakeup_;
  net::Wakeup dial_wakeup_;
  net::Wakeup moved_;  // Durable, role or link changed: who waits looks again.
  std::map<std::uint64_t, std::shared_ptr<Call>> calls_;
  std::map<std::uint64_t, std::optional<std::optional<Error>>> answers_;
  std::uint64_t next_id_ = 1;
  net::TaskScope tasks_;
};

}  // namespace everspan::node
