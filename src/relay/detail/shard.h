// All sessions and standing links of one io thread, and the connections that are not yet either.
// Used on its executor only, except where said.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "net/async.h"
#include "proto/bridge.pb.h"
#include "proto/link.pb.h"
#include "recording/core/session_tap.h"
#include "relay/core/move_pace.h"
#include "relay/core/session_core.h"
#include "relay/detail/agent_link.h"
#include "relay/detail/bridge.h"
#include "relay/detail/session.h"
#include "relay/relay.h"

namespace everspan::recording {
class Recorder;
}

namespace everspan::relay {

// An opening that said what it is, on its way to its shard.
struct Opened {
  std::unique_ptr<net::Transport> transport;
  std::string early;
  std::string exporter;
  std::string release;
  std::uint32_t wire = wire::kWireMin;  // What is spoken on it.
  pb::LinkMessage message;              // Attach or AgentRegister
};

// Said nothing useful: gets a Refuse and goes.
class Farewell final : public WatchedLink {
 public:
  Farewell(Shard& shard, std::uint64_t id, net::Executor executor,
           std::unique_ptr<net::Transport> transport);

 private:
  void on_link_frame(const wire::Frame&, std::string_view) override {}
  void on_link_closed(const Error& why) override;
  Shard& shard_;
  const std::uint64_t id_;
};

struct MoveCounters {
  std::atomic<std::size_t> moved = 0;
  std::atomic<std::size_t> lost = 0;
  std::atomic<std::size_t> left = 0;
};

class Shard {
 public:
  Shard(std::weak_ptr<Relay::State> relay, unsigned index, unsigned count, net::Executor executor,
        Services& services, recording::Recorder* recorder, const RelayOptions& options);
  ~Shard();

  const unsigned index;
  const net::Executor executor;
  Services& services;
  recording::Recorder* const recorder;
  const RelayOptions options;

  void start();
  void serve(std::unique_ptr<net::Transport> transport, std::string early);
  void take(Opened opened);
  [[nodiscard]] Error why_ended(const SessionId& session) const;
  void refuse(std::unique_ptr<net::Transport> transport, const Error& why,
              std::uint32_t retry_after_ms = 0);

  // ---- Sessions ----
  void end_session(const SessionId& id, const std::string& signed_tombstone, bool from_peer);
  void forget_later(const SessionId& id);
  void session_closed_leg(bool moved);
  void send_notice();  // To all consoles here.
  [[nodiscard]] LegId next_leg_id() { return ++last_id_; }
  [[nodiscard]] OrdersInfo orders() const { return services.orders(); }

  // ---- Recording ----
  [[nodiscard]] recording::Batch& batch();  // Submitted at the end of this wakeup.
  void submit();                            // Or at once.
  void watch_stream(std::uint32_t stream, Session& session);
  void unwatch_stream(std::uint32_t stream);
  void recover(const SessionId& id);

  // ---- Bridge ----
  void on_bridge_up(std::shared_ptr<Bridge> bridge);
  void on_bridge_records(const std::string& records);
  void on_bridge_pressure(bool high);
  void on_bridge_down();
  [[nodiscard]] bool bridge_up() const { return bridge_ != nullptr; }
  [[nodiscard]] bool bridge_high() const { return bridge_high_; }
  void bridge_message(std::string_view key, const pb::BridgeMessage& message);
  void bridge_frame(std::string_view session, Side side, std::string_view frame);

  // ---- Agents ----
  void open_session(const EndpointId& endpoint, const std::string& signed_grant);
  void close_endpoint(const EndpointId& endpoint, const std::string& code);
  void agent_closed(AgentLink& link, const Error& why);
  void agent_frame(AgentLink& link, const wire::Frame& frame);

  // ---- Moving ----
  void migrate(Pace pace, std::shared_ptr<MoveCounters> counters);
  [[nodiscard]] bool moves(const Movable& what) const;
  void stop_migrating();
  // A Leg or AgentLink was asked to move; is attached elsewhere (or gone). For the pace.
  template <class Link>
  void move_asked(Link& link, Instant now);
  template <class Link>
  void move_ended(Link& link, bool attached);

  void snapshot(RelaySnapshot& out) const;
  void forget_farewell(std::uint64_t id) { farewells_.erase(id); }
  void shutdown(std::function<void()> done);
  [[nodiscard]] std::size_t session_count() const { return session_count_; }  // Any thread.

