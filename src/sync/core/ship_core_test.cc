// One leader against a follower in memory that appends, cuts and answers as a log does.
#include "sync/core/ship_core.h"

#include <gtest/gtest.h>

namespace everspan::sync {
namespace {

using S = ShipLeader;
using State = ShipLeader::State;

template <class IdType>
IdType id(std::uint8_t fill) {
  IdType out;
  out.bytes.fill(fill);
  return out;
}
const LineageId kLine = id<LineageId>(1);
const LineageId kOther = id<LineageId>(2);

// A history of which entry n has text n; `from` on another one when `branch` is not 0.
struct History {
  std::vector<store::LogHead> points{store::LogHead{}};  // points[r].revision == r
  std::vector<std::string> entries{""};
  std::uint64_t base = 0;
  std::uint64_t committed = 0;

  void append(const std::string& entry) {
    store::LogHead next{points.back().revision.next(), {}};
    next.hash = store::chain_hash(points.back().hash, entry);
    points.push_back(next);
    entries.push_back(entry);
  }
  void grow(std::uint64_t to, const std::string& branch = "") {
    while (head().revision.value < to) append(branch + std::to_string(points.size()));
  }
  void cut(std::uint64_t to) {
    points.resize(to + 1);
    entries.resize(to + 1);
  }
  [[nodiscard]] store::LogHead head() const { return points.back(); }
  [[nodiscard]] store::LogHead at(std::uint64_t revision) const { return points.at(revision); }
  [[nodiscard]] std::optional<Sha256> hash(Revision revision) const {
    if (revision.value < base || revision.value >= points.size()) return std::nullopt;
    return points[revision.value].hash;
  }
};

class Ship : public testing::Test {
 protected:
  S::Connected connected() {
    S::Connected event;
    event.link = ++link;
    event.own_lineage = kLine;
    event.own_base = own.at(own.base);
    event.own_head = own.head();
    event.own_committed = own.at(own.committed);
    event.lineage = lineage;
    event.base = there.at(there.base);
    event.head = there.head();
    event.committed = Revision{there.committed};
    event.yields = yields;
    return event;
  }
  void connect() { feed(connected()); }
  void start_anew() {
    leader = S();
    own = there = History();
    asked_there = 0;
    did.clear();
  }
  // What the leader does is done, and answered, until nothing is left to do.
  void feed(const S::Event& event) {
    std::deque<S::Event> todo{event};
    while (!todo.empty()) {
      const S::Event next = std::move(todo.front());
      todo.pop_front();
      for (S::Action& action : leader.handle(next)) {
        perform(action, todo);
        did.push_back(std::move(action));
      }
    }
  }
  void perform(const S::Action& action, std::deque<S::Event>& todo) {
    if (const auto* ask = std::get_if<S::AskOwnHash>(&action)) {
      todo.push_back(S::OwnHash{ask->revision, own.hash(ask->revision)});
    } else if (const auto* other = std::get_if<S::AskPeerHash>(&action)) {
      ++asked_there;
      if (answers) todo.push_back(S::PeerHash{link, other->revision, there.hash(other->revision)});
    } else if (const auto* load = std::get_if<S::Load>(&action)) {
      if (loads) todo.push_back(loaded(*load));
    } else if (const auto* send = std::get_if<S::SendEntries>(&action)) {
      const store::LogHead before = there.head();
      if (before != send->before) {
        todo.push_back(S::Refused{link, "not_next", "elsewhere", before});
        return;
      }
      for (const std::string& entry : send->entries) there.append(entry);
      if (answers) todo.push_back(S::Acked{link, there.head()});
    } else if (const auto* cut = std::get_if<S::SendCut>(&action)) {
      if (cut->common.revision.value < there.committed) {
        todo.push_back(S::Refused{link, "committed", "it is committed", there.head()});
        return;
      }
      there.cut(cut->common.revision.value);
      if (answers) todo.push_back(S::Acked{link, there.head()});
    } else if (const auto* fold = std::get_if<S::SendCommitted>(&action)) {
      EXPECT_LE(fold->head.revision, there.head().revision) << "S7";
      there.committed = std::max(there.committed, fold->head.revision.value);
    }
  }
  [[nodiscard]] S::Loaded loaded(const S::Load& load) const {
    S::Loaded event;
    event.before.revision = load.after;
    if (load.after.value < own.base) {
      event.compacted = true;
      return event;
    }
    event.before = own.at(load.after.value);
    for (std::uint64_t r = load.after.value + 1;
         r < own.points.size() && event.heads.size() < load.entries_max; ++r) {
      event.heads.push_back(own.at(r));
      event.entries.push_back(own.entries[r]);
    }
    event.foldable = event.heads.empty() || event.heads.back().revision.value > own.committed
                         ? own.at(std::max(own.base, own.committed))
                         : event.heads.back();
    return event;
  }
  // A batch of the writer's, on top of `own`.
  [[nodiscard]] S::Appended batch(std::size_t count, std::size_t bytes = 3) {
    S::Appended event;
    event.before = own.head();
    for (std::size_t i = 0; i < count; ++i) {
      own.append(std::string(bytes, static_cast<char>('a' + i % 26)));
      event.heads.push_back(own.head());
      event.entries.push_back(own.entries.back());
    }
    return event;
  }
  template <class A>
  [[nodiscard]] std::vector<A> all() const {
    std::vector<A> out;
    for (const auto& one : did)
      if (const auto* it = std::get_if<A>(&one)) out.push_back(*it);
    return out;
  }
  void expect_same() {
    EXPECT_EQ(leader.state(), State::live);
    EXPECT_EQ(there.head(), own.head());
    EXPECT_EQ(leader.durable(), own.head().revision);
  }

