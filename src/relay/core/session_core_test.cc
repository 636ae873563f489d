#include "relay/core/session_core.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "common/random.h"

namespace everspan::relay {
namespace {

template <class T>
std::vector<T> of(const std::vector<Action>& actions) {
  std::vector<T> found;
  for (const auto& action : actions)
    if (const auto* one = std::get_if<T>(&action)) found.push_back(*one);
  return found;
}

TEST(SessionCore, first_attaches_are_accepted_and_the_other_end_hears) {
  SessionCore core;
  core.attach(1, Side::console, 1, AttachReason::first);
  auto actions = core.take_actions();
  ASSERT_EQ(of<Accept>(actions).size(), 1U);
  EXPECT_FALSE(of<Accept>(actions)[0].peer_attached);
  core.attach(2, Side::agent, 1, AttachReason::first);
  actions = core.take_actions();
  ASSERT_EQ(of<Accept>(actions).size(), 1U);
  EXPECT_TRUE(of<Accept>(actions)[0].peer_attached);
  ASSERT_EQ(of<TellAttached>(actions).size(), 1U);
  EXPECT_EQ(of<TellAttached>(actions)[0].side, Side::console);
  EXPECT_FALSE(of<TellAttached>(actions)[0].lost);
}

TEST(SessionCore, a_generation_that_is_not_higher_is_refused) {
  SessionCore core;
  core.attach(1, Side::console, 5, AttachReason::first);
  (void)core.take_actions();
  for (const std::uint64_t generation : {5, 4}) {
    core.attach(10 + generation, Side::console, generation, AttachReason::planned);
    const auto actions = core.take_actions();
    ASSERT_EQ(of<Refuse>(actions).size(), 1U);
    EXPECT_EQ(of<Refuse>(actions)[0].code, "superseded");
    EXPECT_EQ(core.leg(Side::console), 1U);
  }
}

TEST(SessionCore, an_old_leg_gets_our_barrier_only_after_its_ends_barrier) {
  SessionCore core;
  core.attach(1, Side::console, 1, AttachReason::first);
  core.attach(2, Side::console, 2, AttachReason::planned);
  auto actions = core.take_actions();
  EXPECT_EQ(of<Drain>(actions).size(), 1U);
  EXPECT_TRUE(of<CloseDrained>(actions).empty());
  core.barrier(1);
  actions = core.take_actions();
  ASSERT_EQ(of<CloseDrained>(actions).size(), 1U);
  EXPECT_EQ(of<CloseDrained>(actions)[0].leg, 1U);
}

TEST(SessionCore, an_old_leg_that_breaks_before_its_barrier_makes_both_ends_resume) {
  SessionCore core;
  core.attach(1, Side::console, 1, AttachReason::first);
  core.attach(2, Side::agent, 1, AttachReason::first);
  core.attach(3, Side::console, 2, AttachReason::planned);
  (void)core.take_actions();
  core.leg_lost(1);
  const auto told = of<TellAttached>(core.take_actions());
  ASSERT_EQ(told.size(), 2U);
  EXPECT_TRUE(told[0].lost && told[1].lost);
}

TEST(SessionCore, a_planned_move_whose_old_leg_nobody_has_counts_as_a_loss) {
  SessionCore core;
  core.attach(2, Side::agent, 4, AttachReason::lost);
  ASSERT_EQ(of<Recover>(core.take_actions()).size(), 1U);
  core.recovered();
  core.attach(3, Side::console, 7, AttachReason::planned);
  const auto told = of<TellAttached>(core.take_actions());
  EXPECT_TRUE(
      std::ranges::any_of(told, [](const auto& t) { return t.side == Side::agent && t.lost; }));
  EXPECT_TRUE(
      std::ranges::any_of(told, [](const auto& t) { return t.side == Side::console && t.lost; }));
}

// ---- Two processes, the bridge between them, and both ends, in every order ----

// What the ends do is kept simple: dial a process with the next generation; on Drain of the old leg
// send the barrier once the new leg was accepted; break at will.
class World {
 public:
  explicit World(std::uint64_t seed) : random_(seed) {
    cores_[0].peer_connected(true);
    cores_[1].peer_connected(true);
  }
  void step() {
    switch (random_.below(8)) {
      case 0:
      case 1:
        dial(random_.one_in(2) ? Side::console : Side::agent);
        break;
      case 2:
        break_leg();
        break;
      case 3:
        end_barrier();
        break;
      case 4:
        if (random_.one_in(12)) bridge_breaks();
        break;
      default:
        deliver(random_.below(2));
        break;
    }
    check_always();
  }
  // All messages arrive and every end that has no leg dials again: then all must be well.
  void heal() {
    for (int round = 0; round < 6; ++round) {
      settle();
      for (const auto side : {Side::console, Side::agent})
        if (!current(side)) dial(side);
    }
    settle();
    while (!barriers_.empty()) end_barrier();
    settle();
  }
  void check_healed(std::uint64_t seed) {
    for (const auto side : {Side::console, Side::agent}) {
      ASSERT_TRUE(current(side)) << "seed " << seed;
      // P1: exactly one process holds it, and it is the highest accepted one.
      const auto& leg = legs_.at(*current(side));
      ASSERT_EQ(cores_[leg.process].where(side), Where::here) << "seed " << seed;
      const int elsewhere = 1 - leg.process;
      ASSERT_NE(cores_[elsewhere].where(side), Where::here) << "seed " << seed;
      ASSERT_EQ(resumes_owed_[index(side)], 0) << "P4, seed " << seed;
      // A process that holds a leg knows where the other one is.
      const auto other_leg = current(other(side));
      if (other_leg && connected_ && legs_.at(*other_leg).process != leg.process)
        ASSERT_EQ(cores_[leg.process].where(other(side)), Where::peer) << "seed " << seed;
    }
  }

