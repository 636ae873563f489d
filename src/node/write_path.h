// Who runs the site's writes now: this process's log while it holds the generation; a queue during
// a hand-over; then the other process, with the same request ids, so that each runs once. Deciding
// is failover/core/handover_core.h; this holds the transactions' bytes and does what it says.
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
#include "node/handover_link.h"
#include "node/worker_pool.h"
#include "site/writer.h"
#include "store/log.h"

namespace everspan::node {

class WritePath : public site::Writer {
 public:
  // What else the core asks for.
  class Host {
   public:
    virtual ~Host() = default;
    virtual void start_accepting() = 0;
    virtual void stop_accepting() = 0;
    virtual void serving(Generation generation) = 0;
    virtual void not_serving(Generation generation, std::string why) = 0;
    virtual void released(Generation generation, store::LogHead head) = 0;
  };

  WritePath(net::Executor control, WorkerPool& pool, Host& host);
  ~WritePath() override;

  void set_log(store::LogWriter* log) { log_ = log; }
  void set_feature_level(std::uint32_t level) { feature_level_ = level; }
  [[nodiscard]] std::uint32_t feature_level() const { return feature_level_; }

  [[nodiscard]] net::Task<Result<store::Outcome>> submit(store::Transaction transaction) override;

  void granted(Generation generation);
  void ask_release(Generation generation);
  void peer_connected(HandoverLink& link);
  void peer_lost();
  void peer_serves(Generation generation);
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
  [[nodiscard]] net::Task<> raise(Generation generation);
  [[nodiscard]] net::Task<Result<store::Outcome>> submit_here(store::Transaction transaction);
  void answer(const Core::Answer& action);
  void answer_peer(std::uint64_t call, const Result<store::Outcome>& result);

  net::Executor control_;
  WorkerPool& pool_;
  Host& host_;
  store::LogWriter* log_ = nullptr;
  HandoverLink* peer_ = nullptr;
  Core core_;
  std::map<std::string, std::shared_ptr<Pending>> pending_;
  net::TaskScope tasks_;
  std::atomic<std::uint32_t> feature_level_{1};
  bool feeding_ = false;
  std::deque<Core::Event> later_;
};

}  // namespace everspan::node
