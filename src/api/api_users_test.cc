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

struct ApiApplianceUsersTest : ApiTest {
  const std::string base = "/api/v1/appliance/users";
  const std::string first = base + "/root";
  std::string token = root();
  Reply add(const char* name, json::array scopes) {
    const json::object body{{"name", name}, {"password", "a long password"}, {"scopes", scopes}};
    return call("POST", base, token, json::serialize(body));
  }
};

TEST_F(ApiApplianceUsersTest, AnAccountOfTheApplianceHasItsLifeToo) {
  const Reply added = add("carol", {"updates"});
  ASSERT_EQ(added.status, 200) << json::serialize(added.body);
  const Reply in = login("carol", "a long password", "appliance");
  ASSERT_EQ(in.status, 200);
  const std::string carol = in.text("token");
  EXPECT_EQ(call("GET", "/api/v1/appliance/updates", carol).status, 200);
  EXPECT_EQ(call("GET", base, carol).status, 403) << "not without the scope node";
  EXPECT_EQ(login("carol", "a long password").status, 401) << "nobody at the site";
  const Reply list = call("GET", base, token);
  ASSERT_EQ(list.body.at("users").as_array().size(), 2U);
  EXPECT_EQ(json::serialize(list.body).find("hash"), std::string::npos);
  const Reply given = call("PUT", base + "/carol/scopes", token, R"({"give":["node"]})");
  EXPECT_EQ(json::serialize(given.body.at("scopes")), R"(["updates","node"])");
  EXPECT_EQ(call("GET", base, carol).status, 200);
  EXPECT_EQ(call("PUT", first + "/password", carol, R"({"password":"a new password"})").code(),
            "forbidden")
      << "who has more than he has";

  site.pass(std::chrono::milliseconds(5));
  const Reply own = call("PUT", "/api/v1/appliance/password", carol,
                         R"({"old_password":"a long password","password":"a new password"})");
  ASSERT_EQ(own.status, 200) << json::serialize(own.body);
  EXPECT_EQ(call("GET", base, carol).status, 401);
  const std::string again = login("carol", "a new password", "appliance").text("token");
  EXPECT_EQ(call("GET", base, again).status, 200);
  site.pass(std::chrono::milliseconds(5));
  EXPECT_EQ(call("POST", base + "/carol/disable", token, "{}").status, 200);
  EXPECT_EQ(call("GET", base, again).status, 401);
  EXPECT_EQ(login("carol", "a new password", "appliance").status, 401);
  EXPECT_EQ(call("POST", base + "/carol/enable", token, "{}").status, 200);
  EXPECT_EQ(call("DELETE", base + "/carol", token).status, 200);
  EXPECT_EQ(call("GET", base + "/carol", token).status, 404);
  for (const char* what : {"user.added", "user.scopes_changed", "user.own_password_set",
                           "user.disabled", "user.enabled", "user.removed"}) {
    const auto lines = journalled(what);
    ASSERT_EQ(lines.size(), 1U) << what;
    EXPECT_EQ(lines[0].subject, "appliance/carol");
    EXPECT_TRUE(lines[0].who.starts_with("appliance/")) << lines[0].who;
  }
}

TEST_F(ApiApplianceUsersTest, TheRulesOfTheSiteHoldHereToo) {
  EXPECT_EQ(add("carol", {"sessions"}).code(), "bad_scope");
  EXPECT_EQ(add("root", {}).code(), "conflict");
  EXPECT_EQ(call("POST", base, token, R"({"name":"c","password":"short","scopes":[]})").code(),
            "bad_password");
  EXPECT_EQ(call("DELETE", first, token).code(), "refused");
  EXPECT_EQ(call("POST", first + "/disable", token, "{}").code(), "refused");
  EXPECT_EQ(call("GET", base, alice()).code(), "forbidden") << "the site's authority";
  EXPECT_EQ(call("GET", "/api/v1/users", token).code(), "forbidden");
  EXPECT_EQ(call("DELETE", "/api/v1/users/alice", token).code(), "forbidden");
  node.own_address = false;
  EXPECT_EQ(call("GET", base, token).code(), "forbidden") << "on its own address only";
}

// Guesses at the old password count as log-ins of the area do.
TEST_F(ApiApplianceUsersTest, GuessingOnesOwnPasswordIsSlowedDown) {
  const char* body = R"({"old_password":"a guess","password":"a new password"})";
  int tries = 0;
  while (tries < 30 && call("PUT", "/api/v1/appliance/password", token, body).status == 403)
    ++tries;
  EXPECT_EQ(tries, 10);
  EXPECT_EQ(login("root", kPassword, "appliance").status, 429);
  EXPECT_EQ(login("alice", kPassword).status, 200);
}

}  // namespace
}  // namespace everspan::api
