// What the calls do: settings, endpoints, sessions, upgrade, journal.
#include "access/core/grant.h"
#include "api/test_support/api_fixture.h"
#include "proto/level.pb.h"

namespace everspan::api {
namespace {

constexpr const char* kBanner = "/api/v1/settings/site.banner";
constexpr const char* kKey = "0123456789abcdef0123456789abcdef";

TEST_F(ApiTest, AWriteSaysWhereItStandsInHistory) {
  const std::string token = alice();
  const Reply put = call("PUT", kBanner, token, R"({"value":"hello"})");
  ASSERT_EQ(put.status, 200) << json::serialize(put.body);
  EXPECT_EQ(put.text("lineage").size(), 32U);
  EXPECT_EQ(put.body.at("epoch").to_number<int>(), 1);
  ASSERT_EQ(put.body.at("stores").as_array().size(), 1U);
  EXPECT_EQ(put.body.at("stores").as_array()[0].as_string(), site.node.hex().c_str());
  const Reply got = call("GET", kBanner, token);
  EXPECT_EQ(got.text("value"), "hello");
  EXPECT_EQ(got.body.at("revision"), put.body.at("revision"));
  EXPECT_EQ(got.headers.at("ETag"), put.headers.at("ETag"));
  const auto lines = journalled("setting.put");
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].who, "site/alice");
  EXPECT_EQ(lines[0].subject, "site.banner");
}

TEST_F(ApiTest, ARetryWithOneKeyRunsOnce) {
  const std::string token = alice();
  const auto put = [&](const char* body) {
    return call("PUT", kBanner, token, body, {{"idempotency-key", kKey}});
  };
  const Reply first = put(R"({"value":"one"})");
  ASSERT_EQ(first.status, 200);
  ASSERT_EQ(call("PUT", kBanner, token, R"({"value":"two"})").status, 200);
  const Reply again = put(R"({"value":"one"})");
  EXPECT_EQ(again.status, 200);
  EXPECT_EQ(again.body.at("revision"), first.body.at("revision"));
  EXPECT_EQ(call("GET", kBanner, token).text("value"), "two");
  EXPECT_EQ(put(R"({"value":"three"})").code(), "conflict");
  EXPECT_EQ(journalled("setting.put").size(), 2U);
}

TEST_F(ApiTest, AnotherPersonsKeyIsAnotherRequest) {
  const std::string bob = token_of("bob", {"settings"});
  const std::map<std::string, std::string> key{{"idempotency-key", kKey}};
  ASSERT_EQ(call("PUT", kBanner, alice(), R"({"value":"alice"})", key).status, 200);
  ASSERT_EQ(call("PUT", kBanner, bob, R"({"value":"bob"})", key).status, 200);
  EXPECT_EQ(call("GET", kBanner, bob).text("value"), "bob");
}

TEST_F(ApiTest, AConditionalWriteThatLostIsAConflict) {
  const std::string token = alice();
  const Reply before = call("GET", kBanner, token);
  const std::map<std::string, std::string> match{{"if-match", before.headers.at("ETag")}};
  ASSERT_EQ(call("PUT", kBanner, token, R"({"value":"a"})", match).status, 200);
  const Reply lost = call("PUT", kBanner, token, R"({"value":"b"})", match);
  EXPECT_EQ(lost.status, 409);
  EXPECT_EQ(lost.code(), "conflict");
  EXPECT_EQ(call("GET", kBanner, token).text("value"), "a");
}

TEST_F(ApiTest, ANumberOfACommandLineIsTakenAsANumber) {
  const std::string token = alice();
  const char* path = "/api/v1/settings/session.ttl_s";
  EXPECT_EQ(call("PUT", path, token, R"({"value":"600"})").status, 200);
  EXPECT_EQ(call("GET", path, token).body.at("value").to_number<int>(), 600);
  EXPECT_EQ(call("PUT", path, token, R"({"value":"600s"})").code(), "bad_value");
  EXPECT_EQ(call("PUT", "/api/v1/settings/site.color", token, R"({"value":"red"})").code(),
            "unknown_setting");
}

