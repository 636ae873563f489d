#include "access/core/grant.h"

#include <gtest/gtest.h>

#include "proto/link.pb.h"

namespace everspan::access {
namespace {

constexpr WallTime kNow{1'800'000'000'000};

GrantClaims claims() {
  return {.site = random_id<SiteId>(),
          .session = random_id<SessionId>(),
          .endpoint = random_id<EndpointId>(),
          .person = "alice",
          .console_key = SigningKey::generate().public_key(),
          .rights = {"terminal", "tunnel"},
          .not_before = kNow,
          .not_after = kNow.after(std::chrono::minutes(5)),
          .epoch = {7},
          .recording = "strict",
          .ttl_s = 900};
}

struct GrantTest : testing::Test {
  SigningKey key = SigningKey::generate();
  GrantClaims given = claims();
  std::string made = sign_grant(given, key).value();

  std::string code(std::string_view signed_grant) {
    const auto checked = verify_grant(signed_grant, given.site, key.public_key());
    return checked ? "" : checked.error().code;
  }
  // Signs changed claims with the right key, past sign_grant's own checks.
  template <class Change>
  std::string forged_by_signer(Change change) {
    pb::SignedGrant outer;
    pb::Grant inner;
    EXPECT_TRUE(outer.ParseFromString(made));
    EXPECT_TRUE(inner.ParseFromString(outer.grant()));
    change(inner);
    outer.set_grant(inner.SerializeAsString());
    outer.set_signature(key.sign(std::string("everspan grant 1\0", 17) + outer.grant()));
    return outer.SerializeAsString();
  }
};

TEST_F(GrantTest, AGoodGrantGivesExactlyWhatWasSigned) {
  const auto checked = verify_grant(made, given.site, key.public_key());
  ASSERT_TRUE(checked) << checked.error().text();
  EXPECT_EQ(checked->session, given.session);
  EXPECT_EQ(checked->endpoint, given.endpoint);
  EXPECT_EQ(checked->person, "alice");
  EXPECT_EQ(checked->console_key, given.console_key);
  EXPECT_EQ(checked->rights, given.rights);
  EXPECT_EQ(checked->epoch, Epoch{7});
  EXPECT_EQ(checked->recording, "strict");
  EXPECT_EQ(checked->ttl_s, 900U);
}

TEST_F(GrantTest, EveryChangedBitIsRefused) {
  for (std::size_t i = 0; i < made.size(); ++i) {
    std::string changed = made;
    changed[i] = static_cast<char>(changed[i] ^ 0x04);
    const auto checked = verify_grant(changed, given.site, key.public_key());
    if (!checked) continue;
    // Only bytes outside all three fields (an unknown field) may change without a refusal.
    EXPECT_EQ(checked->session, given.session) << "byte " << i;
    EXPECT_EQ(checked->rights, given.rights) << "byte " << i;
  }
  for (std::size_t size = 0; size < made.size(); ++size)
    EXPECT_NE(code(std::string_view(made).substr(0, size)), "") << "cut at " << size;
}

TEST_F(GrantTest, AnotherSitesGrantIsRefused) {
  const auto other_site = verify_grant(made, random_id<SiteId>(), key.public_key());
  ASSERT_FALSE(other_site);
  EXPECT_EQ(other_site.error().code, "other_site");
}

TEST_F(GrantTest, AnotherKeysGrantIsRefusedEvenWithTheRightKeyId) {
  const SigningKey stranger = SigningKey::generate();
  const std::string theirs = sign_grant(given, stranger).value();
  EXPECT_EQ(code(theirs), "bad_grant");
  pb::SignedGrant dressed;
  ASSERT_TRUE(dressed.ParseFromString(theirs));
  dressed.set_key_id(grant_key_id(key.public_key()));
  EXPECT_EQ(code(dressed.SerializeAsString()), "bad_grant");
}

TEST_F(GrantTest, ASignatureForAnotherPurposeIsNoGrant) {
  pb::SignedGrant outer;
  ASSERT_TRUE(outer.ParseFromString(made));
  outer.set_signature(key.sign(std::string("everspan tombstone 1\0", 21) + outer.grant()));
  EXPECT_EQ(code(outer.SerializeAsString()), "bad_grant");
}

TEST_F(GrantTest, MissingFieldsAreRefusedNotDefaulted) {
  EXPECT_EQ(code(forged_by_signer([](pb::Grant&) {})), "");
  EXPECT_NE(code(forged_by_signer([](pb::Grant& g) { g.clear_endpoint_id(); })), "");
  EXPECT_NE(code(forged_by_signer([](pb::Grant& g) { g.clear_person(); })), "");
  EXPECT_NE(code(forged_by_signer([](pb::Grant& g) { g.set_console_key("short"); })), "");
  EXPECT_NE(code(forged_by_signer([](pb::Grant& g) { g.clear_rights(); })), "");
  EXPECT_NE(code(forged_by_signer([](pb::Grant& g) { g.set_recording("maybe"); })), "");
  EXPECT_NE(code(forged_by_signer([](pb::Grant& g) { g.set_ttl_s(0); })), "");
  EXPECT_NE(code(forged_by_signer([](pb::Grant& g) { g.set_not_after_ms(1); })), "");
}

TEST_F(GrantTest, RecordingOffReadsAsMetadataToThoseWhoDoNotKnowIt) {
  given.recording = kRecordingOff;
  made = sign_grant(given, key).value();
  const auto checked = verify_grant(made, given.site, key.public_key());
  ASSERT_TRUE(checked) << checked.error().text();
  EXPECT_EQ(checked->recording, kRecordingOff);
  pb::SignedGrant outer;
  pb::Grant inner;
  ASSERT_TRUE(outer.ParseFromString(made) && inner.ParseFromString(outer.grant()));
  EXPECT_EQ(inner.recording(), "metadata");
  EXPECT_EQ(code(forged_by_signer([](pb::Grant&) {})), "");
  EXPECT_NE(code(forged_by_signer([](pb::Grant& g) { g.set_recording("strict"); })), "");
  EXPECT_NE(code(forged_by_signer([](pb::Grant& g) { g.set_recording("off"); })), "");
  EXPECT_NE(code(forged_by_signer([](pb::Grant& g) {
              g.set_recording("off");
              g.set_recording_off(false);
            })),
            "");
}

TEST_F(GrantTest, TimesHoldForTheFirstAttachWithTolerance) {
  const auto code_at = [&](WallTime at) {
    const auto good = check_grant_time(given, at);
    return good ? std::string() : good.error().code;
  };
  EXPECT_EQ(code_at(kNow), "");
  EXPECT_EQ(code_at(given.not_after.after(kClockTolerance)), "");
  EXPECT_EQ(code_at(given.not_after.after(kClockTolerance + std::chrono::milliseconds(1))),
            "grant_expired");
  EXPECT_EQ(code_at(kNow.after(-kClockTolerance)), "");
  EXPECT_EQ(code_at(kNow.after(-kClockTolerance - std::chrono::milliseconds(1))), "grant_not_yet");
}

TEST_F(GrantTest, TombstonesHoldForTheirSiteAndKeyOnly) {
  const TombstoneClaims ended{given.site, given.session, "ended by alice", kNow};
  const std::string stone = sign_tombstone(ended, key);
  const auto read = verify_tombstone(stone, given.site, key.public_key());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->session, given.session);
  EXPECT_EQ(read->reason, "ended by alice");
  EXPECT_EQ(read->ended_at, kNow);
  EXPECT_FALSE(verify_tombstone(stone, random_id<SiteId>(), key.public_key()));
  EXPECT_FALSE(verify_tombstone(stone, given.site, SigningKey::generate().public_key()));
}

TEST_F(GrantTest, ALongTombstoneReasonIsCutBetweenCharacters) {
  std::string reason = "x";
  for (int i = 0; i < 200; ++i) reason += "\xc3\xbc";
  const TombstoneClaims ended{given.site, given.session, reason, kNow};
  const auto read = verify_tombstone(sign_tombstone(ended, key), given.site, key.public_key());
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->reason.size(), 199U);
}

}  // namespace
}  // namespace everspan::access
