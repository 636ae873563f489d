#include "node/core/greeting_budget.h"

#include <gtest/gtest.h>

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

GreetingBudget small() {
  return GreetingBudget({.most = 4, .per_address_most = 2, .told_most = 2, .told_in = 60s});
}
Instant at(Duration since_start) {
  return Instant{} + 1h + since_start;
}

TEST(GreetingBudget, GivesAnAddressItsShareAndNoMore) {
  GreetingBudget budget = small();
  EXPECT_TRUE(budget.begin("a", false, false));
  EXPECT_TRUE(budget.begin("a", false, false));
  EXPECT_FALSE(budget.begin("a", false, false));
  EXPECT_TRUE(budget.begin("b", false, false));
  budget.ended("a");
  EXPECT_TRUE(budget.begin("a", false, false));
  EXPECT_EQ(budget.running(), 3U);
}

TEST(GreetingBudget, RefusedTakesNoPlace) {
  GreetingBudget budget = small();
  for (const char* address : {"a", "a", "b", "b"}) ASSERT_TRUE(budget.begin(address, false, false));
  EXPECT_FALSE(budget.begin("c", false, false));
  EXPECT_EQ(budget.running(), 4U);
  for (const char* address : {"a", "a", "b", "b"}) budget.ended(address);
  EXPECT_EQ(budget.running(), 0U);
  EXPECT_TRUE(budget.begin("c", false, false));
}

TEST(GreetingBudget, HasRoomForAKnownNodeWhenStrangersTookAll) {
  GreetingBudget budget = small();
  for (const char* address : {"a", "a", "b", "b"}) ASSERT_TRUE(budget.begin(address, false, false));
  EXPECT_TRUE(budget.begin("peer", true, false));
  EXPECT_TRUE(budget.begin("peer", true, false));
  EXPECT_FALSE(budget.begin("peer", true, false)) << "its own share still holds";
}

TEST(GreetingBudget, OfThisMachineIsBoundedAsAWholeOnly) {
  GreetingBudget budget = small();
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(budget.begin("127.0.0.1", false, true));
  EXPECT_FALSE(budget.begin("127.0.0.1", false, true));
}

TEST(GreetingBudget, TellsAFewRefusalsAndCountsTheRest) {
  GreetingBudget budget = small();
  EXPECT_EQ(budget.refused(at(0s)), 0U);
  EXPECT_EQ(budget.refused(at(1s)), 0U);
  for (int i = 0; i < 500; ++i) EXPECT_FALSE(budget.refused(at(2s)));
  EXPECT_EQ(budget.refused(at(61s)), 500U);
  EXPECT_EQ(budget.refused(at(62s)), 0U);
  EXPECT_FALSE(budget.refused(at(63s)));
}

}  // namespace
}  // namespace everspan::node
