// Goal: whatever happens to two nodes and their links, an epoch has one writer, what was
// acknowledged stays, and afterwards both live in sync with one primary. Method: PairWorld
// (pair_world.h); each cell of role_core.h's in-doubt table must be visited. Planted bugs: nodes
// and logs that misbehave around the cores; each must be found.
//
//   EVERSPAN_SEED=N      one seed        EVERSPAN_SEEDS=N   how many (default 10000), from EVERSPAN_FIRST
//   EVERSPAN_PLANTED=X   search with bug X; exit 1 and the seed when found
//   --list-planted
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "pair_world.h"

namespace everspan::sim {
namespace {

constexpr std::uint64_t kSeeds = 10'000;
constexpr std::uint64_t kSeedsOfAll = 10'000;  // From here on each rare branch must be reached.

std::string text(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
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
                            PairMarks& marks, std::uint64_t& trace) {
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    PairWorld world(seed, planted);
    const std::string failure = world.run();
    marks.add(world.marks());
    trace = (trace ^ world.trace()) * 0x100000001b3ULL;
    if (failure.empty()) continue;
    if (planted.empty() || PairWorld(seed, "").run().empty()) return Found{seed, failure};
  }
  return std::nullopt;
}

void print(const PairMarks& m) {
  std::cout << "cells of the in-doubt table:";
  for (std::size_t i = 1; i < m.cells.size(); ++i) std::cout << " " << i << ":" << m.cells[i];
  std::cout << "\nwrites " << m.writes << " (again " << m.repeated << ", unknown " << m.unknown
            << ", forwarded " << m.forwarded << "), hand-overs " << m.handovers << ", asks "
            << m.asks << " (refused " << m.refused << "), forced " << m.forced << ", made to rest "
            << m.rested << ", broken " << m.broken << ", established " << m.established
            << ", diverged " << m.diverged << "+" << m.ship_diverged << "\nshrinks " << m.shrinks
            << ", grows " << m.grows << ", cuts " << m.cuts << ", snapshots " << m.snapshots
            << ", taken back " << m.taken_back << ", torn " << m.torn_kept << "+" << m.torn_lost
            << ", kills " << m.kills << ", power cuts " << m.power << ", stops " << m.stops
            << ", partitions " << m.partitions << "+" << m.one_way << ", lost for good " << m.lost
            << "\n";
}

TEST(PairSimulation, OneWriterNothingLostAndInSyncAgainWhateverHappens) {
  const bool one = !text("EVERSPAN_SEED").empty();
  const std::uint64_t count = one ? 1 : number("EVERSPAN_SEEDS", kSeeds);
  PairMarks marks;
  std::uint64_t trace = 0;
  const auto began = std::chrono::steady_clock::now();
  const std::uint64_t first = number("EVERSPAN_SEED", number("EVERSPAN_FIRST", 1));
  const auto found = search(first, count, "", marks, trace);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  print(marks);
  std::cout << "trace " << std::hex << trace << std::dec << ", "
            << static_cast<std::uint64_t>(static_cast<double>(count) / took.count()) << " seeds/s, "
            << marks.events / count << " events each\n";
  if (found) FAIL() << "EVERSPAN_SEED=" << found->seed << ": " << found->what;
  if (one || count < kSeedsOfAll) return;
  for (std::size_t i = 1; i < marks.cells.size(); ++i)
    EXPECT_GT(marks.cells[i], 0U) << "cell " << i << " of the in-doubt table was never visited";
  for (const std::uint64_t reached :
       {marks.handovers, marks.forced,   marks.rested,        marks.broken,    marks.established,
        marks.lost,      marks.diverged, marks.ship_diverged, marks.cuts,      marks.snapshots,
        marks.shrinks,   marks.grows,    marks.torn_kept,     marks.torn_lost, marks.taken_back,
        marks.forwarded, marks.repeated, marks.unknown,       marks.one_way,   marks.disk_full})
    EXPECT_GT(reached, 0U) << "a rare branch was never reached";
}

TEST(PairSimulation, ASeedRepeatsItself) {
  for (const std::uint64_t seed : {7, 77, 777}) {
    PairWorld a(seed, "");
    PairWorld b(seed, "");
    EXPECT_EQ(a.run(), b.run());
    EXPECT_EQ(a.trace(), b.trace());
    EXPECT_EQ(a.marks().writes, b.marks().writes);
  }
}

class PlantedBug : public testing::TestWithParam<std::string> {};
TEST_P(PlantedBug, IsFound) {
  PairMarks marks;
  std::uint64_t trace = 0;
  const auto found = search(1, kSeeds, GetParam(), marks, trace);
  ASSERT_TRUE(found) << GetParam() << " was not found";
  std::cout << GetParam() << ": EVERSPAN_SEED=" << found->seed << ": " << found->what << "\n";
}
INSTANTIATE_TEST_SUITE_P(Pair, PlantedBug, testing::ValuesIn(PairWorld::planted_names()),
                         [](const auto& info) { return info.param; });

int hunt(const std::string& planted) {
  PairMarks marks;
  std::uint64_t trace = 0;
  const bool one = !text("EVERSPAN_SEED").empty();
  const auto found = search(number("EVERSPAN_SEED", 1), one ? 1 : number("EVERSPAN_SEEDS", kSeeds),
                            planted, marks, trace);
  if (!found) {
    std::cout << planted << ": not found\n";
    return 0;
  }
  std::cout << planted << ": found, EVERSPAN_SEED=" << found->seed << ": " << found->what << "\n";
  return 1;
}

}  // namespace
}  // namespace everspan::sim

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--list-planted") == 0) {
    for (const std::string& name : everspan::sim::PairWorld::planted_names())
      std::cout << name << "\n";
    return 0;
  }
  if (const std::string planted = everspan::sim::text("EVERSPAN_PLANTED"); !planted.empty())
    return everspan::sim::hunt(planted);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
