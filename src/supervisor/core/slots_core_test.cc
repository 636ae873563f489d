#include "supervisor/core/slots_core.h"

#include <gtest/gtest.h>

namespace everspan::supervisor {
namespace {

using namespace std::chrono_literals;

template <class A>
std::vector<A> only(const std::vector<Action>& actions) {
  std::vector<A> out;
  for (const auto& action : actions)
    if (const auto* a = std::get_if<A>(&action)) out.push_back(*a);
  return out;
}

// Base with release "old" serving as instance 1 under generation 1.
class Slots : public testing::Test {
 protected:
  void SetUp() override {
    tell(ReleaseKnown{{.digest = "old", .version = "0.1.0", .security_floor = {}}});
    tell(ReleaseKnown{{.digest = "new", .version = "0.2.0", .security_floor = "0.2.0"}});
    EXPECT_EQ(only<StartProcess>(tell(FirstRelease{"old"})).size(), 1U);
    tell(Started{.instance = 1, .process = {.pid = 101}});
    EXPECT_EQ(only<SendActivate>(tell(Ready{1})).size(), 1U);
    tell(Activated{.instance = 1, .generation = 1});
  }
  std::vector<Action> tell(const Event& event) {
    auto actions = core.handle(event, now);
    const bool changed = !(core.state() == before_);
    before_ = core.state();
    const bool first = !actions.empty() && std::holds_alternative<Persist>(actions.front());
    EXPECT_EQ(first, changed) << "S3: a changed state is persisted before anything else";
    return actions;
  }
  std::vector<Action> ask(const std::string& key, decltype(Request::what) what,
                          InstanceId from = 1) {
    return tell(Request{.from = from, .key = key, .what = std::move(what)});
  }
  std::vector<Action> pass(Duration length) {  // In steps that base would take; hearts beat.
    std::vector<Action> all;
    for (const auto end = now + length; now < end;) {
      now += 50ms;
      for (const auto id : beating)
        for (auto& action : tell(Heartbeat{.instance = id})) all.push_back(action);
      for (auto& action : tell(TimePassed{})) all.push_back(action);
    }
    return all;
  }
  void candidate() {
    ask("start", StartCandidateRequest{"new"});
    tell(Started{.instance = 2, .process = {.pid = 102}});
    tell(Ready{2});
  }
  void switched() {
    candidate();
    ask("switch", SwitchRequest{.digest = "new", .silence_ms = 1000});
    tell(Released{.instance = 1, .generation = 1});
    tell(Activated{.instance = 2, .generation = 2});
  }

  Instant now{1h};
  SlotsCore core{State{}, Limits{}, now};
  std::vector<InstanceId> beating = {1, 2};

