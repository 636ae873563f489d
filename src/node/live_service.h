// What the relay asks of the site (keys, ends, presence) and what the API asks of the relay
// (clients, opening and ending sessions). The relay's calls come from io threads and never wait;
// work goes to the control executor.
#pragma once
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "api/services.h"
#include "common/crypto.h"
#include "node/handover_link.h"
#include "node/site_view.h"
#include "relay/relay.h"
#include "relay/services.h"
#include "site/context.h"
#include "store/journal.h"

namespace everspan::node {

class LiveNode : public relay::Services, public api::LiveService {
 public:
  struct Parts {
    net::Executor control;
    SiteView& view;
    store::Journal& journal;
    NodeId node;
    std::function<std::vector<net::Address>()> candidates;  // Of this node, in order.
    // verify() of the API; node/probe.h.
    std::function<net::Task<Result<std::vector<Check>>>()> verify;
    // The other node's part of a list, on the control executor; nullptr: there is no other node.
    // Code unreachable.
    std::function<net::Task<Result<std::unique_ptr<pb::SnapshotReply>>>()> other_node;
    std::function<NodeId()> other_id;
  };
  explicit LiveNode(Parts parts);
  ~LiveNode() override;

  // Once the settings can be read. All outlive this.
  void set_site(site::Context* context, const SigningKey* grant_key, EndpointId probe_endpoint,
                std::string probe_key);
  void set_relay(relay::Relay* relay) { relay_ = relay; }
  // Its person may have it no more: as request_end, and journalled.
  void end_revoked(const SessionId& session, const std::string& person, std::string reason);
  void set_peer(HandoverLink* peer) { peer_ = peer; }  // Control executor.

  // relay::Services
  [[nodiscard]] SiteId site_id() const override;
  [[nodiscard]] NodeId node_id() const override { return parts_.node; }
  [[nodiscard]] std::optional<std::string> grant_key(std::string_view key_id) const override;
  [[nodiscard]] std::optional<std::string> endpoint_key(const EndpointId& id) const override;
  [[nodiscard]] std::optional<std::string> ended(const SessionId& session) const override;
  void request_end(const SessionId& session, std::string reason) override;
  [[nodiscard]] relay::OrdersInfo orders() const override;
  [[nodiscard]] std::optional<relay::NoticeInfo> notice() const override;
  void journal(const relay::SessionEvent& event) override;
  void agent_presence(const relay::AgentInfo& agent, bool online) override;
  void open_refused(const SessionId& session, const Error& why) override;

  // api::LiveService
  [[nodiscard]] net::Task<Result<api::LiveSnapshot>> snapshot() override;
  [[nodiscard]] bool agent_online(const EndpointId& endpoint) override;
  [[nodiscard]] Result<void> open_session(const EndpointId& endpoint,
                                          const std::string& signed_grant) override;
  void end_session(const SessionId& session, const std::string& signed_tombstone) override;
  void close_endpoint(const EndpointId& endpoint) override;
  [[nodiscard]] std::vector<net::Address> candidates() override { return parts_.candidates(); }
  [[nodiscard]] net::Task<Result<std::vector<Check>>> verify() override { return parts_.verify(); }

  // This process's own part, for the other process of a hand-over.
  [[nodiscard]] net::Task<relay::RelaySnapshot> local_snapshot();
  void fill_reply(const relay::RelaySnapshot& snapshot, pb::SnapshotReply& reply) const;
  // Of both processes of this node, for the other node. Control executor.
  [[nodiscard]] net::Task<std::unique_ptr<pb::SnapshotReply>> node_part();
  [[nodiscard]] net::Task<> join();

 private:
  void begin_end(const SessionId& session, std::string reason, std::string revoked_of);
  [[nodiscard]] net::Task<> end_now(SessionId session, std::string reason, std::string revoked_of);
  [[nodiscard]] net::Task<std::unique_ptr<pb::SnapshotReply>> peer_snapshot();
  void add_part(const pb::SnapshotReply& from, const NodeId& node, api::LiveSnapshot& to) const;

  Parts parts_;
  site::Context* context_ = nullptr;
  const SigningKey* grant_signer_ = nullptr;
  EndpointId probe_endpoint_;
  std::string probe_key_;
  relay::Relay* relay_ = nullptr;
  HandoverLink* peer_ = nullptr;
  std::set<SessionId> ending_;  // Control executor.
  net::TaskScope tasks_;        // Control executor.
};

}  // namespace everspan::node
