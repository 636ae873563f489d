#include "failover/core/handover_core.h"

#include <gtest/gtest.h>

#include <tuple>

namespace everspan::failover {
namespace {

using Core = HandoverCore;

template <class A>
std::vector<A> only(const std::vector<Core::Action>& actions) {
  std::vector<A> out;
  for (const auto& action : actions)
    if (const auto* a = std::get_if<A>(&action)) out.push_back(*a);
  return out;
}

Core serving(std::uint64_t turn) {
  Core core;
  EXPECT_EQ(only<Core::RaiseLog>(core.handle(Core::Granted{.turn = turn})).size(), 1U);
  const auto actions = core.handle(Core::Raised{.turn = turn});
  EXPECT_EQ(only<Core::StartAccepting>(actions).size(), 1U);
  EXPECT_EQ(only<Core::TellServing>(actions).size(), 1U);
  return core;
}

TEST(HandoverCore, runs_nothing_before_its_turn_is_in_the_log) {
  Core core;
  EXPECT_TRUE(core.handle(Core::Write{.id = "a"}).empty());
  EXPECT_TRUE(only<Core::RunWrite>(core.handle(Core::Granted{.turn = 3})).empty());
  EXPECT_EQ(only<Core::RunWrite>(core.handle(Core::Raised{.turn = 3})).size(), 1U);
}

TEST(HandoverCore, taker_raises_only_when_it_has_the_head) {
  Core core;
  EXPECT_TRUE(core.handle(Core::Granted{.turn = 3, .head_needed = 10}).empty());
  EXPECT_TRUE(core.handle(Core::HaveHead{.head = 9}).empty());
  EXPECT_EQ(only<Core::RaiseLog>(core.handle(Core::HaveHead{.head = 10})).size(), 1U);
}

TEST(HandoverCore, releases_only_when_nothing_is_under_way) {
  auto core = serving(1);
  std::ignore = core.handle(Core::Write{.id = "a"});
  EXPECT_TRUE(only<Core::TellReleased>(core.handle(Core::AskRelease{.turn = 1})).empty());
  EXPECT_TRUE(core.handle(Core::Write{.id = "b"}).empty()) << "later writes wait";
  const auto actions = core.handle(Core::WriteDone{.id = "a"});
  EXPECT_EQ(only<Core::Answer>(actions).size(), 1U);
  EXPECT_EQ(only<Core::TellReleased>(actions).size(), 1U);
  EXPECT_EQ(core.waiting(), 1U);
}

TEST(HandoverCore, waiting_writes_go_to_the_new_writer_and_are_answered_once) {
  auto core = serving(1);
  std::ignore = core.handle(Core::PeerConnected{});
  std::ignore = core.handle(Core::AskRelease{.turn = 1});
  std::ignore = core.handle(Core::Write{.id = "a"});
  const auto sent = only<Core::ForwardWrite>(core.handle(Core::PeerServes{.turn = 2}));
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(sent[0].id, "a");
  EXPECT_EQ(only<Core::Answer>(core.handle(Core::PeerAnswered{.id = "a"})).size(), 1U);
  EXPECT_TRUE(core.handle(Core::PeerAnswered{.id = "a"}).empty());
}

TEST(HandoverCore, before_released_it_may_go_on_and_after_it_may_not) {
  auto core = serving(1);
  std::ignore = core.handle(Core::Write{.id = "a"});
  std::ignore = core.handle(Core::AskRelease{.turn = 1});
  std::ignore = core.handle(Core::AbortRelease{});
  EXPECT_EQ(core.state(), Core::State::serving);
  std::ignore = core.handle(Core::WriteDone{.id = "a"});
  std::ignore = core.handle(Core::AskRelease{.turn = 1});
  std::ignore = core.handle(Core::AbortRelease{});
  EXPECT_EQ(core.state(), Core::State::released);
}

TEST(HandoverCore, lower_turns_change_nothing) {
  auto core = serving(5);
  EXPECT_TRUE(core.handle(Core::Granted{.turn = 5}).empty());
  EXPECT_TRUE(core.handle(Core::PeerServes{.turn = 4}).empty());
  EXPECT_TRUE(core.handle(Core::AskRelease{.turn = 4}).empty());
  EXPECT_EQ(core.state(), Core::State::serving);
}

TEST(HandoverCore, a_register_that_begins_anew_may_grant_the_same_turn_once_more) {
  auto core = serving(7);
  EXPECT_TRUE(core.handle(Core::Granted{.turn = 7}).empty());
  std::ignore = core.handle(Core::Write{.id = "under way"});
  EXPECT_EQ(only<Core::StopAccepting>(core.handle(Core::BeginsAnew{})).size(), 1U);
  EXPECT_TRUE(core.handle(Core::Write{.id = "waits"}).empty());
  EXPECT_TRUE(only<Core::RaiseLog>(core.handle(Core::Granted{.turn = 7})).empty());
  const auto done = core.handle(Core::WriteDone{.id = "under way"});
  EXPECT_EQ(only<Core::Answer>(done).size(), 1U);
  EXPECT_EQ(only<Core::RaiseLog>(done).size(), 1U);
  const auto serves = core.handle(Core::Raised{.turn = 7});
  EXPECT_EQ(only<Core::TellServing>(serves).size(), 1U);
  EXPECT_EQ(only<Core::RunWrite>(serves).size(), 1U);
}

TEST(HandoverCore, higher_turn_while_serving_is_raised_after_what_is_under_way) {
  auto core = serving(1);
  std::ignore = core.handle(Core::Write{.id = "a"});
  EXPECT_TRUE(only<Core::RaiseLog>(core.handle(Core::Granted{.turn = 2})).empty());
  EXPECT_EQ(only<Core::RaiseLog>(core.handle(Core::WriteDone{.id = "a"})).size(), 1U);
  std::ignore = core.handle(Core::Raised{.turn = 2});
  EXPECT_EQ(core.state(), Core::State::serving);
}

TEST(HandoverCore, fenced_writer_stops_and_keeps_its_writes_for_the_next) {
  auto core = serving(1);
  std::ignore = core.handle(Core::PeerConnected{});
  std::ignore = core.handle(Core::Write{.id = "a"});
  EXPECT_EQ(only<Core::StopAccepting>(core.handle(Core::Fenced{})).size(), 1U);
  EXPECT_TRUE(
      only<Core::Answer>(core.handle(Core::WriteDone{.id = "a", .outcome = WriteOutcome::not_run}))
          .empty());
  EXPECT_EQ(only<Core::ForwardWrite>(core.handle(Core::PeerServes{.turn = 2})).size(), 1U);
}

// Found by the simulator: the client asked again here while the peer's copy was still on its way.
TEST(HandoverCore, write_that_came_from_peer_and_client_is_answered_to_the_client_too) {
  auto core = serving(2);
  std::ignore = core.handle(Core::PeerConnected{});
  std::ignore = core.handle(Core::Write{.id = "a", .from_peer = true});
  std::ignore = core.handle(Core::PeerLost{});
  std::ignore = core.handle(Core::Write{.id = "a"});
  const auto answers = only<Core::Answer>(core.handle(Core::WriteDone{.id = "a"}));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_FALSE(answers[0].to_peer);
}

// Found by the simulator: the peer's loss was told after the grant that its death caused.
TEST(HandoverCore, writes_back_from_a_lost_peer_run_here_when_we_serve_already) {
  auto core = serving(1);
  std::ignore = core.handle(Core::PeerConnected{});
  std::ignore = core.handle(Core::AskRelease{.turn = 1});
  std::ignore = core.handle(Core::PeerServes{.turn = 2});
  std::ignore = core.handle(Core::Write{.id = "a"});
  std::ignore = core.handle(Core::Granted{.turn = 3});
  std::ignore = core.handle(Core::Raised{.turn = 3});
  EXPECT_EQ(only<Core::RunWrite>(core.handle(Core::PeerLost{})).size(), 1U);
}

TEST(HandoverCore, giving_up_says_whether_it_may_have_run) {
  Core waits;
  std::ignore = waits.handle(Core::Write{.id = "a"});
  auto answers = only<Core::Answer>(waits.handle(Core::GiveUp{.id = "a"}));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].outcome, WriteOutcome::unavailable);
  EXPECT_EQ(waits.waiting(), 0U);
  auto runs = serving(1);
  std::ignore = runs.handle(Core::Write{.id = "a"});
  answers = only<Core::Answer>(runs.handle(Core::GiveUp{.id = "a"}));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].outcome, WriteOutcome::unknown);
  EXPECT_TRUE(only<Core::Answer>(runs.handle(Core::WriteDone{.id = "a"})).empty());
}

TEST(HandoverCore, what_waits_is_bounded) {
  Core core;
  for (std::size_t i = 0; i < kWaitingMax; ++i)
    std::ignore = core.handle(Core::Write{.id = std::to_string(i)});
  const auto answers = only<Core::Answer>(core.handle(Core::Write{.id = "one more"}));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].outcome, WriteOutcome::unavailable);
}

}  // namespace
}  // namespace everspan::failover
