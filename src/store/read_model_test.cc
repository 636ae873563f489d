#include "store/read_model.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <thread>

#include "common/random.h"
#include "store/test_support/log_pair.h"

namespace everspan::store {
namespace {

class Settings : public Projection {
 public:
  bool knows(std::string_view kind) const override { return kind == "setting"; }
  Result<void> put(Database& db, std::string_view, const Record& record) override {
    ++applied;
    return db.run("INSERT OR REPLACE INTO settings VALUES(?1, ?2, ?3)",
                  std::string_view(record.key), BlobView{record.bytes},
                  static_cast<std::int64_t>(record.revision.value));
  }
  Result<void> erase(Database& db, std::string_view, std::string_view key) override {
    return db.run("DELETE FROM settings WHERE name=?1", key);
  }
  int applied = 0;
};

ReadModel::Schema schema(std::int64_t version = 1) {
  return {version,
          {"CREATE TABLE settings(name TEXT PRIMARY KEY, value BLOB, revision INTEGER) STRICT"}};
}

class ReadModels : public testing::Test {
 protected:
  void SetUp() override { open_log(folder_ / "log.db", 1); }
  void open_log(const std::string& path, std::uint64_t generation) {
    auto writer = LogWriter::open(writer_options(path));
    ASSERT_OK(writer);
    writer_ = std::move(*writer);
    ASSERT_OK(writer_->become_writer({generation}));
    auto reader = LogReader::open(path);
    ASSERT_OK(reader);
    log_ = std::move(*reader);
  }
  std::unique_ptr<ReadModel> open_model(std::int64_t version = 1) {
    auto model = ReadModel::open(folder_ / "read/0.1.0.db", schema(version), projection_);
    EXPECT_TRUE(model) << model.error().text();
    return std::move(*model);
  }
  static std::map<std::string, std::string> rows(ReadModel& model) {
    std::map<std::string, std::string> all;
    const auto done = model.read([&](Database& db) -> Result<void> {
      auto row = db.prepare("SELECT name, value FROM settings");
      if (!row) return fail(row);
      for (;;) {
        auto more = row->step();
        if (!more) return fail(more);
        if (!*more) return {};
        all[std::string(row->bytes(0))] = row->bytes(1);
      }
    });
    EXPECT_TRUE(done) << done.error().text();
    return all;
  }
  std::map<std::string, std::string> expected() {
    std::map<std::string, std::string> all;
    auto list = log_->list("setting");
    EXPECT_TRUE(list);
    for (const Record& it : *list) all[it.key] = it.bytes;
    return all;
  }

