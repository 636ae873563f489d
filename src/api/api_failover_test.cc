// The pair at the API: who may do what, what a node says that does not serve, and who can still log
// in to it.
#include "api/detail/local_logins.h"
#include "api/test_support/api_fixture.h"

namespace everspan::api {
namespace {

constexpr const char* kPassword = site::LocalSite::kPassword;
constexpr const char* kEstablish =
    R"({"backup":"127.0.0.2:8443","reverse":"a.test:8443","key":"the secret"})";

struct ApiFailover : ApiTest {
  // Writes of this node fail as those of a backup do.
  void be_backup(bool primary_reachable) {
    failover.make_pair(site.node, "backup");
    failover.elsewhere->reachable = primary_reachable;
    site.writer->fail_with("not_primary");
  }
  std::string journal_text() {
    std::string out;
    for (const auto& entry : journal->read(0, 10'000).value())
      out += entry.who + " " + entry.what + " " + entry.subject + " " + entry.detail + "\n";
    return out;
  }
};

TEST_F(ApiFailover, StatusShowsBothNodesToEitherAuthorityAndUnknownAsNull) {
  failover.make_pair(site.node, "primary");
  for (const std::string& token : {alice(), root()}) {
    const Reply reply = call("GET", "/api/v1/failover", token);
    ASSERT_EQ(reply.status, 200) << json::serialize(reply.body);
    EXPECT_EQ(reply.text("role"), "primary");
    EXPECT_EQ(reply.body.at("peer").at("connected"), true);
    EXPECT_EQ(reply.body.at("peer").at("clock_ahead_ms"), -12);
    EXPECT_EQ(reply.body.at("stores").at(0).at("durable"), 9);
    EXPECT_TRUE(reply.body.at("stores").at(1).at("durable").is_null());
    EXPECT_EQ(reply.body.at("stores").at(1).at("in_sync"), true);
    EXPECT_EQ(reply.body.at("lag").at("records"), 0);
    EXPECT_TRUE(reply.body.at("lag").at("bytes").is_null());
    EXPECT_TRUE(reply.body.at("last_in_sync").is_null());
    EXPECT_TRUE(reply.body.at("journal_missing_bytes").is_null());
    EXPECT_EQ(reply.body.at("history").at(0).at("why"), "established");
    EXPECT_EQ(reply.body.at("nodes").as_array().size(), 2U);
  }
  EXPECT_EQ(call("GET", "/api/v1/failover").status, 401);
  failover.now.peer.reset();
  EXPECT_TRUE(call("GET", "/api/v1/failover", alice()).body.at("peer").is_null());
}

TEST_F(ApiFailover, StatusAboutAndLogInNameTheNodes) {
  failover.make_pair(site.node, "primary");
  const Reply status = call("GET", "/api/v1/status", alice());
  EXPECT_EQ(status.text("role"), "primary");
  EXPECT_EQ(status.text("node_role"), "primary");
  EXPECT_EQ(status.body.at("peer").at("address"), "127.0.0.2:8443");
  EXPECT_EQ(status.body.at("peer_in_sync"), true);
  EXPECT_EQ(status.body.at("nodes").at(1).at("role"), "backup");
  const Reply about = call("GET", "/api/v1/about", alice());
  EXPECT_EQ(about.text("node_id"), site.node.hex());
  EXPECT_EQ(about.text("node_role"), "primary");
  const Reply in = login("alice", kPassword);
  EXPECT_EQ(in.body.at("nodes").at(0).at("address"), "127.0.0.1:8443");
  EXPECT_EQ(in.body.at("local"), false);
}

TEST_F(ApiFailover, TheKeyIsTheAppliancesAndItsSecretIsGivenOnceAndWrittenNowhere) {
  EXPECT_EQ(call("GET", "/api/v1/appliance/failover/key", alice()).status, 403);
  EXPECT_EQ(call("POST", "/api/v1/appliance/failover/key", alice()).status, 403);
  const Reply shown = call("GET", "/api/v1/appliance/failover/key", root());
  EXPECT_EQ(shown.text("fingerprint"), "0011 2233 4455 6677");
  EXPECT_FALSE(shown.body.contains("key"));
  EXPECT_EQ(call("POST", "/api/v1/appliance/failover/key", root()).code(), "exists");
  const Reply made = call("POST", "/api/v1/appliance/failover/key", root(), R"({"replace":true})");
  EXPECT_EQ(made.text("key"), "the secret");
  EXPECT_EQ(failover.callers.back().who, "appliance/root");
  EXPECT_EQ(call("POST", "/api/v1/failover/establish", alice(), kEstablish).status, 200);
  EXPECT_TRUE(journalled("access.refused").size() == 1U) << journal_text();
  EXPECT_EQ(journal_text().find("the secret"), std::string::npos);
}

TEST_F(ApiFailover, RolesAndTheRelationshipNeedTheirScope) {
  const std::string upgrader = token_of("bob", {"upgrade", "settings", "users"});
  const std::string operator_token = token_of("carol", {"failover"});
  const std::vector<std::pair<std::string, std::string>> calls = {
      {"establish", kEstablish},
      {"sync", "{}"},
      {"become", R"({"role":"primary"})"},
      {"break", "{}"}};
  for (const auto& [what, body] : calls) {
    EXPECT_EQ(call("POST", "/api/v1/failover/" + what, upgrader, body).status, 403) << what;
    EXPECT_EQ(call("POST", "/api/v1/failover/" + what, root(), body).status, 403) << what;
    EXPECT_EQ(call("POST", "/api/v1/failover/" + what, operator_token, body).status, 200) << what;
    EXPECT_EQ(failover.callers.back().who, "site/carol");
  }
  EXPECT_EQ(call("GET", "/api/v1/failover/orphans", upgrader).status, 403);
  EXPECT_EQ(failover.callers.size(), 4U);
  EXPECT_EQ(journalled("access.refused").size(), 8U);
  // What was done is journalled by the service that did it, not twice.
  for (const char* word : {"failover.established", "failover.synced", "failover.broken"})
    EXPECT_TRUE(journalled(word).empty()) << word;
}

TEST_F(ApiFailover, TheIdOfARequestIsTheSameForARepeatedCall) {
  const std::map<std::string, std::string> key = {{"idempotency-key", std::string(32, 'a')}};
  const std::string token = alice();
  call("POST", "/api/v1/failover/break", token, "{}", key);
  call("POST", "/api/v1/failover/break", token, "{}", key);
  call("POST", "/api/v1/failover/break", token, "{}");
  ASSERT_EQ(failover.callers.size(), 3U);
  EXPECT_EQ(failover.callers[0].request, failover.callers[1].request);
  EXPECT_NE(failover.callers[0].request, failover.callers[2].request);
}

TEST_F(ApiFailover, EstablishingShowsItsChecksAlsoWhereItIsRefused) {
  const std::string token = alice();
  failover.report.checks = {{"reach", true, false, "127.0.0.2:8443"},
                            {"address", true, true, "it is the site's"},
                            {"clock", false, false, "7 minutes apart"}};
  failover.report.would = "It would take a copy";
  failover.report.refused =
      Error{"clock", "The clocks are 7 minutes apart", "Nothing was changed", "Set them"};
  const Reply checked = call("POST", "/api/v1/failover/establish", token,
                             R"({"backup":"b:1","reverse":"a:1","dry_run":true})");
  EXPECT_EQ(checked.status, 200);
  EXPECT_EQ(checked.body.at("refused").at("code"), "clock");
  EXPECT_EQ(checked.body.at("checks").as_array().size(), 3U);
  EXPECT_TRUE(checked.body.at("backup").is_null());
  const Reply refused = call("POST", "/api/v1/failover/establish", token, kEstablish);
  EXPECT_EQ(refused.status, 409);
  EXPECT_EQ(refused.code(), "clock");
  EXPECT_EQ(refused.body.at("checks").at(1).at("warning"), true);
  ASSERT_EQ(failover.establishing.size(), 2U);
  EXPECT_TRUE(failover.establishing[0].dry_run);
  EXPECT_EQ(failover.establishing[1].reverse.text(), "a.test:8443");
  EXPECT_EQ(failover.establishing[1].key, "the secret");
  EXPECT_FALSE(failover.establishing[1].overwrite_backup);
}

TEST_F(ApiFailover, AddressesWithoutAPortAndUnknownMembersAreRefusedBeforeAnythingHappens) {
  const std::string token = alice();
  for (const char* body :
       {R"({"backup":"b","reverse":"a:1"})", R"({"backup":"b:0","reverse":"a:1"})",
        R"({"backup":"b:1"})", R"({"backup":"b:1","reverse":""})",
        R"({"backup":"b:1","reverse":"a:1","force":true})",
        R"({"backup":"b/c:1","reverse":"a:1"})"})
    EXPECT_EQ(call("POST", "/api/v1/failover/establish", token, body).status, 400) << body;
  EXPECT_EQ(call("POST", "/api/v1/failover/become", token, R"({"role":"king"})").status, 400);
  EXPECT_EQ(call("POST", "/api/v1/failover/become", token, "{}").status, 400);
  EXPECT_EQ(call("POST", "/api/v1/failover/sync", token, R"({"wait_s":61})").status, 400);
  EXPECT_TRUE(failover.callers.empty());
}

TEST_F(ApiFailover, ForcingSaysWhatMayBeLostBeforeAnythingIsDone) {
  failover.became = {.done = false,
                     .role = "backup",
                     .epoch = Epoch{3},
                     .lineage = {},
                     .may_be_lost = "5 entries since 10:00",
                     .token = "t1"};
  const std::string token = alice();
  const Reply preview = call("POST", "/api/v1/failover/become", token,
                             R"({"role":"primary","even_if_unreachable":true})");
  EXPECT_EQ(preview.body.at("done"), false);
  EXPECT_EQ(preview.text("may_be_lost"), "5 entries since 10:00");
  call("POST", "/api/v1/failover/become", token,
       R"({"role":"primary","even_if_unreachable":true,"agreed":"t1"})");
  ASSERT_EQ(failover.becoming.size(), 2U);
  EXPECT_TRUE(failover.becoming[0].agreed.empty());
  EXPECT_EQ(failover.becoming[1].agreed, "t1");
  EXPECT_TRUE(failover.becoming[1].primary);
}

TEST_F(ApiFailover, SyncIsAskedAgainForTheSameEntry) {
  failover.make_pair(site.node, "primary");
  failover.sync = {
      .done = false, .target = Revision{41}, .missing = "1 entry", .status = failover.now};
  const std::string token = alice();
  const Reply first = call("POST", "/api/v1/failover/sync", token, R"({"wait_s":0})");
  EXPECT_EQ(first.body.at("target"), 41);
  EXPECT_EQ(first.body.at("status").at("role"), "primary");
  call("POST", "/api/v1/failover/sync", token, R"({"target":41,"wait_s":0})");
  ASSERT_EQ(failover.synced.size(), 2U);
  EXPECT_FALSE(failover.synced[0]);
  EXPECT_EQ(failover.synced[1], Revision{41});
  failover.refuse = "no_peer";
  EXPECT_EQ(call("POST", "/api/v1/failover/sync", token, "{}").status, 409);
}

TEST_F(ApiFailover, OrphansAreListedAndShownWithoutValues) {
  failover.cut = {{"orphan-7-9.es", 300, Revision{7}, Revision{9}, WallTime{1'700'000'000'000}}};
  const std::string token = alice();
  const Reply list = call("GET", "/api/v1/failover/orphans", token);
  EXPECT_EQ(list.body.at("orphans").at(0).at("name"), "orphan-7-9.es");
  const Reply one = call("GET", "/api/v1/failover/orphans/orphan-7-9.es?after=6&limit=1", token);
  ASSERT_EQ(one.status, 200) << json::serialize(one.body);
  EXPECT_EQ(one.body.at("entries").at(0).at("revision"), 7);
  EXPECT_EQ(one.body.at("entries").at(0).at("changes").at(0).at("key"), "motd");
  EXPECT_EQ(one.body.at("more"), true);
  for (const char* bad : {".hidden", "none", "a%20b"})
    EXPECT_EQ(call("GET", std::string("/api/v1/failover/orphans/") + bad, token).status / 100, 4)
        << bad;
  EXPECT_EQ(call("GET", "/api/v1/failover/orphans/none?limit=0", token).status, 400);
}

TEST_F(ApiFailover, EveryWriteOfABackupNamesThePrimaryAndReadsAreServed) {
  const std::string token = alice();
  const std::string of_node = root();
  be_backup(true);
  const std::vector<std::array<std::string, 3>> writes = {
      {"PUT", "/api/v1/settings/site.banner", R"({"value":"x"})"},
      {"POST", "/api/v1/enrol-tokens", "{}"},
      {"POST", "/api/v1/users", R"({"name":"eve","password":"long enough","scopes":[]})"},
      {"POST", "/api/v1/logout", ""}};
  for (const auto& [method, path, body] : writes) {
    const Reply reply = call(method, path, token, body);
    EXPECT_EQ(reply.status, 409) << path << json::serialize(reply.body);
    EXPECT_EQ(reply.code(), "not_primary") << path;
    EXPECT_EQ(reply.body.at("error").at("address"), "127.0.0.2:8443");
    EXPECT_EQ(reply.headers.at("Location"), "https://127.0.0.2:8443" + path);
  }
  EXPECT_EQ(login("alice", kPassword).code(), "not_primary");
  for (const char* path : {"/api/v1/settings", "/api/v1/status", "/api/v1/users", "/api/v1/journal",
                           "/api/v1/sessions", "/api/v1/failover"})
    EXPECT_EQ(call("GET", path, token).status, 200) << path;
  EXPECT_EQ(call("GET", "/api/v1/status", of_node).text("node_role"), "backup");
  // Nobody knows where the primary is: no address rather than a wrong one.
  failover.elsewhere->address.reset();
  const Reply lost = call("POST", "/api/v1/enrol-tokens", token, "{}");
  EXPECT_EQ(lost.code(), "not_primary");
  EXPECT_FALSE(lost.body.at("error").as_object().contains("address"));
  EXPECT_FALSE(lost.headers.contains("Location"));
}

TEST_F(ApiFailover, ABackupIsAliveAndNotReady) {
  EXPECT_EQ(call("GET", "/readyz").status, 200);
  be_backup(true);
  EXPECT_EQ(call("GET", "/healthz").status, 200);
  const Reply ready = call("GET", "/readyz");
  EXPECT_EQ(ready.status, 503);
  EXPECT_EQ(ready.body.at("ready"), false);
  EXPECT_EQ(ready.text("role"), "backup");
  EXPECT_EQ(ready.text("primary"), "127.0.0.2:8443");
  failover.elsewhere->address.reset();
  EXPECT_TRUE(call("GET", "/readyz").body.at("primary").is_null());
  node.serving = false;
  EXPECT_EQ(call("GET", "/readyz").text("why"), "It hands over");
}

TEST_F(ApiFailover, ABackupThatIsCutOffLetsPeopleInUntilTheirAccountChanges) {
  be_backup(false);
  const Reply in = login("alice", kPassword);
  ASSERT_EQ(in.status, 200) << json::serialize(in.body);
  EXPECT_EQ(in.body.at("local"), true);
  const std::string token = in.text("token");
  EXPECT_EQ(call("POST", "/api/v1/failover/become", token, R"({"role":"primary"})").status, 200);
  EXPECT_EQ(failover.callers.back().who, "site/alice");
  EXPECT_EQ(login("alice", "not the password").status, 401);
  const auto lines = journalled("login");
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_NE(lines[0].detail.find(R"("local":true)"), std::string::npos);
  // Logged out: gone, without a write.
  const std::string other = login("alice", kPassword).text("token");
  EXPECT_EQ(call("POST", "/api/v1/logout", other).status, 200);
  EXPECT_EQ(call("GET", "/api/v1/status", other).status, 401);
  // This node becomes the primary; a changed account ends the log-in.
  site.writer->fail_with("");
  failover.elsewhere.reset();
  EXPECT_EQ(call("GET", "/api/v1/status", token).status, 200);
  site::Accounts accounts(*site.context);
  ASSERT_TRUE(
      site::run(accounts.set_password(access::Area::site, "alice", "x", site::new_write())));
  EXPECT_EQ(call("GET", "/api/v1/status", token).status, 401);
}

TEST_F(ApiFailover, ABackupsApplianceIsAdministeredThereAlsoWhileThePrimaryLives) {
  be_backup(true);
  const Reply in = login("root", kPassword, "appliance");
  ASSERT_EQ(in.status, 200) << json::serialize(in.body);
  EXPECT_EQ(in.body.at("local"), true);
  EXPECT_EQ(call("GET", "/api/v1/appliance/failover/key", in.text("token")).status, 200);
  node.own_address = false;
  EXPECT_EQ(call("GET", "/api/v1/appliance/failover/key", in.text("token")).status, 403);
}

TEST_F(ApiFailover, ALogInThatOnlyThisNodeKnowsRunsOut) {
  be_backup(false);
  const std::string token = login("alice", kPassword).text("token");
  EXPECT_EQ(call("GET", "/api/v1/status", token).status, 200);
  site.pass(LocalLogins::kTtl);
  EXPECT_EQ(call("GET", "/api/v1/status", token).status, 401);
}

TEST_F(ApiFailover, LocalLogInsAreBounded) {
  LocalLogins logins;
  const site::AccountRecord account{.name = "a", .revision = Revision{1}};
  std::vector<std::string> tokens;
  for (std::size_t i = 0; i <= LocalLogins::kMost; ++i)
    tokens.push_back(logins.issue(account, WallTime{static_cast<std::int64_t>(i)}).token);
  EXPECT_FALSE(logins.find(tokens.front(), WallTime{100}));
  EXPECT_TRUE(logins.find(tokens.back(), WallTime{100}));
  EXPECT_FALSE(logins.find("ess1_unknown", WallTime{100}));
}

TEST_F(ApiFailover, AnOpenedSessionNamesTheNodesThatItsLegsMayDial) {
  failover.make_pair(site.node, "primary");
  const std::string token = alice();
  const Reply enrolment = call("POST", "/api/v1/enrol-tokens", token, "{}");
  ASSERT_EQ(enrol(enrolment.text("token"), "desk").status, 200);
  const Reply opened = call(
      "POST", "/api/v1/sessions", token,
      json::serialize(json::object{
          {"endpoint", "desk"}, {"console_key", key_text()}, {"rights", json::array{"terminal"}}}));
  ASSERT_EQ(opened.status, 200) << json::serialize(opened.body);
  const auto& candidate = opened.body.at("candidates").at(0).as_object();
  EXPECT_EQ(std::string(candidate.at("node_id").as_string()), site.node.hex());
  EXPECT_EQ(candidate.at("role"), "primary");
  EXPECT_FALSE(candidate.contains("node")) << "a name to expect in the certificate";
}

}  // namespace
}  // namespace everspan::api
