// The follower's side of a pair: what it takes, what it refuses, and that a refusal changes
// nothing.
#include <gtest/gtest.h>

#include <filesystem>

#include "store/log.h"
#include "store/orphan.h"
#include "store/test_support/log_pair.h"

namespace everspan::store {
namespace {

class Follower : public testing::Test {
 protected:
  static constexpr Epoch kTurn{3};

  void SetUp() override {
    auto options = follower_options(path_);
    options.admit_shipped = [this](const LogEntry& entry) -> Result<void> {
      if (entry.feature_level > 5) return fail("release_too_old", "Too new");
      ++admitted_;
      return {};
    };
    options.head_moved = [this](Revision at) { seen_ = at; };
    auto writer = LogWriter::open(options);
    ASSERT_OK(writer);
    writer_ = std::move(*writer);
    writer_->refuse_unconfirmed(not_primary());
    ASSERT_OK(writer_->become_writer({1}, LogWriter::Tail::keep));
    auto reader = LogReader::open(path_);
    ASSERT_OK(reader);
    reader_ = std::move(*reader);
  }
  void TearDown() override {
    if (reader_) ASSERT_OK(reader_->verify());
  }

  // As a primary would make it after `before`.
  LogEntry entry_after(const LogHead& before, const std::string& bytes) {
    LogEntry entry;
    entry.revision = before.revision.next();
    entry.lineage = test_site().lineage;
    entry.epoch = {2};
    entry.generation = {9};
    entry.primary_time = {1'700'000'000'000};
    entry.operations = {{Action::put, "setting", "a", bytes}};
    return entry;
  }
  Result<LogHead> ship_one(const LogEntry& entry) {
    return ship(*writer_, kTurn, writer_->last(), {encode_entry(entry)});
  }
  void ship_some(int count) {
    for (int i = 0; i < count; ++i)
      ASSERT_OK(ship_one(entry_after(writer_->last(), std::to_string(i))));
  }
  void expect_unchanged(const LogHead& head) {
    EXPECT_EQ(writer_->last(), head);
    EXPECT_EQ(reader_->meta()->head, head);
    EXPECT_EQ(reader_->meta()->epoch, kTurn);
  }