TEST_F(ApiTest, AHandOverThatLastsTooLongIsA503WithNothingDone) {
  const std::string token = alice();
  site.writer->fail_with("unavailable");
  const Reply put = call("PUT", kBanner, token, R"({"value":"x"})");
  EXPECT_EQ(put.status, 503);
  EXPECT_FALSE(put.headers.at("Retry-After").empty());
  site.writer->fail_with("");
  EXPECT_EQ(call("GET", kBanner, token).text("value"), "");
  EXPECT_TRUE(journalled("setting.put").empty());
}

TEST_F(ApiTest, AnEndpointEnrolsOnceAndIsListed) {
  const std::string token = alice();
  const Reply made = call("POST", "/api/v1/enrol-tokens", token, R"({"uses":1})");
  ASSERT_EQ(made.status, 200) << json::serialize(made.body);
  const Reply enrolled = enrol(made.text("token"), "web");
  ASSERT_EQ(enrolled.status, 200) << json::serialize(enrolled.body);
  EXPECT_EQ(enrolled.text("site_id"), site.identity->id.hex());
  EXPECT_EQ(enrolled.text("ca_pem"), site.identity->ca_pem);
  EXPECT_EQ(enrol(made.text("token"), "db").code(), "bad_token");
  EXPECT_EQ(enrol("es1.nonsense", "db").code(), "bad_token");
  EXPECT_EQ(journalled("enrol.refused").size(), 2U);

  const Reply list = call("GET", "/api/v1/endpoints", token);
  ASSERT_EQ(list.body.at("endpoints").as_array().size(), 1U);
  EXPECT_EQ(list.body.at("endpoints").at(0).at("online"), json::value(false));
  live.now.agents.push_back({EndpointId::from_hex(enrolled.text("endpoint_id")).value(), "0.1.1"});
  const Reply shown = call("GET", "/api/v1/endpoints/WEB", token);
  EXPECT_EQ(shown.body.at("online"), json::value(true));
  EXPECT_EQ(shown.text("release"), "0.1.1");
  for (const auto& entry : journal->read(0, 1000).value())
    EXPECT_EQ(entry.detail.find(made.text("token")), std::string::npos);
}

TEST_F(ApiTest, ANoteIsWrittenFromFeatureLevel2OnAndFoundByAWord) {
  const std::string token = alice();
  const Reply made = call("POST", "/api/v1/enrol-tokens", token, R"({"uses":2})");
  ASSERT_EQ(enrol(made.text("token"), "web").status, 200);
  ASSERT_EQ(enrol(made.text("token"), "db").status, 200);
  const char* path = "/api/v1/endpoints/web";
  const Reply early = call("PUT", path, token, R"({"note":"rack 7"})");
  EXPECT_EQ(early.status, 409);
  EXPECT_EQ(early.code(), "feature_not_yet");
  EXPECT_EQ(early.body.at("error").at("next").as_string(),
            "Finish the upgrade: everspan upgrade finalize");
  EXPECT_EQ(call("GET", path, token).text("note"), "");

  pb::FeatureLevelRecord level;
  level.set_level(2);
  store::Transaction raise;
  raise.writes.push_back(store::Write::put("feature_level", "site", level.SerializeAsString()));
  ASSERT_TRUE(site.log_writer->submit_and_wait(std::move(raise)));
  EXPECT_EQ(call("PUT", path, token_of("carol", {"sessions"}), R"({"note":"x"})").status, 403);
  const Reply put = call("PUT", path, token, R"({"note":"Rack 7"})");
  ASSERT_EQ(put.status, 200) << json::serialize(put.body);
  EXPECT_EQ(call("GET", path, token).text("note"), "Rack 7");
  EXPECT_EQ(call("GET", path, token).headers.at("ETag"), put.headers.at("ETag"));
  EXPECT_EQ(call("PUT", path, token, R"({"note":"a\nb"})").code(), "bad_value");
  EXPECT_EQ(call("PUT", path, token, R"({"text":"x"})").code(), "bad_request");
  const auto found = [&](const char* word) {
    const Reply reply = call("GET", std::string("/api/v1/endpoints?note=") + word, token);
    EXPECT_EQ(reply.status, 200);
    return reply.body.at("endpoints").as_array().size();
  };
  EXPECT_EQ(found("rack"), 1U);
  EXPECT_EQ(found("cellar"), 0U);
  EXPECT_EQ(found(""), 2U);
  EXPECT_EQ(journalled("endpoint.note_put").size(), 1U);
}

