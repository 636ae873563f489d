// The socket to the other site process of this node while one takes over from the other
// (src/proto/handover.proto). Orderly, bounded, one executor.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "common/ids.h"
#include "net/async.h"
#include "net/message_socket.h"
#include "node/write_path.h"

namespace everspan::pb {
class HandoverHello;
class HandoverMessage;
class SnapshotReply;
class WriteOutcome;
}  // namespace everspan::pb

namespace everspan::node {

// How far the legs and standing links of one process have gone to the other.
struct Moves {
  std::uint64_t moved = 0;
  std::uint64_t total = 0;
  std::uint64_t left = 0;  // 0: done.
};

class HandoverLink : public WritePath::Peer {
 public:
  class Events {
   public:
    virtual ~Events() = default;
    virtual void on_peer_hello(const pb::HandoverHello& hello) = 0;
    // Runs the transaction here and answers with answer_write(id, ...).
    virtual void on_forwarded_write(std::uint64_t id, std::string transaction) = 0;
    virtual void on_peer_serving(Generation generation, Revision head) = 0;
    virtual bool on_push_open(EndpointId endpoint, std::string signed_grant) = 0;
    virtual void fill_snapshot(pb::SnapshotReply& reply) = 0;
    virtual void on_move_progress(const Moves& moves) = 0;
    virtual void on_handover_closed() = 0;
  };

  HandoverLink(net::Executor executor, net::Fd socket, Events& events);
  ~HandoverLink() override;

  [[nodiscard]] net::Task<> run();  // Until the other process is gone or this is cancelled.
  // Another process took the other's place: nothing more is told to `events`.
  void replaced() { replaced_ = true; }
  void say_hello(std::uint16_t probe_port);
  void say_serving(Generation generation, Revision head);
  void say_moved(const Moves& moves);
  void answer_write(const pb::WriteOutcome& outcome) override;

  [[nodiscard]] net::Task<Result<std::unique_ptr<pb::WriteOutcome>>> forward_write(
      std::string transaction, Instant deadline) override;
  [[nodiscard]] net::Task<bool> push_open(EndpointId endpoint, std::string signed_grant,
                                          Instant deadline);
  [[nodiscard]] net::Task<std::unique_ptr<pb::SnapshotReply>> snapshot(Instant deadline);

 private:
  struct Call;
  void send(const pb::HandoverMessage& message);
  [[nodiscard]] net::Task<> send_loop();
  void dispatch(pb::HandoverMessage& message);
  void send_snapshot(std::uint64_t id, pb::SnapshotReply& whole);
  void take_snapshot(pb::HandoverMessage& message);
  void finish(std::uint64_t id, pb::HandoverMessage&& message);
  [[nodiscard]] net::Task<std::unique_ptr<pb::HandoverMessage>> call(
      std::unique_ptr<pb::HandoverMessage> message, std::uint64_t id, Instant deadline);

  net::Executor executor_;
  net::MessageSocket socket_;
  Events& events_;
  net::TaskScope tasks_;
  net::Wakeup outbox_wakeup_;
  std::deque<net::Message> outbox_;
  std::map<std::uint64_t, std::shared_ptr<Call>> calls_;
  std::uint64_t next_id_ = 1;
  bool closed_ = false;
  bool replaced_ = false;
};

}  // namespace everspan::node
