// The site process: builds its services in start order, takes orders from base, serves, hands over,
// retires (docs/decisions/2026-11-23-base-and-site.md).
//
//   start:  greet base -> open the store -> (a site exists: open it) -> Ready
//   serve:  Activate -> generation raised in the log -> (new site: first transaction) -> accept
//           -> Activated
//   leave:  ReleaseWriter -> stop accepting, finish writes -> Released -> forward writes
//           -> migrate the ends
//   end:    Retire -> wait for the ends to have moved -> exit 0
//
// All of it on the control executor, but what a member says otherwise.
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "access/passwords.h"
#include "api/api.h"
#include "http/server.h"
#include "net/io_threads.h"
#include "node/acceptor.h"
#include "node/base_link.h"
#include "node/core/absence.h"
#include "node/data_paths.h"
#include "node/failover_node.h"
#include "node/handover_link.h"
#include "node/live_service.h"
#include "node/log_backend.h"
#include "node/node_door.h"
#include "node/pair_service.h"
#include "node/probe.h"
#include "node/site_view.h"
#include "node/upgrade_service.h"
#include "node/worker_pool.h"
#include "node/write_path.h"
#include "recording/recorder.h"
#include "relay/relay.h"
#include "site/context.h"
#include "site/settings.h"
#include "store/fault_vfs.h"
#include "store/journal.h"

