// The world of tests/sim/channel_sim_test.cc: two SessionEnds (the production objects) and a small
// model of one node with two site processes, a bridge between them, and a recorder that loses what
// it had not fsynced. One seed draws everything: delays, cuts, crashes, moves, sizes, pace of
// reading.
#pragma once
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "common/random.h"
#include "relay/end/session_end.h"

namespace everspan::sim {

using relay_end::SessionEnd;

struct Marks {  // That rare branches were reached, summed over seeds.
  long moves = 0, cuts = 0, silent_cuts = 0, crashes = 0, drains_lost = 0, bridged = 0, early = 0,
       rerouted = 0, repeated = 0, unsynced_lost = 0, ended = 0;
  void add(const Marks& other);
};

class ChannelWorld {
 public:
  ChannelWorld(std::uint64_t seed, std::string planted);
  ~ChannelWorld();
  // Empty: everything held. Else what did not.
  [[nodiscard]] std::string run();
  [[nodiscard]] const Marks& marks() const { return marks_; }
  static std::vector<std::string> planted_names();

 private:
  struct Leg;
  struct Process;
  struct End;
  struct Flow;
  using LegPtr = std::shared_ptr<Leg>;

  void at(Instant when, std::function<void()> what);
  Duration delay();
  void step_end(int side);
  void apply(int side, relay_end::Action& action);
  void dial(int side, const relay_end::Dial& dial);
  void on_attach(const LegPtr& leg, relay_end::DialReason reason, int process);
  void on_process_frames(const LegPtr& leg, const std::string& bytes);
  void route(int process, int to_side, const std::string& frame);
  void to_end(const LegPtr& leg, std::string bytes);
  void cut(const LegPtr& leg, bool silent);
  void forget_leg(const LegPtr& leg);
  void tell_peer(int side, const std::string& control);
  void record(int process, int from_side, const wire::Data& data);
  void sync(int process);
  void crash(int process);
  void move();
  void fault();
  void app(int side);
  void plan_app(int side, Duration wait);
  void open_channels();
  [[nodiscard]] std::uint64_t durable(int from_side, std::uint32_t channel) const;
  [[nodiscard]] bool complete() const;
  void check_safety();
  [[nodiscard]] std::string state() const;

  SeededRandom random_;
  std::string planted_;
  Marks marks_;
  std::string failure_;
  Instant now_{};
  std::uint64_t sequence_ = 0;
  struct Event {
    Instant when;
    std::uint64_t order;
    std::function<void()> what;
    bool operator<(const Event& o) const {
      return when != o.when ? when > o.when : order > o.order;
    }
  };
  std::priority_queue<Event> events_;
  std::array<std::unique_ptr<End>, 2> ends_;
  std::array<std::unique_ptr<Process>, 2> processes_;
  std::array<LegPtr, 2> newest_;  // By side; null: none
  int accepting_ = 0;
  bool strict_ = true;
  bool asked_to_end_ = false;
  Duration slow_{};
  std::uint32_t channels_ = 1;
  // What is on the disk that both processes share: (from side, channel) -> begin -> end.
  std::map<std::pair<int, std::uint32_t>, std::map<std::uint64_t, std::uint64_t>> disk_;
};

}  // namespace everspan::sim
