// A pair through seeded turns: writes with conditions, retries, full disks, links that hold back,
// ends in the middle, either node leading next.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "common/random.h"
#include "store/fault_vfs.h"
#include "store/log.h"
#include "store/test_support/log_pair.h"

namespace everspan::store {
namespace {

struct Asked {
  Transaction transaction;
  std::optional<Revision> acknowledged;
  bool unknown = false;  // Some answer said so.
};

class PairWorld {
 public:
  explicit PairWorld(std::uint64_t seed) : random_(seed) {}

  // One turn; what is under way at its end is left to its fate.
  void turn(FaultVfs& faults) {
    ++turn_;
    const bool a_leads = turn_ == 1 || random_.one_in(2);
    auto primary = a_leads ? writer_options(a_) : follower_options(b_);
    auto follower = a_leads ? follower_options(b_) : writer_options(a_);
    primary.vfs = faults.name();
    faults.heal();
    auto pair = ConnectedPair::open(primary, follower, {turn_}, {turn_});
    ASSERT_OK(pair);
    // The node that joins has the site from here on, and may lead.
    if (turn_ == 1) ASSERT_OK((*pair)->primary().submit_and_wait(put("first", "x")));
    for (std::uint64_t n = random_.between(3, 12); n > 0; --n) {
      if (random_.one_in(6)) {
        FaultVfs::Plan full{FaultVfs::Call::write, FaultVfs::Fault::enospc, random_.between(1, 6)};
        full.and_all_after = true;
        faults.fail(full);
        ++disk_full_;
      } else if (random_.one_in(3)) {
        faults.heal();
      }
      ask((*pair)->primary(), random_.between(1, 10));
      if (random_.one_in(4)) (*pair)->link().hold_confirmations();
      if (random_.one_in(2)) (*pair)->link().confirm_held();
    }
    if (random_.one_in(2)) {
      (*pair)->primary().refuse_unconfirmed(not_primary());
    } else if (random_.one_in(2)) {
      faults.heal();
      (*pair)->link().confirm_held();
      ASSERT_OK((*pair)->primary().release_and_wait());
    }
  }