namespace everspan::node {

class SiteProcess : public BaseLink::Events,
                    public HandoverLink::Events,
                    public WritePath::Host,
                    public PairService::Host,
                    public Acceptor::Sink,
                    public api::NodeService {
 public:
  // `base`: the socket that base gave (descriptor 3).
  SiteProcess(net::IoThreads& control, net::IoThreads& api_threads, net::IoThreads& io,
              net::MessageSocket base);
  ~SiteProcess() override;

  // Until base retires this process, or it cannot go on (an error).
  [[nodiscard]] net::Task<Result<void>> run();
  void stop(std::string why);  // SIGTERM.

  // BaseLink::Events
  void on_activate(Generation generation) override;
  void on_release_writer(Generation generation) override;
  void on_peer(int role, std::string release, int pid, net::Fd handover, net::Fd bridge) override;
  void on_peer_gone(int pid, std::string how) override;
  void on_role_changed(int role, std::string why) override;
  void on_retire(std::string why) override;

  // HandoverLink::Events
  void on_peer_hello(const pb::HandoverHello& hello) override;
  void on_forwarded_write(std::uint64_t id, std::string transaction) override;
  void on_peer_serving(Generation generation, Revision head) override;
  bool on_push_open(EndpointId endpoint, std::string signed_grant) override;
  void fill_snapshot(pb::SnapshotReply& reply) override;
  void on_move_progress(const Moves& moves) override;
  void on_handover_closed() override;

  // WritePath::Host
  void start_accepting() override;
  void stop_accepting() override;
  void serving(std::uint64_t generation) override;
  void not_serving(std::uint64_t generation, std::string why) override;
  void released(std::uint64_t generation, store::LogHead head) override;

  // PairService::Host
  void role_changed(failover::Role role, const std::string& why) override;
  void move_ends_to_peer() override;
  void peer_changed() override;
  void answer_call(const std::string& what, const std::string& body, CallDone done) override;
  void cannot_go_on(std::string why) override { give_up(std::move(why)); }
  [[nodiscard]] std::vector<net::Address> own_addresses() const override;
  [[nodiscard]] std::optional<SiteId> site_id() const override;

  // Acceptor::Sink, on io threads
  void take_link(std::unique_ptr<net::Transport> link, unsigned thread) override;
  void take_http(std::unique_ptr<net::Transport> connection) override;

  // api::NodeService, on the API's executor
  [[nodiscard]] net::Task<Result<api::NodeStatus>> status() override;
  [[nodiscard]] Result<void> ready() override;
  [[nodiscard]] bool is_own_address(const net::Address& local) override;

 private:
  [[nodiscard]] Result<void> open_store();
  [[nodiscard]] net::Task<Result<void>> open_site();
  [[nodiscard]] Result<void> write_authority();
  [[nodiscard]] Result<void> start_probe_listener();
  [[nodiscard]] net::Task<Result<void>> make_site();
  [[nodiscard]] net::Task<> serve_now(Generation generation);
  [[nodiscard]] net::Task<> leave();
  [[nodiscard]] net::Task<> retire(std::string why);
  [[nodiscard]] net::Task<> follow_log();
  [[nodiscard]] net::Task<> heartbeats();
  [[nodiscard]] net::Task<> look_after_sessions();
  [[nodiscard]] net::Task<Result<void>> end_void();
  [[nodiscard]] net::Task<Result<void>> end_abandoned();
  [[nodiscard]] net::Task<Result<void>> forget_ended();
  [[nodiscard]] net::Task<> run_handover(HandoverLink& link);
  [[nodiscard]] net::Task<> serve_connection(std::shared_ptr<std::unique_ptr<net::Transport>> from);
  [[nodiscard]] net::Task<> refresh_snapshot();
  [[nodiscard]] net::Task<Result<api::NodeStatus>> status_here();
  [[nodiscard]] net::Task<Result<std::vector<api::LiveService::Check>>> verify_here();
  [[nodiscard]] net::Task<Result<std::string>> probe(std::uint16_t port);
  [[nodiscard]] upgrade::Health health() const;
  [[nodiscard]] std::vector<net::Address> candidates() const;
  void move_ends(std::string reason);
  [[nodiscard]] Result<void> open_pair();
  [[nodiscard]] Result<void> open_door();
  [[nodiscard]] net::Task<> at_door(std::shared_ptr<std::unique_ptr<net::Transport>> link);
  void take_node_link(std::unique_ptr<net::Transport> link, std::string early);
  [[nodiscard]] net::Task<> greet_node(std::shared_ptr<std::unique_ptr<net::Transport>> link,
                                       std::string early);
  void take_proved(ProvedLink link);
  void node_refused(const NodeDoor::Refused& refused);
  [[nodiscard]] net::Task<Result<void>> name_in_certificate(std::string host);
  [[nodiscard]] net::Task<Result<void>> give_appliance(NodeId node);
  [[nodiscard]] Result<void> use_certificate();
  [[nodiscard]] Result<void> follow_certificate();
  [[nodiscard]] net::Task<> await_site();
  [[nodiscard]] net::Task<> run_forwarded_write(std::uint64_t id, std::string transaction);
  [[nodiscard]] net::Task<> answer_write_call(std::string body, CallDone done);
  [[nodiscard]] net::Task<Result<std::unique_ptr<pb::SnapshotReply>>> clients_of_other();
  [[nodiscard]] net::Task<> answer_clients_call(CallDone done);
  [[nodiscard]] net::Task<> answer_upgrade_call(std::string what, std::string body, CallDone done);
  void give_up(std::string why);

  net::IoThreads& control_threads_;
  net::Executor control_;
  net::Executor api_executor_;
  net::IoThreads& io_;
  WorkerPool pool_{2};
  WorkerPool upgrade_pool_{1, 10};  // Fetching, copying, rehearsing.
  DataPaths paths_;
  NodeId node_;
  BaseLink base_;
  LogBackend log_backend_{pool_};
  WritePath writes_;
  SiteView view_;
  std::unique_ptr<store::FaultVfs> log_faults_;  // Of armed failpoints; before its users.
  std::unique_ptr<store::LogWriter> log_writer_;
  std::unique_ptr<store::LogReader> log_;
  std::unique_ptr<store::Journal> journal_;
  std::unique_ptr<PairService> pair_;
  std::unique_ptr<FailoverNode> failover_;
  std::unique_ptr<NodeDoor> door_;  // Reads the files of pair_.
  std::shared_ptr<net::TlsContext> tls_;
  std::unique_ptr<site::Catalog> catalog_;
  std::unique_ptr<site::SiteIdentity> identity_;
  std::unique_ptr<site::SiteSecrets> secrets_;
  std::unique_ptr<site::Context> context_;
  std::unique_ptr<SigningKey> probe_key_;
  std::unique_ptr<recording::Recorder> recorder_;
  std::unique_ptr<LiveNode> live_;
  std::unique_ptr<relay::Relay> relay_;
  std::unique_ptr<NodeUpgrade> upgrade_;
  std::unique_ptr<access::PasswordWorkers> passwords_;
  std::unique_ptr<api::Api> api_;
  Acceptor acceptor_;
  Acceptor probe_acceptor_;
  net::Fd probe_listener_;
  struct Handover {  // The link to one other process, with what runs on it.
    std::unique_ptr<HandoverLink> link;
    std::unique_ptr<net::TaskScope> tasks;
  };
  Handover handover_;
  std::vector<Handover> old_handovers_;  // Of processes before; until nothing runs on them.
  std::uint16_t peer_probe_port_ = 0;
  relay::RelaySnapshot last_snapshot_;               // For the other process; at most a second old.
  std::atomic<std::shared_ptr<http::Drain>> drain_;  // Of connections from now on.
  net::TaskScope tasks_;
  net::TaskScope http_tasks_;  // API executor.
  net::Wakeup stopped_;
  net::Wakeup ends_moved_;
  net::Wakeup look_at_sessions_;  // An account was changed, or this process has begun to serve.
  std::size_t ends_left_ = 0;     // Legs and standing links that still have to move away from here.
  Absence absence_;
  std::string stop_why_;
  bool stop_in_order_ = false;
  bool retiring_ = false;
  bool serving_now_ = false;
  bool waits_for_site_ = false;  // Joined: the log is empty still.
  bool awaiting_site_ = false;
  std::atomic<bool> ready_{false};
  Generation generation_;
  Instant started_;
};

}  // namespace everspan::node
