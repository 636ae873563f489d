#include "console/core/via.h"

#include <gtest/gtest.h>

namespace everspan::console {
namespace {

const std::vector<OfferedNode> kPair = {
    {"127.77.0.1", 8443, "3f2a91c0aaaaaaaaaaaaaaaaaaaaaaaa", "primary"},
    {"127.77.0.2", 8443, "3f2b0011bbbbbbbbbbbbbbbbbbbbbbbb", "backup"}};

TEST(Via, TakesAnAddressAHostAnIdsBeginningOrARole) {
  EXPECT_EQ(*choose_node("127.77.0.2:8443", kPair), 1U);
  EXPECT_EQ(*choose_node("127.77.0.1", kPair), 0U);
  EXPECT_EQ(*choose_node("3f2b", kPair), 1U);
  EXPECT_EQ(*choose_node("3f2a91c0aaaaaaaaaaaaaaaaaaaaaaaa", kPair), 0U);
  EXPECT_EQ(*choose_node("backup", kPair), 1U);
  EXPECT_EQ(*choose_node("primary", kPair), 0U);
  EXPECT_EQ(*choose_node("[::1]:9", {{"::1", 9, "", ""}}), 0U);
}

TEST(Via, WhatNamesNoneOrTwoIsRefusedWithWhatThereIs) {
  for (const char* wanted : {"", "3f2", "127.77.0.2:9", "127.77.0", "moon", "a\x1b[31m"}) {
    const auto found = choose_node(wanted, kPair);
    ASSERT_FALSE(found) << wanted;
    EXPECT_EQ(found.error().code, "no_such_node");
    EXPECT_NE(found.error().next.find("127.77.0.2:8443 (backup)"), std::string::npos);
  }
  auto same = kPair;
  same[1].node_id = same[0].node_id;
  EXPECT_EQ(choose_node("3f2a91", same).error().code, "ambiguous");
  EXPECT_FALSE(choose_node("backup", {{"h", 1, "", ""}}));
}

}  // namespace
}  // namespace everspan::console
