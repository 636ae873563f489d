// The primary's side of a pair: nothing is seen or acknowledged before the other store has it, and
// whoever waits gets an answer whatever happens.
#include "store/test_support/log_pair.h"

#include <gtest/gtest.h>

#include "store/fault_vfs.h"
#include "store/log.h"

namespace everspan::store {
namespace {

// A submission whose answer is looked at later.
class Submitted {
 public:
  Submitted(LogWriter& writer, Transaction transaction) {
    auto promise = std::make_shared<std::promise<Result<Outcome>>>();
    answer_ = promise->get_future();
    writer.submit(std::move(transaction),
                  [promise](Result<Outcome> it) { promise->set_value(std::move(it)); });
  }
  Result<Outcome> wait() { return answer_.get(); }
  [[nodiscard]] bool answered() const {
    return answer_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }

 private:
  std::future<Result<Outcome>> answer_;
};

Transaction with_id(Transaction transaction, std::uint8_t id) {
  transaction.request_id = request(id);
  return transaction;
}

class LogPair : public testing::Test {
 protected:
  void TearDown() override {
    if (link_) link_->disconnect();
    follower_.reset();
    primary_.reset();
    for (const auto& path : {a_, b_}) {
      if (!std::filesystem::exists(path)) continue;
      auto reader = LogReader::open(path);
      ASSERT_OK(reader);
      ASSERT_OK((*reader)->verify());
    }
  }

  void start_primary(LogWriter::Options options, Generation generation,
                     LogWriter::Tail tail = LogWriter::Tail::fold) {
    auto writer = LogWriter::open(std::move(options));
    ASSERT_OK(writer);
    primary_ = std::move(*writer);
    ASSERT_OK(primary_->become_writer(generation, tail));
    auto reader = LogReader::open(a_);
    ASSERT_OK(reader);
    reader_ = std::move(*reader);
  }
  void start_follower() {
    auto writer = LogWriter::open(follower_options(b_));
    ASSERT_OK(writer);
    follower_ = std::move(*writer);
    follower_->refuse_unconfirmed(not_primary());
    ASSERT_OK(follower_->become_writer({1}, LogWriter::Tail::keep));
  }
  void connect() {
    link_ = std::make_shared<MemoryLink>(*primary_, *follower_, Epoch{1}, folder_ / "orphans");
    link_->on_step([this](const std::string& step) {
      const std::lock_guard lock(steps_mutex_);
      ++steps_[step];
      step_done_.notify_all();
    });
    primary_->set_replication(link_);
  }
  void start_pair() {
    start_primary(writer_options(a_), {1});
    start_follower();
    connect();
  }
  // Until the link has seen it so often.
  void wait_for_step(const std::string& step, int count) {
    std::unique_lock lock(steps_mutex_);
    step_done_.wait(lock, [&] { return steps_[step] >= count; });
  }
  std::unique_ptr<LogReader> read_follower() {
    auto reader = LogReader::open(b_);
    EXPECT_TRUE(reader) << reader.error().text();
    return std::move(*reader);
  }

