// The contract of the log, as one suite: every world that claims to be a log runs it (fresh file,
// reopened file, a log that another writer used before; other implementations join by adding a
// world).
#include <gtest/gtest.h>

#include <functional>

#include "store/log.h"
#include "store/test_support/log_pair.h"

namespace everspan::store {
namespace {

struct World {
  const char* name;
  std::function<void(const std::string& path)> prepare;
  bool paired = false;  // Each write is on another node's log before it is acknowledged.
};

void use_once(const std::string& path, int writes) {
  auto writer = LogWriter::open(writer_options(path));
  ASSERT_OK(writer);
  ASSERT_OK((*writer)->become_writer({1}));
  for (int i = 0; i < writes; ++i)
    ASSERT_OK((*writer)->submit_and_wait(put("old" + std::to_string(i), "x")));
}

class LogContract : public testing::TestWithParam<World> {
 protected:
  void SetUp() override {
    GetParam().prepare(path_);
    auto writer = LogWriter::open(writer_options(path_));
    ASSERT_OK(writer);
    writer_ = std::move(*writer);
    auto reader = LogReader::open(path_);
    ASSERT_OK(reader);
    reader_ = std::move(*reader);
    ASSERT_OK(writer_->become_writer({10}));
    auto head = reader_->head();
    ASSERT_OK(head);
    start_ = head->revision;
    if (GetParam().paired) start_follower();
  }
  void TearDown() override {
    if (!writer_) return;
    if (link_) link_->disconnect();
    follower_.reset();
    writer_.reset();
    const auto verified = reader_->verify();
    EXPECT_TRUE(verified) << verified.error().text();
  }

  void start_follower() {
    auto follower = LogWriter::open(follower_options(folder_ / "follower.db"));
    ASSERT_OK(follower);
    follower_ = std::move(*follower);
    follower_->refuse_unconfirmed(not_primary());
    ASSERT_OK(follower_->become_writer({1}, LogWriter::Tail::keep));
    ASSERT_OK(catch_up(*reader_, *follower_, Epoch{1}));
    link_ = std::make_shared<MemoryLink>(*writer_, *follower_, Epoch{1}, folder_ / "orphans");
    writer_->set_replication(link_);
  }
  static std::vector<NodeId> stores() {
    return GetParam().paired ? MemoryLink::stores() : std::vector<NodeId>{test_node()};
  }