 private:
  [[nodiscard]] net::Task<void> open(std::unique_ptr<net::Transport> transport, std::string early);
  [[nodiscard]] net::Task<void> beat();
  [[nodiscard]] net::Task<void> move(Pace pace, std::shared_ptr<MoveCounters> counters,
                                     std::uint64_t run);
  [[nodiscard]] net::Task<void> finish(std::function<void()> done);

  void attach(Opened opened);
  void register_agent(Opened opened);
  [[nodiscard]] Result<access::GrantClaims> check_attach(const Opened& opened, Side& side) const;
  void tell_ended_sessions(AgentLink& link, const pb::AgentRegister& request);
  void on_bridge_message(std::string_view key, std::string_view body);
  void send_presence(const AgentInfo& agent, bool online);
  void keep_spare(std::string records);
  [[nodiscard]] recording::Batch take_batch();
  void flush_bridge();
  void tick(Instant now);
  [[nodiscard]] std::size_t count_left() const;
  bool move_one(Instant now, const std::string& frame, Duration ask_again);
  void forget_moves();

  std::weak_ptr<Relay::State> relay_;
  const unsigned shards_;
  net::TaskScope scope_;
  std::map<SessionId, std::unique_ptr<Session>> sessions_;
  std::unordered_map<std::uint32_t, Session*> streams_;
  std::map<EndpointId, std::unique_ptr<AgentLink>> agents_;
  std::vector<std::unique_ptr<AgentLink>> old_agents_;  // Replaced, saying good-bye.
  std::map<std::uint64_t, std::unique_ptr<Farewell>> farewells_;
  std::uint64_t last_id_ = 0;

  recording::Batch batch_;
  std::vector<std::string> spares_;
  bool submit_posted_ = false;
  std::shared_ptr<Bridge> bridge_;
  std::string bridge_out_;
  bool bridge_flush_posted_ = false;
  bool bridge_high_ = false;

  std::shared_ptr<MoveCounters> moving_;
  std::function<bool(const Movable&)> moves_only_;  // Pace::only of the moves under way.
  std::uint64_t move_run_ = 0;
  std::optional<MovePace> pace_;
  std::string last_orders_;
  std::atomic<std::size_t> session_count_ = 0;
  bool stopping_ = false;
};

template <class Link>
void Shard::move_asked(Link& link, Instant now) {
  link.asked_at = now;
  if (!pace_ || std::exchange(link.under_way, true)) return;  // M3
  link.under_way_since = now;
  pace_->asked(now);
}

template <class Link>
void Shard::move_ended(Link& link, bool attached) {
  if (!std::exchange(link.under_way, false) || !pace_) return;
  if (attached)
    pace_->ended(net::now() - link.under_way_since);
  else
    pace_->lost();
}

// Shared by all threads.
struct Relay::State : std::enable_shared_from_this<Relay::State> {
  net::IoThreads& threads;
  Services& services;
  recording::Recorder* recorder;
  RelayOptions options;
  std::vector<std::unique_ptr<Shard>> shards;
  std::atomic<bool> draining = false;
  std::atomic<std::size_t> openings = 0;

  struct Presence {
    AgentInfo info;
    bool here = false;
    bool at_peer = false;
  };
  mutable std::mutex mutex;  // Guards all below; held for map look-ups only.
  std::map<EndpointId, Presence> agents;
  std::shared_ptr<Bridge> bridge;
  std::uint64_t move_run = 0;
  std::shared_ptr<NodeLinkTaker> node_links;
  [[nodiscard]] std::shared_ptr<NodeLinkTaker> node_link_taker() const {
    const std::lock_guard lock(mutex);
    return node_links;
  }

  State(net::IoThreads& t, Services& s, recording::Recorder* r, RelayOptions o)
      : threads(t), services(s), recorder(r), options(o) {}
  [[nodiscard]] Shard& shard_of(std::string_view id16) const;
  void post(Shard& shard, std::function<void(Shard&)> work);
  // Changes presence and tells the services when the endpoint as a whole came or went.
  void agent_here(const AgentInfo& info, bool online);
  void agent_at_peer(const AgentInfo& info, bool online);
  void peer_agents_gone();
  [[nodiscard]] bool is_agent_at_peer(const EndpointId& endpoint) const;
};

}  // namespace everspan::relay
