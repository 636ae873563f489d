// Two readers never see two documents in the same bytes.
#include "update/core/json.h"

#include <gtest/gtest.h>

namespace everspan::update {
namespace {

TEST(Json, RefusesWhatReadersCouldReadDifferently) {
  for (const char* text : {"",
                           "{",
                           "{}{}",
                           "{\"a\":1,\"a\":2}",
                           "1.5",
                           "1e3",
                           "01",
                           "-0",
                           "-",
                           "+1",
                           "9223372036854775808",
                           "\"\\ud800\"",
                           "\"\\udc00\"",
                           "\"\\ud800\\u0041\"",
                           "\"\x01\"",
                           "\"\xff\"",
                           "\"\xc0\xaf\"",
                           "\"\xed\xa0\x80\"",
                           "\"\\x\"",
                           "[1,]",
                           "{\"a\":1,}",
                           "{a:1}",
                           "nul",
                           "truex",
                           "'a'",
                           "\"a",
                           "[1 2]",
                           "{\"a\" 1}",
                           "NaN",
                           "/**/1"})
    EXPECT_FALSE(parse_json(text)) << text;
}

TEST(Json, ReadsWhatItWritesAndTheEdges) {
  const auto value = parse_json(
      R"( {"b":[true,false,null,-9223372036854775808,9223372036854775807],"a":"\u00e9\ud83d\ude00\n\"\\/"} )");
  ASSERT_TRUE(value) << value.error().message;
  EXPECT_EQ(*value->find("a")->text(), "\xc3\xa9\xf0\x9f\x98\x80\n\"\\/");
  const auto again = parse_json(to_json_text(*value));
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, *value);
}

TEST(Json, CanonicalFormSortsByByteAndEscapesTwoCharactersOnly) {
  const auto value = parse_json(R"({"b":1,"a":"x\ny\"\\\u007f","A":[1,{"z":null,"y":true}]})");
  ASSERT_TRUE(value);
  EXPECT_EQ(canonical_json(*value),
            "{\"A\":[1,{\"y\":true,\"z\":null}],\"a\":\"x\ny\\\"\\\\\x7f\",\"b\":1}");
}

TEST(Json, CapsDepthAndSize) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(parse_json(nested(32)));
  EXPECT_FALSE(parse_json(nested(40)));
  EXPECT_FALSE(parse_json(nested(100000)));
  const auto large = parse_json("\"" + std::string(100, 'a') + "\"", {.bytes_max = 50});
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, "too_large");
}

}  // namespace
}  // namespace everspan::update