 private:
  struct LegState {
    int process = 0;
    Side side = Side::console;
    std::uint64_t generation = 0;
    bool accepted = false;
    bool answered = false;
    bool open = true;
    bool draining = false;
  };
  using Message = std::function<void()>;

  std::optional<LegId> current(Side side) {
    std::optional<LegId> best;
    for (const auto& [id, leg] : legs_)
      if (leg.side == side && leg.open && leg.accepted && !leg.draining &&
          (!best || leg.generation > legs_.at(*best).generation))
        best = id;
    return best;
  }
  void dial(Side side) {
    const auto now = current(side);
    const auto used = ++generations_[index(side)];
    const auto reason = used == 1 ? AttachReason::first
                        : now     ? AttachReason::planned
                                  : AttachReason::lost;
    // A loss: what was under way is resumed by the attach itself.
    const int process = static_cast<int>(random_.below(2));
    const LegId id = ++last_leg_;
    legs_[id] = {process, side, used, false, false, true, false};
    cores_[process].attach(id, side, used, reason);
    run(process);
  }
  void break_leg() {
    if (legs_.empty()) return;
    auto it = legs_.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(random_.below(legs_.size())));
    if (it->second.open) close_leg(it->first);
  }
  void close_leg(LegId id) {
    auto& leg = legs_.at(id);
    // Draining without its barrier: frames may be lost; nobody but the node will say so to the
    // other end.
    if (leg.draining) ++resumes_owed_[index(other(leg.side))];
    leg.open = false;
    barriers_.erase(id);
    cores_[leg.process].leg_lost(id);
    run(leg.process);
    forget(id);
  }
  void end_barrier() {
    if (barriers_.empty()) return;
    const auto id = *barriers_.begin();
    barriers_.erase(barriers_.begin());
    const auto process = legs_.at(id).process;
    cores_[process].barrier(id);
    run(process);
  }
  void bridge_breaks() {
    connected_ = false;
    queues_[0].clear();
    queues_[1].clear();
    for (const int process : {0, 1}) {
      cores_[process].peer_connected(false);
      run(process);
    }
    // One of the two has died: all its legs are gone, and it begins anew.
    const int dead = static_cast<int>(random_.below(2));
    for (const auto& [id, leg] : std::map(legs_))
      if (leg.process == dead) {
        barriers_.erase(id);
        forget(id);
      }
    cores_[dead] = SessionCore();
    for (auto& owed : resumes_owed_) owed = 0;  // Ends that dial again resume by themselves.
    queues_[0].clear();
    queues_[1].clear();
    connected_ = true;
    for (const int process : {0, 1}) {
      cores_[process].peer_connected(true);
      run(process);
    }
  }
  void forget(LegId id) { legs_.erase(id); }
  void deliver(std::uint64_t to) {
    auto& queue = queues_[to];
    if (queue.empty()) return;
    const auto message = queue.front();
    queue.pop_front();
    message();
  }
  void settle() {
    for (int i = 0; i < 1000 && !(queues_[0].empty() && queues_[1].empty()); ++i) deliver(i % 2);
  }
  void check_always() {
    for (const auto side : {Side::console, Side::agent})
      for (const int process : {0, 1}) {
        if (cores_[process].where(side) != Where::here) continue;
        const auto leg = legs_.find(cores_[process].leg(side));
        ASSERT_NE(leg, legs_.end()) << "a current leg is an open one";
        ASSERT_EQ(leg->second.generation, cores_[process].generation(side)) << "P1";
      }
  }