  S leader;
  History own, there;
  LineageId lineage = kLine;
  bool yields = false, answers = true, loads = true;
  std::uint64_t link = 0;
  int asked_there = 0;
  std::vector<S::Action> did;
};

TEST_F(Ship, an_empty_follower_gets_everything_and_is_told_what_is_committed) {
  own.grow(2000);
  own.committed = 1990;
  connect();
  expect_same();
  EXPECT_EQ(there.committed, 1990U);
  for (const auto& message : all<S::SendEntries>())
    EXPECT_LE(message.entries.size(), kBatchEntries);
}

TEST_F(Ship, one_that_is_behind_is_asked_nothing) {
  own.grow(100);
  there.grow(60);
  connect();
  expect_same();
  EXPECT_EQ(asked_there, 0);
  EXPECT_EQ(all<S::Durable>().front().head, own.at(60));
}

TEST_F(Ship, what_only_the_follower_has_is_cut_at_the_last_common_point) {
  for (std::uint64_t common = 0; common <= 40; ++common) {
    SCOPED_TRACE(common);
    start_anew();
    own.grow(40);
    there.grow(common);
    there.grow(57, "other");
    there.committed = common;
    connect();
    expect_same();
    EXPECT_EQ(all<S::SendCut>().at(0).common, own.at(common));
    EXPECT_LE(asked_there, 7);
  }
}

TEST_F(Ship, what_the_follower_committed_is_never_cut) {
  own.grow(40);
  there.grow(30);
  there.grow(35, "other");
  there.committed = 31;
  connect();
  EXPECT_EQ(leader.state(), State::diverged);
  EXPECT_EQ(all<S::Diverged>().at(0).common, own.at(30));
  EXPECT_TRUE(all<S::SendCut>().empty());
  EXPECT_TRUE(all<S::Durable>().empty());
}

TEST_F(Ship, where_a_person_picked_this_history_a_copy_replaces_the_other) {
  own.grow(40);
  there.grow(30);
  there.grow(35, "other");
  there.committed = 31;
  yields = true;
  connect();
  EXPECT_EQ(leader.state(), State::snapshot);
  EXPECT_TRUE(all<S::SendSnapshot>().at(0).replaces);
}

TEST_F(Ship, one_that_is_too_far_behind_gets_a_copy_and_goes_on_from_there) {
  own.grow(100);
  own.base = 80;
  own.committed = 95;
  there.grow(50);
  there.committed = 50;
  connect();
  ASSERT_EQ(leader.state(), State::snapshot);
  EXPECT_FALSE(all<S::SendSnapshot>().at(0).replaces);
  own.grow(110);
  feed(S::Appended{own.at(109), {own.at(110)}, {own.entries[110]}});
  there = own;
  there.cut(95);
  there.base = there.committed = 95;
  feed(S::SnapshotTaken{link, there.head()});
  expect_same();
}

TEST_F(Ship, a_copy_that_failed_is_sent_again_when_it_is_time) {
  own.grow(100);
  own.base = 80;
  connect();
  feed(S::SnapshotFailed{link, "disk full"});
  EXPECT_EQ(all<S::SendSnapshot>().size(), 1U);
  EXPECT_EQ(leader.why(), "disk full");
  feed(S::TryAgain{});
  EXPECT_EQ(all<S::SendSnapshot>().size(), 2U);
}

// Another lineage that cannot be compared any more: its committed entries are not replaced unseen.
TEST_F(Ship, another_lineage_that_is_too_far_behind_is_for_a_person) {
  own.grow(100);
  own.base = 80;
  there.grow(50, "other");
  there.committed = 50;
  lineage = kOther;
  connect();
  EXPECT_EQ(leader.state(), State::diverged);
  there.committed = 0;
  connect();
  EXPECT_EQ(leader.state(), State::snapshot);
}

TEST_F(Ship, one_whose_log_begins_after_the_end_of_this_one_is_for_a_person) {
  own.grow(40);
  there.grow(100);
  there.base = there.committed = 60;
  connect();
  EXPECT_EQ(leader.state(), State::diverged);
}

TEST_F(Ship, live_entries_go_out_at_once_before_they_are_in_the_log) {
  own.grow(10);
  there.grow(10);
  connect();
  loads = false;
  did.clear();
  feed(batch(3));
  ASSERT_EQ(all<S::SendEntries>().size(), 1U);
  EXPECT_EQ(all<S::SendEntries>()[0].before, own.at(10));
  EXPECT_EQ(all<S::Durable>().back().head, own.head());
  feed(S::Committed{own.head(), {}});
  EXPECT_EQ(there.committed, 13U);
}

// The log shows a batch only when it is durable; the writer makes no other until this one is there.
TEST_F(Ship, a_batch_that_met_a_follower_behind_is_sent_from_memory_in_its_turn) {
  own.grow(30);
  there.grow(10);
  loads = false;
  connect();
  EXPECT_EQ(leader.state(), State::catching_up);
  const S::Load load = all<S::Load>().at(0);
  S::Loaded first = loaded(load);
  feed(batch(2));
  feed(first);
  expect_same();
}

TEST_F(Ship, sent_in_part_the_rest_of_a_batch_follows) {
  own.grow(10);
  const S::Appended under_way = batch(4);
  there = own;
  there.cut(12);
  feed(under_way);
  connect();
  expect_same();
  EXPECT_TRUE(all<S::Load>().empty());
}

TEST_F(Ship, what_is_in_flight_is_bounded_and_the_rest_read_later) {
  answers = false;
  there.grow(0);
  connect();
  ASSERT_EQ(leader.state(), State::live);
  std::size_t sent = 0;
  for (int n = 0; n < 40; ++n) {
    did.clear();
    feed(batch(1, 1024 * 1024));
    for (const auto& message : all<S::SendEntries>()) sent += message.entries.size();
  }
  EXPECT_EQ(sent, kInFlightBytes / (1024 * 1024));
  EXPECT_EQ(leader.state(), State::catching_up);
  answers = true;
  feed(S::Acked{link, there.head()});
  expect_same();
}

TEST_F(Ship, messages_are_bounded) {
  own.grow(1);
  there.grow(1);
  connect();
  did.clear();
  feed(batch(5, 400 * 1024));
  EXPECT_EQ(all<S::SendEntries>().size(), 3U);
  EXPECT_EQ(there.head(), own.head());
}

TEST_F(Ship, what_was_taken_back_is_cut_before_anything_else_and_never_durable) {
  own.grow(10);
  there.grow(10);
  connect();
  answers = false;
  feed(batch(2));
  const store::LogHead gone = own.head();
  own.cut(10);
  did.clear();
  feed(S::TakenBack{own.head()});
  EXPECT_EQ(all<S::SendCut>().at(0).common, own.head());
  // Its word about what is gone, still on the way.
  feed(S::Acked{link, gone});
  EXPECT_TRUE(all<S::Durable>().empty());
  feed(batch(2, 7));
  EXPECT_TRUE(all<S::SendEntries>().empty());
  answers = true;
  feed(S::Acked{link, own.at(10)});
  expect_same();
}

TEST_F(Ship, durable_before_it_was_taken_back_is_not_durable_any_more) {
  own.grow(10);
  there.grow(10);
  connect();
  feed(batch(2));
  EXPECT_EQ(leader.durable(), Revision{12});
  own.cut(10);
  answers = false;
  feed(S::TakenBack{own.head()});
  EXPECT_EQ(leader.durable(), Revision{10});
}

TEST_F(Ship, a_word_of_an_earlier_link_changes_nothing) {
  own.grow(20);
  there.grow(10);
  answers = loads = false;
  connect();
  feed(loaded(all<S::Load>().at(0)));
  there.cut(10);
  connect();
  feed(loaded(all<S::Load>().back()));
  did.clear();
  feed(S::Acked{link - 1, own.at(20)});
  feed(S::Refused{link - 1, "not_next", "", own.at(3)});
  EXPECT_TRUE(did.empty());
  EXPECT_EQ(leader.durable(), Revision{10});
  feed(S::Acked{link, own.at(20)});
  EXPECT_EQ(leader.durable(), Revision{20});
}

TEST_F(Ship, a_head_of_another_history_is_not_durable) {
  own.grow(20);
  there.grow(20);
  connect();
  answers = false;
  feed(batch(1));
  did.clear();
  store::LogHead other = own.head();
  other.hash[0] ^= 1;
  feed(S::Acked{link, other});
  EXPECT_TRUE(did.empty());
}

TEST_F(Ship, a_follower_that_is_elsewhere_after_all_is_compared_again) {
  own.grow(20);
  there.grow(20);
  connect();
  there.cut(15);
  there.grow(17, "other");
  feed(batch(1));
  expect_same();
  EXPECT_EQ(all<S::SendCut>().at(0).common, own.at(15));
}

TEST_F(Ship, a_full_disk_there_is_tried_again_when_it_is_time) {
  own.grow(20);
  there.grow(10);
  answers = loads = false;
  connect();
  feed(S::Refused{link, "disk_full", "The disk is full", there.head()});
  EXPECT_EQ(leader.state(), State::stopped);
  EXPECT_EQ(leader.why(), "disk_full: The disk is full");
  feed(batch(1));
  EXPECT_EQ(leader.state(), State::stopped);
  answers = loads = true;
  feed(S::TryAgain{});
  expect_same();
}

TEST_F(Ship, refused_as_committed_it_is_diverged) {
  own.grow(20);
  there.grow(10);
  there.grow(15, "other");
  answers = false;
  connect();
  // Its word was older than what it had committed by then.
  while (leader.state() == State::comparing) {
    const Revision asked = all<S::AskPeerHash>().back().revision;
    feed(S::PeerHash{link, asked, there.hash(asked)});
  }
  ASSERT_EQ(leader.state(), State::cutting);
  feed(S::Refused{link, "committed", "it is committed", there.head()});
  EXPECT_EQ(leader.state(), State::diverged);
}

TEST_F(Ship, committed_is_repeated_to_whoever_comes) {
  own.grow(20);
  feed(S::Committed{own.at(20), {id<NodeId>(1)}});
  EXPECT_TRUE(did.empty());
  there.grow(20);
  connect();
  EXPECT_EQ(all<S::SendCommitted>().back().head, own.at(20));
  feed(S::Disconnected{});
  EXPECT_EQ(leader.state(), State::off);
  EXPECT_EQ(leader.durable(), Revision{});
}

}  // namespace
}  // namespace everspan::sync
