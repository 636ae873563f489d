#include "net/io_threads.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>

#include "common/check.h"

namespace everspan::net {
namespace {

constexpr Duration kProbeInterval = std::chrono::milliseconds(50);
constexpr std::size_t kProbesKept = 20;  // One second.

struct Loop {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  Timer probe{context.get_executor()};
  std::array<std::atomic<std::int64_t>, kProbesKept> delays_us{};
  std::size_t next = 0;                       // The loop's thread only.
  std::atomic<std::int64_t> probe_due_us{0};  // Shows a loop that is stuck right now.
  std::thread thread;

  void record(Duration delay) {
    delays_us[next % kProbesKept].store(delay.count(), std::memory_order_relaxed);
    next++;
  }

  void arm() {
    const TimerClock::time_point due = TimerClock::now() + kProbeInterval;
    probe_due_us.store(due.time_since_epoch().count(), std::memory_order_relaxed);
    probe.expires_at(due);
    probe.async_wait([this, due](boost::system::error_code error) {
      if (error) return;
      const TimerClock::time_point fired = TimerClock::now();
      // A timer alone runs before queued work; the queue's length shows in a posted step.
      asio::post(context, [this, due, fired] {
        record(std::max(fired - due, TimerClock::now() - fired));
        arm();
      });
    });
  }

  [[nodiscard]] Duration longest_delay() const {
    const std::int64_t overdue =
        TimerClock::now().time_since_epoch().count() - probe_due_us.load(std::memory_order_relaxed);
    std::int64_t longest = std::max<std::int64_t>(overdue, 0);
    for (const auto& delay : delays_us)
      longest = std::max(longest, delay.load(std::memory_order_relaxed));
    return Duration(longest);
  }
};

}  // namespace

struct IoThreads::State {
  std::vector<std::unique_ptr<Loop>> loops;
};

IoThreads::IoThreads(unsigned count) : state_(std::make_unique<State>()) {
  if (count == 0) count = std::max(1U, std::thread::hardware_concurrency());
  for (unsigned i = 0; i < count; i++) state_->loops.push_back(std::make_unique<Loop>());
  for (const auto& loop : state_->loops) {
    loop->arm();
    loop->thread = std::thread([&loop = *loop] { loop.context.run(); });
  }
}

IoThreads::~IoThreads() {
  stop();
}

void IoThreads::stop() {
  for (const auto& loop : state_->loops) loop->context.stop();
  for (const auto& loop : state_->loops) {
    if (loop->thread.joinable()) loop->thread.join();
  }
}

unsigned IoThreads::count() const {
  return static_cast<unsigned>(state_->loops.size());
}

Executor IoThreads::executor(unsigned index) const {
  check(index < state_->loops.size(), "the loop exists");
  return state_->loops[index]->context.get_executor();
}

Duration IoThreads::loop_delay() const {
  Duration longest{0};
  for (const auto& loop : state_->loops) longest = std::max(longest, loop->longest_delay());
  return longest;
}

}  // namespace everspan::net
