// Which sessions are void after an account was changed: W4 of users.h and the records behind it.
#include "site/revocations.h"

#include <gtest/gtest.h>

#include "proto/level.pb.h"
#include "proto/records.pb.h"
#include "site/endpoints.h"
#include "site/records.h"
#include "site/sessions.h"
#include "site/test_support/local_site.h"
#include "site/users.h"

namespace everspan::site {
namespace {

struct RevocationsTest : testing::Test {
  RevocationsTest() {
    const std::string token =
        run(endpoints.make_token({.uses = 1, .created_by = "alice"}, new_write())).value().token;
    Enrolment asked{.token = token,
                    .name = "web",
                    .public_key = SigningKey::generate().public_key(),
                    .platform = "linux-x86_64",
                    .release = "0.1.0"};
    EXPECT_TRUE(run(endpoints.enrol(asked)));
    add("bob");
  }
  void raise_level(std::uint32_t level) {
    pb::FeatureLevelRecord record;
    record.set_level(level);
    store::Transaction transaction;
    transaction.writes.push_back(store::Write::put(
        std::string(kKindFeatureLevel), std::string(kKeySite), record.SerializeAsString()));
    ASSERT_TRUE(site.log_writer->submit_and_wait(std::move(transaction)));
  }
  void add(const std::string& name) {
    ASSERT_TRUE(
        run(users.add(alice, {.name = name, .scopes = {"sessions", "audit"}}, "h", new_write())));
  }
  SessionId open(const std::string& person) {
    SessionOpening asked{.endpoint = "web",
                         .person = person,
                         .console_key = std::string(32, 'k'),
                         .rights = {"terminal"},
                         .reason = "",
                         .address = "192.0.2.1"};
    return run(sessions.open(asked, new_write())).value().id;
  }
  void disable(bool disabled) {
    ASSERT_TRUE(run(users.set_disabled(alice, "bob", disabled, new_write())));
  }
  void scopes(std::vector<std::string> give, std::vector<std::string> take) {
    ASSERT_TRUE(
        run(users.change_scopes(alice, "bob", std::move(give), std::move(take), new_write())));
  }
  // "id reason" of each session that is void now.
  std::vector<std::string> void_now() {
    std::vector<std::string> out;
    for (const VoidSession& each : revocations.void_sessions().value())
      out.push_back(each.id.hex() + " " + each.reason);
    return out;
  }
  static std::vector<std::string> only(const SessionId& id, const std::string& reason) {
    return {id.hex() + " " + reason};
  }
  using None = std::vector<std::string>;

  LocalSite site;
  Endpoints endpoints{*site.context};
  Sessions sessions{*site.context};
  Users users{*site.context};
  Revocations revocations{*site.context};
  const access::Identity alice{
      access::Area::site,
      "alice",
      {access::scopes_of(access::Area::site).begin(), access::scopes_of(access::Area::site).end()}};
};

TEST_F(RevocationsTest, OnlyTheSessionsOfHimWhoLostTheRightAreVoid) {
  const SessionId his = open("bob");
  open("alice");
  EXPECT_EQ(void_now(), None{});
  disable(true);
  EXPECT_EQ(void_now(), only(his, "the account was disabled"));
  EXPECT_EQ(void_now(), only(his, "the account was disabled")) << "until it ended";
  ASSERT_TRUE(run(sessions.end({his, "the account was disabled", 0, 0}, new_write())));
  EXPECT_EQ(void_now(), None{}) << "once only";
}

TEST_F(RevocationsTest, RemovingTheAccountOrTakingTheScopeEndsThemToo) {
  const SessionId his = open("bob");
  scopes({}, {"audit"});
  EXPECT_EQ(void_now(), None{});
  scopes({}, {"sessions"});
  EXPECT_EQ(void_now(), only(his, "the right to have sessions was taken away"));
  ASSERT_TRUE(run(users.remove(alice, "bob", new_write())));
  EXPECT_EQ(void_now(), only(his, "the account was removed"));
}

// Whoever should have ended them was killed in between; the one after him still does.
TEST_F(RevocationsTest, FromLevel2OnWhatComesBackDoesNotBringSessionsBack) {
  raise_level(2);
  const SessionId first = open("bob");
  disable(true);
  disable(false);
  EXPECT_EQ(void_now(), only(first, "the account was disabled"));
  ASSERT_TRUE(run(sessions.end({first, "x", 0, 0}, new_write())));

  const SessionId second = open("bob");
  EXPECT_EQ(void_now(), None{}) << "opened after it";
  ASSERT_TRUE(run(users.remove(alice, "bob", new_write())));
  add("bob");
  EXPECT_EQ(void_now(), only(second, "the account was removed"));
  ASSERT_TRUE(run(sessions.end({second, "x", 0, 0}, new_write())));

  const SessionId third = open("bob");
  scopes({}, {"sessions"});
  scopes({"sessions"}, {});
  EXPECT_EQ(void_now(), only(third, "the right to have sessions was taken away"));
}

// A request that was let in before its person was disabled, and wrote its session after it.
TEST_F(RevocationsTest, ASessionThatSlippedInWhileTheRightWasAwayEndsWhenItComesBack) {
  raise_level(2);
  disable(true);
  const SessionId late = open("bob");
  disable(false);
  EXPECT_EQ(void_now(), only(late, "the account was disabled"));
}

TEST_F(RevocationsTest, BelowLevel2NothingIsWrittenThatAnOlderReleaseDoesNotKnow) {
  const SessionId his = open("bob");
  disable(true);
  EXPECT_TRUE(site.log->list(kKindRevocation).value().empty());
  EXPECT_EQ(void_now(), only(his, "the account was disabled"));
  raise_level(2);
  disable(false);
  const auto records = site.log->list(kKindRevocation).value();
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].key, "site/bob");
  pb::Revocation record;
  ASSERT_TRUE(record.ParseFromString(records[0].bytes));
  EXPECT_EQ(record.by(), "alice");
}

TEST_F(RevocationsTest, ANewPasswordOrAnotherScopeIsNoRevocation) {
  raise_level(2);
  const SessionId his = open("bob");
  ASSERT_TRUE(run(users.set_password(alice, "bob", "h2", new_write())));
  scopes({"endpoints"}, {"audit"});
  EXPECT_EQ(void_now(), None{});
  EXPECT_FALSE(site.log->get(kKindRevocation, "site/bob").value());
  EXPECT_FALSE(sessions.find(his).value().value().ended);
}

}  // namespace
}  // namespace everspan::site