 private:
  State before_;
};

TEST_F(Slots, grant_waits_for_the_release_of_the_holder) {
  candidate();
  const auto asked = ask("switch", SwitchRequest{.digest = "new", .silence_ms = 1000});
  EXPECT_EQ(only<SendReleaseWriter>(asked).size(), 1U);
  EXPECT_TRUE(only<SendActivate>(asked).empty());
  EXPECT_TRUE(only<SendActivate>(tell(Released{.instance = 1, .generation = 0})).empty());
  const auto granted = only<SendActivate>(tell(Released{.instance = 1, .generation = 1}));
  ASSERT_EQ(granted.size(), 1U);
  EXPECT_EQ(granted[0].instance, 2U);
  EXPECT_EQ(granted[0].generation, 2U);
}

TEST_F(Slots, holder_that_does_not_answer_is_killed_and_only_then_followed) {
  candidate();
  ask("switch", SwitchRequest{.digest = "new", .silence_ms = 1000});
  beating = {2};
  const auto actions = pass(2s);
  EXPECT_EQ(only<Kill>(actions).size(), 1U);
  EXPECT_TRUE(only<SendActivate>(actions).empty()) << "S1: killed is not dead yet";
  EXPECT_EQ(only<SendActivate>(tell(Exited{.instance = 1, .how = "signal 9"})).size(), 1U);
}

TEST_F(Slots, writer_that_does_not_begin_gives_way_at_once_only_where_there_is_another) {
  candidate();
  ask("switch", SwitchRequest{.digest = "new", .silence_ms = 1000});
  EXPECT_EQ(only<SendActivate>(tell(Released{.instance = 1, .generation = 1})).size(), 1U);
  EXPECT_EQ(only<Kill>(pass(6s)).size(), 1U) << "its heart beats, and it does not write";

  core = SlotsCore{State{}, Limits{}, now};
  tell(FirstRelease{"old"});
  tell(Started{.instance = 1, .process = {.pid = 101}});
  EXPECT_EQ(only<SendActivate>(tell(Ready{1})).size(), 1U);
  EXPECT_TRUE(only<Kill>(pass(50s)).empty()) << "on a slow machine a first start may take long";
  EXPECT_EQ(only<Kill>(pass(11s)).size(), 1U);
}

TEST_F(Slots, key_acts_once) {
  switched();
  const auto again = ask("switch", SwitchRequest{.digest = "new", .silence_ms = 1000}, 2);
  EXPECT_TRUE(only<SendReleaseWriter>(again).empty());
  ASSERT_EQ(only<Reply>(again).size(), 1U);
  EXPECT_TRUE(only<Reply>(again)[0].outcome.ok);
}

TEST_F(Slots, pending_key_is_joined_and_both_get_the_reply) {
  ask("start", StartCandidateRequest{"new"});
  EXPECT_TRUE(ask("start", StartCandidateRequest{"new"}).empty());
  tell(Started{.instance = 2, .process = {.pid = 102}});
  EXPECT_EQ(only<Reply>(tell(Ready{2})).size(), 2U);
}

TEST_F(Slots, candidate_that_ends_fails_only_itself) {
  candidate();
  const auto actions = tell(Exited{.instance = 2, .how = "exit 1"});
  EXPECT_TRUE(only<SendActivate>(actions).empty());
  EXPECT_EQ(core.find(Role::candidate), nullptr);
  EXPECT_TRUE(core.serving());
}

TEST_F(Slots, candidate_may_ask_nothing) {
  candidate();
  const auto replies = only<Reply>(ask("evil", GoodRequest{}, 2));
  ASSERT_EQ(replies.size(), 1U);
  EXPECT_EQ(replies[0].outcome.code, "not_active");
}

TEST_F(Slots, watched_writer_that_falls_silent_gives_way_to_the_fallback) {
  switched();
  beating = {1};
  EXPECT_EQ(only<Kill>(pass(1500ms)).size(), 1U);
  const auto granted = only<SendActivate>(tell(Exited{.instance = 2, .how = "signal 9"}));
  ASSERT_EQ(granted.size(), 1U);
  EXPECT_EQ(granted[0].instance, 1U);
  EXPECT_EQ(granted[0].generation, 3U);
  EXPECT_TRUE(core.state().last_switch.starts_with("went back: silent"));
}

TEST_F(Slots, silence_while_base_itself_did_not_run_is_nobodys_fault) {
  switched();
  now += 1min;
  EXPECT_TRUE(only<Kill>(tell(TimePassed{})).empty());
}

TEST_F(Slots, good_retires_the_fallback_and_raises_the_floor) {
  switched();
  EXPECT_EQ(only<SendRetire>(ask("good", GoodRequest{}, 2)).size(), 1U);
  EXPECT_EQ(core.state().security_floor, "0.2.0");
  tell(Exited{.instance = 1, .how = "exit 0"});
  const auto replies = only<Reply>(ask("older", StartCandidateRequest{"old"}, 2));
  ASSERT_EQ(replies.size(), 1U);
  EXPECT_EQ(replies[0].outcome.code, "below_floor");
}

TEST_F(Slots, good_of_a_release_that_is_not_active_any_more_is_refused) {
  switched();
  const auto replies = only<Reply>(ask("good", GoodRequest{"old"}, 2));
  ASSERT_EQ(replies.size(), 1U);
  EXPECT_EQ(replies[0].outcome.code, "not_active");
  EXPECT_EQ(only<SendRetire>(ask("good2", GoodRequest{"new"}, 2)).size(), 1U);
}

TEST_F(Slots, a_retired_process_is_waited_for_while_ends_move_away_from_it_but_not_for_ever) {
  switched();
  ask("good", GoodRequest{}, 2);
  const auto killed_within = [&](std::uint32_t ends_left, Duration length) {
    std::size_t kills = 0;
    for (const Instant end = now + length; now < end; now += 200ms) {
      kills += only<Kill>(tell(Heartbeat{.instance = 2})).size();
      kills += only<Kill>(tell(Heartbeat{.instance = 1, .ends_left = ends_left})).size();
    }
    return kills > 0;
  };
  EXPECT_FALSE(killed_within(5, 9min));
  EXPECT_TRUE(killed_within(5, 2min));
}

TEST_F(Slots, a_retired_process_that_nothing_moves_away_from_has_its_seconds_only) {
  switched();
  ask("good", GoodRequest{}, 2);
  std::size_t kills = 0;
  for (const Instant end = now + 11s; now < end; now += 200ms) {
    kills += only<Kill>(tell(Heartbeat{.instance = 2})).size();
    kills += only<Kill>(tell(Heartbeat{.instance = 1})).size();
  }
  EXPECT_EQ(kills, 1U);
}

TEST_F(Slots, restarted_base_grants_the_returned_holder_anew_and_nobody_else) {
  switched();
  core = SlotsCore(core.state(), Limits{}, now);
  EXPECT_TRUE(only<SendActivate>(tell(Returned{.instance = 1})).empty());
  const auto granted = only<SendActivate>(tell(Returned{.instance = 2}));
  ASSERT_EQ(granted.size(), 1U);
  EXPECT_EQ(granted[0].instance, 2U);
  EXPECT_EQ(granted[0].generation, 3U);
}

TEST_F(Slots, machine_restart_while_watching_blames_no_release) {
  switched();
  core = SlotsCore(core.state(), Limits{}, now);
  tell(Exited{.instance = 2, .how = "gone", .blameless = true});
  tell(Exited{.instance = 1, .how = "gone", .blameless = true});
  EXPECT_EQ(core.find(Role::active)->digest, "new");
  EXPECT_EQ(core.find(Role::fallback)->digest, "old");
}

TEST_F(Slots, crashing_writer_without_fallback_is_restarted_ever_more_slowly) {
  Duration before{};
  for (InstanceId id = 1; id < 6; ++id) {
    tell(Exited{.instance = id, .how = "exit 1"});
    const auto died = now;
    while (core.find(Role::active)->instance == id) pass(50ms);
    EXPECT_GT(now - died, before);
    before = now - died;
    tell(Started{.instance = id + 1, .process = {.pid = 200}});
  }
}

TEST_F(Slots, clean_stop_retires_all_and_ends) {
  switched();
  EXPECT_EQ(only<SendRetire>(tell(StopAll{})).size(), 2U);
  tell(Exited{.instance = 1, .how = "exit 0"});
  EXPECT_EQ(only<Stopped>(tell(Exited{.instance = 2, .how = "exit 0"})).size(), 1U);
  EXPECT_EQ(core.find(Role::active)->digest, "new");
}

}  // namespace
}  // namespace everspan::supervisor
