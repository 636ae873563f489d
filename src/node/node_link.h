// The link to another node (docs/decisions/2026-11-27-pair.md): how it is dialled and accepted,
// both sides proved, and the stream of messages after that.
//
//   TLS 1.3, ALPN everspan/1, Hello{KIND_PEER} / HelloReply, four NodeAuth frames, then
//   u32 length (big-endian) + pb::NodeMessage, both ways.
//
// One executor per link. Events outlive it. A link that hears nothing for three heartbeats is
// closed; beats are counted, not time, so that a process that was stopped for a while first hears
// what came meanwhile.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/ids.h"
#include "net/async.h"
#include "net/transport.h"
#include "node/node_files.h"

namespace everspan::pb {
class NodeMessage;
}

namespace everspan::node {

// What a link is for: `control` is the standing one, `establish` the first meeting.
enum class LinkPurpose : std::uint8_t { control, establish };
[[nodiscard]] std::string_view word(LinkPurpose purpose);

inline constexpr std::size_t kNodeMessageBytesMax = 6 * 1024 * 1024;

struct ProvedLink {
  LinkPurpose purpose = LinkPurpose::control;
  NodeId node;             // The other one.
  std::string public_key;  // It proved to hold its private half.
  bool by_key = false;     // Establish: it proved the inter-appliance key, too: this one.
  std::string key_sha256;  // Hex; for NodeFiles::spend_inter_appliance_key.
  net::Address from;
  std::unique_ptr<net::Transport> transport;
  std::string early;  // Read already, behind the last frame of the greeting.
};

// Dials a node that is known: its key must be the pinned one. Codes: those of net; unknown_node,
// bad_proof, other_node, wire_range.
[[nodiscard]] net::Task<Result<ProvedLink>> dial_node(const NodeIdentity& self, PeerEntry to,
                                                      LinkPurpose purpose, Instant deadline);
// The first time: proved by the inter-appliance key on both sides; without one, `known` must name
// the node's key. Codes as above; wrong_key, no_key.
[[nodiscard]] net::Task<Result<ProvedLink>> dial_stranger(const NodeIdentity& self, net::Address to,
                                                          std::string key,
                                                          std::vector<PeerEntry> known,
                                                          Instant deadline);
// Who answers at an address: Hello only. For checking that a way back exists.
[[nodiscard]] net::Task<Result<NodeId>> node_at(net::Address address, Instant deadline);

// The accepting half, after HelloReply was sent. `files` is read on this executor: give the one
// that owns it.
[[nodiscard]] net::Task<Result<ProvedLink>> accept_node(const NodeFiles& files,
                                                        std::unique_ptr<net::Transport> connection,
                                                        std::string early, Instant deadline);

class NodeLink {
 public:
  using Purpose = LinkPurpose;
  class Events {
   public:
    virtual ~Events() = default;
    virtual void on_message(NodeLink& link, pb::NodeMessage& message) = 0;
    virtual void on_closed(NodeLink& link, const Error& why) = 0;  // Once; not after close().
  };
  struct Timing {
    Duration heartbeat = std::chrono::seconds(1);
    int silent_max = 3;
  };

  NodeLink(net::Executor executor, ProvedLink link, Events& events);
  NodeLink(net::Executor executor, ProvedLink link, Events& events, Timing timing);
  ~NodeLink();  // After run() has returned.

  // Until the link ends or close() was called. Who spawns it keeps the link alive until then.
  [[nodiscard]] net::Task<> run();
  // Queued and sent in order. Above kHighWater the link is closed: the other side reads nothing. An
  // answer longer than a message may be goes out as a refusal (too_long); anything else that long
  // ends the link.
  void send(const pb::NodeMessage& message);
  [[nodiscard]] std::size_t pending_bytes() const { return outbox_bytes_; }
  void close();  // At once; what is queued is dropped.
  // Sends what is queued, then closes; after `at_most` in any case. Nothing is heard any more, and
  // on_closed does not come.
  void finish(Duration at_most = std::chrono::seconds(1));

  static constexpr std::size_t kHighWater = 64 * 1024 * 1024;

 private:
  [[nodiscard]] net::Task<> read_loop();
  [[nodiscard]] net::Task<> write_loop();
  [[nodiscard]] net::Task<> beat_loop();
  [[nodiscard]] bool hears() const { return !closed_ && !why_ && !finish_by_; }
  void end(Error why);
  void put(std::string bytes);
  void take(std::string_view bytes);

  std::unique_ptr<net::Transport> transport_;
  std::string in_;
  Events& events_;
  Timing timing_;
  net::TaskScope tasks_;
  net::Wakeup outbox_wakeup_;
  net::Wakeup ended_;
  std::deque<std::string> outbox_;
  std::size_t outbox_bytes_ = 0;
  int silent_ = 0;  // Beats since something was heard.
  std::uint64_t pings_ = 0;
  bool closed_ = false;
  std::optional<Instant> finish_by_;
  std::optional<Error> why_;
};

// u32 length + message at the front of `bytes`; nullopt: more is needed. Code bad_message. Fuzzed.
[[nodiscard]] Result<std::optional<std::string_view>> next_node_message(std::string_view bytes,
                                                                        std::size_t& size);

}  // namespace everspan::node