  TemporaryFolder folder_;
  std::string a_ = folder_ / "a.db";
  std::string b_ = folder_ / "b.db";
  std::unique_ptr<LogWriter> primary_;
  std::unique_ptr<LogWriter> follower_;
  std::unique_ptr<LogReader> reader_;
  std::shared_ptr<MemoryLink> link_;
  std::mutex steps_mutex_;
  std::condition_variable step_done_;
  std::map<std::string, int> steps_;
};

TEST_F(LogPair, AnAcknowledgedWriteIsOnBothAndSaysSo) {
  start_pair();
  for (int i = 0; i < 20; ++i) {
    auto outcome = primary_->submit_and_wait(with_id(put("k" + std::to_string(i), "x"), 40 + i));
    ASSERT_OK(outcome);
    EXPECT_EQ(outcome->stores, MemoryLink::stores());
    EXPECT_EQ(follower_->last().revision, outcome->revision);
  }
  wait_for_step("folded", 20);
  auto follower = read_follower();
  EXPECT_EQ(*follower->head(), *reader_->head());
  EXPECT_EQ(follower->list("setting")->size(), 20U);
  EXPECT_EQ((*follower->outcome(request(40)))->stores, MemoryLink::stores());
  EXPECT_EQ(follower->meta()->lineage, test_site().lineage);
}

TEST_F(LogPair, NothingIsSeenBeforeTheOtherStoreHasIt) {
  start_pair();
  ASSERT_OK(primary_->submit_and_wait(put("a", "before")));
  link_->hold_confirmations();
  Submitted held(*primary_, put("a", "held"));
  wait_for_step("shipped", 2);
  EXPECT_FALSE(held.answered());
  EXPECT_EQ((*reader_->get("setting", "a"))->bytes, "before");
  EXPECT_EQ(reader_->head()->revision, Revision{1});
  EXPECT_EQ(reader_->entries({1}, 10)->entries.size(), 0U);
  link_->confirm_held();
  ASSERT_OK(held.wait());
  EXPECT_EQ((*reader_->get("setting", "a"))->bytes, "held");
  EXPECT_EQ(reader_->entries({1}, 10)->entries.size(), 1U);
}

TEST_F(LogPair, ConditionsAndRequestIdsAreCheckedWithinABatch) {
  start_pair();
  ASSERT_OK(primary_->submit_and_wait(put("old", "x")));
  link_->hold_confirmations();
  Submitted first(*primary_, put("a", "one", Revision{0}));  // What follows is one batch.
  wait_for_step("shipped", 2);
  Submitted made(*primary_, with_id(put("b", "one", Revision{0}), 1));
  Submitted again(*primary_, put("b", "two", Revision{0}));
  Submitted repeated(*primary_, with_id(put("b", "one", Revision{0}), 1));
  Submitted behind(*primary_, put("a", "two", Revision{0}));
  Transaction erase;
  erase.writes = {Write::erase("setting", "b", Revision{3})};
  Submitted erased(*primary_, erase);
  Submitted anew(*primary_, put("b", "three", Revision{0}));
  link_->confirm_held();
  ASSERT_OK(first.wait());
  auto outcome = made.wait();
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->revision, Revision{3});
  EXPECT_EQ(code_of(again.wait()), "conflict");
  auto same = repeated.wait();
  ASSERT_OK(same);
  EXPECT_TRUE(same->repeated);
  EXPECT_EQ(same->revision, Revision{3});
  EXPECT_EQ(same->stores, MemoryLink::stores());
  EXPECT_EQ(code_of(behind.wait()), "conflict");
  ASSERT_OK(erased.wait());
  ASSERT_OK(anew.wait());
  EXPECT_EQ((*reader_->get("setting", "b"))->bytes, "three");
  // A batch of which nothing runs waits for nobody.
  link_->hold_confirmations();
  EXPECT_EQ(code_of(primary_->submit_and_wait(put("a", "x", Revision{0}))), "conflict");
}

TEST_F(LogPair, WhatARefusedPrimaryHadAppendedStaysWithUnknownOutcome) {
  start_pair();
  link_->hold_confirmations();
  Submitted under_way(*primary_, with_id(put("a", "one"), 1));
  wait_for_step("shipped", 1);
  Submitted queued(*primary_, with_id(put("b", "one"), 2));
  primary_->refuse_unconfirmed(not_primary());
  auto unknown = under_way.wait();
  EXPECT_EQ(code_of(unknown), "not_primary");
  EXPECT_EQ(unknown.error().kept, LogWriter::kOutcomeUnknown);
  auto refused = queued.wait();
  EXPECT_EQ(code_of(refused), "not_primary");
  EXPECT_EQ(refused.error().kept, "Nothing of this write was stored");
  EXPECT_EQ(code_of(primary_->submit_and_wait(put("c", "x"))), "not_primary");
  EXPECT_EQ(reader_->meta()->head.revision, Revision{1});
  EXPECT_EQ(reader_->meta()->committed, Revision{0});

  // A confirmation that comes too late counts nothing; one of the next turn does.
  link_->confirm_held();
  EXPECT_EQ(reader_->meta()->committed, Revision{0});
  primary_->accept_again();
  primary_->confirm(primary_->last(), {test_node()});
  auto again = primary_->submit_and_wait(with_id(put("a", "one"), 1));
  ASSERT_OK(again);
  EXPECT_TRUE(again->repeated);
  EXPECT_EQ(again->revision, Revision{1});
}

TEST_F(LogPair, ARefusalThatIsOverAgainStillAnswersWhoWaited) {
  start_pair();
  link_->hold_confirmations();
  Submitted under_way(*primary_, put("a", "one"));
  wait_for_step("shipped", 1);
  primary_->refuse_unconfirmed(not_primary());
  primary_->accept_again();
  EXPECT_EQ(code_of(under_way.wait()), "not_primary");
}

TEST_F(LogPair, AReleaseFinishesWhatIsUnconfirmed) {
  start_pair();
  link_->hold_confirmations();
  Submitted under_way(*primary_, put("a", "one"));
  wait_for_step("shipped", 1);
  Submitted queued(*primary_, put("b", "one"));
  std::promise<Result<LogHead>> released;
  primary_->release([&](Result<LogHead> head) { released.set_value(std::move(head)); });
  EXPECT_EQ(code_of(primary_->submit_and_wait(put("c", "x"))), "released");
  link_->confirm_held();
  auto head = released.get_future().get();
  ASSERT_OK(head);
  EXPECT_EQ(head->revision, Revision{2});
  ASSERT_OK(under_way.wait());
  ASSERT_OK(queued.wait());
  EXPECT_EQ(*reader_->head(), *head);
}

TEST_F(LogPair, AWriterThatEndsAnswersWhoWaits) {
  start_pair();
  link_->hold_confirmations();
  Submitted under_way(*primary_, put("a", "one"));
  wait_for_step("shipped", 1);
  Submitted queued(*primary_, put("b", "one"));
  link_->disconnect();
  primary_.reset();
  auto unknown = under_way.wait();
  EXPECT_EQ(code_of(unknown), "stopped");
  EXPECT_EQ(unknown.error().kept, LogWriter::kOutcomeUnknown);
  EXPECT_EQ(code_of(queued.wait()), "stopped");
}

TEST_F(LogPair, AWriterThatIsSupersededWhileItWaitsCommitsNothing) {
  start_pair();
  link_->hold_confirmations();
  Submitted under_way(*primary_, put("a", "one"));
  wait_for_step("shipped", 1);
  auto options = writer_options(a_);
  auto next = LogWriter::open(options);
  ASSERT_OK(next);
  ASSERT_OK((*next)->become_writer({2}, LogWriter::Tail::keep));
  link_->confirm_held();
  auto unknown = under_way.wait();
  EXPECT_EQ(code_of(unknown), "superseded");
  EXPECT_EQ(unknown.error().kept, LogWriter::kOutcomeUnknown);
  EXPECT_EQ(reader_->meta()->committed, Revision{0});
  (*next)->confirm((*next)->last(), MemoryLink::stores());
  ASSERT_OK((*next)->submit_and_wait(put("b", "one")));
  EXPECT_EQ((*reader_->get("setting", "a"))->bytes, "one");
}

TEST_F(LogPair, AKeptTailIsCommittedOnceItIsConfirmedAndNotBefore) {
  start_pair();
  link_->hold_confirmations();
  Submitted first(*primary_, put("a", "one"));
  wait_for_step("shipped", 1);
  const LogHead first_head = follower_->last();
  link_->confirm_held();
  ASSERT_OK(first.wait());
  link_->hold_confirmations();
  Submitted second(*primary_, put("b", "one"));
  wait_for_step("shipped", 2);
  link_->disconnect();
  primary_.reset();
  EXPECT_EQ(code_of(second.wait()), "stopped");

  start_primary(writer_options(a_), {2}, LogWriter::Tail::keep);
  EXPECT_EQ(primary_->last(), follower_->last());
  EXPECT_EQ(reader_->meta()->committed, Revision{1});
  EXPECT_EQ(reader_->appended({1}, 10)->entries.size(), 1U);
  Submitted waits(*primary_, put("c", "one"));
  LogHead other = primary_->last();
  other.hash[0] ^= 1;
  primary_->confirm(other, MemoryLink::stores());       // Another history.
  primary_->confirm(first_head, MemoryLink::stores());  // Not all of it.
  primary_->confirm({{9}, {}}, MemoryLink::stores());
  EXPECT_FALSE(waits.answered());
  EXPECT_EQ(reader_->meta()->committed, Revision{1});
  primary_->confirm(primary_->last(), MemoryLink::stores());
  auto outcome = waits.wait();
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->revision, Revision{3});
}

