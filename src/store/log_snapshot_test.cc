// A snapshot is a log without its history; it takes another log's place, whatever dies meanwhile.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "common/random.h"
#include "store/detail/suspect.h"
#include "store/log.h"
#include "store/sqlite.h"
#include "store/test_support/log_child.h"
#include "store/test_support/log_pair.h"

namespace everspan::store {
namespace {

namespace fs = std::filesystem;

class Snapshots : public testing::Test {
 protected:
  static constexpr int kRecords = 50;

  void SetUp() override {
    auto primary = LogWriter::open(writer_options(a_));
    ASSERT_OK(primary);
    primary_ = std::move(*primary);
    ASSERT_OK(primary_->become_writer({1}));
    for (int i = 0; i < kRecords; ++i) {
      auto it = put("k" + std::to_string(i), std::string(static_cast<std::size_t>(i) * 100, 'x'));
      it.request_id = request(static_cast<std::uint8_t>(i + 1));
      ASSERT_OK(primary_->submit_and_wait(it));
    }
    Transaction erase;
    erase.writes = {Write::erase("setting", "k0")};
    ASSERT_OK(primary_->submit_and_wait(erase));
    auto reader = LogReader::open(a_);
    ASSERT_OK(reader);
    reader_ = std::move(*reader);
    ASSERT_OK(reader_->snapshot_to(snapshot_));
  }

  void start_follower(const LogWriter::Options& options, Generation generation) {
    auto follower = LogWriter::open(options);
    ASSERT_OK(follower);
    follower_ = std::move(*follower);
    follower_->refuse_unconfirmed(not_primary());
    ASSERT_OK(follower_->become_writer(generation, LogWriter::Tail::keep));
  }
  Result<LogHead> install(LogWriter::Replaces what = LogWriter::Replaces::behind) {
    return wait_for([&](LogWriter::Advanced done) {
      follower_->install_snapshot(snapshot_, what, std::move(done));
    });
  }
  void expect_as_primary(const std::string& path) {
    auto reader = LogReader::open(path);
    ASSERT_OK(reader);
    ASSERT_OK((*reader)->verify());
    EXPECT_EQ(*(*reader)->head(), *reader_->head());
    const auto mine = (*reader)->list("setting");
    const auto theirs = reader_->list("setting");
    ASSERT_OK(mine);
    ASSERT_OK(theirs);
    ASSERT_EQ(mine->size(), theirs->size());
    for (std::size_t i = 0; i < mine->size(); ++i) {
      EXPECT_EQ((*mine)[i].key, (*theirs)[i].key);
      EXPECT_EQ((*mine)[i].bytes, (*theirs)[i].bytes);
      EXPECT_EQ((*mine)[i].revision, (*theirs)[i].revision);
    }
    auto outcome = (*reader)->outcome(request(7));
    ASSERT_OK(outcome);
    ASSERT_TRUE(outcome->has_value());
    EXPECT_EQ((*outcome)->revision, Revision{7});
  }
  std::vector<std::string> old_files() const {
    std::vector<std::string> files;
    for (const auto& it : fs::directory_iterator(folder_.path())) {
      const std::string name = it.path().filename();
      if (name.starts_with("b.db.old") && !name.ends_with("-wal") && !name.ends_with("-shm"))
        files.push_back(it.path());
    }
    return files;
  }
  static void expect_record(const std::string& path, const std::string& key) {
    auto reader = LogReader::open(path);
    ASSERT_OK(reader);
    ASSERT_OK((*reader)->verify());
    EXPECT_TRUE((*reader)->get("setting", key)->has_value());
  }

