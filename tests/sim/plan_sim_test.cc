// Goal: whatever dies, comes late or twice, and however the new release is bad, an upgrade ends
// upgraded or rolled back; no effect acts twice or before its intent is stored; nothing is final
// before the soak passed. Method: the production core and codec drive a modelled base
// (plan_world.h); each seed draws its faults. Planted bugs (`--list-planted`): drivers and bases
// that misbehave; each must be found.
//
// EVERSPAN_SEEDS=N, EVERSPAN_SEED=S (one seed), EVERSPAN_PLANTED=NAME (exit 1 and the seed when
// found).
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <iostream>

#include "plan_world.h"

namespace everspan::sim {
namespace {

constexpr const char* kPlanted[] = {"acts_before_saving", "short_soak",       "base_forgets",
                                    "believes_answers",   "forgets_to_begin", "finalize_in_memory"};

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
                            PlanMarks& marks) {
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    PlanWorld world(seed, planted);
    const std::string failure = world.run();
    marks.add(world.marks());
    if (!failure.empty()) return Found{seed, failure};
  }
  return std::nullopt;
}

TEST(PlanSimulation, EveryUpgradeEndsUpgradedOrRolledBack) {
  const bool one = !text("EVERSPAN_SEED").empty();
  const std::uint64_t first = number("EVERSPAN_SEED", 1);
  PlanMarks marks;
  const auto found = search(first, one ? 1 : number("EVERSPAN_SEEDS", 2000), "", marks);
  if (found) FAIL() << "EVERSPAN_SEED=" << found->seed << ": " << found->what;
  if (one) return;
  EXPECT_GT(marks.upgraded, 0);
  EXPECT_GT(marks.rolled_back, 0);
  EXPECT_GT(marks.base_deaths, 0);
  EXPECT_GT(marks.deaths_before_effect, 0);
  EXPECT_GT(marks.deaths_after_effect, 0);
  EXPECT_GT(marks.repeated_answers, 0);
  EXPECT_GT(marks.repeated_requests, 0);
  EXPECT_GT(marks.late_answers, 0);
  EXPECT_GT(marks.went_back, 0);
  EXPECT_GT(marks.asked_back, 0);
  EXPECT_GT(marks.pauses, 0);
  EXPECT_GT(marks.switches_unanswered, 0);
  EXPECT_GT(marks.queries_known, 0);
  EXPECT_GT(marks.retries, 0);
}

TEST(PlanSimulation, EachPlantedBugIsFound) {
  for (const char* planted : kPlanted) {
    PlanMarks marks;
    EXPECT_TRUE(search(1, 2000, planted, marks)) << planted << " was not found";
  }
}

}  // namespace

int hunt(const std::string& planted) {
  PlanMarks marks;
  const bool one = !text("EVERSPAN_SEED").empty();
  const auto found =
      search(number("EVERSPAN_SEED", 1), one ? 1 : number("EVERSPAN_SEEDS", 2000), planted, marks);
  if (!found) {
    std::cout << planted << ": not found\n";
    return 0;
  }
  std::cout << planted << ": found, EVERSPAN_SEED=" << found->seed << ": " << found->what << "\n";
  return 1;
}

int list_planted() {
  for (const char* planted : kPlanted) std::cout << planted << "\n";
  return 0;
}

}  // namespace everspan::sim

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--list-planted") == 0) return everspan::sim::list_planted();
  if (const char* planted = std::getenv("EVERSPAN_PLANTED"); planted != nullptr && *planted != '\0')
    return everspan::sim::hunt(planted);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
