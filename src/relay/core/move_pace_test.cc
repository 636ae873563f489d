// How many moves a second, and how many at once, on machines that take them differently.
#include "relay/core/move_pace.h"

#include <gtest/gtest.h>

#include <deque>

namespace everspan::relay {
namespace {

using namespace std::chrono_literals;

// Moves that each need `work` of one processor, in turn, and `far` of waiting; asked for as the
// pace allows.
struct Machine {
  MovePace pace{400};
  Duration work, far;
  Instant now{1h};
  Instant busy_until{1h};
  std::deque<std::pair<Instant, Instant>> under_way;  // end, begin
  std::size_t done = 0;
  std::size_t most = 0;
  Duration longest{0};

  void run(Duration length) {
    for (const Instant end = now + length; now < end; now += 1ms) {
      while (!under_way.empty() && under_way.front().first <= now) {
        longest = std::max(longest, under_way.front().first - under_way.front().second);
        pace.ended(under_way.front().first - under_way.front().second);
        under_way.pop_front();
        ++done;
      }
      while (pace.may_ask(now, false)) {
        pace.asked(now);
        busy_until = std::max(busy_until, now) + work;
        under_way.emplace_back(busy_until + far, now);
      }
      most = std::max(most, under_way.size());
    }
  }
};

TEST(MovePace, AnIdleMachineGetsWhatIsAllowedASecond) {
  Machine near{.work = 500us, .far = 3ms};
  near.run(2s);
  EXPECT_GE(near.done, 750U);
  EXPECT_LE(near.done, 803U);  // M1
}

TEST(MovePace, FarEndsAreMovedTogether) {
  Machine far{.work = 500us, .far = 400ms};
  far.run(5s);
  EXPECT_GE(far.done, 900U);
  EXPECT_GE(far.most, 100U);
}

TEST(MovePace, ABusyMachineIsNotAskedForMoreThanItTakes) {
  Machine busy{.work = 10ms, .far = 0ms};  // 100 a second and no more.
  busy.run(5s);
  EXPECT_GE(busy.done, 480U);
  EXPECT_LE(busy.most, 4U);
  EXPECT_LE(busy.longest, 40ms);
}

TEST(MovePace, WhereEachMoveTakesLongTheyComeToAnEndAllTheSame) {  // M2
  MovePace pace{400};
  Instant now{1h};
  std::deque<Instant> under_way;
  std::size_t asked = 0;
  Duration takes = 5ms;
  for (const Instant end = now + 10s; now < end; now += 1ms, takes += 1ms) {
    for (; !under_way.empty() && under_way.front() + takes <= now; under_way.pop_front())
      pace.ended(now - under_way.front());
    if (!pace.may_ask(now, false)) continue;
    pace.asked(now);
    under_way.push_back(now);
    ++asked;
  }
  EXPECT_GE(asked, 500U);
}

TEST(MovePace, ALostMoveFreesItsPlaceAndOneMayAlwaysBeUnderWay) {  // M2, M3
  MovePace pace{1000};
  Instant now{1h};
  ASSERT_TRUE(pace.may_ask(now, false));
  pace.asked(now);
  for (int i = 0; i < 50; ++i) {
    pace.lost();
    now += 10ms;
    ASSERT_TRUE(pace.may_ask(now, true));
    pace.asked(now);
  }
  pace.ended(1ms);
  for (int i = 0; i < 50; ++i) {
    now += 10ms;
    ASSERT_TRUE(pace.may_ask(now, false));
    pace.asked(now);
    pace.ended(1s);
  }
  EXPECT_EQ(pace.window(), 1.0);
  EXPECT_EQ(pace.under_way(), 0U);
}

TEST(MovePace, ALateLoopHalvesThePace) {
  MovePace pace{100};
  Instant now{1h};
  std::size_t asked = 0;
  for (const Instant end = now + 10s; now < end; now += 1ms) {
    if (!pace.may_ask(now, true)) continue;
    pace.asked(now);
    pace.ended(1ms);
    ++asked;
  }
  EXPECT_GE(asked, 499U);
  EXPECT_LE(asked, 503U);
}

}  // namespace
}  // namespace everspan::relay
