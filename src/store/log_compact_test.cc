// Old entries go; nothing that is acknowledged does.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "store/log.h"
#include "store/test_support/log_pair.h"

namespace everspan::store {
namespace {

class Compaction : public testing::Test {
 protected:
  static constexpr std::int64_t kStart = 1'700'000'000'000;

  void SetUp() override { start({1}); }
  void TearDown() override {
    writer_.reset();
    ASSERT_OK(reader_->verify());
  }
  void start(Generation generation) {
    auto options = writer_options(path_);
    options.now = [this] { return WallTime{now_}; };
    auto writer = LogWriter::open(options);
    ASSERT_OK(writer);
    writer_ = std::move(*writer);
    ASSERT_OK(writer_->become_writer(generation));
    auto reader = LogReader::open(path_);
    ASSERT_OK(reader);
    reader_ = std::move(*reader);
  }
  // One a millisecond.
  void write(int count) {
    for (int i = 0; i < count; ++i, ++now_) {
      auto it = put("k" + std::to_string(now_ % 7), std::to_string(now_));
      it.request_id.bytes[0] = 1;
      it.request_id.bytes[1] = static_cast<std::uint8_t>(now_ - kStart);
      ASSERT_OK(writer_->submit_and_wait(it));
    }
  }
  Result<LogHead> compact(std::int64_t older_than, std::uint64_t below) {
    return wait_for([&](LogWriter::Advanced done) {
      writer_->compact({older_than}, {below}, std::move(done));
    });
  }

  TemporaryFolder folder_;
  std::string path_ = folder_ / "log.db";
  std::atomic<std::int64_t> now_ = kStart;
  std::unique_ptr<LogWriter> writer_;
  std::unique_ptr<LogReader> reader_;
};

TEST_F(Compaction, KeepsWhatIsYoungerOrNotBelow) {
  write(20);
  const Sha256 hash = *reader_->hash_at({10});
  EXPECT_EQ(compact(kStart, 1000)->revision, Revision{0});
  EXPECT_EQ(compact(kStart + 5, 1000)->revision, Revision{5});
  auto base = compact(kStart + 1000, 11);
  ASSERT_OK(base);
  EXPECT_EQ(*base, (LogHead{{10}, hash}));
  EXPECT_EQ(reader_->meta()->base, *base);
  EXPECT_EQ(compact(kStart + 3, 3)->revision, Revision{10});
  EXPECT_EQ(reader_->entries({10}, 100, hash)->entries.size(), 10U);
  EXPECT_EQ(code_of(reader_->entries({9}, 100)), "compacted");
  EXPECT_EQ(code_of(reader_->appended({9}, 100)), "compacted");
  EXPECT_EQ(code_of(reader_->hash_at({9})), "compacted");
}

TEST_F(Compaction, NeverTakesTheLastCommittedEntryOrOneAfterIt) {
  write(5);
  EXPECT_EQ(compact(kStart + 1000, 1000)->revision, Revision{4});
  EXPECT_EQ(reader_->head()->revision, Revision{5});
  // A follower's entries that are not committed stay, however old.
  auto follower = LogWriter::open(follower_options(folder_ / "b.db"));
  ASSERT_OK(follower);
  (*follower)->refuse_unconfirmed(not_primary());
  ASSERT_OK((*follower)->become_writer({1}, LogWriter::Tail::keep));
  ASSERT_OK(reader_->snapshot_to(folder_ / "snapshot"));
  ASSERT_OK(wait_for([&](LogWriter::Advanced done) {
    (*follower)->install_snapshot(folder_ / "snapshot", LogWriter::Replaces::behind,
                                  std::move(done));
  }));
  write(5);
  auto missing = reader_->appended({5}, 100);
  ASSERT_OK(missing);
  std::vector<std::string> entries;
  for (const auto& it : missing->entries) entries.push_back(it.entry);
  ASSERT_OK(ship(**follower, {1}, (*follower)->last(), entries));
  ASSERT_OK(fold(**follower, {{7}, missing->entries[1].hash}));
  auto base = wait_for([&](LogWriter::Advanced done) {
    (*follower)->compact({kStart + 1000}, {1000}, std::move(done));
  });
  ASSERT_OK(base);
  EXPECT_EQ(base->revision, Revision{6});
}

TEST_F(Compaction, TheLogGoesOnAndIsOpenedAgain) {
  write(30);
  const auto before = reader_->list("setting");
  ASSERT_OK(before);
  ASSERT_OK(compact(kStart + 20, 1000));
  EXPECT_EQ(reader_->list("setting")->size(), before->size());
  write(5);
  writer_.reset();
  start({2});
  EXPECT_EQ(reader_->verify()->revision, Revision{35});
  // Outcomes are kept by their own rule.
  Transaction again = put("k", "x");
  again.request_id.bytes[0] = 1;
  again.request_id.bytes[1] = 3;
  auto outcome = writer_->submit_and_wait(again);
  ASSERT_OK(outcome);
  EXPECT_TRUE(outcome->repeated);
  EXPECT_EQ(outcome->revision, Revision{4});
}

TEST_F(Compaction, WritesGoOnBetweenItsSteps) {
  constexpr std::uint64_t kEntries = 3500;
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t t = 0; t < 50; ++t)
      threads.emplace_back([this, t] {
        for (std::uint64_t i = 0; i < kEntries / 50; ++i)
          EXPECT_TRUE(writer_->submit_and_wait(put(std::to_string(t), std::to_string(i))));
      });
  }
  // Both are asked for before the writer goes on, so the write's turn is after the first step.
  std::promise<Result<LogHead>> compacted;
  Revision base_when_written;
  std::promise<void> written;
  writer_->submit(put("first", "x"), [&](const Result<Outcome>&) {
    writer_->compact({kStart + 1}, {kEntries + 1},
                     [&](Result<LogHead> base) { compacted.set_value(std::move(base)); });
    writer_->submit(put("between", "x"), [&](const Result<Outcome>& outcome) {
      EXPECT_TRUE(outcome);
      base_when_written = reader_->meta()->base.revision;
      written.set_value();
    });
  });
  written.get_future().wait();
  EXPECT_EQ(base_when_written, Revision{1000});
  auto base = compacted.get_future().get();
  ASSERT_OK(base);
  EXPECT_EQ(base->revision, Revision{kEntries});
}

TEST_F(Compaction, IsTheWritersOnly) {
  write(3);
  ASSERT_OK(writer_->release_and_wait());
  EXPECT_EQ(code_of(compact(kStart + 10, 10)), "released");
  ASSERT_OK(writer_->become_writer({2}));
  ASSERT_OK(compact(kStart + 10, 10));
}

TEST_F(Compaction, LargeEntriesGoAFewAtATime) {
  for (int i = 0; i < 5; ++i) {
    Transaction large;
    for (int n = 0; n < 15; ++n)
      large.writes.push_back(
          Write::put("setting", std::to_string(n), std::string(kRecordBytesMax, 'x')));
    ASSERT_OK(writer_->submit_and_wait(large));
  }
  EXPECT_EQ(compact(kStart + 10, 100)->revision, Revision{4});
}

}  // namespace
}  // namespace everspan::store
