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

// The same rules within the other area; the fixture's `root` is the first one there.
struct ApplianceUsersTest : testing::Test {
  static std::vector<std::string> every_scope() {
    const auto all = access::scopes_of(Area::appliance);
    return {all.begin(), all.end()};
  }
  std::string add(const std::string& name, std::vector<std::string> scopes) {
    return code_of(
        run(users.add(root, {.name = name, .scopes = std::move(scopes)}, "hash", new_write())));
  }
  std::string disable(const std::string& name) {
    return code_of(run(users.set_disabled(root, name, true, new_write())));
  }
  LocalSite site;
  Users users{*site.context, Area::appliance};
  Accounts accounts{*site.context};
  const access::Identity root{Area::appliance, "root", every_scope()};
};

TEST_F(ApplianceUsersTest, AreThoseOfThisApplianceOnly) {
  EXPECT_EQ(add("carol", {"updates"}), "");
  EXPECT_EQ(add("alice", {"updates"}), "") << "a user of the site is somebody else";
  EXPECT_EQ(add("dave", {"sessions"}), "bad_scope");
  const auto rows = users.list().value();
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[1].name, "carol");
  EXPECT_TRUE(rows[2].administrator) << rows[2].name;
  EXPECT_EQ(Users(*site.context).list().value().size(), 1U);
  EXPECT_EQ(site.log->list(kKindRevocation).value().size(), 0U);
}

TEST_F(ApplianceUsersTest, AnotherNodeHasItsOwn) {
  ASSERT_EQ(add("carol", {"updates"}), "");
  const auto carol = accounts.find(Area::appliance, "carol").value().value();
  const std::string token = run(accounts.issue_token(carol, "test")).value().token;
  Context other{*site.log,
                *site.writer,
                *site.catalog,
                *site.identity,
                *site.secrets,
                random_id<NodeId>(),
                [this] { return site.now(); }};
  Users elsewhere(other, Area::appliance);
  EXPECT_TRUE(elsewhere.list().value().empty());
  EXPECT_EQ(code_of(elsewhere.find("carol")), "not_found");
  EXPECT_EQ(code_of(run(elsewhere.set_password(root, "carol", "mine", new_write()))), "not_found");
  EXPECT_EQ(code_of(Accounts(other).authenticate(token)), "unauthenticated");
  EXPECT_EQ(code_of(run(elsewhere.add(root, {.name = "carol", .scopes = {}}, "h", new_write()))),
            "")
      << "a name is taken on its own node only";
  EXPECT_TRUE(accounts.authenticate(token));
}

TEST_F(ApplianceUsersTest, TheLastAdministratorOfTheNodeStays) {
  EXPECT_EQ(disable("root"), "refused");
  EXPECT_EQ(code_of(run(users.remove(root, "root", new_write()))), "refused");
  EXPECT_EQ(code_of(run(users.change_scopes(root, "root", {}, {"node"}, new_write()))), "refused");
  // One of another node does not count.
  Context other{*site.log,
                *site.writer,
                *site.catalog,
                *site.identity,
                *site.secrets,
                random_id<NodeId>(),
                [this] { return site.now(); }};
  Users elsewhere(other, Area::appliance);
  ASSERT_TRUE(
      run(elsewhere.add(root, {.name = "root2", .scopes = every_scope()}, "h", new_write())));
  EXPECT_EQ(disable("root"), "refused");
  ASSERT_EQ(add("carol", every_scope()), "");
  EXPECT_EQ(disable("root"), "");
}

TEST_F(ApplianceUsersTest, NobodyReachesOverFromTheSite) {
  const auto all = access::scopes_of(Area::site);
  const access::Identity alice{Area::site, "alice", {all.begin(), all.end()}};
  EXPECT_EQ(code_of(run(users.set_password(alice, "root", "mine", new_write()))), "forbidden");
  EXPECT_EQ(code_of(run(users.add(alice, {.name = "eve", .scopes = {}}, "h", new_write()))),
            "forbidden");
  EXPECT_EQ(code_of(run(Users(*site.context).set_disabled(root, "alice", true, new_write()))),
            "forbidden");
}

TEST_F(ApplianceUsersTest, TokensEndWithADisablingANewPasswordAndTheAccount) {
  const auto token_of = [this](const char* name) {
    const auto account = accounts.find(Area::appliance, name).value().value();
    return run(accounts.issue_token(account, "test")).value().token;
  };
  ASSERT_EQ(add("carol", {"updates"}), "");
  const std::string first = token_of("carol");
  site.pass(std::chrono::milliseconds(5));
  EXPECT_EQ(disable("carol"), "");
  ASSERT_TRUE(run(users.set_disabled(root, "carol", false, new_write())));
  EXPECT_EQ(code_of(accounts.authenticate(first)), "unauthenticated") << "for good";
  const std::string second = token_of("carol");
  site.pass(std::chrono::milliseconds(5));
  ASSERT_TRUE(run(users.set_password(root, "carol", "h2", new_write())));
  EXPECT_EQ(code_of(accounts.authenticate(second)), "unauthenticated");
  const std::string third = token_of("carol");
  ASSERT_TRUE(run(users.remove(root, "carol", new_write())));
  EXPECT_EQ(code_of(accounts.authenticate(third)), "unauthenticated");
}

}  // namespace
}  // namespace everspan::site
