// A session ends only after a whole time to live without any leg, counted without a break.
#include "node/core/absence.h"

#include <gtest/gtest.h>

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

SessionId session(std::uint8_t n) {
  SessionId id;
  id.bytes[0] = n;
  return id;
}
Instant at(std::chrono::seconds s) {
  return Instant{s};
}

TEST(Absence, EndsOnlyAfterAWholeTimeToLive) {
  Absence absence;
  const std::vector<Absence::Live> live{{session(1), 60s}};
  EXPECT_TRUE(absence.look(live, {}, at(1000s)).empty()) << "the first look only notices";
  EXPECT_TRUE(absence.look(live, {}, at(1059s)).empty());
  EXPECT_EQ(absence.look(live, {}, at(1060s)), std::vector{session(1)});
}

TEST(Absence, ALegInBetweenBeginsTheCountAgain) {
  Absence absence;
  const std::vector<Absence::Live> live{{session(1), 60s}};
  EXPECT_TRUE(absence.look(live, {}, at(0s)).empty());
  EXPECT_TRUE(absence.look(live, {session(1)}, at(50s)).empty());
  EXPECT_TRUE(absence.look(live, {}, at(61s)).empty());
  EXPECT_TRUE(absence.look(live, {}, at(120s)).empty());
  EXPECT_EQ(absence.look(live, {}, at(121s)).size(), 1U);
}

TEST(Absence, EachSessionHasItsOwnTime) {
  Absence absence;
  const std::vector<Absence::Live> live{{session(1), 10s}, {session(2), 100s}};
  EXPECT_TRUE(absence.look(live, {}, at(0s)).empty());
  EXPECT_EQ(absence.look(live, {}, at(20s)), std::vector{session(1)});
  EXPECT_EQ(absence.look({{session(2), 100s}}, {}, at(100s)), std::vector{session(2)});
}

}  // namespace
}  // namespace everspan::node
