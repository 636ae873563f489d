#include "features/features.h"

#include <gtest/gtest.h>

#include <set>

namespace everspan::features {
namespace {

TEST(Features, NamesAndNumbersAreUsedOnce) {
  std::set<std::string_view> names;
  std::set<Feature> numbers;
  for (const FeatureInfo& it : all_features()) {
    EXPECT_TRUE(names.insert(it.name).second) << it.name;
    EXPECT_TRUE(numbers.insert(it.feature).second) << it.name;
    EXPECT_EQ(feature_name(it.feature), it.name);
  }
  EXPECT_FALSE(names.empty());
}

TEST(Features, NoFeatureNeedsALevelThatThisReleaseDoesNotKnow) {
  for (const FeatureInfo& it : all_features())
    EXPECT_TRUE(level_is_known(it.allowed_from)) << it.name;
}

TEST(Features, AFeatureIsAllowedFromItsLevelOn) {
  for (const FeatureInfo& it : all_features()) {
    EXPECT_TRUE(allowed(it.allowed_from, it.feature));
    EXPECT_TRUE(allowed({it.allowed_from.value + 1}, it.feature));
    EXPECT_EQ(state(it.allowed_from, it.name), State::allowed);
    const FeatureLevel below{it.allowed_from.value - 1};
    EXPECT_EQ(allowed(below, it.feature), it.retired) << it.name;
    EXPECT_EQ(state(below, it.name), it.retired ? State::retired : State::known) << it.name;
  }
}

TEST(Features, WhatRelease020BringsIsOffUntilTheSiteIsAtLevel2) {
  for (const Feature it :
       {Feature::endpoint_notes, Feature::console_notices, Feature::revocations}) {
    EXPECT_FALSE(allowed({1}, it)) << feature_name(it);
    EXPECT_TRUE(allowed({2}, it)) << feature_name(it);
  }
  EXPECT_EQ(state({1}, "endpoint_notes"), State::known);
  EXPECT_EQ(state({2}, "console_notices"), State::allowed);
}

TEST(Features, AFeatureOfALaterReleaseIsUnknown) {
  EXPECT_EQ(state(kLevelKnown, "from_the_future"), State::unknown);
  EXPECT_FALSE(find_feature("from_the_future").has_value());
}

TEST(Features, ALevelOfALaterReleaseIsNotServed) {
  EXPECT_TRUE(level_is_known(kLevelKnown));
  EXPECT_FALSE(level_is_known({kLevelKnown.value + 1}));
  EXPECT_FALSE(level_is_known({0}));
}

}  // namespace
}  // namespace everspan::features
