// One core, event by event. Two of them together: role_pair_test.cc.
#include "failover/core/role_core.h"

#include <gtest/gtest.h>

namespace everspan::failover {
namespace {

using namespace std::chrono_literals;
using R = RoleCore;
using Actions = std::vector<R::Action>;

template <class IdType>
IdType id(std::uint8_t fill) {
  IdType out;
  out.bytes.fill(fill);
  return out;
}
const NodeId kA = id<NodeId>(0xA);
const NodeId kB = id<NodeId>(0xB);
const LineageId kLine = id<LineageId>(1);
const LineageId kOther = id<LineageId>(2);

Instant at(Duration d) {
  return Instant(1h) + d;
}
store::LogHead head(std::uint64_t revision) {
  store::LogHead out{Revision{revision}, {}};
  out.hash.fill(static_cast<std::uint8_t>(revision));
  return out;
}
Register reg(std::uint64_t epoch, NodeId holder, std::vector<NodeId> in_sync = {kA, kB}) {
  return {kLine, Epoch{epoch}, holder, std::move(in_sync), false};
}

template <class A>
std::vector<A> all(const Actions& actions) {
  std::vector<A> out;
  for (const auto& one : actions)
    if (const auto* it = std::get_if<A>(&one)) out.push_back(*it);
  return out;
}
template <class A>
bool has(const Actions& actions) {
  return !all<A>(actions).empty();
}
std::string code(const std::optional<Error>& error) {
  return error ? error->code : "";
}
std::string answers(const Actions& actions) {
  std::string out;
  for (const auto& one : all<R::Answer>(actions))
    out += std::to_string(one.token) + ":" + code(one.refused) + " ";
  return out;
}

// A core whose saves, confirmers and write path answer at once unless a test holds them.
class Node {
 public:
  explicit Node(NodeId self) : core(self, {}) {}
  Actions feed(const R::Event& event) {
    Actions out;
    std::deque<R::Event> todo{event};
    while (!todo.empty()) {
      const R::Event next = std::move(todo.front());
      todo.pop_front();
      for (R::Action& action : core.handle(next)) {
        if (const auto* save = std::get_if<R::Save>(&action); save && saves)
          todo.push_back(R::Saved{save->number});
        if (const auto* set = std::get_if<R::SetConfirmers>(&action); set && confirms)
          todo.push_back(R::ConfirmersSet{set->number});
        if (const auto* grant = std::get_if<R::Grant>(&action); grant && raises)
          todo.push_back(R::Raised{grant->epoch});
        if (const auto* ask = std::get_if<R::AskRelease>(&action); ask && quiets)
          todo.push_back(R::Quiet{ask->epoch, end});
        out.push_back(std::move(action));
      }
    }
    return out;
  }
  Actions begin(RoleRecord record) { return feed(R::Begun{std::move(record), end, at(0s)}); }
  // Primary of epoch 5 with the backup in sync and linked.
  void lead() {
    begin({reg(5, kA), kB, std::nullopt, false, ""});
    feed(R::LinkUp{reg(5, kA), at(1s)});
    feed(R::PeerHas{end.revision, at(1s)});
  }
  void follow() {
    begin({reg(5, kA), kA, std::nullopt, false, ""});
    feed(R::LinkUp{reg(5, kA), at(1s)});
  }
  RoleCore core;
  store::LogHead end = head(10);
  bool saves = true, confirms = true, raises = true, quiets = true;
};

TEST(RoleCore, alone_it_serves_at_once) {
  Node a(kA);
  a.raises = false;
  const Actions begun = a.begin({reg(3, kA, {kA}), {}, std::nullopt, false, ""});
  EXPECT_EQ(a.core.role(), Role::alone);
  EXPECT_EQ(all<R::Grant>(begun).at(0).epoch, Epoch{3});
  EXPECT_EQ(all<R::SetConfirmers>(begun).at(0).in_sync, std::vector<NodeId>{kA});
  EXPECT_FALSE(a.core.serves());
  a.feed(R::Raised{Epoch{3}});
  EXPECT_TRUE(a.core.serves());
}

TEST(RoleCore, a_turn_is_granted_only_when_the_register_that_names_it_is_durable) {
  Node b(kB);
  b.follow();
  b.saves = false;
  const Actions heard = b.feed(R::PeerRegister{reg(6, kB)});
  ASSERT_TRUE(has<R::Save>(heard));
  EXPECT_FALSE(has<R::Grant>(heard));
  EXPECT_EQ(b.core.role(), Role::taking);
  const Actions saved = b.feed(R::Saved{all<R::Save>(heard)[0].number});
  EXPECT_EQ(all<R::Grant>(saved).at(0).epoch, Epoch{6});
  EXPECT_TRUE(all<R::Grant>(saved).at(0).tail_counts);
  EXPECT_TRUE(b.core.serves());
  EXPECT_EQ(all<R::SendRegister>(saved).back().word, R::Word::serving);
}

TEST(RoleCore, a_raise_that_it_did_not_ask_for_is_released_again) {
  Node b(kB);
  b.follow();
  const Actions actions = b.feed(R::Raised{Epoch{6}});
  EXPECT_EQ(all<R::AskRelease>(actions).at(0).epoch, Epoch{6});
  EXPECT_FALSE(b.core.serves());
}

TEST(RoleCore, a_register_of_a_lower_epoch_changes_nothing_and_is_answered) {
  Node b(kB);
  b.follow();
  b.feed(R::PeerRegister{reg(8, kA)});
  const Actions actions = b.feed(R::PeerRegister{reg(7, kB)});
  EXPECT_FALSE(has<R::Save>(actions));
  EXPECT_EQ(all<R::SendRegister>(actions).at(0).reg.epoch, Epoch{8});
  EXPECT_EQ(b.core.role(), Role::backup);
}

TEST(RoleCore, goes_on_alone_only_after_the_register_says_so) {
  Node a(kA);
  a.lead();
  a.feed(R::LinkDown{at(2s)});
  EXPECT_EQ(a.core.wake_at(), at(7s));
  a.saves = false;
  const Actions late = a.feed(R::Tick{at(7s)});
  ASSERT_EQ(all<R::Save>(late).size(), 1U);
  EXPECT_EQ(all<R::Save>(late)[0].record.reg.in_sync, std::vector<NodeId>{kA});
  EXPECT_FALSE(has<R::SetConfirmers>(late));
  const Actions saved = a.feed(R::Saved{all<R::Save>(late)[0].number});
  EXPECT_EQ(all<R::SetConfirmers>(saved).at(0).in_sync, std::vector<NodeId>{kA});
}

// A shrink may be decided while a growth is still on its way to the disk, and the other way round.
TEST(RoleCore, confirmers_are_the_strictest_of_all_registers_on_their_way) {
  Node a(kA);
  a.begin({reg(5, kA, {kA}), kB, std::nullopt, false, ""});
  a.feed(R::LinkUp{reg(5, kA), at(1s)});
  a.saves = false;
  const Actions grown = a.feed(R::PeerHas{Revision{10}, at(1s)});
  ASSERT_EQ(all<R::Save>(grown).size(), 1U);
  EXPECT_EQ(all<R::SetConfirmers>(grown).at(0).in_sync, (std::vector<NodeId>{kA, kB}));
  a.feed(R::LinkDown{at(2s)});
  const Actions shrunk = a.feed(R::Tick{at(7s)});
  ASSERT_EQ(all<R::Save>(shrunk).size(), 1U);
  // The growth is durable, the shrinking is not: both must still confirm.
  EXPECT_FALSE(has<R::SetConfirmers>(a.feed(R::Saved{all<R::Save>(grown)[0].number})));
  const Actions saved = a.feed(R::Saved{all<R::Save>(shrunk)[0].number});
  EXPECT_EQ(all<R::SetConfirmers>(saved).at(0).in_sync, std::vector<NodeId>{kA});
}

TEST(RoleCore, a_backup_is_in_sync_when_it_has_what_was_appended_before_the_writer_waited_for_it) {
  Node a(kA);
  a.begin({reg(5, kA, {kA}), kB, std::nullopt, false, ""});
  a.feed(R::LinkUp{reg(5, kA), at(1s)});
  a.confirms = false;
  EXPECT_FALSE(has<R::SetConfirmers>(a.feed(R::PeerHas{Revision{9}, at(1s)})));
  const Actions near = a.feed(R::PeerHas{Revision{10}, at(1s)});
  ASSERT_EQ(all<R::SetConfirmers>(near).size(), 1U);
  EXPECT_FALSE(has<R::Save>(near));
  // Appended while the writer did not wait yet.
  a.feed(R::Appended{head(12), at(1s)});
  a.feed(R::ConfirmersSet{all<R::SetConfirmers>(near)[0].number - 1});
  EXPECT_FALSE(has<R::Save>(a.feed(R::PeerHas{Revision{12}, at(1s)}))) << "an earlier one's word";
  a.feed(R::Appended{head(13), at(1s)});
  EXPECT_FALSE(has<R::Save>(a.feed(R::ConfirmersSet{all<R::SetConfirmers>(near)[0].number})));
  const Actions there = a.feed(R::PeerHas{Revision{13}, at(1s)});
  EXPECT_EQ(all<R::Save>(there).at(0).record.reg.in_sync, (std::vector<NodeId>{kA, kB}));
}

TEST(RoleCore, under_load_a_backup_that_is_a_few_batches_behind_is_waited_for) {
  Node a(kA);
  a.begin({reg(5, kA, {kA}), kB, std::nullopt, false, ""});
  a.feed(R::LinkUp{reg(5, kA), at(1s)});
  for (std::uint64_t revision = 11; revision <= 20; ++revision)
    a.feed(R::Appended{head(revision), at(1s)});
  EXPECT_FALSE(has<R::SetConfirmers>(a.feed(R::PeerHas{Revision{16}, at(1s)})));
  EXPECT_TRUE(has<R::SetConfirmers>(a.feed(R::PeerHas{Revision{17}, at(1s)})));
}

TEST(RoleCore, a_backup_that_stops_while_it_is_waited_for_is_given_up_for_a_while) {
  Node a(kA);
  a.begin({reg(5, kA, {kA}), kB, std::nullopt, false, ""});
  a.feed(R::LinkUp{reg(5, kA), at(1s)});
  a.confirms = false;
  a.feed(R::PeerHas{Revision{10}, at(1s)});
  a.feed(R::Appended{head(11), at(2s)});
  EXPECT_EQ(a.core.wake_at(), at(7s));
  const Actions late = a.feed(R::Tick{at(7s)});
  EXPECT_EQ(all<R::SetConfirmers>(late).at(0).in_sync, std::vector<NodeId>{kA});
  EXPECT_FALSE(has<R::SetConfirmers>(a.feed(R::PeerHas{Revision{11}, at(8s)})));
  EXPECT_EQ(a.core.wake_at(), at(37s));
  EXPECT_TRUE(has<R::SetConfirmers>(a.feed(R::Tick{at(37s)})));
}

TEST(RoleCore, what_was_taken_back_does_not_count_as_there) {
  Node a(kA);
  a.begin({reg(5, kA, {kA}), kB, std::nullopt, false, ""});
  a.feed(R::LinkUp{reg(5, kA), at(1s)});
  a.confirms = false;
  a.feed(R::Appended{head(11), at(1s)});
  const Actions near = a.feed(R::PeerHas{Revision{11}, at(1s)});
  a.feed(R::TakenBack{head(10)});
  a.feed(R::Appended{head(11), at(1s)});
  EXPECT_FALSE(has<R::Save>(a.feed(R::ConfirmersSet{all<R::SetConfirmers>(near).at(0).number})));
}

TEST(RoleCore, a_backup_that_stores_slowly_but_comes_on_stays_in_sync) {
  Node a(kA);
  a.lead();
  for (int n = 0; n < 5; ++n) {
    a.feed(R::Appended{head(20), at(2s + n * 4s)});
    a.feed(R::PeerHas{Revision{11U + static_cast<std::uint64_t>(n)}, at(5s + n * 4s)});
    EXPECT_FALSE(has<R::Save>(a.feed(R::Tick{at(6s + n * 4s)})));
  }
  EXPECT_TRUE(has<R::Save>(a.feed(R::Tick{at(26s)})));
}

TEST(RoleCore, hands_over_in_order_and_commits_by_saving) {
  Node a(kA);
  a.lead();
  a.quiets = false;
  EXPECT_TRUE(has<R::AskRelease>(a.feed(R::Ask{7, false, at(2s)})));
  EXPECT_EQ(a.core.role(), Role::releasing);
  a.feed(R::Appended{head(12), at(2s)});
  EXPECT_FALSE(has<R::SendPrepare>(a.feed(R::Quiet{Epoch{5}, head(12)})));
  const Actions ready = a.feed(R::PeerHas{Revision{12}, at(2s)});
  EXPECT_EQ(all<R::SendPrepare>(ready).at(0).what, (Prepared{Epoch{6}, head(12)}));
  a.saves = false;
  const Actions prepared = a.feed(R::PeerPrepared{Epoch{6}});
  ASSERT_EQ(all<R::Save>(prepared).size(), 1U);
  EXPECT_EQ(all<R::Save>(prepared)[0].record.reg, reg(6, kB));
  EXPECT_FALSE(has<R::SendRegister>(prepared));
  EXPECT_EQ(answers(prepared), "");
  const Actions saved = a.feed(R::Saved{all<R::Save>(prepared)[0].number});
  EXPECT_EQ(all<R::SendRegister>(saved).at(0).word, R::Word::released);
  EXPECT_EQ(answers(saved), "7: ");
  EXPECT_TRUE(has<R::MoveEnds>(saved));
  EXPECT_EQ(all<R::PeerServes>(saved).at(0).epoch, Epoch{6});
  EXPECT_EQ(a.core.role(), Role::backup);
}

TEST(RoleCore, before_the_commit_point_it_goes_on_whatever_happens_to_the_other) {
  const R::Event ends[] = {R::LinkDown{at(3s)}, R::Tick{at(12s)},
                           R::PeerRefused{Epoch{6}, "not_in_sync", "its log ends elsewhere"}};
  for (const R::Event& end : ends) {
    Node a(kA);
    a.lead();
    ASSERT_TRUE(has<R::SendPrepare>(a.feed(R::Ask{7, false, at(2s)})));
    const Actions over = a.feed(end);
    EXPECT_NE(answers(over), "");
    // The turn that the other may be prepared for is nobody's.
    EXPECT_EQ(all<R::Grant>(over).at(0).epoch, Epoch{7});
    EXPECT_EQ(a.core.role(), Role::primary);
    EXPECT_FALSE(has<R::Save>(a.feed(R::PeerPrepared{Epoch{6}})));
  }
}

TEST(RoleCore, given_up_while_writes_still_run_it_keeps_its_turn) {
  Node a(kA);
  a.lead();
  a.quiets = false;
  a.feed(R::Ask{7, false, at(2s)});
  const Actions lost = a.feed(R::LinkDown{at(3s)});
  EXPECT_EQ(all<R::AbortRelease>(lost).at(0).epoch, Epoch{5});
  EXPECT_EQ(a.core.role(), Role::primary);
  // The write path had let go before it heard: the turn is taken anew.
  const Actions quiet = a.feed(R::Quiet{Epoch{5}, head(10)});
  EXPECT_EQ(all<R::Grant>(quiet).at(0).epoch, Epoch{7});
  EXPECT_EQ(a.core.role(), Role::primary);
}

TEST(RoleCore, after_the_commit_point_losing_the_other_changes_nothing) {
  Node a(kA);
  a.lead();
  a.feed(R::Ask{7, false, at(2s)});
  a.saves = false;
  const Actions prepared = a.feed(R::PeerPrepared{Epoch{6}});
  a.feed(R::LinkDown{at(3s)});
  const Actions saved = a.feed(R::Saved{all<R::Save>(prepared).at(0).number});
  EXPECT_FALSE(has<R::Grant>(saved));
  EXPECT_EQ(answers(saved), "7: ");
  EXPECT_EQ(a.core.role(), Role::backup);
  // The other comes, and has not heard.
  const Actions again = a.feed(R::LinkUp{reg(5, kA), at(4s)});
  EXPECT_EQ(all<R::SendRegister>(again).at(0).reg, reg(6, kB));
}

TEST(RoleCore, hands_over_only_to_a_backup_that_is_in_sync_and_here) {
  Node a(kA);
  a.begin({reg(5, kA, {kA}), kB, std::nullopt, false, ""});
  EXPECT_EQ(answers(a.feed(R::Ask{1, false, at(1s)})), "1:unreachable ");
  a.feed(R::LinkUp{reg(5, kA), at(1s)});
  EXPECT_EQ(answers(a.feed(R::Ask{2, false, at(1s)})), "2:not_in_sync ");
  EXPECT_EQ(answers(a.feed(R::Ask{3, true, at(1s)})), "3: ");
}

TEST(RoleCore, a_backup_that_stalls_in_a_hand_over_is_left_out_and_the_hand_over_given_up) {
  Node a(kA);
  a.lead();
  a.quiets = false;
  a.feed(R::Appended{head(11), at(1s)});
  a.feed(R::Ask{7, false, at(2s)});
  const Actions late = a.feed(R::Tick{at(6s)});
  EXPECT_EQ(answers(late), "7:timeout ");
  EXPECT_EQ(all<R::Save>(late).at(0).record.reg.in_sync, std::vector<NodeId>{kA});
  EXPECT_EQ(a.core.role(), Role::primary);
}

TEST(RoleCore, prepares_only_for_the_history_that_it_has) {
  Node b(kB);
  b.follow();
  EXPECT_EQ(all<R::SendRefused>(b.feed(R::PeerPrepare{{Epoch{6}, head(11)}})).at(0).code,
            "not_in_sync");
  EXPECT_EQ(all<R::SendRefused>(b.feed(R::PeerPrepare{{Epoch{5}, head(10)}})).at(0).code,
            "old_epoch");
  b.saves = false;
  const Actions asked = b.feed(R::PeerPrepare{{Epoch{6}, head(10)}});
  ASSERT_TRUE(has<R::Save>(asked));
  EXPECT_FALSE(has<R::SendPrepared>(asked));
  EXPECT_TRUE(has<R::SendPrepared>(b.feed(R::Saved{all<R::Save>(asked)[0].number})));
}

TEST(RoleCore, prepared_for_an_earlier_link_is_not_said_on_the_next) {
  Node b(kB);
  b.follow();
  b.saves = false;
  const Actions asked = b.feed(R::PeerPrepare{{Epoch{6}, head(10)}});
  b.feed(R::LinkDown{at(2s)});
  b.feed(R::LinkUp{reg(5, kA), at(3s)});
  b.feed(R::PeerPrepare{{Epoch{6}, head(10)}});
  EXPECT_FALSE(has<R::SendPrepared>(b.feed(R::Saved{all<R::Save>(asked).at(0).number})));
}

TEST(RoleCore, prepared_it_never_serves_by_itself) {
  Node b(kB);
  b.follow();
  b.feed(R::PeerPrepare{{Epoch{6}, head(10)}});
  const Actions lost = b.feed(R::LinkDown{at(2s)});
  EXPECT_EQ(b.core.role(), Role::in_doubt);
  EXPECT_FALSE(has<R::Grant>(lost));
  EXPECT_FALSE(has<R::Grant>(b.feed(R::Tick{at(1h)})));
  EXPECT_EQ(answers(b.feed(R::Ask{1, true, at(1h)})), "1:in_doubt ");
  Node again(kB);
  again.begin(b.core.record());
  EXPECT_EQ(again.core.role(), Role::in_doubt);
  // The primary did not release: it goes on, and says so.
  again.feed(R::LinkUp{reg(5, kA), at(2h)});
  EXPECT_EQ(again.core.role(), Role::backup);
  EXPECT_FALSE(again.core.record().prepared);
}

TEST(RoleCore, a_register_in_passing_does_not_undo_what_was_prepared) {
  Node b(kB);
  b.follow();
  b.feed(R::PeerPrepare{{Epoch{6}, head(10)}});
  b.feed(R::PeerRegister{reg(5, kA, {kA})});
  EXPECT_TRUE(b.core.record().prepared);
  b.feed(R::PeerAbort{Epoch{6}});
  EXPECT_FALSE(b.core.record().prepared);
}

TEST(RoleCore, two_holders_of_one_epoch_are_diverged_and_the_one_that_serves_goes_on) {
  Node a(kA);
  a.lead();
  const Actions met = a.feed(R::PeerRegister{reg(5, kB)});
  EXPECT_EQ(a.core.role(), Role::diverged);
  EXPECT_TRUE(a.core.serves());
  EXPECT_EQ(all<R::Ship>(met).at(0), (R::Ship{false, false}));
  EXPECT_FALSE(has<R::PeerServes>(met));
  EXPECT_EQ(answers(a.feed(R::Ask{1, false, at(2s)})), "1:diverged ");
  // It goes on alone in time: the other confirms nothing.
  a.feed(R::Appended{head(11), at(2s)});
  EXPECT_TRUE(has<R::Save>(a.feed(R::Tick{at(7s)})));
}

TEST(RoleCore, a_follower_whose_log_knows_a_later_turn_is_led_in_one_that_is_later_still) {
  Node a(kA);
  a.begin({reg(5, kA, {kA}), kB, std::nullopt, false, ""});
  a.feed(R::LinkUp{reg(5, kA), at(1s)});
  EXPECT_FALSE(has<R::Save>(a.feed(R::PeerLog{Epoch{5}})));
  EXPECT_EQ(all<R::Grant>(a.feed(R::PeerLog{Epoch{1005}})).at(0).epoch, Epoch{1006});
  EXPECT_EQ(a.core.role(), Role::primary);
}

TEST(RoleCore, what_only_the_follower_committed_is_diverged_until_the_next_link) {
  Node a(kA);
  a.lead();
  a.feed(R::HistoriesDiffer{});
  EXPECT_EQ(a.core.role(), Role::diverged);
  a.feed(R::PeerRegister{reg(5, kA)});
  EXPECT_EQ(a.core.role(), Role::diverged);
  a.feed(R::LinkDown{at(2s)});
  a.feed(R::LinkUp{reg(5, kA), at(3s)});
  EXPECT_EQ(a.core.role(), Role::primary);
}

}  // namespace
}  // namespace everspan::failover
