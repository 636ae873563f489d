// Who runs the site's writes now: this side while it has the turn; a queue during a hand-over; then
// the other side, with the same request ids, so that each runs once. Deciding is
// failover/core/handover_core.h; this holds the transactions' bytes and does what it says.
//
// There are two of them in a process, one above the other: the node's (turn = generation, the other
// side is the other site process, writes run in the log) and the pair's (turn = epoch, the other
// side is the other node, writes run in the node's WritePath).
//
// submit() from any executor; everything else on the control executor.
#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "failover/core/handover_core.h"
#include "net/async.h"
#include "site/writer.h"
#include "store/log.h"

namespace everspan::pb {
class WriteOutcome;
}

namespace everspan::node {

class WritePath : public site::Writer {
 public:
  // What runs a write here, and makes a turn durable before the first one.
  class Backend {
   public:
    virtual ~Backend() = default;
    using Done = std::function<void(Result<store::Outcome>)>;
    using Released = std::function<void(Result<store::LogHead>)>;
    [[nodiscard]] virtual net::Task<Result<void>> raise(std::uint64_t turn) = 0;
    // Both call `done` once, from any thread.
    virtual void run(store::Transaction transaction, Done done) = 0;
    virtual void release(Released done) = 0;
  };
  // The other side, while there is a link to it.
  class Peer {
   public:
    virtual ~Peer() = default;
    // Code "peer_gone" when it ended before it answered: the outcome is unknown and the same
    // request id may be run again.
    [[nodiscard]] virtual net::Task<Result<std::unique_ptr<pb::WriteOutcome>>> forward_write(
        std::string transaction, Instant deadline) = 0;
    virtual void answer_write(const pb::WriteOutcome& outcome) = 0;
  };
  // What else the core asks for.
  class Host {
   public:
    virtual ~Host() = default;
    virtual void start_accepting() = 0;
    virtual void stop_accepting() = 0;
    virtual void serving(std::uint64_t turn) = 0;
    virtual void not_serving(std::uint64_t turn, std::string why) = 0;
    virtual void released(std::uint64_t turn, store::LogHead head) = 0;
  };

  WritePath(net::Executor control, Backend& backend, Host& host);
  ~WritePath() override;

  void set_feature_level(std::uint32_t level) { feature_level_ = level; }
  [[nodiscard]] std::uint32_t feature_level() const { return feature_level_; }

  [[nodiscard]] net::Task<Result<store::Outcome>> submit(store::Transaction transaction) override;

  void begin_anew();  // Before a register that begins anew grants.
  void granted(std::uint64_t turn, std::uint64_t head_needed = 0);
  void have_head(std::uint64_t revision);
  void ask_release(std::uint64_t turn);
  void abort_release();
  void peer_connected(Peer& peer);
  void peer_lost();
  void peer_serves(std::uint64_t turn);
  void forwarded_write(std::uint64_t id, std::string transaction);
  [[nodiscard]] bool serving() const;
  [[nodiscard]] net::Task<> join();  // After the last event: until nothing runs any more.

 private:
  using Core = failover::HandoverCore;
  struct Pending;
  void feed(const Core::Event& event);
  void perform(const Core::Action& action);
  void run_write(const std::string& id);
  void ran(const std::string& id, Result<store::Outcome> result);
  [[nodiscard]] net::Task<> forward(std::string id);
  [[nodiscard]] net::Task<> raise(std::uint64_t turn);
  [[nodiscard]] net::Task<Result<store::Outcome>> submit_here(store::Transaction transaction);
  void answer(const Core::Answer& action);
  void answer_peer(std::uint64_t call, const Result<store::Outcome>& result);

  net::Executor control_;
  Backend& backend_;
  Host& host_;
  Peer* peer_ = nullptr;
  Core core_;
  std::map<std::string, std::shared_ptr<Pending>> pending_;
  net::TaskScope tasks_;
  std::atomic<std::uint32_t> feature_level_{1};
  bool feeding_ = false;
  std::deque<Core::Event> later_;
};

}  // namespace everspan::node