  void run(int process) {
    for (const auto& action : cores_[process].take_actions())
      std::visit([&](const auto& what) { act(process, what); }, action);
  }
  void act(int, const Accept& what) {
    auto& leg = legs_.at(what.leg);
    ASSERT_FALSE(leg.answered) << "P6";
    leg.answered = leg.accepted = true;
    resumes_owed_[index(leg.side)] = 0;
    for (auto& [id, old] : legs_)
      if (id != what.leg && old.side == leg.side && old.accepted && old.generation < leg.generation)
        if (!std::exchange(old.draining, true)) barriers_.insert(id);
  }
  void act(int, const Refuse& what) {
    auto& leg = legs_.at(what.leg);
    ASSERT_FALSE(leg.answered) << "P6";
    forget(what.leg);
  }
  void act(int, const Supersede& what) {
    barriers_.erase(what.leg);
    forget(what.leg);
  }
  void act(int, const Drain&) {}
  void act(int, const Reinstate&) {}
  void act(int, const CloseDrained& what) { forget(what.leg); }
  void act(int, const TellAttached& what) {
    if (what.lost) resumes_owed_[index(what.side)] = 0;
  }
  void act(int, const TellGone&) {}
  void act(int process, const AskPeer& what) {
    const int to = 1 - process;
    queues_[to].push_back([this, to, what] {
      cores_[to].peer_attached(what.side, what.generation, what.planned, what.query);
      run(to);
    });
  }
  void act(int process, const AnswerPeer& what) {
    const int to = 1 - process;
    const auto view = cores_[process].answer();
    queues_[to].push_back([this, to, what, view] {
      cores_[to].peer_answer(what.query, view);
      run(to);
    });
  }
  void act(int process, const SendLegGone& what) {
    const int to = 1 - process;
    queues_[to].push_back([this, to, what] {
      cores_[to].peer_leg_gone(what.side, what.generation, what.still);
      run(to);
    });
  }
  void act(int process, const SendLegDrained& what) {
    const int to = 1 - process;
    queues_[to].push_back([this, to, what] {
      cores_[to].peer_leg_drained(what.side, what.clean);
      run(to);
    });
  }
  void act(int process, const Recover&) {
    queues_[process].push_back([this, process] {
      cores_[process].recovered();
      run(process);
    });
  }
  void act(int process, const HandOverRecorder&) {
    const int to = 1 - process;
    queues_[to].push_back([this, to] { cores_[to].recorder_done(); });
  }

  SeededRandom random_;
  SessionCore cores_[2];
  std::deque<Message> queues_[2];
  std::map<LegId, LegState> legs_;
  std::set<LegId> barriers_;  // The end of these knows of its newer leg.
  std::uint64_t generations_[2] = {0, 0};
  int resumes_owed_[2] = {0, 0};
  LegId last_leg_ = 0;
  bool connected_ = true;
};

TEST(SessionCore, two_processes_agree_whatever_the_order_of_events) {
  for (std::uint64_t seed = 1; seed <= 5000; ++seed) {
    World world(seed);
    const auto steps = SeededRandom(seed).between(5, 120);
    for (std::uint64_t i = 0; i < steps; ++i) {
      world.step();
      if (::testing::Test::HasFatalFailure()) FAIL() << "seed " << seed << " step " << i;
    }
    world.heal();
    world.check_healed(seed);
    if (::testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
  }
}

}  // namespace
}  // namespace everspan::relay
