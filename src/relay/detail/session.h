// One session in this process: its legs, its recorder's tap, and the core that decides. Forwards
// frames; carries out the core's actions. Lives on one shard (io thread).
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "access/core/grant.h"
#include "proto/bridge.pb.h"
#include "proto/frame.h"
#include "recording/core/session_tap.h"
#include "relay/core/session_core.h"
#include "relay/detail/watched_link.h"
#include "relay/relay.h"

namespace everspan::relay {

class Session;
class Shard;

// One end's connection.
class Leg final : public WatchedLink {
 public:
  struct Origin {
    Side side = Side::console;
    std::uint64_t generation = 0;
    AttachReason reason = AttachReason::first;
    std::string release;
    std::uint32_t wire = wire::kWireMin;
    bool grant_in_time = true;
  };
  Leg(Session& session, LegId id, Origin origin, net::Executor executor,
      std::unique_ptr<net::Transport> transport, std::string early);

  Session& session;
  const LegId id;
  const Origin origin;
  std::int64_t since_ms = 0;
  std::optional<Instant> drain_until;  // Draining.
  std::optional<Instant> asked_at;     // Migrate was sent.
  bool under_way = false;              // ... and counts in the shard's MovePace.
  Instant under_way_since{};
  bool moved = false;  // Drained to the end.

 private:
  void on_link_frame(const wire::Frame& frame, std::string_view raw) override;
  void on_link_writable() override;
  void on_link_closed(const Error& why) override;
};

class Session {
 public:
  Session(Shard& shard, SessionId id, access::GrantClaims claims, std::string grant_digest);
  ~Session();

  [[nodiscard]] const SessionId& id() const { return id_; }
  [[nodiscard]] const access::GrantClaims& claims() const { return claims_; }

  void attach(Leg::Origin origin, std::unique_ptr<net::Transport> transport, std::string early);
  void end(const std::string& signed_tombstone, const std::string& reason);
  // Migrate to this leg; false: it is not there or moves already.
  bool migrate(LegId leg, std::string_view frame, Instant now);
  void send_orders(std::string_view frame);
  void send_notice(std::string_view frame);  // To the console, if it is here and knows notices.
  void tick(Instant now, Duration heartbeat, unsigned silent_max);
  void check_queries(Instant now);

  // From legs.
  void on_frame(Leg& leg, const wire::Frame& frame, std::string_view raw);
  void on_writable(Leg& leg);
  void on_closed(Leg& leg, const Error& why);
  // From the bridge.
  void on_bridge_frame(Side to, std::string_view raw);
  void on_bridge_message(const pb::BridgeMessage& message);
  void on_bridge(bool connected);
  void on_bridge_pressure();
  // From the recorder.
  void on_durable(const recording::Batch::Note& note);
  void after_durable();
  void tell_waiting();  // What `recorded` waited to leave in company.
  void on_recovered(const pb::RecorderSnapshot& snapshot);

  [[nodiscard]] bool may_go() const;
  [[nodiscard]] SessionInfoRow row() const;
  [[nodiscard]] const std::map<LegId, std::unique_ptr<Leg>>& legs() const { return legs_; }
  [[nodiscard]] bool pending() const { return !queries_.empty(); }

 private:
  void perform();
  void run(const Accept& action);
  void run(const Refuse& action);
  void run(const Supersede& action);
  void run(const Drain& action);
  void run(const Reinstate& action);
  void run(const CloseDrained& action);
  void run(const TellAttached& action);
  void run(const TellGone& action);
  void run(const AskPeer& action);
  void run(const AnswerPeer& action);
  void run(const SendLegGone& action);
  void run(const SendLegDrained& action);
  void run(const Recover& action);
  void run(const HandOverRecorder& action);

  [[nodiscard]] Leg* find(LegId leg);
  bool to_side(Side side, std::string_view frame);
  void pass(Side from, const wire::Frame& frame, std::string_view raw);
  void hold(Side from, const wire::Frame& frame, std::string_view raw);
  void pass_held(Side from);
  void forward(Side from, std::string_view raw);
  void record(Side from, const wire::Data& data);
  void open_tap();
  void finish_tap_when_settled();
  void tell_recorded();
  void tell_recorded(Side side);
  void on_control(Leg& leg, std::string_view message);
  void update_flow();
  void send_bridge(const pb::BridgeMessage& message);
  void journal(SessionEventKind kind, const Leg& leg, std::string detail = {});
  void take_session_state(const pb::SessionState& state);

  Shard& shard_;
  const SessionId id_;
  const std::string raw_id_;
  const access::GrantClaims claims_;
  const std::string grant_digest_;
  SessionCore core_;
  bool performing_ = false;
  std::map<LegId, std::unique_ptr<Leg>> legs_;
  std::vector<std::pair<std::uint64_t, Instant>> queries_;  // To the peer process; deadlines

  std::unique_ptr<recording::SessionTap> tap_;   // While this process records.
  std::unique_ptr<pb::RecorderSnapshot> known_;  // What others recorded, before there is a tap.
  std::string tap_reason_;                       // Set: close the tap when all is durable.
  bool recorder_full_ = false;
  std::string held_[2];  // Whole frames, by the side that sent them (P9); within their windows.
  bool recorded_waits_[2] = {false, false};  // By the side that is to be told.

  // Flow, by the side that sends: its other side's leg takes nothing more / the peer process says
  // so.
  bool blocked_[2] = {false, false};
  bool peer_blocks_[2] = {false, false};
  bool told_peer_[2] = {false, false};

  std::uint64_t bytes_[2] = {0, 0};
  std::int64_t since_ms_ = 0;
  std::optional<Instant> without_legs_since_;
  std::optional<Instant> end_asked_at_;
  bool ended_ = false;
};

}  // namespace everspan::relay
