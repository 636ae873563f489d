#include "console/core/escape.h"

#include <gtest/gtest.h>

namespace everspan::console {
namespace {

using Wish = EscapeFilter::Wish;

TEST(Escape, QuitsAtALineStartOnly) {
  EscapeFilter filter('~');
  std::string text = "ls ~.\n";
  EXPECT_EQ(filter.filter(text), Wish::none);
  EXPECT_EQ(text, "ls ~.\n");
  text = "~.rest";
  EXPECT_EQ(filter.filter(text), Wish::quit);
  EXPECT_EQ(text, "");
}

TEST(Escape, IsFoundAcrossReads) {
  EscapeFilter filter('~');
  std::string a = "exit\r~";
  std::string b = ".";
  EXPECT_EQ(filter.filter(a), Wish::none);
  EXPECT_EQ(a, "exit\r");
  EXPECT_EQ(filter.filter(b), Wish::quit);
}

TEST(Escape, TwiceIsOnceAndOtherBytesPass) {
  EscapeFilter filter('~');
  std::string text = "~~/x\n~/y\n~?";
  EXPECT_EQ(filter.filter(text), Wish::help);
  EXPECT_EQ(text, "~/x\n~/y\n");
}

TEST(Escape, ZeroTurnsItOff) {
  EscapeFilter filter(0);
  std::string text("~.\0", 3);
  EXPECT_EQ(filter.filter(text), Wish::none);
  EXPECT_EQ(text.size(), 3U);
}

}  // namespace
}  // namespace everspan::console
