// Which release is chosen, and what is refused before anything is done.
#include "upgrade/core/plan.h"

#include <gtest/gtest.h>

#include "upgrade/core/plan_codec.h"

namespace everspan::upgrade {
namespace {

SiteSnapshot::Candidate release(const char* version, std::vector<const char*> from = {}) {
  SiteSnapshot::Candidate out;
  out.target_name = std::string(version) + ".pkg";
  out.digest = std::string("digest-") + version;
  out.manifest.kind = "site";
  out.manifest.version = *Version::parse(version);
  out.manifest.platform = "linux-x86_64";
  out.manifest.log_format = 1;
  for (const char* range : from)
    out.manifest.needs_from.push_back(*update::VersionRange::parse(range));
  return out;
}

SiteSnapshot site() {
  SiteSnapshot out;
  out.version = *Version::parse("0.1.0");
  out.base_version = out.version;
  out.digest = "digest-0.1.0";
  out.platform = "linux-x86_64";
  return out;
}

std::string code(const SiteSnapshot& s, Target target = {}) {
  const auto made = plan(s, {}, target, PlanId{});
  return made ? made->to.version : made.error().code;
}

TEST(Plan, ChoosesTheNewestThatCanFollow) {
  SiteSnapshot s = site();
  EXPECT_EQ(code(s), "no_release");
  s.releases = {release("0.2.0"), release("0.10.0"), release("0.9.0"), release("0.1.0")};
  EXPECT_EQ(code(s), "0.10.0");
  s.releases.push_back(release("0.11.0", {"0.10.0"}));
  EXPECT_EQ(code(s), "0.10.0");
  EXPECT_EQ(code(s, {"0.9.0"}), "0.9.0");
}

TEST(Plan, SaysWhyAReleaseCannotBe) {
  SiteSnapshot s = site();
  s.releases = {release("0.1.0"), release("0.0.9"), release("0.4.0", {"0.3.0"}),
                release("0.3.0", {"0.2.0"}), release("0.2.0")};
  EXPECT_EQ(code(s, {"0.1.0"}), "already_installed");
  EXPECT_EQ(code(s, {"0.0.9"}), "older_release");
  EXPECT_EQ(code(s, {"7.0.0"}), "unknown_release");
  EXPECT_EQ(code(s, {"nonsense"}), "unknown_release");
  const auto hop = plan(s, {}, {"0.4.0"}, PlanId{});
  ASSERT_FALSE(hop);
  EXPECT_EQ(hop.error().code, "needs_step");
  EXPECT_NE(hop.error().next.find("0.2.0"), std::string::npos)
      << "the first of the way, not the last";

  s.releases = {release("0.2.0")};
  auto& m = s.releases[0].manifest;
  m.platform = "linux-aarch64";
  EXPECT_EQ(code(s, {"0.2.0"}), "wrong_platform");
  m.platform = s.platform;
  m.needs_base = *update::VersionRange::parse(">=0.2.0");
  EXPECT_EQ(code(s), "needs_base");
  m.needs_base = {};
  s.security_floor = *Version::parse("0.3.0");
  EXPECT_EQ(code(s), "below_floor");
  s.security_floor = {};
  m.security_floor = *Version::parse("0.2.0");
  EXPECT_EQ(code(s), "no_way_back");
  EXPECT_EQ(code(s, {"", true}), "0.2.0");
  s.plan_under_way = true;
  EXPECT_EQ(code(s, {"", true}), "busy");
}

TEST(Plan, HasTheStepsOfOneApplianceInOrder) {
  SiteSnapshot s = site();
  s.releases = {release("0.2.0")};
  const auto made = plan(s, {}, {}, PlanId{});
  ASSERT_TRUE(made);
  std::string ids;
  for (const Step& step : made->steps) ids += step.id + " ";
  EXPECT_EQ(ids, "resolve fetch preflight backup candidate probe switch soak pin finalise ");
}

TEST(PlanCodec, KeepsEverythingAndWhatItDoesNotKnow) {
  SiteSnapshot s = site();
  s.releases = {release("0.2.0")};
  Policy policy;
  policy.soak = std::chrono::milliseconds(1234);
  policy.auto_finalize = true;
  PlanState state = begin(*plan(s, policy, {}, PlanId{}), WallTime{77});
  state.stored.cursor = 3;
  state.stored.plan.steps[2].state = StepState::done;
  state.stored.undo = Undo::back;
  // Field 1000, varint 5: of a later release.
  const std::string bytes = encode_plan(state.stored) + std::string("\xc0\x3e\x05", 3);
  auto read = decode_plan(bytes);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->plan.policy.soak.count(), 1234);
  EXPECT_EQ(read->cursor, 3U);
  EXPECT_EQ(read->plan.steps[2].state, StepState::done);
  EXPECT_EQ(read->undo, Undo::back);
  EXPECT_EQ(read->started_at.unix_ms, 77);
  EXPECT_EQ(encode_plan(*read), bytes);
  read->cursor = 4;
  EXPECT_NE(encode_plan(*read).find(std::string("\xc0\x3e\x05", 3)), std::string::npos);
}

TEST(PlanCodec, RefusesForeignBytes) {
  EXPECT_FALSE(decode_plan("nonsense"));
  EXPECT_FALSE(decode_plan(""));
}

}  // namespace
}  // namespace everspan::upgrade
