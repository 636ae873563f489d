// Goal: whatever is killed or stopped on one node, and whenever, one process writes, no
// acknowledged write is lost, each write runs once, and when the faults end somebody serves.
// Method: SlotsCore and HandoverCore as in production, in HandoverWorld. Planted bugs: see
// HandoverWorld::planted_names(); each misbehaves around the objects, none inside them.
//
//   EVERSPAN_SEED=N      one seed        EVERSPAN_SEEDS=N   how many (default 2000)
//   EVERSPAN_PLANTED=X   search with bug X; exit 1 and the seed when found
//   --list-planted
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <iostream>

#include "handover_world.h"

namespace everspan::sim {
namespace {

std::string text(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}
std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const auto value = text(name);
  return value.empty() ? otherwise : std::strtoull(value.c_str(), nullptr, 10);
}

struct Found {
  std::uint64_t seed = 0;
  std::string what;
};
std::optional<Found> search(std::uint64_t first, std::uint64_t count, const std::string& planted,
                            HandoverMarks& marks) {
  for (auto seed = first; seed < first + count; ++seed) {
    HandoverWorld world(seed, planted);
    const auto failure = world.run();
    marks.add(world.marks());
    if (!failure.empty()) return Found{.seed = seed, .what = failure};
  }
  return std::nullopt;
}

TEST(HandoverSimulation, OneWriterAndNothingLostWhateverIsKilledOrStopped) {
  const bool one = !text("EVERSPAN_SEED").empty();
  HandoverMarks m;
  const auto found =
      search(number("EVERSPAN_SEED", 1), one ? 1 : number("EVERSPAN_SEEDS", 2000), "", m);
  if (found) FAIL() << "EVERSPAN_SEED=" << found->seed << ": " << found->what;
  std::cout << "switches " << m.switches << ", went back " << m.went_back << ", planned back "
            << m.planned_back << ", base crashes " << m.base_crashes << ", kills " << m.kills
            << ", stops " << m.stops << ", commits " << m.commits << ", forwarded " << m.forwarded
            << ", queued " << m.queued << ", torn " << m.torn_lost << "+" << m.torn_kept
            << ", fenced " << m.fenced << ", stray " << m.stray << ", repeated keys "
            << m.repeated_keys << ", granted anew " << m.regrants << "\n";
  if (one) return;
  for (const int reached : {m.switches, m.went_back, m.planned_back, m.base_crashes, m.kills,
                            m.stops, m.forwarded, m.queued, m.torn_lost, m.torn_kept, m.fenced,
                            m.stray, m.repeated_keys, m.regrants, m.lock_held_dead})
    EXPECT_GT(reached, 0) << "a rare branch was never reached";
}

TEST(HandoverSimulation, ASeedRepeatsItself) {
  HandoverWorld a(77, "");
  HandoverWorld b(77, "");
  EXPECT_EQ(a.run(), b.run());
  EXPECT_EQ(a.marks().commits, b.marks().commits);
  EXPECT_EQ(a.marks().forwarded, b.marks().forwarded);
}

class PlantedBug : public testing::TestWithParam<std::string> {};
TEST_P(PlantedBug, IsFound) {
  HandoverMarks marks;
  const auto found = search(1, 2000, GetParam(), marks);
  ASSERT_TRUE(found) << GetParam() << " was not found";
  std::cout << GetParam() << ": EVERSPAN_SEED=" << found->seed << ": " << found->what << "\n";
}
INSTANTIATE_TEST_SUITE_P(Handover, PlantedBug, testing::ValuesIn(HandoverWorld::planted_names()),
                         [](const auto& info) { return info.param; });

int run_planted(const std::string& planted) {
  HandoverMarks marks;
  const auto found =
      search(number("EVERSPAN_SEED", 1), number("EVERSPAN_SEEDS", 2000), planted, marks);
  if (!found) {
    std::cout << planted << ": not found\n";
    return 0;
  }
  std::cout << planted << ": found by EVERSPAN_SEED=" << found->seed << ": " << found->what << "\n";
  return 1;
}

}  // namespace
}  // namespace everspan::sim

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--list-planted") != 0) continue;
    for (const auto& name : everspan::sim::HandoverWorld::planted_names())
      std::cout << name << "\n";
    return 0;
  }
  if (const auto planted = everspan::sim::text("EVERSPAN_PLANTED"); !planted.empty())
    return everspan::sim::run_planted(planted);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
