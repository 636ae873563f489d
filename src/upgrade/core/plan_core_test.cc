// Single rules of the plan, one at a time; tests/sim/plan_sim_test.cc mixes them with crashes.
#include "upgrade/core/plan_core.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "upgrade/core/limits.h"

namespace everspan::upgrade {
namespace {

class PlanCore : public ::testing::Test {
 protected:
  PlanCore() {
    SiteSnapshot site;
    site.version = *Version::parse("0.1.0");
    site.base_version = site.version;
    site.digest = "old";
    site.platform = "p";
    SiteSnapshot::Candidate to;
    to.digest = "new";
    to.manifest.kind = "site";
    to.manifest.platform = "p";
    to.manifest.version = *Version::parse("0.2.0");
    to.manifest.feature_level = 2;
    site.releases = {to};
    site.log_format = 1;
    Policy policy;
    policy.soak = std::chrono::seconds(10);
    state = begin(*plan(site, policy, {}, PlanId{}), WallTime{});
    seen.active_digest = "old";
  }

  // Gives an event, answers saves at once, and remembers what went out.
  void give(const Event& event) {
    auto result = next(std::move(state), event, {now, WallTime{}});
    state = std::move(result.state);
    for (const Effect& effect : result.effects) {
      if (std::holds_alternative<Save>(effect)) {
        saves += 1;
        give(Saved{});
      } else if (const auto* what = std::get_if<Do>(&effect)) {
        sent.push_back(*what);
      } else if (std::holds_alternative<Observe>(effect)) {
        looks += 1;
      } else if (std::holds_alternative<SampleHealth>(effect)) {
        samples += 1;
      } else if (const auto* query = std::get_if<Query>(&effect)) {
        queried = query->key;
      }
    }
  }
  void answer(bool ok = true, std::string code = "") {
    give(Answered{sent.back().key, ok, std::move(code), ""});
  }
  void pass(Duration time) {
    now += time;
    give(TimePassed{});
  }
  [[nodiscard]] Action last() const { return sent.back().action; }

  void to_candidate() {
    give(Begun{seen});
    answer();  // resolve
    answer();  // fetch
    seen.staged = {"new"};
    give(Observed{seen});
    answer();  // preflight
    answer();  // backup
  }
  void to_switch() {
    to_candidate();
    answer();
    seen.candidate_digest = "new";
    seen.candidate_ready = true;
    give(Observed{seen});
    now += std::chrono::seconds(3);
    give(Observed{seen});
    answer();  // probe
  }
  void to_soak() {
    to_switch();
    seen.active_digest = "new";
    seen.candidate_digest.clear();
    seen.last_switch = "switched";
    give(Begun{seen});
  }
  void soak() {
    give(Health{true, ""});
    now += std::chrono::seconds(10);
    give(Health{true, ""});
    give(Observed{seen});
  }