  TemporaryFolder folder_;
  std::string a_ = folder_ / "a.db";
  std::string b_ = folder_ / "b.db";
  std::string snapshot_ = folder_ / "snapshot";
  std::unique_ptr<LogWriter> primary_;
  std::unique_ptr<LogWriter> follower_;
  std::unique_ptr<LogReader> reader_;
};

TEST_F(Snapshots, ALogMadeFromOneGoesOnWhereThePrimaryStood) {
  ASSERT_OK(LogWriter::create_from_snapshot(snapshot_, b_, other_node()));
  EXPECT_EQ(code_of(LogWriter::create_from_snapshot(snapshot_, b_, other_node())), "log_exists");
  expect_as_primary(b_);
  auto options = follower_options(b_);
  options.new_site.reset();
  start_follower(options, {1});
  auto follower = LogReader::open(b_);
  ASSERT_OK(follower);
  EXPECT_EQ((*follower)->meta()->node_id, other_node());
  EXPECT_EQ(code_of((*follower)->entries({3}, 10)), "compacted");
  EXPECT_EQ(code_of((*follower)->appended({3}, 10)), "compacted");
  EXPECT_EQ(code_of((*follower)->hash_at({3})), "compacted");
  ASSERT_OK(primary_->submit_and_wait(put("later", "x")));
  auto head = catch_up(*reader_, *follower_, {1});
  ASSERT_OK(head);
  EXPECT_EQ(*head, primary_->last());
  expect_as_primary(b_);
}

TEST_F(Snapshots, HoldOnlyWhatIsCommitted) {
  start_follower(follower_options(b_), {1});
  ASSERT_OK(install());
  ASSERT_OK(primary_->submit_and_wait(put("tail", "x")));
  auto missing = reader_->appended(follower_->last().revision, 10);
  ASSERT_OK(missing);
  ASSERT_OK(ship(*follower_, {1}, follower_->last(), {missing->entries[0].entry}));
  auto follower = LogReader::open(b_);
  ASSERT_OK(follower);
  ASSERT_OK((*follower)->snapshot_to(folder_ / "second"));
  ASSERT_OK(LogWriter::create_from_snapshot(folder_ / "second", folder_ / "c.db", test_node()));
  auto third = LogReader::open(folder_ / "c.db");
  ASSERT_OK(third);
  EXPECT_EQ(*(*third)->head(), *(*follower)->head());
  EXPECT_FALSE((*third)->get("setting", "tail")->has_value());
}

TEST_F(Snapshots, AFollowerThatIsFarBehindGoesOnWithOneAndReadersFollow) {
  Revision seen;
  auto options = follower_options(b_);
  options.head_moved = [&](Revision at) { seen = at; };
  start_follower(options, {4});
  auto first = reader_->appended({0}, 5);
  ASSERT_OK(first);
  std::vector<std::string> entries;
  for (const auto& it : first->entries) entries.push_back(it.entry);
  ASSERT_OK(ship(*follower_, {1}, {}, entries));
  ASSERT_OK(fold(*follower_, first->foldable));
  auto follower = LogReader::open(b_);
  ASSERT_OK(follower);
  EXPECT_TRUE((*follower)->get("setting", "k0")->has_value());

  auto head = install();
  ASSERT_OK(head);
  EXPECT_EQ(*head, *reader_->head());
  EXPECT_EQ(seen, head->revision);
  EXPECT_EQ(follower_->last(), *head);
  EXPECT_FALSE((*follower)->get("setting", "k0")->has_value());
  EXPECT_EQ((*follower)->meta()->generation, Generation{4});
  expect_as_primary(b_);
  ASSERT_EQ(old_files().size(), 1U);
  expect_record(old_files()[0], "k0");
  ASSERT_OK(primary_->submit_and_wait(put("later", "x")));
  ASSERT_OK(catch_up(*reader_, *follower_, {1}));
  expect_as_primary(b_);
  EXPECT_FALSE(detail::is_suspect(b_));
  // And the next process.
  follower_.reset();
  start_follower(follower_options(b_), {5});
  EXPECT_EQ(follower_->last(), primary_->last());
}

TEST_F(Snapshots, OnlyAnAncestorGoesUnlessAPersonSaysSo) {
  auto loser = writer_options(b_);
  loser.node_id = other_node();
  loser.new_site->epoch = {7};
  start_follower(loser, {1});
  EXPECT_EQ(code_of(install()), "epoch_lower");
  follower_->accept_again();
  LineageId lineage;
  lineage.bytes.fill(9);
  ASSERT_OK(wait_for([&](auto done) { follower_->begin_lineage(lineage, {8}, std::move(done)); }));
  ASSERT_OK(follower_->submit_and_wait(put("of the loser", "x")));
  EXPECT_EQ(code_of(install()), "leading");
  follower_->refuse_unconfirmed(not_primary());
  EXPECT_EQ(code_of(install()), "other_lineage");
  expect_record(b_, "of the loser");
  EXPECT_FALSE(fs::exists(b_ + ".new"));
  EXPECT_FALSE(detail::is_suspect(b_));

  ASSERT_OK(install(LogWriter::Replaces::diverged));
  expect_as_primary(b_);
  ASSERT_EQ(old_files().size(), 1U);
  expect_record(old_files()[0], "of the loser");
}

TEST_F(Snapshots, WhatWasCommittedSinceIsNotLost) {
  start_follower(follower_options(b_), {1});
  ASSERT_OK(install());
  ASSERT_OK(primary_->submit_and_wait(put("later", "x")));
  ASSERT_OK(catch_up(*reader_, *follower_, {1}));
  EXPECT_EQ(code_of(install()), "committed");
  expect_record(b_, "later");
}

TEST_F(Snapshots, ForeignFilesThatAreNoneAreRefused) {
  start_follower(follower_options(b_), {1});
  const std::string whole = snapshot_;
  snapshot_ = folder_ / "missing";
  EXPECT_EQ(code_of(install()), "not_found");
  snapshot_ = a_;  // A log with entries.
  EXPECT_EQ(code_of(install()), "bad_snapshot");
  int n = 0;
  for (const char* sql :
       {"CREATE VIEW v AS SELECT 1",
        "CREATE TABLE more(x)",
        "CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM \"current\"; END",
        "DROP TABLE outcomes",
        "UPDATE meta SET value=7 WHERE name='head_revision'",
        "UPDATE meta SET value=-7 WHERE name IN ('head_revision', 'base_revision',"
        " 'committed_revision')",
        "DELETE FROM meta WHERE name='epoch'",
        "UPDATE meta SET value=x'00' WHERE name='lineage'",
        "UPDATE meta SET value=zeroblob(16) WHERE name='lineage'",
        "UPDATE \"current\" SET revision=1000",
        "UPDATE \"current\" SET revision=0",
        "UPDATE \"current\" SET kind='Not A Kind'",
        "UPDATE \"current\" SET bytes=zeroblob(262145) WHERE key=x'6b31'",
        "UPDATE \"current\" SET key=zeroblob(513) WHERE key=x'6b31'",
        "UPDATE outcomes SET stores=x'00'",
        "UPDATE outcomes SET stores=zeroblob(16*65)",
        "UPDATE outcomes SET lineage=x'00'",
        "UPDATE outcomes SET revision=99",
        "PRAGMA user_version=2",
        "PRAGMA application_id=2"}) {
    SCOPED_TRACE(sql);
    snapshot_ = folder_ / ("bad" + std::to_string(++n));
    fs::copy_file(whole, snapshot_);
    auto db = Database::open(snapshot_, {});
    ASSERT_OK(db);
    ASSERT_OK(db->run_script(sql));
    EXPECT_EQ(code_of(install()), "bad_snapshot");
    EXPECT_EQ(follower_->last(), LogHead{});
  }
  snapshot_ = whole;
  ASSERT_OK(install());
  expect_as_primary(b_);
}

TEST_F(Snapshots, ChangedBytesAreRefusedOrLeadToAWholeLog) {
  std::ifstream in(snapshot_, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  SeededRandom random(testing::UnitTest::GetInstance()->random_seed() + 1ULL);
  int refused = 0;
  for (int i = 0; i < 150; ++i) {
    std::string changed = whole;
    if (random.one_in(8)) changed.resize(random.below(changed.size()));
    for (std::uint64_t n = random.between(1, 6); n > 0 && !changed.empty(); --n) {
      // Half of them where the pages say what they hold.
      const std::uint64_t page = random.below(changed.size()) / 4096 * 4096;
      const std::uint64_t at =
          random.one_in(2) ? page + random.below(64) : random.below(changed.size());
      if (at < changed.size()) changed[at] = static_cast<char>(random.next());
    }
    const std::string bad = folder_ / "changed";
    const std::string made = folder_ / "made.db";
    for (const char* suffix : {"", "-wal", "-shm"}) {
      fs::remove(bad + suffix);
      fs::remove(made + suffix);
    }
    std::ofstream(bad, std::ios::binary) << changed;
    const auto done = LogWriter::create_from_snapshot(bad, made, other_node());
    if (!done) {
      EXPECT_EQ(code_of(done), "bad_snapshot") << done.error().text();
      EXPECT_FALSE(fs::exists(made));
      ++refused;
      continue;
    }
    auto reader = LogReader::open(made);
    ASSERT_OK(reader);
    ASSERT_OK((*reader)->verify());
  }
  EXPECT_GT(refused, 10);
}

// A process that dies at the n-th step, for every n; whoever is granted next finds the old log or
// the new one, whole.
TEST_F(Snapshots, DeathAtEachStepLeavesTheOldLogOrTheNewOne) {
  constexpr int kStepsMax = 30;
  int old_ones = 0;
  int new_ones = 0;
  for (int nth = 1;; ++nth) {
    SCOPED_TRACE(testing::Message() << "dies at step " << nth);
    ASSERT_LT(nth, kStepsMax);
    for (const auto& it : fs::directory_iterator(folder_.path()))
      if (it.path().filename().string().starts_with("b.db")) fs::remove_all(it.path());
    start_follower(follower_options(b_), {1});
    auto first = reader_->appended({0}, 1);
    ASSERT_OK(first);
    ASSERT_OK(ship(*follower_, {1}, {}, {first->entries[0].entry}));
    ASSERT_OK(fold(*follower_, first->foldable));
    follower_.reset();

    Process process({"install", b_, snapshot_, "2", std::to_string(nth)});
    const bool done = process.line() == "D";
    EXPECT_EQ(process.wait(), done ? 0 : -1);
    start_follower(follower_options(b_), {3});
    EXPECT_FALSE(detail::is_suspect(b_));
    const bool is_new = follower_->last() == *reader_->head();
    if (is_new) {
      ++new_ones;
      expect_as_primary(b_);
      ASSERT_EQ(old_files().size(), 1U);
      expect_record(old_files()[0], "k0");
    } else {
      ++old_ones;
      EXPECT_EQ(follower_->last().revision, Revision{1});
      expect_record(b_, "k0");
      EXPECT_TRUE(old_files().empty());
      ASSERT_OK(install());
      expect_as_primary(b_);
    }
    follower_.reset();
    if (done) break;
  }
  EXPECT_GE(old_ones, 2);
  EXPECT_GE(new_ones, 6);
}

}  // namespace
}  // namespace everspan::store