  TemporaryFolder folder_;
  std::string path_ = folder_ / "log.db";
  std::unique_ptr<LogWriter> follower_;
  std::unique_ptr<LogWriter> writer_;
  std::unique_ptr<LogReader> reader_;
  std::shared_ptr<MemoryLink> link_;
  Revision start_;
};

TEST_P(LogContract, AnAcknowledgedWriteIsReadAtItsRevision) {
  auto outcome = writer_->submit_and_wait(put("a", "one"));
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->revision, start_.next());
  EXPECT_EQ(outcome->lineage, test_site().lineage);
  EXPECT_EQ(outcome->epoch, Epoch{1});
  EXPECT_EQ(outcome->stores, stores());
  EXPECT_FALSE(outcome->repeated);
  auto record = reader_->get("setting", "a");
  ASSERT_OK(record);
  ASSERT_TRUE(record->has_value());
  EXPECT_EQ((*record)->bytes, "one");
  EXPECT_EQ((*record)->revision, outcome->revision);
}

TEST_P(LogContract, AnErasedRecordIsGoneAndItsHistoryStays) {
  ASSERT_OK(writer_->submit_and_wait(put("a", "one")));
  Transaction erase;
  erase.writes = {Write::erase("setting", "a")};
  ASSERT_OK(writer_->submit_and_wait(erase));
  auto record = reader_->get("setting", "a");
  ASSERT_OK(record);
  EXPECT_FALSE(record->has_value());
  auto entries = reader_->entries(start_, 10);
  ASSERT_OK(entries);
  ASSERT_EQ(entries->entries.size(), 2U);
  EXPECT_EQ(entries->entries[0].operations[0].bytes, "one");
  EXPECT_EQ(entries->entries[1].operations[0].action, Action::erase);
  EXPECT_EQ(entries->entries[1].generation, Generation{10});
}

TEST_P(LogContract, ATransactionIsAllOrNothing) {
  ASSERT_OK(writer_->submit_and_wait(put("a", "one")));
  Transaction both;
  both.writes = {Write::put("setting", "b", "two"),
                 Write::put("setting", "a", "new", Revision{start_.value + 99})};
  EXPECT_EQ(code_of(writer_->submit_and_wait(both)), "conflict");
  auto b = reader_->get("setting", "b");
  ASSERT_OK(b);
  EXPECT_FALSE(b->has_value());
  auto head = reader_->head();
  ASSERT_OK(head);
  EXPECT_EQ(head->revision, start_.next());
}

TEST_P(LogContract, AnExpectedRevisionThatIsNotThereConflicts) {
  auto first = writer_->submit_and_wait(put("a", "one", Revision{0}));
  ASSERT_OK(first);
  EXPECT_EQ(code_of(writer_->submit_and_wait(put("a", "two", Revision{0}))), "conflict");
  auto second = writer_->submit_and_wait(put("a", "two", first->revision));
  ASSERT_OK(second);
  EXPECT_EQ(code_of(writer_->submit_and_wait(put("a", "three", first->revision))), "conflict");
  EXPECT_EQ(code_of(writer_->submit_and_wait(put("missing", "x", first->revision))), "conflict");
}

TEST_P(LogContract, ARequestIdRunsOnceAndAnswersTheSame) {
  Transaction once = put("counter", "1", Revision{0});
  once.request_id = request(7);
  auto first = writer_->submit_and_wait(once);
  ASSERT_OK(first);
  ASSERT_OK(writer_->submit_and_wait(put("counter", "changed by another")));
  auto again = writer_->submit_and_wait(once);
  ASSERT_OK(again);
  EXPECT_TRUE(again->repeated);
  EXPECT_EQ(again->revision, first->revision);
  EXPECT_EQ(again->stores, first->stores);
  auto record = reader_->get("setting", "counter");
  ASSERT_OK(record);
  EXPECT_EQ((*record)->bytes, "changed by another");
  auto stored = reader_->outcome(request(7));
  ASSERT_OK(stored);
  ASSERT_TRUE(stored->has_value());
  EXPECT_EQ((*stored)->revision, first->revision);
}

TEST_P(LogContract, ARequestThatConflictedMayRunLater) {
  Transaction late = put("a", "x", start_.next());
  late.request_id = request(8);
  EXPECT_EQ(code_of(writer_->submit_and_wait(late)), "conflict");
  ASSERT_OK(writer_->submit_and_wait(put("a", "one")));
  ASSERT_OK(writer_->submit_and_wait(late));
}

TEST_P(LogContract, ListsAreInOrderOfKeyAndTakeAPrefix) {
  for (const char* key : {"b/2", "a", "b/1", "b", "c", "b0", "b/\xff"})
    ASSERT_OK(writer_->submit_and_wait(put(key, key)));
  auto list = reader_->list("setting", "b/");
  ASSERT_OK(list);
  std::vector<std::string> keys;
  for (const Record& it : *list) keys.push_back(it.key);
  EXPECT_EQ(keys, (std::vector<std::string>{"b/1", "b/2", "b/\xff"}));
  auto none = reader_->list("nothing");
  ASSERT_OK(none);
  EXPECT_TRUE(none->empty());
}

TEST_P(LogContract, EntriesComeInPagesAndKnowTheirHistory) {
  for (int i = 0; i < 10; ++i) ASSERT_OK(writer_->submit_and_wait(put("k", std::to_string(i))));
  Revision at = start_;
  std::optional<Sha256> hash;
  std::vector<std::string> seen;
  for (;;) {
    auto page = reader_->entries(at, 3, hash);
    ASSERT_OK(page);
    if (page->entries.empty()) break;
    for (const LogEntry& it : page->entries) seen.push_back(it.operations[0].bytes);
    at = page->last.revision;
    hash = page->last.hash;
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}));
  Sha256 other = *hash;
  other[0] ^= 1;
  EXPECT_EQ(code_of(reader_->entries(at, 3, other)), "diverged");
  EXPECT_EQ(code_of(reader_->entries({at.value + 1}, 3)), "diverged");
}

TEST_P(LogContract, TheHashOfAnEntryFollowsFromTheOneBefore) {
  ASSERT_OK(writer_->submit_and_wait(put("a", "one")));
  auto before = reader_->entries(start_, 0);
  ASSERT_OK(before);
  auto page = reader_->entries(start_, 1);
  ASSERT_OK(page);
  EXPECT_EQ(chain_hash(before->last.hash, encode_entry(page->entries[0])), page->last.hash);
}