  TemporaryFolder folder_;
  Settings projection_;
  std::unique_ptr<LogWriter> writer_;
  std::unique_ptr<LogReader> log_;
};

TEST_F(ReadModels, FollowTheLogThroughAnyWritesAndRestarts) {
  SeededRandom random(testing::UnitTest::GetInstance()->random_seed() + 1ULL);
  for (int round = 0; round < 20; ++round) {
    for (std::uint64_t n = random.below(20); n > 0; --n) {
      const std::string key = "k" + std::to_string(random.below(8));
      Transaction it;
      it.writes = {random.one_in(4) ? Write::erase("setting", key)
                                    : Write::put("setting", key, std::to_string(random.next())),
                   Write::put("unknown", "x", "y")};
      ASSERT_OK(writer_->submit_and_wait(it));
    }
    auto model = open_model();
    auto at = model->catch_up(*log_);
    ASSERT_OK(at);
    EXPECT_EQ(*at, log_->head()->revision);
    EXPECT_EQ(rows(*model), expected());
  }
}

TEST_F(ReadModels, AreBuiltAgainWhenTheEntriesAreGoneOrTheLogWasReplaced) {
  ASSERT_OK(writer_->submit_and_wait(put("a", "x")));
  auto model = open_model();
  ASSERT_OK(model->catch_up(*log_));
  Transaction erase;
  erase.writes = {Write::erase("setting", "a")};
  ASSERT_OK(writer_->submit_and_wait(erase));
  for (const char* key : {"b", "c"}) ASSERT_OK(writer_->submit_and_wait(put(key, key)));
  ASSERT_OK(wait_for([&](LogWriter::Advanced done) {
    writer_->compact({1'700'000'000'001}, {1000}, std::move(done));
  }));
  ASSERT_EQ(code_of(log_->entries(model->applied(), 1)), "compacted");
  ASSERT_OK(model->catch_up(*log_));
  EXPECT_EQ(rows(*model), expected());
  EXPECT_EQ(model->applied(), Revision{4});

  // The other side of a pair has it its own way.
  auto other = LogWriter::open(writer_options(folder_ / "other.db"));
  ASSERT_OK(other);
  ASSERT_OK((*other)->become_writer({1}));
  for (int i = 0; i < 4; ++i) ASSERT_OK((*other)->submit_and_wait(put("d", std::to_string(i))));
  auto reader = LogReader::open(folder_ / "other.db");
  ASSERT_OK(reader);
  ASSERT_OK((*reader)->snapshot_to(folder_ / "snapshot"));
  writer_->refuse_unconfirmed(not_primary());
  ASSERT_OK(wait_for([&](LogWriter::Advanced done) {
    writer_->install_snapshot(folder_ / "snapshot", LogWriter::Replaces::diverged, std::move(done));
  }));
  ASSERT_OK(model->catch_up(*log_));
  EXPECT_EQ(rows(*model), (std::map<std::string, std::string>{{"d", "3"}}));
}

TEST_F(ReadModels, RememberWhereTheyStandAndApplyNothingTwice) {
  ASSERT_OK(writer_->submit_and_wait(put("a", "x")));
  ASSERT_OK(open_model()->catch_up(*log_));
  EXPECT_EQ(projection_.applied, 1);
  ASSERT_OK(writer_->submit_and_wait(put("b", "x")));
  auto model = open_model();
  EXPECT_EQ(model->applied(), Revision{1});
  ASSERT_OK(model->catch_up(*log_));
  EXPECT_EQ(projection_.applied, 2);
}

TEST_F(ReadModels, AnotherSchemaOrABrokenFileIsMadeAnew) {
  ASSERT_OK(writer_->submit_and_wait(put("a", "x")));
  ASSERT_OK(open_model(1)->catch_up(*log_));
  auto model = open_model(2);
  EXPECT_EQ(model->applied(), Revision{0});
  ASSERT_OK(model->catch_up(*log_));
  EXPECT_EQ(rows(*model), expected());
  model.reset();
  std::ofstream(folder_ / "read/0.1.0.db") << std::string(5000, 'z');
  model = open_model(2);
  ASSERT_OK(model->catch_up(*log_));
  EXPECT_EQ(rows(*model), expected());
}

TEST_F(ReadModels, AnotherHistoryIsBuiltFromItsRecords) {
  ASSERT_OK(writer_->submit_and_wait(put("a", "here")));
  ASSERT_OK(writer_->submit_and_wait(put("b", "here")));
  auto model = open_model();
  ASSERT_OK(model->catch_up(*log_));
  open_log(folder_ / "other.db", 1);
  ASSERT_OK(writer_->submit_and_wait(put("a", "there")));
  ASSERT_OK(writer_->submit_and_wait(put("c", "there")));
  ASSERT_OK(writer_->submit_and_wait(put("c", "there too")));
  ASSERT_OK(model->catch_up(*log_));
  EXPECT_EQ(rows(*model), expected());
  EXPECT_EQ(model->applied(), Revision{3});
}

TEST_F(ReadModels, FarBehindTheyBuildFromTheCurrentRecords) {
  std::atomic<int> done = 0;
  constexpr int kWrites = static_cast<int>(ReadModel::kRebuildAfterEntries) + 10;
  for (int i = 0; i < kWrites; ++i) {
    while (i - done > 4000) std::this_thread::yield();
    writer_->submit(put("k" + std::to_string(i % 10), std::to_string(i)),
                    [&](const Result<Outcome>& r) { done += r ? 1 : 0; });
  }
  ASSERT_OK(writer_->release_and_wait());
  ASSERT_EQ(done, kWrites);
  auto model = open_model();
  ASSERT_OK(model->catch_up(*log_));
  EXPECT_EQ(projection_.applied, 10);
  EXPECT_EQ(rows(*model), expected());
}

TEST_F(ReadModels, AnEntryThatNeedsANewerReleaseStopsThemLoudly) {
  ASSERT_OK(writer_->submit_and_wait(put("a", "x")));
  auto model = open_model();
  ASSERT_OK(model->catch_up(*log_));
  Transaction required;
  required.writes = {Write::put("setting", "a", "y"), Write::put("from_the_future", "x", "y")};
  required.flags = kFlagRequired;
  ASSERT_OK(writer_->submit_and_wait(required));
  EXPECT_EQ(code_of(model->catch_up(*log_)), "release_too_old");
  EXPECT_EQ(model->applied(), Revision{1});
  EXPECT_EQ(rows(*model), (std::map<std::string, std::string>{{"a", "x"}}));
}

}  // namespace
}  // namespace everspan::store
