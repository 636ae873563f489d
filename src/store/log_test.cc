// What is the log file's own, beyond the contract: opening, checking, appended and not committed,
// many writers at once, outcomes that expire, hints.
#include "store/log.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <fstream>
#include <latch>
#include <thread>

#include "store/detail/log_table.h"
#include "store/sqlite.h"
#include "store/test_support/log_fixture.h"

namespace everspan::store {
namespace {

class LogFile : public testing::Test {
 protected:
  std::unique_ptr<LogWriter> start(Generation generation) {
    auto writer = LogWriter::open(writer_options(path_));
    EXPECT_TRUE(writer) << writer.error().text();
    const auto became = (*writer)->become_writer(generation);
    EXPECT_TRUE(became) << became.error().text();
    return std::move(*writer);
  }
  std::unique_ptr<LogReader> read() {
    auto reader = LogReader::open(path_);
    EXPECT_TRUE(reader) << reader.error().text();
    return std::move(*reader);
  }
  void change(const std::string& sql) {
    auto db = Database::open(path_, {});
    ASSERT_OK(db);
    ASSERT_OK(db->run_script(sql));
  }
  std::string open_code() { return code_of(LogWriter::open(writer_options(path_))); }

  TemporaryFolder folder_;
  std::string path_ = folder_ / "log.db";
};

TEST_F(LogFile, IsNotMadeUnlessASiteBegins) {
  auto options = writer_options(path_);
  options.new_site.reset();
  EXPECT_EQ(code_of(LogWriter::open(options)), "not_found");
  EXPECT_EQ(code_of(LogReader::open(path_)), "not_found");
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(LogFile, WhatAnotherProcessAppendsIsCheckedAheadAndAgainWhenItMatters) {
  auto writer = start({1});
  auto next = LogWriter::open(writer_options(path_));
  ASSERT_OK(next);
  for (int i = 0; i < 20; ++i) {
    ASSERT_OK(writer->submit_and_wait(put("k" + std::to_string(i), "v")));
    (*next)->verify_ahead();
    writer->verify_ahead();  // Of the writer itself: nothing to do.
  }
  ASSERT_OK(writer->release_and_wait());
  ASSERT_OK((*next)->become_writer({2}));
  ASSERT_OK((*next)->submit_and_wait(put("k", "of the next one")));
  ASSERT_OK((*next)->release_and_wait());
  change("UPDATE log SET flags=1 WHERE revision=(SELECT max(revision) FROM log)");
  writer->verify_ahead();
  EXPECT_EQ(code_of(writer->become_writer({3})), "bad_chain");
}

TEST_F(LogFile, IsReadableByItsOwnerOnly) {
  start({1});
  const auto rights = std::filesystem::status(path_).permissions();
  EXPECT_EQ(rights & std::filesystem::perms(0077), std::filesystem::perms::none);
}

TEST_F(LogFile, OfAnotherNodeOrAnotherProgramIsNotTouched) {
  start({1});
  auto options = writer_options(path_);
  options.node_id.bytes.fill(1);
  EXPECT_EQ(code_of(LogWriter::open(options)), "wrong_node");
  path_ = folder_ / "other.db";
  std::ofstream(path_) << "not a database, but long enough to be looked at by SQLite";
  EXPECT_EQ(open_code(), "db_corrupt");
  path_ = folder_ / "foreign.db";
  std::ofstream(path_).flush();
  change("CREATE TABLE meta(name, value)");
  EXPECT_EQ(open_code(), "bad_log");
}

TEST_F(LogFile, AChangedEntryIsFoundWhenTheLogIsOpened) {
  {
    auto writer = start({1});
    for (int i = 0; i < 5; ++i) ASSERT_OK(writer->submit_and_wait(put("k", std::to_string(i))));
  }
  for (const char* sql :
       {"UPDATE log SET epoch=9 WHERE revision=3", "UPDATE log SET trailing=x'00' WHERE revision=3",
        "UPDATE log SET flags=1 WHERE revision=1", "DELETE FROM log WHERE revision=3",
        "DELETE FROM log WHERE revision=5", "UPDATE log SET operations=x'0001' WHERE revision=2",
        "UPDATE log SET primary_time=primary_time+1 WHERE revision=5",
        "UPDATE log SET request_id=randomblob(16) WHERE revision=5"}) {
    SCOPED_TRACE(sql);
    {
      auto reader = read();
      ASSERT_OK(reader->verify());
      std::filesystem::remove(folder_ / "copy.db");
      ASSERT_OK(reader->backup_to(folder_ / "copy.db"));
    }
    const std::string whole = path_;
    path_ = folder_ / "copy.db";
    change(sql);
    EXPECT_EQ(open_code(), "bad_chain");
    EXPECT_EQ(code_of(read()->verify()), "bad_chain");
    path_ = whole;
  }
}

TEST_F(LogFile, WhatIsAppendedAndNotCommittedIsNotSeenUntilItIs) {
  {
    auto writer = start({1});
    ASSERT_OK(writer->submit_and_wait(put("a", "committed")));
  }
  LogEntry entry;
  {
    auto db = Database::open(path_, {});
    ASSERT_OK(db);
    auto transaction = WriteTransaction::begin(*db);
    ASSERT_OK(transaction);
    auto meta = detail::read_meta(*db);
    ASSERT_OK(meta);
    entry.revision = meta->head.revision.next();
    entry.lineage = meta->lineage;
    entry.epoch = meta->epoch;
    entry.generation = meta->generation;
    entry.committed = meta->committed;
    entry.request_id = request(5);
    entry.operations = {{Action::put, "setting", "a", "appended"}};
    entry.trailing = "fields of a later release";
    const LogHead head{entry.revision, chain_hash(meta->head.hash, encode_entry(entry))};
    ASSERT_OK(detail::append_entry(*db, entry, head.hash));
    ASSERT_OK(detail::write_head(*db, head));
    ASSERT_OK(transaction->commit());
  }
  auto reader = read();
  auto record = reader->get("setting", "a");
  ASSERT_OK(record);
  EXPECT_EQ((*record)->bytes, "committed");
  EXPECT_EQ(reader->head()->revision, Revision{1});
  EXPECT_EQ(reader->meta()->head.revision, Revision{2});
  EXPECT_EQ(reader->entries({1}, 10)->entries.size(), 0U);
  EXPECT_EQ(code_of(reader->entries({2}, 10)), "diverged");

  auto writer = start({2});  // Alone in the in-sync set: what it has is committed.
  record = reader->get("setting", "a");
  ASSERT_OK(record);
  EXPECT_EQ((*record)->bytes, "appended");
  auto page = reader->entries({1}, 10);
  ASSERT_OK(page);
  ASSERT_EQ(page->entries.size(), 1U);
  EXPECT_EQ(page->entries[0], entry);
  Transaction again = put("a", "again");
  again.request_id = request(5);
  auto outcome = writer->submit_and_wait(again);
  ASSERT_OK(outcome);
  EXPECT_TRUE(outcome->repeated);
}

TEST_F(LogFile, ManyThreadsShareCommitsAndEachGetsItsOwnAnswer) {
  constexpr int kThreads = 16;
  constexpr int kWrites = 50;
  auto writer = start({1});
  std::latch go(kThreads);
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      go.arrive_and_wait();
      for (int i = 0; i < kWrites; ++i) {
        const std::string key = std::to_string(t) + "/" + std::to_string(i);
        auto outcome = writer->submit_and_wait(put(key, key, Revision{0}));
        EXPECT_TRUE(outcome) << outcome.error().text();
      }
    });
  }
  threads.clear();
  auto reader = read();
  auto head = reader->verify();
  ASSERT_OK(head);
  EXPECT_EQ(head->revision.value, static_cast<std::uint64_t>(kThreads * kWrites));
  auto list = reader->list("setting");
  ASSERT_OK(list);
  EXPECT_EQ(list->size(), static_cast<std::size_t>(kThreads * kWrites));
}

