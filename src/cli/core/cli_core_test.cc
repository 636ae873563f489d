#include <gtest/gtest.h>

#include "cli/core/exit_code.h"
#include "cli/core/text.h"
#include "cli/core/tunnel_spec.h"
#include "cli/core/upgrade_view.h"

namespace everspan::cli {
namespace {

TEST(Text, ForeignTextCannotSteerTheTerminal) {
  EXPECT_EQ(harmless("a\x1b[31mb\r\n\x7f"), "a?[31mb???");
  EXPECT_EQ(harmless("\xc2\x9b"
                     "31m"),
            "??31m");
  EXPECT_EQ(harmless("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
  EXPECT_EQ(harmless("\xff\xc3"), "??");
  EXPECT_EQ(harmless("\xe0\x80\xaf"), "???");
}

TEST(Text, FitCutsByCharactersNotBytes) {
  EXPECT_EQ(fit("abcdef", 6), "abcdef");
  EXPECT_EQ(fit("abcdef", 4), "abc\xe2\x80\xa6");
  EXPECT_EQ(fit("\xc3\xa4\xc3\xb6\xc3\xbc", 2), "\xc3\xa4\xe2\x80\xa6");
}

TEST(Table, LinesUpColumnsAndFitsTheWidth) {
  const std::vector<Column> columns = {
      {"NAME", Align::left, false}, {"BYTES", Align::right, false}, {"NOTE", Align::left, true}};
  const std::vector<Row> rows = {{"one", "7", "a note that is far too long for a narrow terminal"},
                                 {"seven", "12345"}};
  EXPECT_EQ(table(columns, rows, 0),
            "NAME   BYTES  NOTE\n"
            "one        7  a note that is far too long for a narrow terminal\n"
            "seven  12345\n");
  const std::string narrow = table(columns, rows, 30);
  for (std::size_t at = 0; at < narrow.size();) {
    const std::size_t end = narrow.find('\n', at);
    EXPECT_LE(columns_of(narrow.substr(at, end - at)), 30U);
    at = end + 1;
  }
  EXPECT_NE(narrow.find("12345"), std::string::npos);
}

TEST(Duration, ReadsUnitsAndRefusesTheRest) {
  EXPECT_EQ(*parse_duration("30"), std::chrono::seconds(30));
  EXPECT_EQ(*parse_duration("0s"), std::chrono::seconds(0));
  EXPECT_EQ(*parse_duration("10m"), std::chrono::minutes(10));
  EXPECT_EQ(*parse_duration("2h"), std::chrono::hours(2));
  for (const char* bad : {"", "s", "-1s", "5x", "1.5s", "9999999999d", "5 s"}) {
    EXPECT_FALSE(parse_duration(bad)) << bad;
  }
}

TEST(Numbers, AreWrittenForPeople) {
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(duration_text(std::chrono::milliseconds(440)), "0.4 s");
  EXPECT_EQ(duration_text(std::chrono::seconds(185)), "3 m 05 s");
}

TEST(ExitCodes, FollowTheContract) {
  EXPECT_EQ(exit_code_for(0, "unreachable"), kUnreachable);
  EXPECT_EQ(exit_code_for(0, "tls_certificate"), kUnreachable);
  EXPECT_EQ(exit_code_for(0, "usage"), kUsage);
  EXPECT_EQ(exit_code_for(401, "unauthenticated"), kRefused);
  EXPECT_EQ(exit_code_for(403, "x"), kRefused);
  EXPECT_EQ(exit_code_for(404, "not_found"), kFailed);
  EXPECT_EQ(exit_code_for(409, "conflict"), kConflict);
  EXPECT_EQ(exit_code_for(409, "not_primary"), kConflict);
  EXPECT_EQ(exit_code_for(409, "refused"), kRefused);
  EXPECT_EQ(exit_code_for(503, "unavailable"), kUnreachable);
  EXPECT_EQ(exit_code_for(500, "internal"), kFailed);
}

TEST(ExitCodes, AnUpgradeThatWentBackIsNotASuccess) {
  EXPECT_FALSE(upgrade_end("running").ended);
  EXPECT_FALSE(upgrade_end("soaking").ended);
  EXPECT_FALSE(upgrade_end("paused").ended);
  EXPECT_EQ(upgrade_end("done").exit, kOk);
  EXPECT_EQ(upgrade_end("rolled_back").exit, kWentBack);
  EXPECT_EQ(upgrade_end("parked").exit, kFailed);
  EXPECT_EQ(upgrade_end("failed").exit, kFailed);
}

TEST(TunnelSpec, TakesPortOrAddressToListenOn) {
  EXPECT_EQ(*parse_tunnel_spec("web:80"), (TunnelSpec{"127.0.0.1:0", "web", 80}));
  EXPECT_EQ(*parse_tunnel_spec("8080:web:80"), (TunnelSpec{"127.0.0.1:8080", "web", 80}));
  EXPECT_EQ(*parse_tunnel_spec("[::1]:8080:[fe80::1]:80"),
            (TunnelSpec{"[::1]:8080", "fe80::1", 80}));
  for (const char* bad :
       {"", "web", "web:", "web:0", "web:99999", ":80", "x:web:80", "a:b:c:d:e", ":1:web:80"}) {
    EXPECT_FALSE(parse_tunnel_spec(bad)) << bad;
  }
}

TEST(UpgradeView, SaysEachStepOnceWhenItChanges) {
  UpgradeView view;
  UpgradeStatus status{.plan = "p",
                       .state = "running",
                       .step = "s2",
                       .steps = {{.id = "s1", .kind = "stage", .state = "done"},
                                 {.id = "s2", .kind = "switch", .state = "running"},
                                 {.id = "s3", .kind = "soak", .state = "waiting"}},
                       .sessions_moved = 3,
                       .sessions_total = 9};
  const auto first = view.news(status, std::chrono::milliseconds(1200));
  ASSERT_EQ(first.size(), 3U);
  EXPECT_EQ(first[0], "    1.2 s  stage: done");
  EXPECT_EQ(first[1], "    1.2 s  switch: running");
  EXPECT_EQ(first[2], "    1.2 s  upgrade: running");
  EXPECT_TRUE(view.news(status, std::chrono::seconds(2)).empty());
  status.steps[1].state = "failed";
  status.steps[1].detail = "not ready\x1b";
  status.state = "rolled_back";
  status.why = "the candidate ended";
  const auto second = view.news(status, std::chrono::seconds(3));
  ASSERT_EQ(second.size(), 2U);
  EXPECT_EQ(second[0], "    3.0 s  switch: failed (not ready?)");
  EXPECT_EQ(second[1], "    3.0 s  upgrade: rolled_back (the candidate ended)");
  EXPECT_EQ(UpgradeView::status_line(status, std::chrono::seconds(3)),
            "rolled_back  step 2/3 switch  3/9 sessions moved  3.0 s");
  status.legs_left = 6;
  EXPECT_EQ(
      UpgradeView::status_line(status, std::chrono::seconds(3)),
      "rolled_back  step 2/3 switch  3/9 sessions moved, 6 legs left at the old release  3.0 s");
}

}  // namespace
}  // namespace everspan::cli