TEST_F(LogPair, AKeptTailIsCommittedInPartsAsTheyAreConfirmed) {
  start_primary(writer_options(a_), {1});
  start_follower();
  for (int i = 0; i < 5; ++i) ASSERT_OK(primary_->submit_and_wait(put("k", std::to_string(i))));
  auto all = reader_->appended({0}, 10);
  ASSERT_OK(all);
  std::vector<std::string> entries;
  for (const auto& it : all->entries) entries.push_back(it.entry);
  ASSERT_OK(ship(*follower_, {1}, {}, entries));
  // The follower is promoted: it has all of it appended, and none committed.
  follower_->accept_again();
  auto follower = read_follower();
  for (const std::size_t i : {0U, 2U, 4U}) {
    follower_->confirm({all->entries[i].revision, all->entries[i].hash}, {other_node()});
    ASSERT_OK(wait_for([&](auto done) { follower_->raise_epoch({2}, std::move(done)); }));
    EXPECT_EQ(follower->head()->revision, all->entries[i].revision);
  }
  auto outcome = follower_->submit_and_wait(put("k", "of the new primary"));
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->epoch, Epoch{2});
  EXPECT_EQ(outcome->stores, std::vector<NodeId>{other_node()});
}

TEST_F(LogPair, AloneAgainItGoesOnWithOneTransactionAWrite) {
  start_pair();
  ASSERT_OK(primary_->submit_and_wait(put("a", "both")));
  primary_->set_replication(nullptr);
  auto alone = primary_->submit_and_wait(put("a", "alone"));
  ASSERT_OK(alone);
  EXPECT_EQ(alone->stores, std::vector<NodeId>{test_node()});
  EXPECT_EQ(follower_->last().revision, Revision{1});
  ASSERT_OK(catch_up(*reader_, *follower_, {1}));
  connect();
  auto both = primary_->submit_and_wait(put("a", "both again"));
  ASSERT_OK(both);
  EXPECT_EQ(both->stores, MemoryLink::stores());
}