  TemporaryFolder folder_;
  std::string path_ = folder_ / "log.db";
  std::unique_ptr<LogWriter> writer_;
  std::unique_ptr<LogReader> reader_;
  int admitted_ = 0;
  std::atomic<Revision> seen_;
};

TEST_F(Follower, AppendsWhatFollowsAndCommitsOnlyWhatItIsTold) {
  ship_some(3);
  EXPECT_EQ(reader_->meta()->head.revision, Revision{3});
  EXPECT_EQ(reader_->meta()->committed, Revision{0});
  EXPECT_EQ(reader_->meta()->epoch, kTurn);
  EXPECT_EQ(reader_->meta()->lineage, test_site().lineage);
  EXPECT_FALSE(reader_->get("setting", "a")->has_value());
  const LogHead two{{2}, *reader_->hash_at({2})};
  auto folded = fold(*writer_, two);
  ASSERT_OK(folded);
  EXPECT_EQ(*folded, two);
  EXPECT_EQ(seen_.load(), Revision{2});
  EXPECT_EQ((*reader_->get("setting", "a"))->bytes, "1");
  EXPECT_EQ(reader_->entries({0}, 10)->entries.size(), 2U);
  EXPECT_EQ(admitted_, 3);
  // Again, or less: where it stands.
  EXPECT_EQ(*fold(*writer_, two), two);
  EXPECT_EQ(*fold(*writer_, {{1}, *reader_->hash_at({1})}), two);
}

TEST_F(Follower, RefusesWhatIsNotNextOrNotItsHistory) {
  ship_some(2);
  const LogHead head = writer_->last();
  const std::string next = encode_entry(entry_after(head, "x"));
  EXPECT_EQ(code_of(ship(*writer_, kTurn, {}, {next})), "bad_entry");
  EXPECT_EQ(code_of(ship(*writer_, kTurn, {}, {encode_entry(entry_after({}, "x"))})), "not_next");
  LogHead other = head;
  other.hash[0] ^= 1;
  EXPECT_EQ(code_of(ship(*writer_, kTurn, other, {next})), "not_next");
  EXPECT_EQ(code_of(ship(*writer_, kTurn, other, {})), "not_next");
  EXPECT_EQ(code_of(ship(*writer_, {2}, head, {next})), "epoch_lower");
  LogEntry entry = entry_after(head, "x");
  entry.epoch = {4};
  EXPECT_EQ(code_of(ship_one(entry)), "bad_entry");
  entry = entry_after(head, "x");
  entry.lineage.bytes.fill(7);
  EXPECT_EQ(code_of(ship_one(entry)), "other_lineage");
  entry = entry_after(head, "x");
  entry.feature_level = 6;
  EXPECT_EQ(code_of(ship_one(entry)), "release_too_old");
  EXPECT_EQ(code_of(ship(*writer_, kTurn, head, {next, next})), "bad_entry");
  EXPECT_EQ(code_of(ship(*writer_, kTurn, head, {next.substr(1)})), "bad_entry");
  EXPECT_EQ(code_of(ship(*writer_, kTurn, head, {""})), "bad_entry");
  EXPECT_EQ(code_of(ship(*writer_, kTurn, head,
                         std::vector<std::string>(LogWriter::kShippedEntriesMax + 1))),
            "too_large");
  EXPECT_EQ(
      code_of(ship(*writer_, kTurn, head, {std::string(LogWriter::kShippedBytesMax + 1, 'x')})),
      "too_large");
  expect_unchanged(head);
  ASSERT_OK(ship(*writer_, kTurn, head, {next}));
}

TEST_F(Follower, EntriesOfAnEarlierTurnComeWithALaterOne) {
  ship_some(1);
  // The sender's turn counts, not the entry's: a new primary ships what the one before had made.
  ASSERT_OK(
      ship(*writer_, {5}, writer_->last(), {encode_entry(entry_after(writer_->last(), "x"))}));
  EXPECT_EQ(reader_->meta()->epoch, Epoch{5});
  ASSERT_OK(ship(*writer_, {6}, writer_->last(), {}));
  EXPECT_EQ(reader_->meta()->epoch, Epoch{6});
  EXPECT_EQ(code_of(ship(*writer_, {5}, writer_->last(), {})), "epoch_lower");
}

TEST_F(Follower, CommitsNothingThatIsNotOfItsHistory) {
  ship_some(2);
  LogHead other = writer_->last();
  other.hash[0] ^= 1;
  EXPECT_EQ(code_of(fold(*writer_, other)), "diverged");
  EXPECT_EQ(code_of(fold(*writer_, {{3}, {}})), "not_next");
  EXPECT_EQ(reader_->meta()->committed, Revision{0});
}

TEST_F(Follower, CutsWhatThePrimaryDoesNotHaveAndKeepsItAside) {
  ship_some(2);
  const LogHead common = writer_->last();
  ASSERT_OK(fold(*writer_, common));
  std::vector<LogEntry> ahead;
  for (int i = 0; i < 3; ++i) {
    ahead.push_back(entry_after(writer_->last(), "ahead" + std::to_string(i)));
    ASSERT_OK(ship_one(ahead.back()));
  }
  const LogHead head = writer_->last();
  LogHead other = common;
  other.hash[0] ^= 1;
  const std::string folder = folder_ / "orphans";
  EXPECT_EQ(code_of(cut(*writer_, other, folder)), "not_ancestor");
  EXPECT_EQ(code_of(cut(*writer_, {{6}, {}}, folder)), "not_ancestor");
  EXPECT_EQ(code_of(cut(*writer_, {{1}, *reader_->hash_at({1})}, folder)), "committed");
  expect_unchanged(head);
  EXPECT_FALSE(std::filesystem::exists(folder));

  auto done = cut(*writer_, common, folder);
  ASSERT_OK(done);
  EXPECT_EQ(*done, common);
  expect_unchanged(common);
  std::vector<std::filesystem::path> files;
  for (const auto& it : std::filesystem::directory_iterator(folder)) files.push_back(it.path());
  ASSERT_EQ(files.size(), 1U);
  std::vector<LogEntry> kept;
  auto orphan = read_orphan(files[0], [&](LogEntry&& entry) -> Result<void> {
    kept.push_back(std::move(entry));
    return {};
  });
  ASSERT_OK(orphan);
  EXPECT_EQ(orphan->before, common);
  EXPECT_EQ(orphan->last, head);
  EXPECT_EQ(kept, ahead);
  // And goes on with the primary's.
  ASSERT_OK(cut(*writer_, common, folder));
  ASSERT_OK(ship_one(entry_after(common, "of the primary")));
  ASSERT_OK(fold(*writer_, writer_->last()));
  EXPECT_EQ((*reader_->get("setting", "a"))->bytes, "of the primary");
}

TEST_F(Follower, AnOrphanThatCannotBeWrittenCutsNothing) {
  ship_some(2);
  const LogHead head = writer_->last();
  const std::string in_a_file = path_ + "/orphans";
  EXPECT_EQ(code_of(cut(*writer_, {}, in_a_file)), "io_error");
  expect_unchanged(head);
  EXPECT_EQ(code_of(read_orphan(folder_ / "missing", {})), "not_found");
}

TEST_F(Follower, AcceptsNoSubmissionsAndALeaderFollowsNobody) {
  EXPECT_EQ(code_of(writer_->submit_and_wait(put("a", "x"))), "not_primary");
  ship_some(1);
  writer_->accept_again();
  EXPECT_EQ(code_of(ship(*writer_, kTurn, writer_->last(), {})), "leading");
  EXPECT_EQ(code_of(fold(*writer_, writer_->last())), "leading");
  EXPECT_EQ(code_of(cut(*writer_, {}, folder_ / "orphans")), "leading");
}

TEST_F(Follower, ALogWithoutASiteIsNotWritten) {
  writer_->accept_again();
  EXPECT_EQ(code_of(writer_->submit_and_wait(put("a", "x"))), "no_site");
  EXPECT_EQ(writer_->last(), LogHead{});
}

TEST_F(Follower, OnlyTheGrantedProcessFollows) {
  ship_some(1);
  auto next = LogWriter::open(follower_options(path_));
  ASSERT_OK(next);
  (*next)->refuse_unconfirmed(not_primary());
  EXPECT_EQ(code_of(ship(**next, kTurn, writer_->last(), {})), "not_writer");
  ASSERT_OK((*next)->become_writer({2}, LogWriter::Tail::keep));
  EXPECT_EQ(code_of(ship_one(entry_after(writer_->last(), "x"))), "superseded");
  EXPECT_EQ(code_of(fold(*writer_, writer_->last())), "superseded");
  EXPECT_EQ((*next)->last(), writer_->last());
  auto released = (*next)->release_and_wait();
  ASSERT_OK(released);
  EXPECT_EQ(*released, writer_->last());
  EXPECT_EQ(code_of(ship(**next, kTurn, writer_->last(), {})), "released");
}

TEST_F(Follower, AnEpochIsRaisedForGoodAndALineageBegins) {
  ship_some(2);
  ASSERT_OK(fold(*writer_, writer_->last()));
  writer_->accept_again();
  auto raise = [&](Epoch epoch) {
    return wait_for([&](auto done) { writer_->raise_epoch(epoch, std::move(done)); });
  };
  auto begin = [&](LineageId lineage, Epoch epoch) {
    return wait_for([&](auto done) { writer_->begin_lineage(lineage, epoch, std::move(done)); });
  };
  ASSERT_OK(raise({4}));
  ASSERT_OK(raise({4}));
  EXPECT_EQ(code_of(raise({3})), "epoch_lower");
  EXPECT_EQ(reader_->meta()->epoch, Epoch{4});
  LineageId lineage;
  EXPECT_EQ(code_of(begin(lineage, {5})), "bad_lineage");
  lineage.bytes.fill(0xc3);
  EXPECT_EQ(code_of(begin(lineage, {3})), "epoch_lower");
  ASSERT_OK(begin(lineage, {5}));
  auto outcome = writer_->submit_and_wait(put("a", "x"));
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->revision, Revision{3});
  EXPECT_EQ(outcome->lineage, lineage);
  EXPECT_EQ(outcome->epoch, Epoch{5});
  auto page = reader_->entries({2}, 1);
  ASSERT_OK(page);
  EXPECT_EQ(page->entries[0].lineage, lineage);
}

TEST_F(Follower, WhatIsAppendedIsReadInPiecesThatCanBeShipped) {
  LogEntry large = entry_after({}, "");
  large.operations.clear();
  for (int i = 0; i < 15; ++i)
    large.operations.push_back(
        {Action::put, "setting", std::to_string(i), std::string(kRecordBytesMax, 'x')});
  for (int i = 0; i < 6; ++i) {
    large.revision = writer_->last().revision.next();
    ASSERT_OK(ship_one(large));
  }
  auto page = reader_->appended({0}, 100);
  ASSERT_OK(page);
  EXPECT_EQ(page->entries.size(), 4U);  // 3.75 MiB each.
  EXPECT_EQ(page->foldable, LogHead{});
  auto rest = reader_->appended({4}, 100, page->entries.back().hash);
  ASSERT_OK(rest);
  EXPECT_EQ(rest->entries.size(), 2U);
  ASSERT_OK(fold(*writer_, {{5}, rest->entries[0].hash}));
  EXPECT_EQ(reader_->appended({0}, 2)->foldable.revision, Revision{2});
  EXPECT_EQ(reader_->appended({4}, 100)->foldable.revision, Revision{5});
  EXPECT_EQ(code_of(reader_->appended({7}, 1)), "diverged");
  EXPECT_EQ(code_of(reader_->appended({4}, 1, Sha256{})), "diverged");
  EXPECT_EQ(code_of(reader_->hash_at({7})), "not_found");
}

}  // namespace
}  // namespace everspan::store
