// Goal: whatever happens to legs and site processes, each direction of each channel is delivered
// once and in order, nothing is forgotten that the recorder may lose (C2), and after the last fault
// everything arrives.
// Method: the ends are the production objects; channel_world.h draws the rest from a seed.
// Planted bugs (`--list-planted`): ends and recorders that misbehave; each must be found.
//
// EVERSPAN_SEEDS=N, EVERSPAN_SEED=S (one seed), EVERSPAN_PLANTED=NAME (exit 1 and the seed when
// found).
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <iostream>

#include "channel_world.h"

namespace everspan::sim {
namespace {

std::string text(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}
std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const std::string value = text(name);
  return value.empty() ? otherwise : std::strtoull(value.c_str(), nullptr, 10);
}

struct Found {
  std::uint64_t seed = 0;
  std::string what;
};
std::optional<Found> search(std::uint64_t first, std::uint64_t count, const std::string& planted,
                            Marks& marks) {
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    ChannelWorld world(seed, planted);
    const std::string failure = world.run();
    marks.add(world.marks());
    if (!failure.empty()) return Found{seed, failure};
  }
  return std::nullopt;
}

TEST(ChannelSimulation, EveryByteArrivesOnceAndInOrderWhateverBreaks) {
  const bool one = !text("EVERSPAN_SEED").empty();
  const std::uint64_t first = number("EVERSPAN_SEED", 1);
  Marks marks;
  const auto found = search(first, one ? 1 : number("EVERSPAN_SEEDS", 2000), "", marks);
  if (found) FAIL() << "EVERSPAN_SEED=" << found->seed << ": " << found->what;
  if (one) return;
  EXPECT_GT(marks.moves, 0);
  EXPECT_GT(marks.cuts, 0);
  EXPECT_GT(marks.silent_cuts, 0);
  EXPECT_GT(marks.crashes, 0);
  EXPECT_GT(marks.drains_lost, 0);
  EXPECT_GT(marks.bridged, 0);
  EXPECT_GT(marks.rerouted, 0);
  EXPECT_GT(marks.early, 0);
  EXPECT_GT(marks.repeated, 0);
  EXPECT_GT(marks.unsynced_lost, 0);
}

TEST(ChannelSimulation, ASeedRepeatsItself) {
  ChannelWorld a(77, "");
  ChannelWorld b(77, "");
  EXPECT_EQ(a.run(), b.run());
  EXPECT_EQ(a.marks().bridged, b.marks().bridged);
  EXPECT_EQ(a.marks().repeated, b.marks().repeated);
}

class PlantedBug : public testing::TestWithParam<std::string> {};
TEST_P(PlantedBug, IsFound) {
  Marks marks;
  EXPECT_TRUE(search(1, 2000, GetParam(), marks)) << GetParam() << " was not found";
}
INSTANTIATE_TEST_SUITE_P(Channel, PlantedBug, testing::ValuesIn(ChannelWorld::planted_names()),
                         [](const auto& info) { return info.param; });

int run_planted(const std::string& planted) {
  Marks marks;
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
    for (const auto& name : everspan::sim::ChannelWorld::planted_names()) std::cout << name << "\n";
    return 0;
  }
  if (const std::string planted = everspan::sim::text("EVERSPAN_PLANTED"); !planted.empty())
    return everspan::sim::run_planted(planted);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
