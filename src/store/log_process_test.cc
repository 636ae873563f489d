// Writers and learners as processes that are killed, stopped and hung at random moments under load.
#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <set>
#include <thread>

#include "common/random.h"
#include "store/detail/suspect.h"
#include "store/test_support/log_child.h"
#include "store/test_support/log_fixture.h"

namespace everspan::store {
namespace {

class LogProcesses : public testing::Test {
 protected:
  void SetUp() override {
    auto made = LogWriter::open(writer_options(path_));
    ASSERT_OK(made);
  }

  void remember(const Process& process) {
    acknowledged_.insert(process.acknowledged().begin(), process.acknowledged().end());
  }
  void expect_each_acknowledged_write_once() {
    auto reader = LogReader::open(path_);
    ASSERT_OK(reader);
    ASSERT_OK((*reader)->verify());
    std::map<std::string, std::uint64_t> in_log;
    Revision at;
    for (;;) {
      auto page = (*reader)->entries(at, 1000);
      ASSERT_OK(page);
      if (page->entries.empty()) break;
      for (const LogEntry& it : page->entries)
        EXPECT_TRUE(in_log.emplace(it.operations[0].key, it.revision.value).second)
            << it.operations[0].key << " ran twice";
      at = page->last.revision;
    }
    for (const auto& [key, revision] : acknowledged_) {
      const auto found = in_log.find(key);
      ASSERT_NE(found, in_log.end()) << key << " was acknowledged and is lost";
      EXPECT_EQ(found->second, revision);
    }
  }

  TemporaryFolder folder_;
  std::string path_ = folder_ / "log.db";
  std::map<std::string, std::uint64_t> acknowledged_;
  SeededRandom random_{testing::UnitTest::GetInstance()->random_seed() + 1ULL};
};

TEST_F(LogProcesses, AWriterKilledAtAnyMomentLosesAndRepeatsNothing) {
  for (int round = 1; round <= 20; ++round) {
    Process writer({"write", path_, std::to_string(round), "8"});
    writer.read_acknowledgements(random_.between(1, 300));
    writer.end();
    remember(writer);
  }
  EXPECT_GT(acknowledged_.size(), 20U);
  expect_each_acknowledged_write_once();
}

TEST_F(LogProcesses, AStoppedWriterThatWakesUpAfterItsSuccessorCommitsNothing) {
  int woken = 0;
  std::uint64_t generation = 0;
  for (int round = 1; round <= 40; ++round) {
    SCOPED_TRACE(round);
    Process old({"write", path_, std::to_string(++generation), "4"});
    old.read_acknowledgements(random_.between(1, 60));
    old.stop();
    auto options = writer_options(path_);
    options.lock_wait = std::chrono::milliseconds(20);
    auto next = LogWriter::open(options);
    ASSERT_OK(next);
    auto became = (*next)->become_writer({++generation});
    if (!became) {  // It was stopped inside a commit, with SQLite's lock: base kills it first.
      ASSERT_EQ(became.error().code, "db_busy");
      old.end();
      ASSERT_OK((*next)->become_writer({generation}));
    }
    auto first = (*next)->submit_and_wait(put("first-" + std::to_string(round), "x"));
    ASSERT_OK(first);
    if (became) {
      ++woken;
      old.signal(SIGCONT);
      const std::size_t before = old.acknowledged().size();
      while (!old.line().empty() && old.acknowledged().size() < before + 5000) {
      }
      ASSERT_LT(old.acknowledged().size(), before + 5000) << "the old writer goes on writing";
      EXPECT_EQ(old.wait(), 0);
      EXPECT_EQ(old.refusals(), std::set<std::string>{"superseded"});
    }
    for (const auto& [key, revision] : old.acknowledged())
      EXPECT_LT(revision, first->revision.value);
    auto reader = LogReader::open(path_);
    ASSERT_OK(reader);
    EXPECT_EQ((*reader)->head()->revision, first->revision);
    remember(old);
  }
  EXPECT_GT(woken, 0) << "no writer woke up: the test proves nothing";
  expect_each_acknowledged_write_once();
}

TEST_F(LogProcesses, LearnersThatHangOrExitOrMisuseTheFileCostNoWrite) {
  Process hanging({"hold", path_});
  ASSERT_EQ(hanging.line(), "H");
  {
    Process writer({"write", path_, "1", "8"});
    for (int round = 1; round <= 10; ++round) {
      writer.read_acknowledgements(static_cast<std::size_t>(round) * 50);
      Process learner({round % 2 == 0 ? "look" : "wrong", path_});
      EXPECT_EQ(learner.wait(), 0);
    }
    hanging.end();
    writer.read_acknowledgements(600);
    writer.end();
    remember(writer);
  }
  Process last({"wrong", path_});
  EXPECT_EQ(last.wait(), 0);
  expect_each_acknowledged_write_once();
}

TEST_F(LogProcesses, AFailedFsyncEndsTheProcessAndTheNextOneComesBackWhole) {
  for (const std::uint64_t nth : {2U, 5U, 17U}) {
    Process failing({"fail-sync", path_, std::to_string(nth), std::to_string(nth)});
    EXPECT_EQ(failing.wait(), LogWriter::kLogFatalExit);
    EXPECT_TRUE(detail::is_suspect(path_));
    remember(failing);
    auto next = LogWriter::open(writer_options(path_));
    ASSERT_OK(next);
    ASSERT_OK((*next)->become_writer({nth + 1}));
    EXPECT_FALSE(detail::is_suspect(path_));
  }
  EXPECT_FALSE(acknowledged_.empty());
  expect_each_acknowledged_write_once();
}

}  // namespace
}  // namespace everspan::store