TEST_F(ApiTest, ARetriedEnrolTokenIsTheSameOne) {
  const std::string token = alice();
  const std::map<std::string, std::string> key{{"idempotency-key", kKey}};
  const Reply first = call("POST", "/api/v1/enrol-tokens", token, "{}", key);
  const Reply again = call("POST", "/api/v1/enrol-tokens", token, "{}", key);
  const Reply other = call("POST", "/api/v1/enrol-tokens", token, "{}");
  EXPECT_EQ(first.text("token"), again.text("token"));
  EXPECT_NE(first.text("token"), other.text("token"));
}

TEST_F(ApiTest, RefusedEnrolmentsAreSlowedDownByAddress) {
  Reply last;
  int tries = 0;
  for (; tries < 50 && last.status != 429; ++tries) last = enrol("es1.nonsense", "x");
  EXPECT_EQ(tries, 21);
  address = "192.0.2.99";
  EXPECT_EQ(enrol("es1.nonsense", "x").code(), "bad_token");
}

struct ApiSessionTest : ApiTest {
  std::string token = alice();
  void SetUp() override {
    const Reply made = call("POST", "/api/v1/enrol-tokens", token, "{}");
    ASSERT_EQ(enrol(made.text("token"), "web").status, 200);
  }
  Reply open(std::map<std::string, std::string> headers = {}, std::string key = key_text()) {
    const json::object body{
        {"endpoint", "web"}, {"console_key", key}, {"rights", {"terminal", "exec"}}};
    return call("POST", "/api/v1/sessions", token, json::serialize(body), std::move(headers));
  }
};

TEST_F(ApiSessionTest, OpeningGivesASignedGrantAndTellsTheAgent) {
  const Reply opened = open();
  ASSERT_EQ(opened.status, 200) << json::serialize(opened.body);
  const auto grant = from_base64url(opened.text("grant"));
  ASSERT_TRUE(grant);
  const auto claims =
      access::verify_grant(*grant, site.identity->id, site.identity->grant_public_key);
  ASSERT_TRUE(claims);
  EXPECT_EQ(claims->session.hex(), opened.text("session"));
  EXPECT_EQ(claims->person, "alice");
  EXPECT_EQ(live.opened.size(), 1U);
  EXPECT_EQ(opened.body.at("candidates").at(0).at("port").to_number<int>(), 8443);
  EXPECT_EQ(journalled("session.opened").size(), 1U);
}

TEST_F(ApiSessionTest, ARetriedOpeningIsOneSession) {
  const std::string key = key_text();
  const Reply first = open({{"idempotency-key", kKey}}, key);
  const Reply again = open({{"idempotency-key", kKey}}, key);
  ASSERT_EQ(again.status, 200);
  EXPECT_EQ(first.text("grant"), again.text("grant"));
  const Reply list = call("GET", "/api/v1/sessions", token);
  EXPECT_EQ(list.body.at("sessions").as_array().size(), 1U);
}

TEST_F(ApiSessionTest, AnOfflineEndpointGetsNoSession) {
  live.online = false;
  EXPECT_EQ(open().code(), "endpoint_offline");
  live.online = true;
  live.refuse_open = true;  // It went away between the look and the order.
  EXPECT_EQ(open().status, 409);
  const Reply list = call("GET", "/api/v1/sessions", token);
  EXPECT_TRUE(list.body.at("sessions").as_array().empty());
}