  PlanState state;
  Observation seen;
  Instant now{std::chrono::seconds(100)};
  std::vector<Do> sent;
  std::string queried;
  int saves = 0, looks = 0, samples = 0;
};

TEST_F(PlanCore, GoesAllTheWayAndWaitsForThePerson) {
  to_soak();
  soak();
  EXPECT_TRUE(awaits_finalize(state.stored));
  give(Asked{Request::finalize});
  EXPECT_EQ(last(), Action::good);
  answer();
  EXPECT_EQ(last(), Action::raise_level);
  answer();
  seen.feature_level = 2;
  give(Observed{seen});
  EXPECT_EQ(state.stored.status, Status::upgraded);
}

TEST_F(PlanCore, NoEffectGoesOutBeforeItsIntentIsStored) {
  auto result = next(std::move(state), Begun{seen}, {now, WallTime{}});
  ASSERT_EQ(result.effects.size(), 1U);
  EXPECT_TRUE(std::holds_alternative<Save>(result.effects[0]));
  EXPECT_EQ(result.state.stored.plan.steps[0].state, StepState::intent);
  result = next(std::move(result.state), Saved{}, {now, WallTime{}});
  ASSERT_EQ(result.effects.size(), 1U);
  EXPECT_TRUE(std::holds_alternative<Do>(result.effects[0]));
}

TEST_F(PlanCore, LateAndRepeatedAnswersChangeNothing) {
  give(Begun{seen});
  const std::string resolve = sent.back().key;
  answer();
  const auto cursor = state.stored.cursor;
  give(Answered{resolve, false, "unreachable", ""});
  give(Answered{"other/key", true, "", ""});
  EXPECT_EQ(state.stored.cursor, cursor);
  EXPECT_EQ(state.stored.status, Status::running);
}

TEST_F(PlanCore, ABadLineIsTriedAgainUnderANewKeyButABadSignatureIsNot) {
  give(Begun{seen});
  answer();
  const std::string first = sent.back().key;
  answer(false, "unreachable");
  pass(kRetryDelay);
  EXPECT_NE(sent.back().key, first);
  EXPECT_EQ(last(), Action::fetch);
  const std::string second = sent.back().key;
  answer(false, "stage_failed");  // Base's checker was killed.
  pass(kRetryDelayMax);
  EXPECT_NE(sent.back().key, second);
  answer(false, "bad_signature");
  EXPECT_EQ(state.stored.status, Status::failed);
  EXPECT_EQ(state.stored.why_code, "bad_signature");
}

TEST_F(PlanCore, AReleaseIsStagedWhenBaseShowsItNotWhenTheCallReturned) {
  give(Begun{seen});
  answer();
  answer();
  EXPECT_EQ(state.stored.cursor, 1U);
  give(Observed{seen});
  EXPECT_EQ(state.stored.status, Status::failed);
  EXPECT_EQ(state.stored.why_code, "not_staged");
}

TEST_F(PlanCore, ACandidateThatIsNeverReadyOrEndsIsStoppedAndNothingWasSwitched) {
  to_candidate();
  EXPECT_EQ(last(), Action::start_candidate);
  answer();
  seen.candidate_digest = "new";
  give(Observed{seen});
  pass(std::chrono::seconds(40));
  EXPECT_EQ(last(), Action::stop_candidate);
  answer();
  seen.candidate_digest.clear();
  give(Observed{seen});
  EXPECT_EQ(state.stored.status, Status::rolled_back);
  EXPECT_EQ(state.stored.why_code, "timeout");
  EXPECT_TRUE(
      std::ranges::none_of(sent, [](const Do& d) { return d.action == Action::switch_over; }));
}

TEST_F(PlanCore, ACandidateMustStayReadyForAWhile) {
  to_candidate();
  answer();
  seen.candidate_digest = "new";
  seen.candidate_ready = true;
  give(Observed{seen});
  EXPECT_EQ(last(), Action::start_candidate) << "not yet";
  now += std::chrono::milliseconds(1900);
  seen.candidate_ready = false;
  give(Observed{seen});
  seen.candidate_ready = true;
  now += std::chrono::milliseconds(200);
  give(Observed{seen});
  now += std::chrono::milliseconds(1900);
  give(Observed{seen});
  EXPECT_EQ(last(), Action::start_candidate) << "the break counts";
  now += std::chrono::milliseconds(200);
  give(Observed{seen});
  EXPECT_EQ(last(), Action::probe);
}

TEST_F(PlanCore, AfterASwitchThatBaseTookBackTheOldProcessEndsThePlan) {
  to_switch();
  EXPECT_EQ(last(), Action::switch_over);
  seen.candidate_digest.clear();
  seen.last_switch = "went back: silent";
  give(Begun{seen});  // The old process again, before the new one stored anything.
  EXPECT_EQ(queried, sent.back().key);
  give(QueryAnswered{queried, true, true, "", ""});
  answer();
  give(Observed{seen});
  EXPECT_EQ(state.stored.status, Status::rolled_back);
}

TEST_F(PlanCore, AsksAgainWhenBaseIsNotReadyToSwitchButNotWhenItRefuses) {
  to_switch();
  const std::string first = sent.back().key;
  answer(false, "not_serving");
  EXPECT_EQ(state.stored.status, Status::running);
  pass(kRetryDelay);
  EXPECT_EQ(last(), Action::switch_over);
  EXPECT_NE(sent.back().key, first);
  answer(false, "candidate_not_ready");
  EXPECT_EQ(last(), Action::stop_candidate);
}

TEST_F(PlanCore, ASwitchThatWasNeverSentIsSentUnderItsKey) {
  to_switch();
  const std::string key = sent.back().key;
  give(Begun{seen});
  give(QueryAnswered{queried, false, false, "", ""});
  EXPECT_EQ(sent.back().key, key);
  EXPECT_EQ(last(), Action::switch_over);
}

TEST_F(PlanCore, WentBackDuringTheSoakIsSeenByTheOldProcess) {
  to_soak();
  seen.active_digest = "old";
  seen.last_switch = "went back: exit 1";
  give(Begun{seen});
  EXPECT_EQ(state.stored.status, Status::rolled_back);
  EXPECT_EQ(state.stored.why, "went back: exit 1");
}

TEST_F(PlanCore, ANodeThatWentBackDuringTheSoakIsNotTakenForTheNewReleaseBecauseItIsHealthy) {
  to_soak();
  give(Health{true, ""});
  now += std::chrono::seconds(10);
  give(Health{true, ""});
  EXPECT_FALSE(awaits_finalize(state.stored)) << "not before it was seen which release is active";
  seen.active_digest = "old";
  seen.last_switch = "went back: signal 9";
  give(Observed{seen});
  EXPECT_EQ(state.stored.status, Status::rolled_back);
  EXPECT_EQ(state.stored.why, "went back: signal 9");
}

TEST_F(PlanCore, EachSampleLooksWhichReleaseIsActiveAlsoWhileAPersonIsWaitedFor) {
  to_soak();
  soak();
  ASSERT_TRUE(awaits_finalize(state.stored));
  give(Health{true, ""});
  const int looked = looks;
  pass(kSampleEvery);
  EXPECT_EQ(looks, looked + 1);
  seen.active_digest = "old";
  give(Observed{seen});
  EXPECT_EQ(state.stored.status, Status::rolled_back);
}

TEST_F(PlanCore, AnUnhealthyMomentStartsTheSoakAnewAndThreeInARowGoBack) {
  to_soak();
  give(Health{true, ""});
  now += std::chrono::seconds(9);
  give(Health{false, "slow"});
  now += std::chrono::seconds(2);
  give(Health{true, ""});
  EXPECT_FALSE(awaits_finalize(state.stored));
  for (int i = 0; i < kUnhealthyMax; ++i) give(Health{false, "slow"});
  EXPECT_EQ(last(), Action::back);
  answer();
  seen.active_digest = "old";
  give(Begun{seen});
  EXPECT_EQ(state.stored.status, Status::rolled_back);
  EXPECT_EQ(state.stored.why_code, "unhealthy");
}

TEST_F(PlanCore, TheSoakStartsAnewInANewProcess) {
  to_soak();
  give(Health{true, ""});
  now += std::chrono::seconds(9);
  give(Begun{seen});
  give(Health{true, ""});
  now += std::chrono::seconds(2);
  give(Health{true, ""});
  EXPECT_FALSE(awaits_finalize(state.stored));
}

TEST_F(PlanCore, PausesAtTheNextPlaceOfRestAndGoesOn) {
  give(Begun{seen});
  give(Asked{Request::pause});
  EXPECT_EQ(state.stored.status, Status::running);
  answer();
  EXPECT_EQ(state.stored.status, Status::paused);
  give(Asked{Request::resume});
  give(Observed{seen});
  EXPECT_EQ(state.stored.status, Status::running);
  EXPECT_EQ(last(), Action::fetch);
}

TEST_F(PlanCore, GoesBackWhenAsked) {
  to_soak();
  give(Asked{Request::rollback});
  EXPECT_EQ(last(), Action::back);
  EXPECT_EQ(state.stored.status, Status::going_back);
}

TEST_F(PlanCore, AfterPinThereIsNoWayBack) {
  to_soak();
  soak();
  give(Asked{Request::finalize});
  EXPECT_EQ(may_ask(state.stored, Request::rollback).error().code, "no_way_back");
  give(Asked{Request::rollback});
  EXPECT_EQ(state.stored.status, Status::running);
  answer(false, "base_gone");
  pass(kRetryDelay);
  EXPECT_EQ(last(), Action::good) << "it only tries again";
}

TEST_F(PlanCore, AnUnknownStepParksAndMayBeResumed) {
  state.stored.plan.steps[1].kind = StepKind::unknown;
  state.stored.plan.steps[1].kind_word = "drain-region";
  give(Begun{seen});
  answer();
  EXPECT_EQ(state.stored.status, Status::parked);
  EXPECT_EQ(state.stored.why_code, "unknown_step");
  EXPECT_TRUE(may_ask(state.stored, Request::resume));
  EXPECT_TRUE(may_ask(state.stored, Request::rollback));
}

TEST_F(PlanCore, AStrangeActiveReleaseParks) {
  to_soak();
  seen.active_digest = "third";
  give(Begun{seen});
  EXPECT_EQ(state.stored.status, Status::parked);
}

}  // namespace
}  // namespace everspan::upgrade
