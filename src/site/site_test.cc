#include <gtest/gtest.h>

#include "access/certificates.h"
#include "access/core/grant.h"
#include "proto/records.pb.h"
#include "site/accounts.h"
#include "site/endpoints.h"
#include "site/records.h"
#include "site/sessions.h"
#include "site/settings.h"
#include "site/test_support/local_site.h"

namespace everspan::site {
namespace {

using access::Area;

template <class T>
std::string code_of(const Result<T>& result) {
  return result ? "" : result.error().code;
}

struct SiteTest : testing::Test {
  LocalSite site;
  Accounts accounts{*site.context};
  Endpoints endpoints{*site.context};
  Sessions sessions{*site.context};
  Settings settings{*site.context};

  std::string enrol_token(NewEnrolToken wanted = {}) {
    return run(endpoints.make_token(std::move(wanted), new_write())).value().token;
  }
  Enrolment enrolment(const std::string& token, const std::string& name) {
    return {.token = token,
            .name = name,
            .public_key = SigningKey::generate().public_key(),
            .platform = "linux-x86_64",
            .release = "0.1.0",
            .address = "192.0.2.7"};
  }
  SessionOpening opening(const std::string& endpoint) {
    return {.endpoint = endpoint,
            .person = "alice",
            .console_key = SigningKey::generate().public_key(),
            .rights = {"terminal"},
            .reason = "help",
            .address = "192.0.2.1"};
  }
};

TEST_F(SiteTest, SessionsThatEndedLongAgoAreForgottenALiveOneNever) {
  ASSERT_TRUE(run(endpoints.enrol(enrolment(enrol_token({.uses = 1}), "web"))));
  std::vector<SessionId> ids;
  for (int i = 0; i < 3; ++i)
    ids.push_back(run(sessions.open(opening("web"), new_write())).value().id);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(
        run(sessions.end({.id = ids[static_cast<std::size_t>(i)], .reason = "x"}, new_write())));
    site.pass(std::chrono::hours(24));
  }
  EXPECT_TRUE(sessions.forgettable().value().empty());
  ASSERT_TRUE(run(settings.put("session.keep_ended_s", std::int64_t{864'000}, "a", new_write())));
  EXPECT_EQ(
      code_of(run(settings.put("session.keep_ended_s", std::int64_t{863'999}, "a", new_write()))),
      "bad_value")
      << "a tombstone that is still needed";
  site.pass(std::chrono::hours(24 * 8) + std::chrono::seconds(1));
  const auto old = sessions.forgettable().value();
  EXPECT_EQ(old, std::vector{ids[0]}) << "ended ten days ago, the other nine";
  ASSERT_TRUE(run(sessions.forget(old)));
  EXPECT_FALSE(sessions.find(ids[0]).value());
  EXPECT_TRUE(sessions.find(ids[1]).value());
  EXPECT_TRUE(sessions.forgettable().value().empty());
  site.pass(std::chrono::hours(24 * 365));
  EXPECT_EQ(sessions.forgettable().value(), std::vector{ids[1]}) << "the third one lives";
}

TEST_F(SiteTest, ANewSiteHasACertificateThatItsAuthoritySigned) {
  const SiteIdentity& identity = *site.identity;
  EXPECT_FALSE(identity.id.is_zero());
  EXPECT_TRUE(access::check_certificate(identity.certificate_pem, site.secrets->certificate_key_pem,
                                        identity.ca_pem, "127.0.0.1", site.now()));
  EXPECT_EQ(site.secrets->grant_key.public_key(), identity.grant_public_key);
  EXPECT_TRUE(accounts.find(Area::site, "alice").value());
  EXPECT_TRUE(accounts.find(Area::appliance, "root").value());
  EXPECT_FALSE(accounts.find(Area::site, "root").value());
}

TEST_F(SiteTest, GenesisRefusesShortPasswordsAndBadNames) {
  pb::SiteInit init;
  init.set_site_name("Example");
  init.set_admin_name("alice");
  init.set_admin_password("short");
  init.set_appliance_admin_name("root");
  init.set_appliance_admin_password("long enough");
  init.add_certificate_names("127.0.0.1");
  EXPECT_EQ(code_of(first_transaction(init, site.node, site.now())), "bad_password");
  init.set_admin_password("long enough");
  EXPECT_EQ(code_of(first_transaction(init, site.node, site.now())), "");
  init.set_admin_name("alice/bob");
  EXPECT_EQ(code_of(first_transaction(init, site.node, site.now())), "bad_name");
  init.set_admin_name("alice");
  init.clear_certificate_names();
  EXPECT_EQ(code_of(first_transaction(init, site.node, site.now())), "bad_name");
}

TEST_F(SiteTest, ATokenHoldsUntilItExpires) {
  const auto alice = accounts.find(Area::site, "alice").value().value();
  const auto issued = run(accounts.issue_token(alice, "192.0.2.1")).value();
  const auto who = accounts.authenticate(issued.token);
  ASSERT_TRUE(who);
  EXPECT_EQ(who->account, "alice");
  EXPECT_EQ(who->area, Area::site);
  site.pass(std::chrono::seconds(43'199));
  EXPECT_TRUE(accounts.authenticate(issued.token));
  site.pass(std::chrono::seconds(1));
  EXPECT_EQ(code_of(accounts.authenticate(issued.token)), "unauthenticated");
}

TEST_F(SiteTest, ATokenEndsWithLogoutNewPasswordOrDisabledAccount) {
  const auto alice = accounts.find(Area::site, "alice").value().value();
  const auto issue = [&] { return run(accounts.issue_token(alice, "192.0.2.1")).value().token; };
  const std::string first = issue();
  ASSERT_TRUE(run(accounts.revoke_token(first, new_write())));
  EXPECT_FALSE(accounts.authenticate(first));

  const std::string second = issue();
  site.pass(std::chrono::milliseconds(1));
  ASSERT_TRUE(run(accounts.set_password(Area::site, "alice", "hash", new_write())));
  EXPECT_FALSE(accounts.authenticate(second));

  const std::string third = issue();
  ASSERT_TRUE(accounts.authenticate(third));
  ASSERT_TRUE(run(accounts.set_disabled(Area::site, "alice", true, new_write())));
  EXPECT_FALSE(accounts.authenticate(third));
}

TEST_F(SiteTest, TokensAreStoredByHashAndAtMostSoManyAnAccount) {
  const auto alice = accounts.find(Area::site, "alice").value().value();
  const std::string first = run(accounts.issue_token(alice, "a")).value().token;
  for (const auto& record : site.log->list(kKindToken).value()) {
    EXPECT_EQ(record.key.find(first), std::string::npos);
    EXPECT_EQ(record.bytes.find(first), std::string::npos);
  }
  for (std::size_t i = 0; i < kTokensPerAccountMax; ++i) {
    site.pass(std::chrono::milliseconds(1));
    ASSERT_TRUE(run(accounts.issue_token(alice, "a")));
  }
  EXPECT_EQ(site.log->list(kKindToken)->size(), kTokensPerAccountMax);
  EXPECT_FALSE(accounts.authenticate(first));
}

TEST_F(SiteTest, AnAppliancesTokenIsGoodOnItsOwnNodeOnly) {
  const auto root = accounts.find(Area::appliance, "root").value().value();
  const auto issued = run(accounts.issue_token(root, "a")).value();
  EXPECT_TRUE(accounts.authenticate(issued.token));
  Context other = *site.context;
  other.node = random_id<NodeId>();
  EXPECT_EQ(code_of(Accounts(other).authenticate(issued.token)), "unauthenticated");
}

TEST_F(SiteTest, AnEnrolTokenWorksAsOftenAsItSays) {
  const std::string token = enrol_token({.uses = 2});
  ASSERT_TRUE(run(endpoints.enrol(enrolment(token, "one"))));
  ASSERT_TRUE(run(endpoints.enrol(enrolment(token, "two"))));
  EXPECT_EQ(code_of(run(endpoints.enrol(enrolment(token, "three")))), "bad_token");
  EXPECT_TRUE(endpoints.find("ONE").value());
  EXPECT_FALSE(endpoints.find("three").value());
}

TEST_F(SiteTest, AnExpiredForeignOrForgedEnrolTokenIsRefused) {
  const std::string token = enrol_token({.expires_in_s = 60});
  auto parsed = access::parse_enrol_token(token).value();
  auto forged = parsed;
  forged.secret = random_bytes(32);
  EXPECT_EQ(code_of(run(endpoints.enrol(enrolment(access::format_enrol_token(forged), "a")))),
            "bad_token");
  auto foreign = parsed;
  foreign.ca_sha256 = sha256_hex("another authority");
  EXPECT_EQ(code_of(run(endpoints.enrol(enrolment(access::format_enrol_token(foreign), "a")))),
            "bad_token");
  auto unknown = parsed;
  unknown.id = random_id<access::EnrolTokenId>();
  EXPECT_EQ(code_of(run(endpoints.enrol(enrolment(access::format_enrol_token(unknown), "a")))),
            "bad_token");
  site.pass(std::chrono::seconds(60));
  EXPECT_EQ(code_of(run(endpoints.enrol(enrolment(token, "a")))), "bad_token");
}

TEST_F(SiteTest, AnEnrolTokenForOneNameEnrolsNoOther) {
  const std::string token = enrol_token({.name = "db-1"});
  EXPECT_EQ(code_of(run(endpoints.enrol(enrolment(token, "db-2")))), "bad_token");
  EXPECT_TRUE(run(endpoints.enrol(enrolment(token, "db-1"))));
}

TEST_F(SiteTest, ARetriedEnrolmentRunsOnce) {
  const std::string token = enrol_token({.uses = 1});
  const Enrolment asked = enrolment(token, "one");
  const auto first = run(endpoints.enrol(asked));
  const auto again = run(endpoints.enrol(asked));
  ASSERT_TRUE(first);
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(first->endpoint.id, again->endpoint.id);
  EXPECT_EQ(first->outcome.revision, again->outcome.revision);
}

TEST_F(SiteTest, NamesOfEndpointsAreUniqueWhateverTheirCase) {
  const std::string token = enrol_token({.uses = 5});
  ASSERT_TRUE(run(endpoints.enrol(enrolment(token, "web"))));
  EXPECT_EQ(code_of(run(endpoints.enrol(enrolment(token, "WEB")))), "conflict");
  ASSERT_TRUE(run(endpoints.remove("Web", new_write())));
  EXPECT_TRUE(run(endpoints.enrol(enrolment(token, "WEB"))));
}

TEST_F(SiteTest, TheLastUseOfATokenIsNotTakenTwice) {
  const std::string token = enrol_token({.uses = 1});
  bool other = false;
  site.writer->before_submit = [&] {  // Between reading the token and writing.
    other = run(endpoints.enrol(enrolment(token, "quick"))).has_value();
  };
  EXPECT_EQ(code_of(run(endpoints.enrol(enrolment(token, "slow")))), "bad_token");
  EXPECT_TRUE(other);
}

TEST_F(SiteTest, AnOpenedSessionCarriesAGrantThatTheAgentCanCheck) {
  ASSERT_TRUE(run(endpoints.enrol(enrolment(enrol_token(), "web"))));
  const auto asked = opening("web");
  const auto opened = run(sessions.open(asked, new_write()));
  ASSERT_TRUE(opened) << opened.error().text();
  const auto claims = access::verify_grant(opened->signed_grant, site.identity->id,
                                           site.identity->grant_public_key);
  ASSERT_TRUE(claims) << claims.error().text();
  EXPECT_EQ(claims->session, opened->id);
  EXPECT_EQ(claims->endpoint, endpoints.find("web").value()->id);
  EXPECT_EQ(claims->person, "alice");
  EXPECT_EQ(claims->console_key, asked.console_key);
  EXPECT_EQ(claims->ttl_s, 900U);
  EXPECT_EQ(claims->recording, "strict");
  EXPECT_TRUE(access::check_grant_time(*claims, site.now()));
  EXPECT_EQ(opened->expires_at.unix_ms, site.now().unix_ms + 300'000);
}

// What an end may do alone is in its grant, which the agent checks by itself.
TEST_F(SiteTest, TheShorterOfTimeToLiveAndTimeOfflineIsInTheGrant) {
  ASSERT_TRUE(run(endpoints.enrol(enrolment(enrol_token(), "web"))));
  const auto ttl_with = [&](std::int64_t ttl, std::int64_t offline) {
    const std::pair<const char*, std::int64_t> values[] = {{"session.ttl_s", ttl},
                                                           {"session.max_offline_s", offline}};
    for (const auto& [key, value] : values)
      EXPECT_TRUE(run(settings.put(key, value, "site/alice", new_write())));
    const auto opened = run(sessions.open(opening("web"), new_write()));
    EXPECT_EQ(sessions.find(opened->id).value()->ttl_s,
              access::verify_grant(opened->signed_grant, site.identity->id,
                                   site.identity->grant_public_key)
                  ->ttl_s);
    return sessions.find(opened->id).value()->ttl_s;
  };
  EXPECT_EQ(ttl_with(900, 3600), 900U);
  EXPECT_EQ(ttl_with(900, 60), 60U);
  EXPECT_EQ(ttl_with(900, 0), access::kSessionTtlSecondsMin);
}

TEST_F(SiteTest, RecordingOffIsStoredAsMetadataForOlderReleases) {
  ASSERT_TRUE(run(endpoints.enrol(enrolment(enrol_token(), "web"))));
  const auto put = [&](const char* word) {
    return run(settings.put("session.recording", std::string(word), "site/alice", new_write()))
        .has_value();
  };
  const auto opened_with = [&] {
    const auto opened = run(sessions.open(opening("web"), new_write()));
    const auto claims = access::verify_grant(opened->signed_grant, site.identity->id,
                                             site.identity->grant_public_key);
    return claims->recording;
  };
  ASSERT_TRUE(put("off"));
  EXPECT_EQ(settings.text("session.recording"), "off");
  EXPECT_EQ(opened_with(), "off");
  pb::SettingValue stored;
  const auto record = site.log->get(kKindSetting, "session.recording").value();
  ASSERT_TRUE(stored.ParseFromString(record->bytes));
  EXPECT_EQ(stored.text(), "metadata") << "what release 0.1.0 reads";
  ASSERT_TRUE(put("strict"));
  EXPECT_EQ(settings.text("session.recording"), "strict");
  EXPECT_EQ(opened_with(), "strict");
}

TEST_F(SiteTest, ARetriedOpeningGivesTheSameSessionAndGrant) {
  ASSERT_TRUE(run(endpoints.enrol(enrolment(enrol_token(), "web"))));
  const auto asked = opening("web");
  const WriteOptions write = new_write();
  const auto first = run(sessions.open(asked, write));
  site.pass(std::chrono::seconds(5));
  const auto again = run(sessions.open(asked, write));
  ASSERT_TRUE(first && again);
  EXPECT_EQ(first->signed_grant, again->signed_grant);
  EXPECT_EQ(first->outcome.revision, again->outcome.revision);
  EXPECT_TRUE(again->outcome.repeated);
  EXPECT_EQ(code_of(run(sessions.open(opening("web"), write))), "conflict");  // Another key.
}

TEST_F(SiteTest, ASessionEndsOnce) {
  ASSERT_TRUE(run(endpoints.enrol(enrolment(enrol_token(), "web"))));
  const auto opened = run(sessions.open(opening("web"), new_write())).value();
  EXPECT_FALSE(sessions.find(opened.id).value()->ended);
  const auto ended = run(sessions.end({opened.id, "ended by alice", 10, 20}, new_write()));
  ASSERT_TRUE(ended);
  const auto stone = access::verify_tombstone(ended->signed_tombstone, site.identity->id,
                                              site.identity->grant_public_key);
  ASSERT_TRUE(stone);
  EXPECT_EQ(stone->session, opened.id);
  site.pass(std::chrono::seconds(5));
  const auto again = run(sessions.end({opened.id, "another reason"}, new_write()));
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->was_ended);
  EXPECT_EQ(again->signed_tombstone, ended->signed_tombstone);
  EXPECT_EQ(again->reason, "ended by alice");
  EXPECT_TRUE(sessions.find(opened.id).value()->ended);
  EXPECT_EQ(code_of(run(sessions.end({random_id<SessionId>(), "x"}, new_write()))), "not_found");
}

TEST_F(SiteTest, ListsFollowTheLog) {
  const std::string token = enrol_token({.uses = 2});
  ASSERT_TRUE(run(endpoints.enrol(enrolment(token, "web"))));
  ASSERT_TRUE(run(endpoints.enrol(enrolment(token, "db"))));
  const auto one = run(sessions.open(opening("web"), new_write())).value();
  site.pass(std::chrono::seconds(1));
  const auto two = run(sessions.open(opening("db"), new_write())).value();
  ASSERT_TRUE(run(sessions.end({one.id, "done", 1, 2}, new_write())));
  ASSERT_TRUE(site.catalog->refresh());
  const auto endpoints_now = site.catalog->endpoints().value();
  ASSERT_EQ(endpoints_now.size(), 2U);
  EXPECT_EQ(endpoints_now[0].name, "db");
  const auto live = site.catalog->sessions(true, 10).value();
  ASSERT_EQ(live.size(), 1U);
  EXPECT_EQ(live[0].id, two.id);
  const auto all = site.catalog->sessions(false, 10).value();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].id, two.id);
  EXPECT_EQ(all[1].bytes_a2c, 2U);
  EXPECT_EQ(site.catalog->session(one.id).value()->end_reason, "done");
  EXPECT_EQ(site.catalog->live_session_count().value(), 1U);
}

TEST_F(SiteTest, SettingsTakeKnownKeysInRangeOnly) {
  const auto put = [&](const char* key, SettingContent value) {
    return code_of(run(settings.put(key, std::move(value), "site/alice", new_write())));
  };
  EXPECT_EQ(put("session.ttl_s", std::int64_t{60}), "");
  EXPECT_EQ(put("session.ttl_s", std::int64_t{9}), "bad_value");
  EXPECT_EQ(put("session.ttl_s", std::string("60")), "bad_value");
  EXPECT_EQ(put("session.recording", std::string("metadata")), "");
  EXPECT_EQ(put("session.recording", std::string("none")), "bad_value");
  EXPECT_EQ(put("session.recording", std::string("")), "bad_value");
  EXPECT_EQ(put("site.banner", std::string(2000, 'x')), "");
  EXPECT_EQ(put("site.banner", std::string(2001, 'x')), "bad_value");
  EXPECT_EQ(put("site.banner", true), "bad_value");
  EXPECT_EQ(put("site.note.rack-7", std::string("third from the left")), "");
  EXPECT_EQ(put("site.note.", std::string("x")), "unknown_setting");
  const auto unknown =
      run(settings.put("site.color", std::string("red"), "site/alice", new_write()));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, "unknown_setting");
  EXPECT_NE(unknown.error().next.find("session.ttl_s"), std::string::npos);
  EXPECT_EQ(settings.number("session.ttl_s"), 60);
  EXPECT_EQ(settings.text("session.recording"), "metadata");
  EXPECT_EQ(settings.number("session.max_offline_s"), 3600);  // Its default.
}

TEST_F(SiteTest, AConditionalWriteLosesAgainstAnotherOne) {
  const auto before = settings.get("site.banner").value();
  EXPECT_EQ(before.revision, Revision{0});
  WriteOptions only_new = new_write();
  only_new.if_match = before.revision;
  ASSERT_TRUE(run(settings.put("site.banner", std::string("a"), "x", only_new)));
  WriteOptions stale = new_write();
  stale.if_match = before.revision;
  EXPECT_EQ(code_of(run(settings.put("site.banner", std::string("b"), "x", stale))), "conflict");
  EXPECT_EQ(settings.text("site.banner"), "a");
}

TEST_F(SiteTest, AWriteWithoutConditionSurvivesARace) {
  site.writer->before_submit = [&] {
    ASSERT_TRUE(run(settings.put("site.banner", std::string("other"), "x", new_write())));
  };
  ASSERT_TRUE(run(settings.put("site.banner", std::string("mine"), "x", new_write())));
  EXPECT_EQ(settings.text("site.banner"), "mine");
}

TEST_F(SiteTest, ARepeatedWriteDoesNotUndoALaterOne) {
  const WriteOptions write = new_write();
  const auto first = run(settings.put("site.banner", std::string("a"), "x", write));
  ASSERT_TRUE(run(settings.put("site.banner", std::string("b"), "x", new_write())));
  const auto again = run(settings.put("site.banner", std::string("a"), "x", write));
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->repeated);
  EXPECT_EQ(again->revision, first->revision);
  EXPECT_EQ(settings.text("site.banner"), "b");
  EXPECT_EQ(code_of(run(settings.put("site.banner", std::string("c"), "x", write))), "conflict");
}

TEST_F(SiteTest, FieldsOfALaterReleaseSurviveAnEdit) {
  pb::SettingValue newer;
  newer.set_text("old");
  std::string bytes = newer.SerializeAsString();
  const std::string unknown("\xf2\x06\x03new", 6);  // Field 110, a text.
  bytes += unknown;
  store::Transaction transaction;
  transaction.writes.push_back(store::Write::put("setting", "site.banner", bytes));
  ASSERT_TRUE(site.log_writer->submit_and_wait(std::move(transaction)));
  ASSERT_TRUE(run(settings.put("site.banner", std::string("edited"), "x", new_write())));
  const auto stored = site.log->get("setting", "site.banner").value();
  ASSERT_TRUE(stored);
  EXPECT_NE(stored->bytes.find(unknown), std::string::npos);
  EXPECT_EQ(settings.text("site.banner"), "edited");
}

}  // namespace
}  // namespace everspan::site
