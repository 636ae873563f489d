// The relay of one site process: takes connections whose ALPN was `everspan/1`, checks who they
// are, and forwards frames between the two legs of each session; moves legs to and from the other
// process of the node (docs/decisions/2026-11-23-link-protocol.md, docs/flows/session.md).
//
// A session lives on one io thread (hash of its id), a standing link on another (hash of the
// endpoint's id); what a session may do is decided in core/session_core.h.
//
// Threads: every method may be called from any thread. Call shutdown() and wait for it before
// destruction; `threads`, `services` and `recorder` outlive the Relay.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"
#include "net/fd.h"
#include "relay/core/types.h"
#include "relay/services.h"

namespace everspan::net {
class IoThreads;
class Transport;
}  // namespace everspan::net
namespace everspan::recording {
class Recorder;
}

namespace everspan::relay {

struct RelayOptions {
  std::size_t opening_max = 2000;  // Connections before authentication.
  Duration opening_deadline = std::chrono::seconds(5);
  unsigned silent_heartbeats_max = 3;  // Then a leg is dead.
  Duration peer_answer_deadline = std::chrono::milliseconds(500);
  Duration barrier_deadline =
      std::chrono::seconds(10);  // An old leg is closed then, barrier or not.
};

// What migrate_all() asks about: a leg, or (no session) an agent's standing link.
struct Movable {
  EndpointId endpoint;
  std::optional<SessionId> session;
};
struct Pace {
  unsigned per_second = 250;  // At most, in all threads (core/move_pace.h).
  Duration slow_above = std::chrono::milliseconds(5);  // Loop delay: half the pace above it.
  Duration ask_again = std::chrono::seconds(3);        // Of legs that are still here.
  std::string reason = "upgrade";                      // In Migrate.
  // Which ones move; none: all. Called on io threads, for each leg each time that it is looked at.
  std::function<bool(const Movable&)> only;
};
struct MoveProgress {
  std::size_t legs_total = 0;  // Legs and standing links that were here at the start or came since.
  std::size_t moved = 0;  // Closed after their barrier, or (standing links) attached elsewhere.
  std::size_t lost = 0;   // Broke on the way: their ends attach again by their orders.
  std::size_t left = 0;   // Still here; 0: done.
};

struct LegInfo {
  bool here = false;  // In this process.
  bool at_peer_process = false;
  std::uint64_t generation = 0;
  std::string address;
  std::string release;
  std::int64_t since_ms = 0;
};
struct SessionInfoRow {
  SessionId session;
  EndpointId endpoint;
  std::string person;
  std::int64_t since_ms = 0;
  LegInfo console;
  LegInfo agent;
  std::uint64_t bytes_c2a = 0;  // Payload through this process.
  std::uint64_t bytes_a2c = 0;
};
struct RelaySnapshot {
  std::vector<SessionInfoRow> sessions;
  std::vector<AgentInfo> agents;
};

class Relay {
 public:
  // `recorder` may be null: then nothing is recorded and strict grants are refused.
  Relay(net::IoThreads& threads, Services& services, recording::Recorder* recorder,
        RelayOptions options = {});
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // An accepted connection, on the io thread `thread` that read `early` from it (bytes after the
  // handshake, usually none).
  void serve(std::unique_ptr<net::Transport> connection, std::string early, unsigned thread);

  // A stream socket to the other site process of this node; replaces an earlier one. `gone` is
  // called when it broke or ended.
  void set_peer(net::Fd bridge, std::function<void()> gone = {});
  void drop_peer();

  // Connections that said Hello{KIND_PEER}; they got HelloReply. On an io thread; none set: such
  // are refused.
  using NodeLinkTaker = std::function<void(std::unique_ptr<net::Transport> connection,
                                           std::string early, unsigned thread)>;
  void take_node_links(NodeLinkTaker taker);

  // Refuse new attaches with `retry_later`: another process accepts now (true), or take them
  // (false).
  void drain(bool on);
  // Asks every leg and standing link to attach anew; returns at once. Progress about four times a
  // second and at the end (left == 0). One at a time; a second call replaces the first.
  void migrate_all(Pace pace, std::function<void(MoveProgress)> progress);
  void stop_migrating();

  // The standing link of the endpoint gets OpenSession; false: the agent is not connected here nor
  // at the peer process (as far as is known). Refusals come through Services::open_refused.
  [[nodiscard]] bool open_session(const EndpointId& endpoint, const std::string& signed_grant);
  // Stored tombstone, serialised: both legs are told and closed.
  void end_session(const SessionId& session, const std::string& signed_tombstone);
  // The endpoint was removed: its standing link is closed.
  void close_endpoint(const EndpointId& endpoint, const std::string& code);

  // Services::notice() has changed: consoles that are attached here are told (wire 2 and later).
  void broadcast_notice();

  void snapshot(std::function<void(RelaySnapshot)> done);  // `done` on an io thread.
  [[nodiscard]] std::size_t session_count() const;
  [[nodiscard]] std::size_t agent_count() const;
  [[nodiscard]] bool agent_online(const EndpointId& endpoint) const;

  // Closes everything here; `done` is called on an io thread when nothing runs any more.
  void shutdown(std::function<void()> done);

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace everspan::relay
