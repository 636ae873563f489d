#include "update/core/manifest.h"

#include <gtest/gtest.h>

namespace everspan::update {
namespace {

Manifest sample() {
  Manifest m;
  m.kind = "site";
  m.version = *Version::parse("0.2.0");
  m.platform = "linux-x86_64";
  m.files = {{"bin/everspan-site", 5, std::string(64, 'a'), 0755},
             {"LICENSE", 0, std::string(64, 'b'), 0644}};
  m.needs_base = *VersionRange::parse(">=0.1.0");
  m.needs_from = {*VersionRange::parse("0.1.0"), *VersionRange::parse(">=0.1.5 <0.2.0")};
  m.wire_min = 1;
  m.wire_max = 2;
  m.log_format = 1;
  m.feature_level = 2;
  m.security_floor = *Version::parse("0.1.0");
  m.notes = "new \"things\"";
  return m;
}

TEST(Manifest, ReadsWhatItWrites) {
  const auto read = parse_manifest(write_manifest(sample()));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->version.text(), "0.2.0");
  ASSERT_EQ(read->files.size(), 2U);
  EXPECT_EQ(read->files[0].mode, 0755U);
  EXPECT_EQ(read->notes, "new \"things\"");
  EXPECT_EQ(read->feature_level, 2U);
  EXPECT_EQ(write_manifest(*read), write_manifest(sample()));
}

TEST(Manifest, IgnoresMembersOfLaterReleases) {
  std::string text = write_manifest(sample());
  text.insert(1, "\"signed_by\":[1,2],");
  EXPECT_TRUE(parse_manifest(text));
}

TEST(Manifest, RefusesPathsThatLeaveTheFolder) {
  for (const char* path : {"/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a/.hidden", ".x",
                           "", "a\\b", "a b", "a\nb", "manifest.json"}) {
    Manifest m = sample();
    m.files[0].path = path;
    EXPECT_FALSE(parse_manifest(write_manifest(m))) << path;
  }
}

TEST(Manifest, RefusesDoublePathsAndFilesThatAreFoldersToo) {
  Manifest m = sample();
  m.files[1].path = m.files[0].path;
  EXPECT_FALSE(parse_manifest(write_manifest(m)));
  m.files[1].path = "bin";
  EXPECT_FALSE(parse_manifest(write_manifest(m)));
}

TEST(VersionRange, HoldsByNumberAndNeedsAllBounds) {
  const auto range = VersionRange::parse(">=0.9.0 <0.11.0");
  ASSERT_TRUE(range);
  EXPECT_TRUE(range->contains(*Version::parse("0.10.0")));
  EXPECT_FALSE(range->contains(*Version::parse("0.11.0")));
  EXPECT_FALSE(range->contains(*Version::parse("0.8.9")));
  EXPECT_TRUE(VersionRange::parse("")->contains(*Version::parse("7.0.0")));
  for (const char* bad : {"=>1.0.0", "1", ">=", "~1.0.0", ">=1.0.0 or 2.0.0"})
    EXPECT_FALSE(VersionRange::parse(bad)) << bad;
}

TEST(Manifest, FollowsOneOfTheNamedReleases) {
  const Manifest m = sample();
  EXPECT_TRUE(m.follows(*Version::parse("0.1.0")));
  EXPECT_TRUE(m.follows(*Version::parse("0.1.7")));
  EXPECT_FALSE(m.follows(*Version::parse("0.1.3")));
}

TEST(Manifest, SummaryKeepsWhatAPlanNeeds) {
  std::string digest;
  const auto read =
      parse_manifest_summary(manifest_summary(sample(), std::string(64, 'c')), digest);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(digest, std::string(64, 'c'));
  EXPECT_EQ(read->needs_from.size(), 2U);
  EXPECT_TRUE(read->files.empty());
}

}  // namespace
}  // namespace everspan::update
