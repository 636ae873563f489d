#include "store/core/orphan_format.h"

#include <gtest/gtest.h>

#include <vector>

namespace everspan::store {
namespace {

LogEntry entry_at(Revision revision) {
  LogEntry entry;
  entry.revision = revision;
  entry.lineage.bytes.fill(0x11);
  entry.epoch = {2};
  entry.generation = {3};
  entry.committed = {6};
  entry.primary_time = {1'700'000'000'123};
  entry.operations = {{Action::put, "setting", "motd", std::to_string(revision.value)}};
  return entry;
}

LogHead before() {
  LogHead head{{7}, {}};
  head.hash.fill(0x33);
  return head;
}

std::string file_of(const std::vector<LogEntry>& entries) {
  std::string out = orphan_start(before());
  Sha256 hash = before().hash;
  for (const LogEntry& it : entries) {
    const std::string bytes = encode_entry(it);
    hash = chain_hash(hash, bytes);
    out += orphan_entry(bytes);
  }
  return out + orphan_end(hash);
}

Result<Orphan> walk(std::string_view bytes, std::vector<LogEntry>* seen = nullptr) {
  return walk_orphan(bytes, [&](LogEntry&& entry) -> Result<void> {
    if (seen != nullptr) seen->push_back(std::move(entry));
    return {};
  });
}

// Written by release 0.2.0. Never change: a person may read such a file years later.
constexpr const char* kGoldenHex =
    "657665727370616e206f727068616e20310a00000000000000073333333333333333333333333333"
    "33333333333333333333333333333333333300000073454c47310000000000000008111111111111"
    "111111111111111111110000000000000002000000000000000300000000000000060000018bcfe5"
    "687b0000000000000000000000000000000000000000000000010000001700010100077365747469"
    "6e6700046d6f7464000000013800000000000000007708c321f2f34e3993f0664444273891fe55f0"
    "7205e8263f0ddd9e9183580d35";

TEST(OrphanFormat, GoldenBytesOfTheFirstRelease) {
  EXPECT_EQ(to_hex(as_bytes(file_of({entry_at({8})}))), kGoldenHex);
  const auto raw = from_hex(kGoldenHex);
  ASSERT_TRUE(raw);
  std::vector<LogEntry> seen;
  const auto orphan = walk(*raw, &seen);
  ASSERT_TRUE(orphan) << orphan.error().text();
  EXPECT_EQ(orphan->before, before());
  EXPECT_EQ(orphan->last.revision, Revision{8});
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0], entry_at({8}));
}

TEST(OrphanFormat, SeveralEntriesAreReadInOrder) {
  std::vector<LogEntry> seen;
  ASSERT_TRUE(walk(file_of({entry_at({8}), entry_at({9}), entry_at({10})}), &seen));
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[2], entry_at({10}));
}

TEST(OrphanFormat, EveryTruncationExtraByteAndChangeIsNoticed) {
  const std::string raw = file_of({entry_at({8}), entry_at({9})});
  ASSERT_TRUE(walk(raw));
  for (std::size_t size = 0; size < raw.size(); ++size)
    EXPECT_FALSE(walk(std::string_view(raw).substr(0, size))) << size;
  EXPECT_FALSE(walk(raw + '\0'));
  EXPECT_FALSE(walk(file_of({entry_at({8}), entry_at({10})})));
  for (std::size_t i = 0; i < raw.size(); ++i) {
    std::string changed = raw;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_FALSE(walk(changed)) << "byte " << i;
  }
}

}  // namespace
}  // namespace everspan::store
