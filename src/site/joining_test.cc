#include "site/joining.h"

#include <gtest/gtest.h>

#include "proto/records.pb.h"
#include "site/accounts.h"
#include "site/records.h"
#include "site/settings.h"
#include "site/test_support/local_site.h"

namespace everspan::site {
namespace {

TEST(Joining, ANodeIsAdministeredByTheSamePeopleUntilTheyChangeItThere) {
  LocalSite site;
  Settings settings(*site.context);
  ASSERT_TRUE(
      run(settings.put_appliance_text("updates.source", "https://depot", "root", new_write())));
  const auto joined = random_id<NodeId>();
  auto writes = appliance_records_for(*site.context, joined);
  ASSERT_TRUE(writes) << writes.error().text();
  EXPECT_EQ(writes->size(), 2U);
  store::Transaction transaction;
  transaction.request_id = random_id<RequestId>();
  transaction.writes = *writes;
  ASSERT_TRUE(site.log_writer->submit_and_wait(std::move(transaction)));
  // As the joined node reads it.
  Context there{*site.log, *site.writer, *site.catalog, *site.identity, *site.secrets, joined, [&] {
                  return site.now();
                }};
  const auto root = Accounts(there).find(access::Area::appliance, "root");
  ASSERT_TRUE(root && *root);
  EXPECT_EQ((*root)->password_hash,
            Accounts(*site.context).find(access::Area::appliance, "root").value()->password_hash);
  EXPECT_EQ(Settings(there).appliance_text("updates.source").value_or(""), "https://depot");
  const auto token = run(Accounts(there).issue_token(**root, "x"));
  ASSERT_TRUE(token);
  EXPECT_TRUE(Accounts(there).authenticate(token->token));
  EXPECT_FALSE(Accounts(*site.context).authenticate(token->token)) << "its own node's only";
  // Once it has its own, they stay.
  ASSERT_TRUE(
      run(Accounts(there).set_password(access::Area::appliance, "root", "new", new_write())));
  const auto again = appliance_records_for(*site.context, joined);
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->empty());
}

}  // namespace
}  // namespace everspan::site
