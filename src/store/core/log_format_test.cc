#include "store/core/log_format.h"

#include <gtest/gtest.h>

#include "common/random.h"

namespace everspan::store {
namespace {

LogEntry golden_entry() {
  LogEntry entry;
  entry.revision = {7};
  entry.lineage.bytes.fill(0x11);
  entry.epoch = {2};
  entry.generation = {3};
  entry.committed = {6};
  entry.primary_time = {1'700'000'000'123};
  entry.request_id.bytes.fill(0x22);
  entry.flags = kFlagRequired | 0x80;
  entry.feature_level = 1;
  entry.operations = {{Action::put, "setting", "motd", "hello"},
                      {Action::erase, "account", "bob", ""}};
  entry.trailing = "\x01later";
  return entry;
}

// Written by release 0.1.0. Never change: every node of every release must make these bytes.
constexpr const char* kGoldenHex =
    "454c4731000000000000000711111111111111111111111111111111000000000000000200000000"
    "0000000300000000000000060000018bcfe5687b2222222222222222222222222222222200000081"
    "000000010000002e000201000773657474696e6700046d6f74640000000568656c6c6f0200076163"
    "636f756e740003626f620000000000000006016c61746572";
constexpr const char* kGoldenHashHex =
    "114ace12897a0dcf21b27c3bc67d86166597130416a549dd350bc5fa8754e464";

TEST(LogFormat, GoldenBytesOfTheFirstRelease) {
  EXPECT_EQ(to_hex(as_bytes(encode_entry(golden_entry()))), kGoldenHex);
  const auto raw = from_hex(kGoldenHex);
  ASSERT_TRUE(raw);
  const auto decoded = decode_entry(*raw);
  ASSERT_TRUE(decoded) << decoded.error().text();
  EXPECT_EQ(*decoded, golden_entry());
  const Sha256 hash = chain_hash(Sha256{}, *raw);
  EXPECT_EQ(to_hex(Bytes(hash.data(), hash.size())), kGoldenHashHex);
}

TEST(LogFormat, TheHashCoversEveryByteAndWhatWasBefore) {
  const std::string raw = encode_entry(golden_entry());
  const Sha256 whole = chain_hash(Sha256{}, raw);
  for (std::size_t i = 0; i < raw.size(); ++i) {
    std::string changed = raw;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_NE(chain_hash(Sha256{}, changed), whole) << "byte " << i;
  }
  Sha256 other{};
  other[31] = 1;
  EXPECT_NE(chain_hash(other, raw), whole);
}

TEST(LogFormat, FieldsOfALaterReleaseAreKeptAsTheyAre) {
  LogEntry entry = golden_entry();
  entry.trailing.assign(1000, '\xfe');
  const auto back = decode_entry(encode_entry(entry));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->trailing, entry.trailing);
  EXPECT_EQ(encode_entry(*back), encode_entry(entry));
}

TEST(LogFormat, EveryTruncationAndEveryExtraByteIsRefused) {
  const std::string raw = encode_entry(golden_entry());
  for (std::size_t size = 0; size < raw.size(); ++size)
    EXPECT_FALSE(decode_entry(std::string_view(raw).substr(0, size))) << size;
  EXPECT_FALSE(decode_entry(raw + '\0'));
}

TEST(LogFormat, ChangedBytesAreRefusedOrReadBackTheSame) {
  SeededRandom random(1);
  const std::string raw = encode_entry(golden_entry());
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string changed = raw;
    for (std::uint64_t n = random.between(1, 4); n > 0; --n)
      changed[random.below(changed.size())] = static_cast<char>(random.next());
    const auto entry = decode_entry(changed);
    if (entry)
      EXPECT_EQ(encode_entry(*entry), changed);
    else
      ++refused;
  }
  EXPECT_GT(refused, 0);
}

TEST(LogFormat, LimitsAreKept) {
  const auto code = [](const std::vector<Operation>& operations) {
    const auto checked = check_operations(operations);
    return checked ? std::string() : checked.error().code;
  };
  const Operation good{Action::put, "k", "x", std::string(kRecordBytesMax, 'a')};
  EXPECT_EQ(code({good}), "");
  EXPECT_EQ(code({}), "bad_transaction");
  Operation it = good;
  it.bytes += 'a';
  EXPECT_EQ(code({it}), "too_large");
  it = {Action::put, "Kind", "x", ""};
  EXPECT_EQ(code({it}), "bad_transaction");
  it = {Action::put, "k", "", ""};
  EXPECT_EQ(code({it}), "bad_transaction");
  it = {Action::put, "k", std::string(kKeyBytesMax + 1, 'x'), ""};
  EXPECT_EQ(code({it}), "bad_transaction");
  it = {Action::erase, "k", "x", "bytes"};
  EXPECT_EQ(code({it}), "bad_transaction");
  EXPECT_EQ(code({{Action::put, "k", "x", ""}, {Action::erase, "k", "x", ""}}), "bad_transaction");
  std::vector<Operation> many;
  for (std::size_t i = 0; i <= kOperationsMax; ++i)
    many.push_back({Action::put, "k", std::to_string(i), ""});
  EXPECT_EQ(code(many), "too_large");
  many.pop_back();
  EXPECT_EQ(code(many), "");
  for (Operation& each : many) each.bytes.assign(kRecordBytesMax / 2, 'a');
  EXPECT_EQ(code(many), "too_large");
}

}  // namespace
}  // namespace everspan::store