TEST_F(LogPair, TheTwoSwapRolesWithoutBeingOpenedAgain) {
  start_pair();
  auto other_reader = read_follower();
  ASSERT_OK(primary_->submit_and_wait(put("a", "first turn")));
  link_->hold_confirmations();
  Submitted under_way(*primary_, with_id(put("b", "unknown"), 1));
  wait_for_step("shipped", 2);
  link_->disconnect();
  primary_->refuse_unconfirmed(not_primary());
  primary_->set_replication(nullptr);
  EXPECT_EQ(code_of(under_way.wait()), "not_primary");

  // The follower leads: what it has is what counts.
  LogWriter& leader = *follower_;
  ASSERT_OK(wait_for([&](auto done) { leader.raise_epoch({2}, std::move(done)); }));
  leader.accept_again();
  leader.confirm(leader.last(), {other_node()});
  auto common = common_point(*reader_, *other_reader);
  ASSERT_OK(common);
  ASSERT_OK(cut(*primary_, *common, folder_ / "orphans"));
  ASSERT_OK(catch_up(*other_reader, *primary_, {2}));
  auto back = std::make_shared<MemoryLink>(leader, *primary_, Epoch{2}, folder_ / "orphans");
  leader.set_replication(back);
  auto outcome = leader.submit_and_wait(put("a", "second turn"));
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->revision, Revision{3});
  EXPECT_EQ(outcome->epoch, Epoch{2});
  auto again = leader.submit_and_wait(with_id(put("b", "unknown"), 1));
  ASSERT_OK(again);
  EXPECT_TRUE(again->repeated);
  EXPECT_EQ(primary_->last(), leader.last());
  EXPECT_EQ(reader_->meta()->epoch, Epoch{2});
  EXPECT_EQ(code_of(primary_->submit_and_wait(put("a", "of the old one"))), "not_primary");
  back->disconnect();
}

class LogPairFaults : public LogPair {
 protected:
  void SetUp() override {
    auto faults = FaultVfs::install("faulty");
    ASSERT_OK(faults);
    faults_ = std::move(*faults);
    auto options = writer_options(a_);
    options.vfs = "faulty";
    start_primary(options, {1});
    start_follower();
    connect();
  }
  void TearDown() override {
    LogPair::TearDown();
    faults_.reset();
  }
  std::unique_ptr<FaultVfs> faults_;
};

TEST_F(LogPairFaults, ABatchCostsOneFsyncHere) {
  ASSERT_OK(primary_->submit_and_wait(put("a", "first")));
  faults_->heal();  // Counts from here.
  for (int i = 0; i < 10; ++i) ASSERT_OK(primary_->submit_and_wait(put("a", "x")));
  EXPECT_EQ(faults_->calls(FaultVfs::Call::sync), 10U);
}

