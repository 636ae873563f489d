#include "agent/core/grant_check.h"

#include <gtest/gtest.h>

#include "common/crypto.h"
#include "proto/link.pb.h"

namespace everspan::agent {
namespace {

class GrantCheck : public testing::Test {
 protected:
  GrantCheck() : key_(SigningKey::generate()) {
    site_ = {.site_id = std::string(16, 'i'),
             .grant_key = key_.public_key(),
             .endpoint_id = std::string(16, 'e'),
             .epoch_seen = 4};
    grant_.set_site_id(site_.site_id);
    grant_.set_endpoint_id(site_.endpoint_id);
    grant_.set_session_id(std::string(16, 's'));
    grant_.set_console_key(std::string(32, 'k'));
    grant_.set_person("alice");
    grant_.add_rights("exec");
    grant_.set_not_before_ms(kNow);
    grant_.set_not_after_ms(kNow + 60'000);
    grant_.set_epoch(4);
    grant_.set_recording("strict");
    grant_.set_ttl_s(900);
  }

  std::string sign(const SigningKey& key) const {
    pb::SignedGrant out;
    out.set_grant(grant_.SerializeAsString());
    out.set_signature(key.sign(std::string("everspan grant 1\0", 17) + out.grant()));
    out.set_key_id(to_string(Bytes(sha256(key.public_key())).first(16)));
    return out.SerializeAsString();
  }
  std::string code(bool opening = true, std::int64_t at = kNow) const {
    const auto checked = check_grant(sign(key_), site_, WallTime{at}, opening);
    return checked ? "" : checked.error().code;
  }

  static constexpr std::int64_t kNow = 1'800'000'000'000;
  SigningKey key_;
  TrustedSite site_;
  pb::Grant grant_;
};

TEST_F(GrantCheck, AGoodGrantGivesItsRightsAndNoOthers) {
  const auto checked = check_grant(sign(key_), site_, WallTime{kNow}, true);
  ASSERT_TRUE(checked) << checked.error().text();
  EXPECT_TRUE(checked->allows("exec"));
  EXPECT_FALSE(checked->allows("terminal"));
  EXPECT_TRUE(checked->strict);
  EXPECT_EQ(checked->ttl_s, 900U);
}

TEST_F(GrantCheck, AStrangeKeyIsRefused) {
  const SigningKey other = SigningKey::generate();
  EXPECT_EQ(check_grant(sign(other), site_, WallTime{kNow}, true).error().code, "strange_key");
}

TEST_F(GrantCheck, OneChangedByteIsRefused) {
  const std::string good = sign(key_);
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    EXPECT_FALSE(check_grant(bad, site_, WallTime{kNow}, true)) << "byte " << i;
  }
  EXPECT_FALSE(check_grant("", site_, WallTime{kNow}, true));
}

TEST_F(GrantCheck, AnotherSiteOrEndpointIsRefused) {
  grant_.set_endpoint_id(std::string(16, 'x'));
  EXPECT_EQ(code(), "other_endpoint");
  grant_.set_site_id(std::string(16, 'x'));
  EXPECT_EQ(code(), "other_site");
}

TEST_F(GrantCheck, TimesCountWhenASessionIsOpenedOnly) {
  EXPECT_EQ(code(true, kNow + 60'000 + kClockSkewMs), "");
  EXPECT_EQ(code(true, kNow + 60'001 + kClockSkewMs), "expired_grant");
  EXPECT_EQ(code(true, kNow - kClockSkewMs - 1), "future_grant");
  EXPECT_EQ(code(false, kNow + 10'000'000'000), "");
}

TEST_F(GrantCheck, AnEpochThatIsOverOpensNothing) {
  grant_.set_epoch(3);
  EXPECT_EQ(code(), "old_epoch");
  EXPECT_EQ(code(false), "");
}

}  // namespace
}  // namespace everspan::agent
