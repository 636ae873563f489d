// Two logs, written as a pair by a process that dies at each step of a write, or at any moment.
// After each death both are opened again, one of them leads, and the other is made to follow.
#include <gtest/gtest.h>

#include <map>

#include "common/random.h"
#include "store/log.h"
#include "store/orphan.h"
#include "store/test_support/log_child.h"
#include "store/test_support/log_pair.h"

namespace everspan::store {
namespace {

class PairProcesses : public testing::Test {
 protected:
  // One turn: `leader` writes until it dies.
  void run_round(const std::string& leader, const std::string& step, int nth,
                 std::size_t acknowledgements = 0) {
    const std::string& follower = leader == a_ ? b_ : a_;
    Process process(
        {"pair", leader, follower, std::to_string(++round_), step, std::to_string(nth)});
    if (acknowledgements > 0) {
      process.read_acknowledgements(acknowledgements);
      process.end();
    } else {
      EXPECT_EQ(process.wait(), -1) << "it did not die at " << step;
    }
    EXPECT_EQ(process.refusals().size(), 0U);
    for (const auto& [key, revision] : process.acknowledged()) acknowledged_[key] = revision;
    look();
  }

  static std::map<std::string, std::uint64_t> history(LogReader& log) {
    std::map<std::string, std::uint64_t> out;
    Revision at;
    for (;;) {
      auto page = log.appended(at, 1000);
      EXPECT_TRUE(page) << page.error().text();
      if (!page || page->entries.empty()) return out;
      for (const auto& it : page->entries) {
        const auto entry = decode_entry(it.entry);
        EXPECT_TRUE(entry);
        EXPECT_TRUE(out.emplace(entry->operations[0].key, it.revision.value).second)
            << entry->operations[0].key << " ran twice";
        at = it.revision;
      }
    }
  }

  // Whatever died when: both are whole, every acknowledged write is in both, and the histories are
  // one as far as both go.
  void look() {
    auto a = LogReader::open(a_);
    ASSERT_OK(a);
    auto b = LogReader::open(b_);
    ASSERT_OK(b);
    ASSERT_OK((*a)->verify());
    ASSERT_OK((*b)->verify());
    for (LogReader* log : {a->get(), b->get()}) {
      const auto seen = history(*log);
      for (const auto& [key, revision] : acknowledged_) {
        const auto found = seen.find(key);
        ASSERT_NE(found, seen.end()) << key << " was acknowledged and is lost";
        EXPECT_EQ(found->second, revision);
      }
    }
    const auto mine = (*a)->meta();
    const auto theirs = (*b)->meta();
    ASSERT_OK(mine);
    ASSERT_OK(theirs);
    const Revision common = std::min(mine->head.revision, theirs->head.revision);
    EXPECT_EQ(*(*a)->hash_at(common), *(*b)->hash_at(common));
    if (mine->head.revision != theirs->head.revision) ++apart_;
  }

  // Both lead to the same records.
  void expect_equal_after_settling() {
    auto pair = ConnectedPair::open(writer_options(a_), follower_options(b_),
                                    Generation{round_ + 1}, Epoch{round_ + 1});
    ++round_;
    ASSERT_OK(pair);
    ASSERT_OK((*pair)->primary().submit_and_wait(put("last", "x")));
    auto a = LogReader::open(a_);
    ASSERT_OK(a);
    auto b = LogReader::open(b_);
    ASSERT_OK(b);
    ASSERT_OK(catch_up(**a, (*pair)->follower(), {round_}));
    EXPECT_EQ(*(*a)->head(), *(*b)->head());
    const auto records = (*a)->list("setting");
    const auto others = (*b)->list("setting");
    ASSERT_OK(records);
    ASSERT_OK(others);
    ASSERT_EQ(records->size(), others->size());
    for (std::size_t i = 0; i < records->size(); ++i) {
      EXPECT_EQ((*records)[i].key, (*others)[i].key);
      EXPECT_EQ((*records)[i].revision, (*others)[i].revision);
    }
    EXPECT_GE(records->size(), acknowledged_.size());
  }

  // Each is whole and holds nothing that was acknowledged.
  int read_orphans() {
    int files = 0;
    for (const std::string& folder : {a_ + ".orphans", b_ + ".orphans"}) {
      if (!std::filesystem::exists(folder)) continue;
      for (const auto& it : std::filesystem::directory_iterator(folder)) {
        if (it.path().extension() != ".orphan") continue;
        ++files;
        auto orphan = read_orphan(it.path(), [&](LogEntry&& entry) -> Result<void> {
          EXPECT_FALSE(acknowledged_.contains(entry.operations[0].key));
          return {};
        });
        EXPECT_TRUE(orphan) << orphan.error().text();
      }
    }
    return files;
  }

  TemporaryFolder folder_;
  std::string a_ = folder_ / "a.db";
  std::string b_ = folder_ / "b.db";
  std::uint64_t round_ = 0;
  int apart_ = 0;
  std::map<std::string, std::uint64_t> acknowledged_;
  SeededRandom random_{testing::UnitTest::GetInstance()->random_seed() + 1ULL};
};

TEST_F(PairProcesses, DeathAtEachStepOfAWriteLosesAndRepeatsNothing) {
  for (const char* step :
       {"appended", "ahead", "behind", "shipped", "confirmed", "committed", "folded"}) {
    for (const int nth : {1, 2, 17}) {  // The 17th: with batches of several.
      SCOPED_TRACE(testing::Message() << "dies at " << step << " " << nth);
      run_round(a_, step, nth);
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(acknowledged_.size(), 40U);
  EXPECT_GE(apart_, 6) << "no death left the logs apart: the test proves nothing";
  expect_equal_after_settling();
  read_orphans();
}

TEST_F(PairProcesses, WhoeverLeadsNextTheOtherFollows) {
  run_round(a_, "ahead", 5);
  run_round(a_, "shipped", 5);  // Cuts what the follower was ahead.
  const std::vector<std::string> steps = {"appended", "ahead", "behind", "shipped", "committed"};
  for (int i = 0; i < 24; ++i) {
    SCOPED_TRACE(testing::Message() << "turn " << i);
    const std::string leader = random_.below(2) == 0 ? a_ : b_;
    run_round(leader, steps[random_.below(steps.size())], static_cast<int>(random_.between(1, 9)));
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(read_orphans(), 0) << "nothing was cut: the test proves nothing";
  expect_equal_after_settling();
}

TEST_F(PairProcesses, AKillAtAnyMomentLosesAndRepeatsNothing) {
  run_round(a_, "shipped", 1);
  for (int i = 0; i < 15; ++i) {
    const std::string leader = random_.below(2) == 0 ? a_ : b_;
    run_round(leader, "never", 1, random_.between(1, 100));
    if (HasFatalFailure()) return;
  }
  expect_equal_after_settling();
  read_orphans();
}

}  // namespace
}  // namespace everspan::store