  void expect_one_history() {
    auto pair =
        ConnectedPair::open(writer_options(a_), follower_options(b_), {turn_ + 1}, {turn_ + 1});
    ASSERT_OK(pair);
    ASSERT_OK((*pair)->primary().submit_and_wait(put("last", "x")));
    auto a = LogReader::open(a_);
    ASSERT_OK(a);
    auto b = LogReader::open(b_);
    ASSERT_OK(b);
    ASSERT_OK(catch_up(**a, (*pair)->follower(), {turn_ + 1}));
    ASSERT_OK((*a)->verify());
    ASSERT_OK((*b)->verify());
    ASSERT_EQ(*(*a)->head(), *(*b)->head());
    EXPECT_EQ(records(**a), records(**b));
    EXPECT_EQ(records(**a), fold_of(**a));
    const std::lock_guard lock(mutex_);
    std::map<RequestId, Revision> ran;
    auto all = (*a)->entries({0}, 100'000);
    ASSERT_OK(all);
    for (const LogEntry& entry : all->entries) {
      if (entry.request_id.is_zero()) continue;
      EXPECT_TRUE(ran.emplace(entry.request_id, entry.revision).second)
          << "a request ran twice, at revision " << entry.revision.value;
    }
    for (const auto& [id, asked] : asked_) {
      const auto found = ran.find(id);
      if (!asked.acknowledged) continue;
      ASSERT_NE(found, ran.end()) << "acknowledged and lost: revision "
                                  << asked.acknowledged->value;
      EXPECT_EQ(found->second, *asked.acknowledged);
      ++acknowledged_;
    }
  }

  [[nodiscard]] int acknowledged() const { return acknowledged_; }
  [[nodiscard]] int unknown() const { return unknown_; }
  [[nodiscard]] int disk_full() const { return disk_full_; }

 private:
  using Records = std::map<std::string, std::pair<std::string, std::uint64_t>>;

  static Records records(LogReader& log) {
    Records out;
    const auto list = log.list("setting");
    EXPECT_TRUE(list);
    for (const Record& it : *list) out[it.key] = {it.bytes, it.revision.value};
    return out;
  }
  static Records fold_of(LogReader& log) {
    Records out;
    const auto all = log.entries({0}, 100'000);
    EXPECT_TRUE(all);
    for (const LogEntry& entry : all->entries) {
      for (const Operation& it : entry.operations) {
        if (it.action == Action::put)
          out[it.key] = {it.bytes, entry.revision.value};
        else
          out.erase(it.key);
      }
    }
    return out;
  }

  // New requests, and old ones again that nobody knows the outcome of.
  void ask(LogWriter& primary, std::uint64_t count) {
    std::vector<std::pair<RequestId, Transaction>> now;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [id, asked] : asked_)
        if (asked.unknown && random_.one_in(3)) now.emplace_back(id, asked.transaction);
      while (now.size() < count) {
        RequestId id;
        put_id(id, ++requests_);
        Transaction it;
        const std::string key = "k" + std::to_string(random_.below(6));
        it.writes = {random_.one_in(5) ? Write::erase("setting", key)
                                       : Write::put("setting", key, std::to_string(requests_))};
        if (random_.one_in(3)) it.writes[0].expected = Revision{random_.below(20)};
        it.request_id = id;
        asked_[id].transaction = it;
        now.emplace_back(id, std::move(it));
      }
    }
    for (auto& [id, transaction] : now) {
      primary.submit(std::move(transaction), [this, id](const Result<Outcome>& outcome) {
        const std::lock_guard lock(mutex_);
        Asked& asked = asked_[id];
        if (!outcome) {
          if (outcome.error().kept != LogWriter::kOutcomeUnknown) return;
          asked.unknown = true;
          ++unknown_;
          return;
        }
        EXPECT_EQ(outcome->stores, MemoryLink::stores());
        if (asked.acknowledged) EXPECT_EQ(outcome->revision, *asked.acknowledged);
        asked.acknowledged = outcome->revision;
      });
    }
  }
  static void put_id(RequestId& id, std::uint64_t n) {
    for (std::size_t i = 0; i < 8; ++i) id.bytes[i] = static_cast<std::uint8_t>(n >> (8 * i));
  }

  TemporaryFolder folder_;
  const std::string a_ = folder_ / "a.db";
  const std::string b_ = folder_ / "b.db";
  SeededRandom random_;
  std::uint64_t turn_ = 0;
  std::mutex mutex_;
  std::map<RequestId, Asked> asked_;
  std::uint64_t requests_ = 0;
  int acknowledged_ = 0;
  int unknown_ = 0;
  int disk_full_ = 0;
};

TEST(LogPairProperty, EachRequestRunsOnceAndWhatIsAcknowledgedStaysThroughAnyTurns) {
  auto faults = FaultVfs::install("faulty");
  ASSERT_OK(faults);
  int acknowledged = 0;
  int unknown = 0;
  int disk_full = 0;
  const auto first = static_cast<std::uint64_t>(testing::UnitTest::GetInstance()->random_seed());
  // The order of the threads decides how much a seed brings: as many seeds as it takes, with a
  // limit.
  const auto enough = [&] { return acknowledged > 500 && unknown > 20 && disk_full > 20; };
  for (std::uint64_t seed = first; seed < first + (enough() ? 12 : 60); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    PairWorld world(seed);
    for (int turn = 0; turn < 8; ++turn) {
      world.turn(**faults);
      if (testing::Test::HasFatalFailure()) return;
    }
    (*faults)->heal();
    world.expect_one_history();
    if (testing::Test::HasFatalFailure()) return;
    acknowledged += world.acknowledged();
    unknown += world.unknown();
    disk_full += world.disk_full();
  }
  EXPECT_GT(acknowledged, 500);
  EXPECT_GT(unknown, 20) << "nothing was left in doubt: the test proves nothing";
  EXPECT_GT(disk_full, 20);
}

}  // namespace
}  // namespace everspan::store
