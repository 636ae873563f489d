#include "access/core/tokens.h"

#include <gtest/gtest.h>

#include "common/crypto.h"

namespace everspan::access {
namespace {

TEST(BearerToken, SaysItsAreaAndIsStoredByHashOnly) {
  const std::string site = make_bearer_token(Area::site, random_bytes(32));
  const std::string appliance = make_bearer_token(Area::appliance, random_bytes(32));
  EXPECT_EQ(bearer_token_area(site).value(), Area::site);
  EXPECT_EQ(bearer_token_area(appliance).value(), Area::appliance);
  EXPECT_EQ(bearer_token_key(site).size(), 64U);
  EXPECT_EQ(bearer_token_key(site).find(site), std::string::npos);
}

TEST(BearerToken, AnythingElseIsRefused) {
  const std::string good = make_bearer_token(Area::site, random_bytes(32));
  for (const std::string& bad :
       {std::string(), std::string("ess1_"), good + "A", good.substr(1), "xxx1_" + good.substr(5),
        good.substr(0, 47) + "!", std::string(100'000, 'a')})
    EXPECT_FALSE(bearer_token_area(bad)) << bad.substr(0, 60);
}

TEST(EnrolToken, SurvivesTheWayThroughText) {
  const EnrolToken made{random_id<EnrolTokenId>(), random_bytes(32), sha256_hex("ca")};
  const auto read = parse_enrol_token(format_enrol_token(made));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->id, made.id);
  EXPECT_EQ(read->secret, made.secret);
  EXPECT_EQ(read->ca_sha256, made.ca_sha256);
}

TEST(EnrolToken, AnythingElseIsRefused) {
  const std::string good =
      format_enrol_token({random_id<EnrolTokenId>(), random_bytes(32), sha256_hex("ca")});
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(parse_enrol_token(good.substr(0, size)));
  EXPECT_FALSE(parse_enrol_token(good + "0"));
  EXPECT_FALSE(parse_enrol_token(good + " "));
  std::string dots = good;
  for (char& c : dots)
    if (c == '.') c = '-';
  EXPECT_FALSE(parse_enrol_token(dots));
}

TEST(Scopes, OneAreaGivesNothingInTheOther) {
  const Identity alice{Area::site, "alice", {"upgrade", "sessions"}};
  EXPECT_TRUE(require(alice, Area::site, "upgrade"));
  EXPECT_FALSE(require(alice, Area::appliance, "upgrade"));  // Same word, other area.
  EXPECT_FALSE(require(alice, Area::site, "users"));
  EXPECT_TRUE(require(alice, Area::site, ""));
  EXPECT_FALSE(require(alice, Area::appliance, ""));
}

TEST(Scopes, OnlyKnownScopesOfTheAreaAreTaken) {
  EXPECT_TRUE(check_scopes(Area::site, {"sessions", "audit"}));
  EXPECT_FALSE(check_scopes(Area::site, {"node"}));
  EXPECT_TRUE(check_scopes(Area::appliance, {"node"}));
  EXPECT_FALSE(check_scopes(Area::site, {"sessions", "sessions"}));
}

TEST(Rights, UnknownOnesGiveNothing) {
  EXPECT_TRUE(check_rights({"terminal", "exec", "tunnel"}));
  EXPECT_FALSE(check_rights({}));
  EXPECT_FALSE(check_rights({"root"}));
  EXPECT_TRUE(has_right({"exec"}, "exec"));
  EXPECT_FALSE(has_right({"exec"}, "terminal"));
  EXPECT_FALSE(has_right({"root"}, "root"));
}

TEST(Names, TakePlainWordsOnly) {
  for (const char* good : {"web-1", "A", "db.example_2"}) EXPECT_TRUE(check_name("name", good));
  for (const char* bad : {"", "-a", ".a", "a b", "a/b", "\xc3\xbc", "a\n"})
    EXPECT_FALSE(check_name("name", bad)) << bad;
  EXPECT_TRUE(check_name("name", std::string(63, 'a')));
  EXPECT_FALSE(check_name("name", std::string(64, 'a')));
}

}  // namespace
}  // namespace everspan::access
