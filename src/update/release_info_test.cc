#include "update/release_info.h"

#include <gtest/gtest.h>

#include <string>

namespace everspan::update {
namespace {

constexpr ReleaseInfo kNext{.wire_min = 1, .wire_max = 2, .log_format = 1, .feature_level = 12};

template <std::size_t N>
std::string bytes(const std::array<char, N>& text) {
  return {text.begin(), text.end()};
}

TEST(ReleaseInfo, IsFoundInTheBytesOfAProgram) {
  const std::string program =
      std::string("\x7f") + "ELF..." + bytes(release_info_text(kNext)) + "...";
  EXPECT_EQ(find_release_info(program).value(), kNext);
  EXPECT_EQ(find_release_info(program + program).value(), kNext) << "the same again is no other";
}

TEST(ReleaseInfo, AProgramOfRelease010SaysNothing) {
  EXPECT_EQ(find_release_info("a program without it").value(), std::nullopt);
  EXPECT_EQ(kReleaseInfoSilent.feature_level, 1U);
  EXPECT_EQ(kReleaseInfoSilent.wire_max, 1U);
}

TEST(ReleaseInfo, WhatCannotBeReadMakesNoPackage) {
  const std::string good = bytes(release_info_text(kNext));
  EXPECT_FALSE(find_release_info(good + bytes(release_info_text({}))));
  EXPECT_FALSE(find_release_info(good.substr(0, good.find('\n'))));
  std::string zero = good;
  zero.replace(zero.find("12"), 2, "00");
  EXPECT_FALSE(find_release_info(zero));
  std::string swapped = good;
  swapped.replace(swapped.find("\"min\":1"), 7, "\"min\":3");
  EXPECT_FALSE(find_release_info(swapped));
}

}  // namespace
}  // namespace everspan::update
