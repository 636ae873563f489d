#include "relay/end/channel_end.h"

#include <gtest/gtest.h>

namespace everspan::relay_end {
namespace {

ChannelLimits small(bool strict = false) {
  return {.ring_bytes = 100, .window_bytes = kInitialWindowBytes, .strict = strict};
}

std::string send_all(ChannelEnd& channel, std::size_t piece_bytes = 1000) {
  std::string sent;
  while (const auto piece = channel.next_piece(piece_bytes)) {
    sent += std::string(piece->payload) + (piece->fin ? "$" : "");
    channel.mark_sent(*piece);
  }
  return sent;
}

TEST(ChannelSending, TheRingIsBoundedAndTellsHowMuchItTook) {  // C1
  ChannelEnd channel(small());
  EXPECT_EQ(channel.write(std::string(150, 'a')), 100U);
  EXPECT_EQ(channel.room(), 0U);
  EXPECT_EQ(channel.write("b"), 0U);
}

TEST(ChannelSending, AStrictRingForgetsWhatIsAcknowledgedAndRecordedOnly) {  // C2
  ChannelEnd channel(small(true));
  ASSERT_EQ(channel.write("0123456789"), 10U);
  EXPECT_EQ(send_all(channel), "0123456789");
  ASSERT_TRUE(channel.on_ack(10, 1000));
  EXPECT_EQ(channel.base(), 0U);
  ASSERT_TRUE(channel.on_recorded(4));
  EXPECT_EQ(channel.base(), 4U);
  EXPECT_FALSE(channel.drained());
  ASSERT_TRUE(channel.on_recorded(10));
  EXPECT_EQ(channel.base(), 10U);
  EXPECT_TRUE(channel.drained());
}

TEST(ChannelSending, WithoutStrictTheRecorderIsNotWaitedFor) {
  ChannelEnd channel(small(false));
  ASSERT_EQ(channel.write("0123"), 4U);
  send_all(channel);
  ASSERT_TRUE(channel.on_ack(3, 1000));
  EXPECT_EQ(channel.base(), 3U);
}

TEST(ChannelSending, StopsAtThePeersWindowAndGoesOnWhenItMoves) {  // C3
  ChannelEnd channel({.ring_bytes = 2 * kInitialWindowBytes,
                      .window_bytes = kInitialWindowBytes,
                      .strict = false});
  const std::size_t more = kInitialWindowBytes + 10;
  ASSERT_EQ(channel.write(std::string(more, 'x')), more);
  EXPECT_EQ(send_all(channel, 4096).size(), kInitialWindowBytes);
  ASSERT_TRUE(channel.on_ack(0, kInitialWindowBytes + 4));
  EXPECT_EQ(send_all(channel).size(), 4U);
  channel.finish();
  ASSERT_TRUE(channel.on_ack(0, more));  // Room for the bytes, none for FIN's number.
  EXPECT_EQ(send_all(channel), "xxxxxx");
  ASSERT_TRUE(channel.on_ack(0, more + 1));
  EXPECT_EQ(send_all(channel), "$");
}

TEST(ChannelSending, AResumeGoesBackToTheLowerOfReceivedAndRecorded) {
  ChannelEnd channel(small(true));
  ASSERT_EQ(channel.write("0123456789"), 10U);
  channel.finish();
  EXPECT_EQ(send_all(channel), "0123456789$");
  ASSERT_TRUE(channel.on_ack(5, 1000));
  ASSERT_TRUE(channel.on_recorded(3));
  ASSERT_TRUE(channel.on_resume(7, 1000));
  EXPECT_EQ(send_all(channel), "3456789$");
  ASSERT_TRUE(channel.on_recorded(9));
  ASSERT_TRUE(channel.on_resume(7, 1000));
  EXPECT_EQ(send_all(channel), "789$");
}

TEST(ChannelSending, AResumeThatWasOvertakenAsksForNoMoreThanIsKept) {
  ChannelEnd channel(small());
  ASSERT_EQ(channel.write("0123456789"), 10U);
  send_all(channel);
  ASSERT_TRUE(channel.on_ack(8, 1000));
  ASSERT_TRUE(channel.on_resume(2, 1000));
  EXPECT_EQ(send_all(channel), "89");
}

TEST(ChannelSending, ClaimsAboutBytesThatWereNeverSentAreErrors) {  // C6
  ChannelEnd channel(small(true));
  ASSERT_EQ(channel.write("0123456789"), 10U);
  const auto piece = channel.next_piece(4);
  channel.mark_sent(*piece);
  EXPECT_EQ(channel.on_ack(5, 1000).error().code, "bad_ack");
  EXPECT_EQ(channel.on_recorded(5).error().code, "bad_recorded");
  EXPECT_EQ(channel.on_resume(5, 1000).error().code, "bad_resume");
  EXPECT_EQ(channel.on_ack(1, ~0ULL).error().code, "bad_ack");
  EXPECT_EQ(channel.base(), 0U);
}

TEST(ChannelSending, IsSettledWhenFinIsAcknowledgedAndEveryByteRecorded) {
  ChannelEnd channel(small(true));
  ASSERT_EQ(channel.write("abc"), 3U);
  channel.finish();
  send_all(channel);
  ASSERT_TRUE(channel.on_ack(3, 1000));
  ASSERT_TRUE(channel.on_recorded(3));
  EXPECT_FALSE(channel.settled());
  ASSERT_TRUE(channel.on_ack(4, 1000));
  EXPECT_TRUE(channel.settled());
  EXPECT_EQ(channel.write("d"), 0U);
}

TEST(ChannelSending, AProbeRepeatsTheLastByteOrWhatTheRecorderLacks) {
  ChannelEnd channel(small(true));
  ASSERT_EQ(channel.write("abc"), 3U);
  send_all(channel);
  auto piece = channel.probe();
  ASSERT_TRUE(piece);
  EXPECT_EQ(piece->offset, 2U);
  EXPECT_EQ(piece->payload, "c");
  ASSERT_TRUE(channel.on_ack(3, 1000));
  ASSERT_TRUE(channel.on_recorded(1));
  EXPECT_FALSE(channel.probe());
  EXPECT_EQ(send_all(channel), "bc");
}

TEST(ChannelReceiving, DeliversInOrderOnceWhateverComesTwiceOrEarly) {  // C4
  ChannelEnd channel(small());
  ASSERT_TRUE(channel.on_data(3, "def", false));
  EXPECT_EQ(channel.readable(), "");
  EXPECT_TRUE(channel.has_hole());
  ASSERT_TRUE(channel.on_data(0, "ab", false));
  ASSERT_TRUE(channel.on_data(1, "bcd", false));
  EXPECT_EQ(channel.readable(), "abcdef");
  EXPECT_FALSE(channel.has_hole());
  ASSERT_TRUE(channel.on_data(0, "abcdef", false));
  EXPECT_EQ(channel.readable(), "abcdef");
  channel.consume(6);
  ASSERT_TRUE(channel.on_data(2, "cdefgh", true));
  EXPECT_EQ(channel.readable(), "gh");
  EXPECT_FALSE(channel.at_end());
  channel.consume(2);
  EXPECT_TRUE(channel.at_end());
  EXPECT_EQ(channel.take_ack().received, 9U);
}

TEST(ChannelReceiving, FinMayComeBeforeTheBytesThatItEnds) {
  ChannelEnd channel(small());
  ASSERT_TRUE(channel.on_data(2, "", true));
  EXPECT_TRUE(channel.has_hole());
  EXPECT_FALSE(channel.at_end());
  ASSERT_TRUE(channel.on_data(0, "ab", false));
  channel.consume(2);
  EXPECT_TRUE(channel.at_end());
}

TEST(ChannelReceiving, RefusesWhatIsAboveTheWindowOrBehindFin) {  // C5, C6
  ChannelEnd channel(small());
  EXPECT_EQ(channel.on_data(kInitialWindowBytes, "x", false).error().code, "above_window");
  EXPECT_EQ(channel.on_data(kInitialWindowBytes - 1, "x", true).error().code, "above_window");
  ASSERT_TRUE(channel.on_data(0, "abc", true));
  EXPECT_EQ(channel.on_data(3, "d", false).error().code, "behind_fin");
  EXPECT_EQ(channel.on_data(0, "ab", true).error().code, "behind_fin");
  EXPECT_EQ(channel.readable(), "abc");
}

TEST(ChannelReceiving, TheWindowFollowsWhatIsConsumed) {
  ChannelEnd channel(small());
  EXPECT_TRUE(channel.ack_due());  // The window is told before anything came.
  EXPECT_EQ(channel.take_ack().window_end, kInitialWindowBytes);
  ASSERT_TRUE(channel.on_data(0, std::string(1000, 'x'), false));
  EXPECT_FALSE(channel.ack_due());
  channel.consume(600);
  EXPECT_TRUE(channel.ack_due());
  const auto ack = channel.take_ack();
  EXPECT_EQ(ack.received, 600U);
  EXPECT_EQ(ack.window_end, 600 + kInitialWindowBytes);
  EXPECT_FALSE(channel.ack_due());
  EXPECT_EQ(channel.take_resume().received, 1000U);
}

TEST(ChannelReceiving, ARepeatedByteIsAcknowledgedAgain) {
  ChannelEnd channel(small());
  ASSERT_TRUE(channel.on_data(0, "ab", false));
  channel.consume(2);
  std::ignore = channel.take_ack();
  ASSERT_TRUE(channel.on_data(1, "b", false));
  EXPECT_TRUE(channel.ack_due());
}

TEST(ChannelReceiving, EarlyBytesTakeNoMoreThanTheWindow) {
  ChannelEnd channel(small());
  for (std::uint64_t i = 1; i < 3000; ++i)  // Overlapping pieces, as a hostile end would send.
    ASSERT_TRUE(channel.on_data(i, std::string(1000, 'x'), false));
  ASSERT_TRUE(channel.on_data(0, "x", false));
  const std::string all(channel.readable());
  EXPECT_EQ(all, std::string(all.size(), 'x'));
  EXPECT_LT(all.size(), kInitialWindowBytes);
}

TEST(ChannelRestored, GoesOnWhereTheOtherProcessWas) {
  ChannelEnd before(small(true));
  ASSERT_EQ(before.write("0123456789"), 10U);
  send_all(before);
  ASSERT_TRUE(before.on_ack(9, 1000));
  ASSERT_TRUE(before.on_recorded(7));
  ASSERT_TRUE(before.on_data(0, "abcde", false));
  before.consume(3);
  std::ignore = before.take_ack();

  ChannelEnd after(small(true));
  after.restore(before.state());
  EXPECT_EQ(after.state(), before.state());
  EXPECT_EQ(send_all(after), "789");
  ASSERT_TRUE(after.on_ack(10, 1000));
  ASSERT_TRUE(after.on_data(0, "abcdef", false));
  EXPECT_EQ(after.readable(), "def");
}

}  // namespace
}  // namespace everspan::relay_end
