// Every frame goes there and back; cut, oversized and unknown ones are refused, never misread.
#include "proto/frame.h"

#include <gtest/gtest.h>

#include "common/random.h"

namespace everspan::wire {
namespace {

TEST(Frame, EveryKindGoesThereAndBack) {
  const Frame all[] = {Control{"hello"},
                       Data{7, false, 1234567890123, "payload"},
                       Data{7, true, 9, ""},
                       Ack{1, 2, 3},
                       Resume{4, 5, 6},
                       Recorded{8, 9},
                       Barrier{},
                       Ping{42},
                       Pong{43}};
  for (const Frame& frame : all) {
    std::string bytes;
    append_frame(bytes, frame);
    std::size_t used = 0;
    for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
      const auto partial = parse_frame(std::string_view(bytes).substr(0, cut), used);
      ASSERT_TRUE(partial);
      EXPECT_FALSE(partial->has_value()) << "a frame cut at " << cut << " was taken as whole";
    }
    bytes += "tail";
    const auto whole = parse_frame(bytes, used);
    ASSERT_TRUE(whole && whole->has_value());
    EXPECT_EQ(used, bytes.size() - 4);
    std::string again;
    append_frame(again, **whole);
    EXPECT_EQ(again, bytes.substr(0, used));
  }
}

TEST(Frame, RefusesSizesTypesAndFlagsOutOfRange) {
  std::size_t used = 0;
  std::string bytes;
  put_u32(bytes, 0);
  bytes += '\x01';
  EXPECT_FALSE(parse_frame(bytes, used));
  bytes.clear();
  put_u32(bytes, kFrameBytesMax + 1);
  bytes += '\x01';
  EXPECT_FALSE(parse_frame(bytes, used));
  bytes.clear();
  put_u32(bytes, 1);
  bytes += '\x63';
  EXPECT_FALSE(parse_frame(bytes, used));
  bytes.clear();
  append_frame(bytes, Data{1, false, 0, "x"});
  bytes[kFrameHeaderBytes + 4] = 2;
  EXPECT_FALSE(parse_frame(bytes, used));
}

TEST(Wire, TheNewestVersionThatBothEndsKnowIsSpoken) {
  EXPECT_EQ(common_version(1, 1), 1U) << "an end of release 0.1.0";
  EXPECT_EQ(common_version(1, 2), 2U) << "an end of this release";
  EXPECT_EQ(common_version(1, 9), kWireMax) << "an end of a release to come";
  EXPECT_EQ(common_version(kWireMax + 1, kWireMax + 5), std::nullopt);
  EXPECT_EQ(common_version(0, 0), std::nullopt);
  EXPECT_EQ(common_version(2, 1), std::nullopt) << "no range at all";
}

TEST(Frame, RandomBytesNeverReadPastTheirEnd) {
  SeededRandom random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes;
    put_u32(bytes, static_cast<std::uint32_t>(random.below(40)));
    for (std::uint64_t i = random.below(50); i > 0; --i) bytes += static_cast<char>(random.next());
    std::size_t used = 0;
    const auto frame = parse_frame(bytes, used);
    if (frame && *frame) ASSERT_LE(used, bytes.size());
  }
}

}  // namespace
}  // namespace everspan::wire
