// Who may do what: log-in, areas, scopes, throttle, strict input, the OpenAPI document.
#include <algorithm>

#include "access/core/scopes.h"
#include "api/test_support/api_fixture.h"

namespace everspan::api {
namespace {

constexpr const char* kPassword = site::LocalSite::kPassword;

TEST_F(ApiTest, LogInGivesATokenThatWorksUntilLogOut) {
  const Reply in = login("alice", kPassword);
  ASSERT_EQ(in.status, 200) << json::serialize(in.body);
  EXPECT_EQ(in.text("area"), "site");
  EXPECT_EQ(in.body.at("scopes").as_array().size(), 7U);
  const std::string token = in.text("token");
  EXPECT_EQ(call("GET", "/api/v1/status", token).status, 200);
  EXPECT_EQ(call("POST", "/api/v1/logout", token).status, 200);
  EXPECT_EQ(call("GET", "/api/v1/status", token).status, 401);
  const auto lines = journalled("login");
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].who, "site/alice");
  EXPECT_NE(lines[0].detail.find("192.0.2.1"), std::string::npos);
}

TEST_F(ApiTest, AWrongPasswordAndAnUnknownAccountLookTheSame) {
  const Reply wrong = login("alice", "not the password");
  const Reply unknown = login("mallory", "not the password");
  const Reply other_area = login("root", kPassword);
  EXPECT_EQ(wrong.status, 401);
  EXPECT_EQ(wrong.body, unknown.body);
  EXPECT_EQ(wrong.body, other_area.body);
  EXPECT_EQ(journalled("login.refused").size(), 3U);
}

TEST_F(ApiTest, GuessingIsSlowedDownAndSaysForHowLong) {
  Reply last;
  int tries = 0;
  for (; tries < 30; ++tries) {
    last = login("alice", "guess " + std::to_string(tries));
    if (last.status == 429) break;
  }
  EXPECT_EQ(tries, 10);
  EXPECT_EQ(last.code(), "slow_down");
  EXPECT_GE(std::stoi(last.headers["Retry-After"]), 1);
  EXPECT_EQ(login("alice", kPassword).status, 429);  // The right one too, for that long.
  instant = instant.load() + std::chrono::seconds(2);
  EXPECT_EQ(login("alice", kPassword).status, 200);
}

TEST_F(ApiTest, TokensOfOneAreaAreNotTakenByTheOther) {
  EXPECT_EQ(call("GET", "/api/v1/settings", root()).status, 403);
  EXPECT_EQ(call("POST", "/api/v1/upgrade/apply", root(), "{}").status, 403);
  EXPECT_EQ(call("GET", "/api/v1/appliance/updates", alice()).status, 403);
  EXPECT_EQ(call("POST", "/api/v1/appliance/updates/refresh", alice()).status, 403);
  EXPECT_EQ(call("GET", "/api/v1/appliance/updates", root()).status, 200);
  EXPECT_EQ(call("GET", "/api/v1/status", root()).status, 200);
  EXPECT_EQ(upgrade.applied, 0);
}

TEST_F(ApiTest, TheApplianceIsReachedOnItsOwnAddressOnly) {
  const std::string token = root();
  node.own_address = false;
  EXPECT_EQ(call("GET", "/api/v1/appliance/updates", token).status, 403);
  EXPECT_EQ(login("root", kPassword, "appliance").status, 403);
  EXPECT_EQ(call("GET", "/api/v1/status", alice()).status, 200);
  node.own_address = true;
  EXPECT_EQ(login("root", kPassword, "appliance").status, 200);
}

TEST_F(ApiTest, EveryCallThatChangesSomethingNeedsItsScope) {
  const std::string nobody = token_of("nobody", {});
  struct Try {
    const char* method;
    const char* path;
  };
  const Try tries[] = {{"PUT", "/api/v1/settings/site.banner"},
                       {"GET", "/api/v1/settings"},
                       {"DELETE", "/api/v1/endpoints/web"},
                       {"POST", "/api/v1/enrol-tokens"},
                       {"POST", "/api/v1/sessions"},
                       {"DELETE", "/api/v1/sessions/00000000000000000000000000000001"},
                       {"GET", "/api/v1/journal"},
                       {"GET", "/api/v1/recordings"},
                       {"POST", "/api/v1/upgrade/plan"},
                       {"POST", "/api/v1/upgrade/apply"},
                       {"POST", "/api/v1/upgrade/rollback"},
                       {"POST", "/api/v1/upgrade/finalize"}};
  for (const Try& each : tries)
    EXPECT_EQ(call(each.method, each.path, nobody).code(), "forbidden") << each.path;
  EXPECT_EQ(call("GET", "/api/v1/status", nobody).status, 200);
  EXPECT_EQ(journalled("access.refused").size(), 8U);  // Those that would have changed something.
}