TEST_F(LogPairFaults, WhatAFullDiskRefusesIsTakenBackOnTheOtherStore) {
  ASSERT_OK(primary_->submit_and_wait(put("a", "before")));
  link_->hold_confirmations();  // It comes when it is too late.
  FaultVfs::Plan full{FaultVfs::Call::write, FaultVfs::Fault::enospc, 1};
  full.and_all_after = true;
  faults_->fail(full);
  const auto refused = primary_->submit_and_wait(put("a", "during"));
  EXPECT_EQ(code_of(refused), "disk_full");
  EXPECT_EQ(refused.error().kept, "Nothing of this write was stored");
  wait_for_step("taken_back", 1);
  const LogHead gone = link_->shipped();
  EXPECT_EQ(gone.revision, Revision{2});
  faults_->heal();
  Submitted again(*primary_, put("a", "during"));
  wait_for_step("shipped", 3);
  primary_->confirm(gone, MemoryLink::stores());
  link_->confirm_held();
  ASSERT_OK(again.wait());
  EXPECT_EQ(primary_->last(), follower_->last());
  // The same write at the same time is another entry: the late confirmation meant nothing.
  EXPECT_NE(primary_->last().hash, gone.hash);
  EXPECT_EQ(primary_->last().revision, Revision{2});
  int orphans = 0;
  for (const auto& it : std::filesystem::directory_iterator(folder_ / "orphans")) {
    EXPECT_EQ(it.path().extension(), ".orphan");
    ++orphans;
  }
  EXPECT_EQ(orphans, 1);
}

TEST_F(LogPairFaults, AFullDiskBetweenAppendAndFoldLosesNothing) {
  ASSERT_OK(primary_->submit_and_wait(put("a", "before")));
  link_->hold_confirmations();
  Submitted under_way(*primary_, with_id(put("a", "during"), 1));
  wait_for_step("shipped", 2);
  while (reader_->meta()->head.revision < Revision{2}) std::this_thread::yield();
  FaultVfs::Plan full{FaultVfs::Call::write, FaultVfs::Fault::enospc, 1};
  full.and_all_after = true;
  faults_->fail(full);
  link_->confirm_held();
  auto unknown = under_way.wait();
  EXPECT_EQ(code_of(unknown), "disk_full");
  EXPECT_EQ(unknown.error().kept, LogWriter::kOutcomeUnknown);
  auto refused = primary_->submit_and_wait(put("b", "x"));
  EXPECT_EQ(code_of(refused), "disk_full");
  EXPECT_EQ(refused.error().kept, "Nothing of this write was stored");
  EXPECT_EQ((*reader_->get("setting", "a"))->bytes, "before");
  faults_->heal();
  ASSERT_OK(primary_->submit_and_wait(put("b", "x")));
  EXPECT_EQ((*reader_->get("setting", "a"))->bytes, "during");
  auto again = primary_->submit_and_wait(with_id(put("a", "during"), 1));
  ASSERT_OK(again);
  EXPECT_TRUE(again->repeated);
}

// The fold is not fsynced. A power cut leaves what was fsynced: the WAL as it was after the append.
TEST_F(LogPair, AFoldThatAPowerCutUndidIsDoneAgainFromTheEntries) {
  start_pair();
  ASSERT_OK(primary_->submit_and_wait(put("a", "before")));
  link_->hold_confirmations();
  Submitted last(*primary_, with_id(put("a", "last"), 7));
  wait_for_step("shipped", 2);
  while (reader_->meta()->head.revision < Revision{2}) std::this_thread::yield();
  const auto synced = std::filesystem::file_size(a_ + "-wal");
  link_->confirm_held();
  ASSERT_OK(last.wait());
  const auto whole = reader_->list("setting");
  ASSERT_OK(whole);
  ASSERT_GT(std::filesystem::file_size(a_ + "-wal"), synced) << "the fold was not written apart";
  link_->disconnect();
  follower_.reset();
  primary_.reset();  // Leaves the WAL.
  reader_.reset();
  std::filesystem::resize_file(a_ + "-wal", synced);
  std::filesystem::remove(a_ + "-shm");

  start_primary(writer_options(a_), {2}, LogWriter::Tail::keep);
  EXPECT_EQ(reader_->meta()->head.revision, Revision{2});
  EXPECT_EQ(reader_->meta()->committed, Revision{1});
  EXPECT_EQ((*reader_->get("setting", "a"))->bytes, "before");
  primary_->confirm(primary_->last(), MemoryLink::stores());
  auto again = primary_->submit_and_wait(with_id(put("a", "last"), 7));
  ASSERT_OK(again);
  EXPECT_TRUE(again->repeated);
  EXPECT_EQ(again->stores, MemoryLink::stores());
  auto folded = reader_->list("setting");
  ASSERT_OK(folded);
  ASSERT_EQ(folded->size(), whole->size());
  EXPECT_EQ(folded->front().bytes, "last");
  EXPECT_EQ(folded->front().revision, whole->front().revision);
}

}  // namespace
}  // namespace everspan::store
