#include "common/utf8.h"

#include <gtest/gtest.h>

namespace everspan {
namespace {

TEST(Utf8, TakesOneCharacterAtATime) {
  std::string_view rest = "a\u00fc\u20ac\U0001f600";
  for (const char32_t wanted : {U'a', U'\u00fc', U'\u20ac', U'\U0001f600'})
    EXPECT_EQ(take_character(rest), wanted);
  EXPECT_TRUE(rest.empty());
}

TEST(Utf8, CutOverlongSurrogateAndTooHighBytesAreNoCharacters) {
  for (std::string_view bad : {"\xc3", "\xc0\x80", "\xe2\x82", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                               "\x80", "\xff", "\xe0\x80\xaf", "\xc3("}) {
    const std::string_view before = bad;
    EXPECT_FALSE(take_character(bad)) << testing::PrintToString(before);
    EXPECT_EQ(bad, before);
  }
}

TEST(Utf8, PlainTextSteersNoTerminal) {
  EXPECT_EQ(plain_text("back at 5 \u20ac", 100), "back at 5 \u20ac");
  EXPECT_EQ(plain_text("\x1b[2J\r\n\u009b\u202e\xff", 100), "?[2J?????");
  EXPECT_EQ(plain_text("\u00fc\u00fc\u00fc", 2), "\u00fc\u00fc");
}

}  // namespace
}  // namespace everspan
