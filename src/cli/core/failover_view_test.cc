#include "cli/core/failover_view.h"

#include <gtest/gtest.h>

#include <limits>

#include "cli/core/exit_code.h"

namespace everspan::cli {
namespace {

TEST(FailoverView, LagSaysUnknownWhereItIsNotKnown) {
  EXPECT_EQ(lag_text({}), "unknown");
  EXPECT_EQ(lag_text({.records = 0, .bytes = 0, .ms = 0}), "none");
  EXPECT_EQ(lag_text({.records = 0, .bytes = std::nullopt, .ms = std::nullopt}), "none");
  EXPECT_EQ(lag_text({.records = 1, .bytes = 1536, .ms = 61'000}), "1 record, 1.5 KiB, 1 m 01 s");
  EXPECT_EQ(lag_text({.records = 12, .bytes = std::nullopt, .ms = std::nullopt}), "12 records");
}

TEST(FailoverView, ThePeerIsDescribedAsFarAsItWasHeard) {
  EXPECT_EQ(peer_text({}), "not connected, never heard");
  EXPECT_EQ(
      peer_text({.connected = true, .why_not = "", .heard_ms_ago = 300, .clock_ahead_ms = 12}),
      "connected, heard 0.3 s ago, its clock 12 ms ahead");
  EXPECT_EQ(peer_text({.connected = false,
                       .why_not = "refused\x1b",
                       .heard_ms_ago = 125'000,
                       .clock_ahead_ms = -400'000}),
            "not connected (refused?), heard 2 m 05 s ago, its clock 6 m 40 s behind");
  const PeerFacts lowest{.connected = true,
                         .why_not = "",
                         .heard_ms_ago = 0,
                         .clock_ahead_ms = std::numeric_limits<std::int64_t>::min()};
  EXPECT_NE(peer_text(lowest).find("behind"), std::string::npos);
  EXPECT_EQ(peer_text({.connected = true, .why_not = "", .heard_ms_ago = 0, .clock_ahead_ms = 0}),
            "connected, heard 0.0 s ago");
}

TEST(FailoverView, WordsOfChecksAndStates) {
  EXPECT_EQ(check_word(true, false), "ok");
  EXPECT_EQ(check_word(true, true), "warning");
  EXPECT_EQ(check_word(false, true), "failed");
  EXPECT_EQ(sync_word(false, false, false), "alone");
  EXPECT_EQ(sync_word(true, false, false), "not in sync");
  EXPECT_EQ(sync_word(true, true, false), "in sync");
  EXPECT_EQ(sync_word(true, true, true), "diverged");
  EXPECT_EQ(short_id("3f2a91c0aaaa"), "3f2a91c0");
}

TEST(FailoverView, TheLineOfASync) {
  EXPECT_EQ(sync_line({.target = 9, .durable = std::nullopt, .rest_bytes = std::nullopt}),
            "up to entry 9: what the other has is not known yet");
  EXPECT_EQ(sync_line({.target = 9, .durable = 12, .rest_bytes = 2048}),
            "up to entry 9: 9 durable on both, 2.0 KiB of journal and files to go");
}

TEST(FailoverView, ExitCodesOfThePair) {
  for (const char* code : {"wrong_key", "key_spent", "clock", "platform", "wire_range", "has_site"})
    EXPECT_EQ(exit_code_for(409, code), kRefused) << code;
  for (const char* code : {"paired", "no_peer", "exists", "diverged", "not_in_sync", "in_doubt"})
    EXPECT_EQ(exit_code_for(409, code), kConflict) << code;
}

}  // namespace
}  // namespace everspan::cli
