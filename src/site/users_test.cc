// W1 to W3 of users.h, each as its own story.
#include "site/users.h"

#include <gtest/gtest.h>

#include <set>

#include "proto/records.pb.h"
#include "site/accounts.h"
#include "site/records.h"
#include "site/test_support/local_site.h"

namespace everspan::site {
namespace {

using access::Area;

template <class T>
std::string code_of(const Result<T>& result) {
  return result ? "" : result.error().code;
}

struct UsersTest : testing::Test {
  LocalSite site;
  Users users{*site.context};
  Accounts accounts{*site.context};
  const access::Identity alice{Area::site, "alice", every_scope()};

  static std::vector<std::string> every_scope() {
    const auto all = access::scopes_of(Area::site);
    return {all.begin(), all.end()};
  }
  std::string add(const std::string& name, std::vector<std::string> scopes) {
    return code_of(
        run(users.add(alice, {.name = name, .scopes = std::move(scopes)}, "hash", new_write())));
  }
  std::string disable(const std::string& name) {
    return code_of(run(users.set_disabled(alice, name, true, new_write())));
  }
  std::string token_of(const std::string& name) {
    const auto account = accounts.find(Area::site, name).value().value();
    return run(accounts.issue_token(account, "test")).value().token;
  }
};

TEST_F(UsersTest, AreAddedListedAndChanged) {
  EXPECT_EQ(add("bob", {"sessions"}), "");
  EXPECT_EQ(add("bob", {}), "conflict");
  EXPECT_EQ(add("-bob", {}), "bad_name");
  EXPECT_EQ(add("carol", {"root"}), "bad_scope");
  ASSERT_TRUE(run(users.change_scopes(alice, "bob", {"audit"}, {"sessions"}, new_write())));
  const auto rows = users.list().value();
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].name, "alice");
  EXPECT_TRUE(rows[0].administrator);
  EXPECT_EQ(rows[1].scopes, std::vector<std::string>{"audit"});
  EXPECT_FALSE(rows[1].administrator);
  EXPECT_EQ(code_of(users.find("root")), "not_found") << "an account of the appliance";
  EXPECT_EQ(code_of(users.find("../alice")), "not_found");
  ASSERT_TRUE(run(users.remove(alice, "bob", new_write())));
  EXPECT_EQ(code_of(users.find("bob")), "not_found");
  EXPECT_EQ(disable("bob"), "not_found");
}

TEST_F(UsersTest, ARequestRunsOnce) {
  ASSERT_EQ(add("bob", {}), "");
  const WriteOptions same = new_write();
  const auto first = run(users.change_scopes(alice, "bob", {"audit"}, {}, same));
  ASSERT_TRUE(first);
  ASSERT_TRUE(run(users.change_scopes(alice, "bob", {}, {"audit"}, new_write())));
  const auto again = run(users.change_scopes(alice, "bob", {"audit"}, {}, same));
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->repeated);
  EXPECT_EQ(again->revision, first->revision);
  EXPECT_TRUE(users.find("bob")->scopes.empty());
}

TEST_F(UsersTest, TheLastAdministratorStays) {
  ASSERT_EQ(add("bob", {"users"}), "");
  EXPECT_EQ(disable("alice"), "refused");
  EXPECT_EQ(code_of(run(users.remove(alice, "alice", new_write()))), "refused");
  EXPECT_EQ(code_of(run(users.change_scopes(alice, "alice", {}, {"audit"}, new_write()))),
            "refused");
  ASSERT_TRUE(run(users.change_scopes(alice, "bob", every_scope(), {}, new_write())));
  EXPECT_EQ(disable("alice"), "");
  EXPECT_EQ(disable("bob"), "refused") << "one who is disabled does not count";
}

TEST_F(UsersTest, TwoAtOnceCannotTakeTheLastTwo) {
  ASSERT_EQ(add("bob", every_scope()), "");
  // Between the look and the write of the one, the other's whole change.
  site.writer->before_submit = [&] { EXPECT_EQ(disable("bob"), ""); };
  EXPECT_EQ(disable("alice"), "refused");
  EXPECT_TRUE(users.find("alice")->administrator);
}

TEST_F(UsersTest, NobodyTakesHoldOfMoreThanHeHas) {
  const access::Identity clerk{Area::site, "clerk", {"users", "sessions"}};
  ASSERT_EQ(add("bob", {"sessions"}), "");
  EXPECT_EQ(code_of(run(users.set_password(clerk, "alice", "mine", new_write()))), "forbidden");
  EXPECT_EQ(code_of(run(users.set_disabled(clerk, "alice", true, new_write()))), "forbidden");
  EXPECT_EQ(code_of(run(users.change_scopes(clerk, "bob", {"upgrade"}, {}, new_write()))),
            "forbidden");
  EXPECT_EQ(code_of(run(users.add(clerk, {.name = "eve", .scopes = {"audit"}}, "h", new_write()))),
            "forbidden");
  EXPECT_TRUE(run(users.set_password(clerk, "bob", "new", new_write())));
  EXPECT_TRUE(run(users.add(clerk, {.name = "dan", .scopes = {"sessions"}}, "h", new_write())));
}

TEST_F(UsersTest, TokensOfADisabledUserAreVoidForGood) {
  ASSERT_EQ(add("bob", {"sessions"}), "");
  const std::string token = token_of("bob");
  EXPECT_TRUE(accounts.authenticate(token));
  site.pass(std::chrono::milliseconds(5));
  EXPECT_EQ(disable("bob"), "");
  EXPECT_EQ(code_of(accounts.authenticate(token)), "unauthenticated");
  ASSERT_TRUE(run(users.set_disabled(alice, "bob", false, new_write())));
  EXPECT_EQ(code_of(accounts.authenticate(token)), "unauthenticated");
  EXPECT_TRUE(accounts.authenticate(token_of("bob")));

  const std::string removed = token_of("bob");
  site.pass(std::chrono::milliseconds(5));
  ASSERT_TRUE(run(users.remove(alice, "bob", new_write())));
  EXPECT_EQ(code_of(accounts.authenticate(removed)), "unauthenticated");
  ASSERT_EQ(add("bob", {"sessions"}), "");
  EXPECT_EQ(code_of(accounts.authenticate(removed)), "unauthenticated");
}

TEST_F(UsersTest, WhatALaterReleaseAddedToAnAccountSurvives) {
  ASSERT_EQ(add("bob", {"sessions"}), "");
  const auto record = site.log->get(kKindAccount, "site/bob").value().value();
  store::Transaction newer;
  const std::string unknown("\x9a\x06\x03new", 6);  // Field 99.
  newer.writes.push_back(
      store::Write::put(std::string(kKindAccount), "site/bob", record.bytes + unknown));
  ASSERT_TRUE(site.log_writer->submit_and_wait(std::move(newer)));
  EXPECT_EQ(disable("bob"), "");
  const std::string after = site.log->get(kKindAccount, "site/bob").value().value().bytes;
  EXPECT_NE(after.find(unknown), std::string::npos);
}

}  // namespace
}  // namespace everspan::site