TEST_F(ApiTest, WithoutATokenOnlyTheOpenPathsAnswer) {
  for (const Api::RouteName& route : Api::routes()) {
    std::string path = route.pattern;
    for (std::size_t at; (at = path.find('{')) != std::string::npos;)
      path.replace(at, path.find('}') - at + 1, "x");
    const Reply reply = call(route.method, path);
    const bool open = path == "/healthz" || path == "/readyz" || path == "/api/v1/login" ||
                      path == "/api/v1/enrol" || path == "/api/v1/openapi.json";
    EXPECT_EQ(reply.status == 401, !open) << route.method << " " << path << " " << reply.status;
  }
  EXPECT_EQ(call("GET", "/api/v1/status", "ess1_notatoken").status, 401);
}

TEST_F(ApiTest, MalformedInputIsRefusedAndChangesNothing) {
  const std::string token = alice();
  const int before = site.writer->submitted;
  const std::string path = "/api/v1/settings/site.banner";
  const std::vector<std::string> bodies{"{",
                                        "[]",
                                        "\"x\"",
                                        "{\"value\":\"x\",\"extra\":1}",
                                        "{}",
                                        "{\"value\":1.5}",
                                        "{\"value\":null}",
                                        "{\"value\":{\"a\":1}}",
                                        "{\"value\":\"\\u0000\"}",
                                        "{\"value\":\"\xff\xfe\"}",
                                        "{\"value\":\"x\"} trailing",
                                        std::string(50, '[') + std::string(50, ']'),
                                        "{\"value\":\"" + std::string(3000, 'x') + "\"}"};
  for (const std::string& body : bodies) {
    const Reply reply = call("PUT", path, token, body);
    EXPECT_EQ(reply.status, 400) << body.substr(0, 60);
  }
  EXPECT_EQ(call("PUT", path, token, "{\"value\":\"x\"}", {{"idempotency-key", "short"}}).status,
            400);
  EXPECT_EQ(call("PUT", path, token, "{\"value\":\"x\"}", {{"if-match", "\"x\""}}).status, 400);
  EXPECT_EQ(site.writer->submitted, before);
}

TEST_F(ApiTest, BodiesAreBoundedBeforeTheyAreRead) {
  http::Request head;
  head.method = "PUT";
  head.path = "/api/v1/settings/site.banner";
  head.segments = {"api", "v1", "settings", "site.banner"};
  EXPECT_EQ(api->body_bytes_max(head), kOpenBodyBytesMax);
  head.headers["authorization"] = "Bearer x";
  EXPECT_EQ(api->body_bytes_max(head), kBodyBytesMax);
  head.segments = {"api", "v1", "nothing"};
  EXPECT_EQ(api->body_bytes_max(head), 0U);
}

TEST_F(ApiTest, EveryRouteIsInTheDocumentAndTheReverse) {
  const json::value document = json::parse(json::string_view(openapi_document()));
  std::vector<std::string> documented;
  std::vector<std::string> served;
  for (const auto& path : document.at("paths").as_object())
    for (const auto& method : path.value().as_object()) {
      std::string upper(method.key());
      std::ranges::transform(upper, upper.begin(), [](char c) { return std::toupper(c); });
      documented.push_back(upper + " " + std::string(path.key()));
    }
  for (const Api::RouteName& route : Api::routes())
    served.push_back(route.method + " " + route.pattern);
  std::ranges::sort(documented);
  std::ranges::sort(served);
  EXPECT_EQ(documented, served);
  EXPECT_EQ(call("GET", "/api/v1/openapi.json").text("openapi"), "3.1.0");
}

TEST_F(ApiTest, ReadyFollowsTheNodeAndAliveDoesNot) {
  EXPECT_EQ(call("GET", "/readyz").status, 200);
  node.serving = false;
  EXPECT_EQ(call("GET", "/readyz").status, 503);
  EXPECT_EQ(call("GET", "/healthz").status, 200);
}

}  // namespace
}  // namespace everspan::api