TEST_F(ApiSessionTest, UnknownRightsAndEndpointsAreRefused) {
  const auto ask = [&](const json::object& body) {
    return call("POST", "/api/v1/sessions", token, json::serialize(body)).code();
  };
  EXPECT_EQ(ask({{"endpoint", "web"}, {"console_key", key_text()}, {"rights", {"root"}}}),
            "bad_rights");
  EXPECT_EQ(ask({{"endpoint", "web"}, {"console_key", "AAAA"}, {"rights", {"exec"}}}),
            "bad_request");
  EXPECT_EQ(ask({{"endpoint", "db"}, {"console_key", key_text()}, {"rights", {"exec"}}}),
            "not_found");
}

TEST_F(ApiSessionTest, EndingStoresATombstoneAndTellsTheLegs) {
  const std::string id = open().text("session");
  live.now.sessions.push_back({SessionId::from_hex(id).value(), true, true, 7, 9});
  const std::string path = "/api/v1/sessions/" + id;
  EXPECT_EQ(call("GET", path, token).body.at("legs").at("agent"), json::value(true));
  const Reply ended = call("DELETE", path, token, R"({"reason":"lunch"})");
  ASSERT_EQ(ended.status, 200);
  EXPECT_EQ(ended.text("reason"), "ended by alice: lunch");
  ASSERT_EQ(live.ended.size(), 1U);
  const Reply shown = call("GET", path, token);
  EXPECT_EQ(shown.text("state"), "ended");
  EXPECT_EQ(shown.body.at("bytes_a2c").to_number<int>(), 9);
  EXPECT_EQ(call("DELETE", path, token).text("reason"), "ended by alice: lunch");
  EXPECT_EQ(call("GET", "/api/v1/sessions?state=live", token).body.at("sessions").as_array().size(),
            0U);
  EXPECT_EQ(call("GET", "/api/v1/sessions?state=all", token).body.at("sessions").as_array().size(),
            1U);
  EXPECT_EQ(journalled("session.ended").size(), 1U);
}

TEST_F(ApiSessionTest, RemovingAnEndpointEndsItsSessions) {
  const std::string id = open().text("session");
  const Reply removed = call("DELETE", "/api/v1/endpoints/web", token);
  ASSERT_EQ(removed.status, 200);
  EXPECT_EQ(removed.body.at("sessions_ended").to_number<int>(), 1);
  EXPECT_EQ(live.closed.size(), 1U);
  EXPECT_EQ(call("GET", "/api/v1/sessions/" + id, token).text("state"), "ended");
  EXPECT_EQ(call("DELETE", "/api/v1/endpoints/web", token).status, 404);
}

TEST_F(ApiTest, UpgradesArePlannedAppliedAndSteered) {
  const std::string token = alice();
  const Reply plan = call("POST", "/api/v1/upgrade/plan", token, R"({"to":"0.2.0"})");
  ASSERT_EQ(plan.status, 200) << json::serialize(plan.body);
  EXPECT_EQ(plan.body.at("plan").at("steps").at(0).at("safe"), json::value(false));
  EXPECT_EQ(upgrade.applied, 0);
  EXPECT_EQ(call("GET", "/api/v1/upgrade", token).text("state"), "none");
  const Reply applied =
      call("POST", "/api/v1/upgrade/apply", token, R"({"to":"0.2.0","soak_s":5})");
  ASSERT_EQ(applied.status, 200);
  EXPECT_EQ(upgrade.view.progress.stored.plan.policy.soak, std::chrono::seconds(5));
  const Reply now = call("GET", "/api/v1/upgrade", token);
  EXPECT_EQ(now.text("plan"), applied.text("plan"));
  EXPECT_EQ(now.text("state"), "running");
  EXPECT_EQ(call("GET", "/api/v1/status", token).body.at("upgrade").at("to").as_string(), "0.2.0");
  EXPECT_EQ(call("POST", "/api/v1/upgrade/rollback", token).status, 200);
  EXPECT_EQ(upgrade.asked, std::vector{upgrade::Request::rollback});
  const Reply async = call("POST", "/api/v1/upgrade/plan", token, R"({"method":"async"})");
  EXPECT_EQ(std::string(async.body.at("plan").at("method").as_string()), "async");
  EXPECT_EQ(call("POST", "/api/v1/upgrade/plan", token, R"({"method":"moon"})").status, 400);
  upgrade.refuse = "no_way_back";
  EXPECT_EQ(call("POST", "/api/v1/upgrade/rollback", token).status, 409);
  EXPECT_EQ(journalled("upgrade.applied").size(), 1U);
  EXPECT_EQ(journalled("upgrade.rollback").size(), 1U);
}