TEST_F(LogFile, OutcomesAreKeptForADay) {
  std::atomic<std::int64_t> now = 1'700'000'000'000;
  auto options = writer_options(path_);
  options.now = [&] { return WallTime{now}; };
  auto opened = LogWriter::open(options);
  ASSERT_OK(opened);
  LogWriter& writer = **opened;
  ASSERT_OK(writer.become_writer({1}));
  Transaction once = put("a", "x");
  once.request_id = request(1);
  ASSERT_OK(writer.submit_and_wait(once));
  constexpr std::int64_t kDay = 24 * 3600 * 1000;
  now += kDay;
  ASSERT_OK(writer.submit_and_wait(put("b", "x")));
  EXPECT_TRUE(writer.submit_and_wait(once)->repeated);
  now += 1;
  ASSERT_OK(writer.submit_and_wait(put("b", "y")));
  EXPECT_FALSE(writer.submit_and_wait(once)->repeated);
}

TEST_F(LogFile, AHangingReaderHoldsUpNoWriteAndSeesItsOwnState) {
  auto writer = start({1});
  ASSERT_OK(writer->submit_and_wait(put("a", "before")));
  auto db = Database::open_read_only(path_);
  ASSERT_OK(db);
  {
    auto hanging = ReadTransaction::begin(*db);
    ASSERT_OK(hanging);
    ASSERT_OK(db->integer("SELECT count(*) FROM log"));
    // Past several checkpoints, which the reader's snapshot cannot stop.
    for (int i = 0; i < 60; ++i)
      ASSERT_OK(writer->submit_and_wait(put("big", std::string(kRecordBytesMax, 'x'))));
    auto seen = db->integer("SELECT count(*) FROM log");
    ASSERT_OK(seen);
    EXPECT_EQ(*seen, 1);
  }
  auto seen = db->integer("SELECT count(*) FROM log");
  ASSERT_OK(seen);
  EXPECT_EQ(*seen, 61);
}

TEST_F(LogFile, AWatchHearsOfCommitsOfAnyProcess) {
  auto writer = start({1});
  auto watch = HeadWatch::open(path_);
  ASSERT_OK(watch);
  watch->drain();
  ASSERT_OK(writer->submit_and_wait(put("a", "x")));
  pollfd it{watch->fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&it, 1, 10'000), 1);
  EXPECT_EQ(read()->head()->revision, Revision{1});
}

TEST_F(LogFile, AWriterThatEndsAnswersEveryoneWhoWaits) {
  std::atomic<int> answered = 0;
  {
    auto writer = start({1});
    for (int i = 0; i < 200; ++i)
      writer->submit(put("k" + std::to_string(i), "x"), [&](auto) { ++answered; });
  }
  EXPECT_EQ(answered, 200);
}

}  // namespace
}  // namespace everspan::store