TEST_P(LogContract, LimitsAreKeptAndBadWritesChangeNothing) {
  EXPECT_EQ(code_of(writer_->submit_and_wait(put("a", std::string(kRecordBytesMax + 1, 'x')))),
            "too_large");
  EXPECT_EQ(code_of(writer_->submit_and_wait({})), "bad_transaction");
  EXPECT_EQ(code_of(writer_->submit_and_wait(put("", "x"))), "bad_transaction");
  auto head = reader_->head();
  ASSERT_OK(head);
  EXPECT_EQ(head->revision, start_);
  ASSERT_OK(writer_->submit_and_wait(put("a", std::string(kRecordBytesMax, 'x'))));
  ASSERT_OK(writer_->submit_and_wait(put("empty", "")));
  auto empty = reader_->get("setting", "empty");
  ASSERT_OK(empty);
  EXPECT_TRUE(empty->has_value());
}

TEST_P(LogContract, AReleasedWriterFinishesWhatIsQueuedAndThenRefuses) {
  std::atomic<int> done = 0;
  for (int i = 0; i < 100; ++i)
    writer_->submit(put("k" + std::to_string(i), "x"),
                    [&](Result<Outcome> r) { done += r ? 1 : 0; });
  auto head = writer_->release_and_wait();
  ASSERT_OK(head);
  EXPECT_EQ(done, 100);
  EXPECT_EQ(head->revision.value, start_.value + 100);
  auto seen = reader_->head();
  ASSERT_OK(seen);
  EXPECT_EQ(*seen, *head);
  EXPECT_FALSE(writer_->is_writer());
  EXPECT_EQ(code_of(writer_->submit_and_wait(put("late", "x"))), "released");
  EXPECT_EQ(code_of(writer_->become_writer({10})), "generation_not_higher");
  EXPECT_EQ(code_of(writer_->submit_and_wait(put("late", "x"))), "released");
  ASSERT_OK(writer_->become_writer({12}));
  ASSERT_OK(writer_->submit_and_wait(put("late", "x")));
}

TEST_P(LogContract, AHigherGenerationSupersedesTheWriterForGood) {
  auto next = LogWriter::open(writer_options(path_));
  ASSERT_OK(next);
  ASSERT_OK(writer_->submit_and_wait(put("a", "old")));
  ASSERT_OK((*next)->become_writer({11}));
  EXPECT_EQ(code_of(writer_->submit_and_wait(put("a", "too late"))), "superseded");
  EXPECT_EQ(code_of(writer_->submit_and_wait(put("a", "too late"))), "superseded");
  ASSERT_OK((*next)->submit_and_wait(put("a", "new")));
  auto record = reader_->get("setting", "a");
  ASSERT_OK(record);
  EXPECT_EQ((*record)->bytes, "new");
  EXPECT_EQ(code_of(writer_->become_writer({11})), "generation_not_higher");
}

TEST_P(LogContract, ABackupIsAWholeLog) {
  for (int i = 0; i < 20; ++i)
    ASSERT_OK(writer_->submit_and_wait(put("k" + std::to_string(i), "x")));
  ASSERT_OK(reader_->backup_to(folder_ / "copy.db"));
  ASSERT_OK(writer_->submit_and_wait(put("after", "x")));
  auto copy = LogReader::open(folder_ / "copy.db");
  ASSERT_OK(copy);
  auto head = (*copy)->verify();
  ASSERT_OK(head);
  EXPECT_EQ(head->revision.value, start_.value + 20);
  EXPECT_EQ(code_of(reader_->backup_to(folder_ / "copy.db")), "io_error");
}

INSTANTIATE_TEST_SUITE_P(
    Worlds, LogContract,
    testing::Values(World{"Fresh", [](const std::string&) {}},
                    World{"Reopened", [](const std::string& path) { use_once(path, 0); }},
                    World{"Used", [](const std::string& path) { use_once(path, 50); }},
                    World{"Paired", [](const std::string&) {}, true},
                    World{"UsedAndPaired", [](const std::string& path) { use_once(path, 50); },
                          true}),
    [](const auto& world) { return world.param.name; });

}  // namespace
}  // namespace everspan::store