TEST_F(ApiTest, AnUpgradesRequestsRunOnceForOneKey) {
  const std::string token = alice();
  const std::map<std::string, std::string> key{{"idempotency-key", kKey}};
  const auto ask = [&](const char* what) {
    const Reply reply = call("POST", std::string("/api/v1/upgrade/") + what, token, "{}", key);
    EXPECT_EQ(reply.status, 200) << what;
    return reply;
  };
  const Reply first = ask("apply");
  EXPECT_EQ(ask("apply").text("plan"), first.text("plan"));
  EXPECT_EQ(upgrade.applied, 1);
  for (const char* what : {"pause", "resume", "finalize", "rollback"}) {
    ask(what);
    ask(what);
  }
  EXPECT_EQ(upgrade.asked.size(), 4U);
  EXPECT_EQ(journalled("upgrade.applied").size(), 1U);
  EXPECT_EQ(journalled("upgrade.paused").size(), 1U);
}

TEST_F(ApiTest, TheDepotsAddressIsThisAppliancesOwnSetting) {
  const std::string token = root();
  const char* path = "/api/v1/appliance/updates/source";
  EXPECT_EQ(call("GET", path, token).text("url"), "");
  EXPECT_EQ(call("PUT", path, token, R"({"url":"https://depot.example:8443"})").status, 200);
  EXPECT_EQ(call("GET", path, token).text("url"), "https://depot.example:8443");
  for (const char* bad : {"", "ftp://x", "https://user:pw@x", "https://a b"})
    EXPECT_EQ(call("PUT", path, token, json::serialize(json::object{{"url", bad}})).status, 400)
        << bad;
  const Reply settings = call("GET", "/api/v1/settings", alice());
  EXPECT_EQ(json::serialize(settings.body).find("depot.example"), std::string::npos);
}

TEST_F(ApiTest, TheJournalIsReadInPages) {
  const std::string token = alice();
  for (int i = 0; i < 5; ++i)
    ASSERT_EQ(call("PUT", kBanner, token, R"({"value":")" + std::to_string(i) + "\"}").status, 200);
  ASSERT_EQ(journalled("setting.put").size(), 5U);
  std::size_t seen = 0;
  std::string after = "0";
  for (int page = 0; page < 20; ++page) {
    const Reply reply = call("GET", "/api/v1/journal?limit=2&after=" + after, token);
    ASSERT_EQ(reply.status, 200);
    const json::array& entries = reply.body.at("entries").as_array();
    if (entries.empty()) break;
    for (const json::value& entry : entries)
      if (entry.at("what").as_string() == "setting.put") ++seen;
    after = json::serialize(reply.body.at("next"));
  }
  EXPECT_EQ(seen, 5U);
  EXPECT_EQ(call("GET", "/api/v1/journal?limit=0", token).status, 400);
  EXPECT_EQ(call("GET", "/api/v1/journal?after=x", token).status, 400);
}

TEST_F(ApiTest, VerifyIsOkOnlyWhenEveryCheckIs) {
  const std::string token = alice();
  EXPECT_EQ(call("POST", "/api/v1/verify", token).body.at("ok"), json::value(true));
  live.online = false;
  EXPECT_EQ(call("POST", "/api/v1/verify", token).body.at("ok"), json::value(false));
}

}  // namespace
}  // namespace everspan::api
