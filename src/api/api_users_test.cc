// Administration of users over the API.
#include "api/test_support/api_fixture.h"

namespace everspan::api {
namespace {

constexpr const char* kPassword = site::LocalSite::kPassword;

struct ApiUsersTest : ApiTest {
  std::string token = alice();
  Reply add(const char* name, json::array scopes, std::map<std::string, std::string> headers = {}) {
    const json::object body{{"name", name}, {"password", "a long password"}, {"scopes", scopes}};
    return call("POST", "/api/v1/users", token, json::serialize(body), std::move(headers));
  }
};

TEST_F(ApiUsersTest, AUserIsAddedAndLogsInWithHisScopes) {
  const Reply added = add("bob", {"sessions", "audit"});
  ASSERT_EQ(added.status, 200) << json::serialize(added.body);
  EXPECT_EQ(added.text("name"), "bob");
  EXPECT_EQ(added.body.at("stores").as_array().size(), 1U);
  const Reply in = login("bob", "a long password");
  ASSERT_EQ(in.status, 200);
  EXPECT_EQ(in.body.at("scopes").as_array().size(), 2U);
  EXPECT_EQ(call("GET", "/api/v1/users", in.text("token")).status, 403);
  const Reply list = call("GET", "/api/v1/users", token);
  ASSERT_EQ(list.body.at("users").as_array().size(), 2U);
  EXPECT_EQ(list.body.at("users").at(0).at("administrator"), json::value(true));
  EXPECT_EQ(json::serialize(list.body).find("hash"), std::string::npos);
  const auto lines = journalled("user.added");
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].subject, "site/bob");
  EXPECT_EQ(lines[0].detail.find("password"), std::string::npos);
}

TEST_F(ApiUsersTest, ARetriedAddIsOneUserAndATakenNameAConflict) {
  const std::map<std::string, std::string> key{
      {"idempotency-key", "0123456789abcdef0123456789abcdef"}};
  const Reply first = add("bob", {"sessions"}, key);
  const Reply again = add("bob", {"sessions"}, key);
  EXPECT_EQ(again.status, 200);
  EXPECT_EQ(first.body.at("revision"), again.body.at("revision"));
  EXPECT_EQ(add("bob", {"sessions"}).code(), "conflict");
  EXPECT_EQ(add("bo b", {}).code(), "bad_name");
  EXPECT_EQ(add("eve", {"appliance"}).code(), "bad_scope");
  EXPECT_EQ(journalled("user.added").size(), 1U);
}

TEST_F(ApiUsersTest, ADisabledUsersTokensEndAtOnce) {
  const std::string bob = token_of("bob", {"sessions", "settings"});
  ASSERT_EQ(call("GET", "/api/v1/settings", bob).status, 200);
  site.pass(std::chrono::milliseconds(5));
  const Reply off = call("POST", "/api/v1/users/bob/disable", token, "{}");
  ASSERT_EQ(off.status, 200) << json::serialize(off.body);
  EXPECT_EQ(off.body.at("disabled"), json::value(true));
  EXPECT_EQ(call("GET", "/api/v1/settings", bob).status, 401);
  EXPECT_EQ(call("POST", "/api/v1/sessions", bob, "{}").status, 401) << "no new grant";
  EXPECT_EQ(call("POST", "/api/v1/users/bob/enable", token, "{}").status, 200);
  EXPECT_EQ(call("GET", "/api/v1/settings", bob).status, 401) << "void for good";
  EXPECT_EQ(journalled("user.disabled").size(), 1U);
  EXPECT_EQ(journalled("user.enabled").size(), 1U);
}

TEST_F(ApiUsersTest, TheLastAdministratorCannotBeTakenAway) {
  const Reply off = call("POST", "/api/v1/users/alice/disable", token, "{}");
  EXPECT_EQ(off.status, 409);
  EXPECT_EQ(off.code(), "refused");
  EXPECT_FALSE(off.body.at("error").at("next").as_string().empty());
  EXPECT_EQ(call("DELETE", "/api/v1/users/alice", token).code(), "refused");
  EXPECT_EQ(call("PUT", "/api/v1/users/alice/scopes", token, R"({"take":["users"]})").code(),
            "refused");
  EXPECT_EQ(call("GET", "/api/v1/users/alice", token).body.at("administrator"), json::value(true));
}

TEST_F(ApiUsersTest, ScopesAreGivenAndTakenAndRemovedUsersAreGone) {
  ASSERT_EQ(add("bob", {"sessions"}).status, 200);
  const Reply changed =
      call("PUT", "/api/v1/users/bob/scopes", token, R"({"give":["audit"],"take":["sessions"]})");
  ASSERT_EQ(changed.status, 200) << json::serialize(changed.body);
  EXPECT_EQ(json::serialize(changed.body.at("scopes")), R"(["audit"])");
  EXPECT_EQ(call("DELETE", "/api/v1/users/bob", token).status, 200);
  EXPECT_EQ(call("GET", "/api/v1/users/bob", token).status, 404);
  EXPECT_EQ(call("DELETE", "/api/v1/users/bob", token).status, 404);
  EXPECT_EQ(journalled("user.removed").size(), 1U);
}

TEST_F(ApiUsersTest, APersonChangesHisOwnPasswordKnowingTheOldOne) {
  const char* path = "/api/v1/password";
  EXPECT_EQ(
      call("PUT", path, token, R"({"old_password":"guess","password":"a new password"})").status,
      403);
  EXPECT_EQ(call("PUT", path, token, R"({"old_password":"guess","password":"short"})").code(),
            "bad_password");
  site.pass(std::chrono::milliseconds(5));
  const json::object body{{"old_password", kPassword}, {"password", "a new password"}};
  ASSERT_EQ(call("PUT", path, token, json::serialize(body)).status, 200);
  EXPECT_EQ(journalled("access.refused").size(), 1U) << "the guess";
  EXPECT_EQ(call("GET", "/api/v1/settings", token).status, 401);
  EXPECT_EQ(login("alice", kPassword).status, 401);
  EXPECT_EQ(login("alice", "a new password").status, 200);
}

}  // namespace
}  // namespace everspan::api
