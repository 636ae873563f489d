#include <gtest/gtest.h>

#include "common/bytes.h"
#include "common/random.h"
#include "proto/link.pb.h"
#include "proto/recording.pb.h"
#include "recording/core/knowledge.h"
#include "recording/core/merge.h"
#include "recording/core/scan.h"
#include "recording/core/session_tap.h"

namespace everspan::recording {
namespace {

std::string control(const pb::SessionControl& message) {
  std::string out;
  put_u32(out, static_cast<std::uint32_t>(message.ByteSizeLong()));
  return out + message.SerializeAsString();
}
std::string open_message(std::uint32_t channel, const std::string& kind) {
  pb::SessionControl message;
  message.mutable_open()->set_channel(channel);
  message.mutable_open()->set_kind(kind);
  return control(message);
}
std::string closed_message(std::uint32_t channel) {
  pb::SessionControl message;
  message.mutable_closed()->set_channel(channel);
  return control(message);
}
void settle(SessionTap& tap, Batch& batch) {
  for (const auto& note : batch.notes) tap.mark_durable(note);
  batch = {};
}
std::vector<PieceRecord> pieces_in(std::string& records) {
  std::vector<PieceRecord> pieces;
  seal_records(records, 0, [&](const Record& record) {
    if (record.type == RecordType::data || record.type == RecordType::hashed)
      pieces.push_back(*parse_piece(record));
  });
  return pieces;
}

TEST(OffsetSet, agrees_with_a_set_of_single_numbers) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SeededRandom random(seed);
    OffsetSet ranges;
    std::vector<bool> model(100, false);
    for (int step = 0; step < 30; ++step) {
      const auto from = random.below(90);
      const auto to = from + random.below(11);
      std::uint64_t fresh = 0;
      for (const auto& part : ranges.add(from, to))
        for (auto i = part.from; i < part.to; ++i, ++fresh) ASSERT_FALSE(model[i]) << seed;
      std::uint64_t expected = 0;
      for (auto i = from; i < to; ++i) {
        expected += model[i] ? 0 : 1;
        model[i] = true;
      }
      ASSERT_EQ(fresh, expected) << seed;
      std::uint64_t missing = 0;
      while (missing < 100 && model[missing]) ++missing;
      ASSERT_EQ(ranges.first_missing(), missing) << seed;
      for (std::uint64_t i = 0; i < 100; ++i) ASSERT_EQ(ranges.contains(i), model[i]) << seed;
    }
  }
}

TEST(Crc32c, gives_the_value_of_rfc_3720) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  std::string bytes;
  for (int size = 0; size < 100; ++size) {
    EXPECT_EQ(crc32c(bytes), crc32c_portable(bytes)) << size;
    bytes.push_back(static_cast<char>(size * 37 + 5));
  }
}

TEST(SessionTap, takes_each_byte_once_whatever_comes_twice) {
  SessionTap tap(1, Policy::strict);
  Batch batch;
  tap.add(Direction::c2a, 1, 0, false, "hello", 7, batch);
  tap.add(Direction::c2a, 1, 3, false, "lo wor", 7, batch);
  tap.add(Direction::c2a, 1, 0, true, "hello world", 7, batch);
  std::string all;
  for (const auto& piece : pieces_in(batch.records)) {
    EXPECT_EQ(piece.offset, all.size());
    all += piece.payload;
  }
  EXPECT_EQ(all, "hello world");
  settle(tap, batch);
  EXPECT_EQ(tap.durable(1, Direction::c2a), 12U);
}

TEST(SessionTap, calls_durable_only_what_has_no_hole_before_it) {
  SessionTap tap(1, Policy::strict);
  Batch first;
  Batch second;
  tap.add(Direction::a2c, 1, 5, false, "later", 7, second);
  tap.add(Direction::a2c, 1, 0, false, "early", 7, first);
  settle(tap, second);
  EXPECT_EQ(tap.durable(1, Direction::a2c), 0U);
  EXPECT_FALSE(tap.settled());
  settle(tap, first);
  EXPECT_EQ(tap.durable(1, Direction::a2c), 10U);
  EXPECT_TRUE(tap.settled());
}

TEST(SessionTap, keeps_of_a_tunnel_the_lengths_and_hashes_only) {
  SessionTap tap(1, Policy::strict);
  Batch batch;
  const auto opening = open_message(3, "tunnel");
  // The control bytes come in two pieces, the later one first.
  tap.add(Direction::c2a, 0, 4, false, std::string_view(opening).substr(4), 7, batch);
  EXPECT_EQ(tap.kind(3), "");
  tap.add(Direction::c2a, 0, 0, false, std::string_view(opening).substr(0, 4), 7, batch);
  EXPECT_EQ(tap.kind(3), "tunnel");
  tap.add(Direction::a2c, 3, 0, false, "secret", 7, batch);
  const auto pieces = pieces_in(batch.records);
  ASSERT_FALSE(pieces.empty());
  EXPECT_TRUE(pieces.back().hashed);
  EXPECT_EQ(pieces.back().length, 6U);
  EXPECT_EQ(pieces.back().payload, as_text(sha256("secret")));
  EXPECT_EQ(batch.records.find("secret"), std::string::npos);
}

TEST(SessionTap, keeps_lengths_only_when_recording_is_off) {
  SessionTap tap(1, Policy::off);
  Batch batch;
  tap.add(Direction::a2c, 3, 0, false, "secret", 5'000, batch);
  tap.add(Direction::a2c, 3, 6, false, "more", 5'100, batch);
  EXPECT_TRUE(batch.notes.empty());
  EXPECT_TRUE(tap.settled());
  EXPECT_TRUE(pieces_in(batch.records).empty());
  const auto first = batch.records.size();
  EXPECT_GT(first, 0U) << "the session is known from its first byte on";
  tap.add(Direction::a2c, 3, 10, true, "!", 6'000, batch);
  EXPECT_GT(batch.records.size(), first);
  tap.add(Direction::c2a, 3, 0, false, "late", 6'001, batch);
  tap.finish(batch);
  EXPECT_EQ(batch.records.find("secret"), std::string::npos);
  pb::RecorderSnapshot said;
  tap.snapshot(said);
  SessionTap next(2, Policy::off);
  Batch unused;
  next.merge(said, unused);
  pb::RecorderSnapshot again;
  next.snapshot(again);
  EXPECT_EQ(again.SerializeAsString(), said.SerializeAsString());
  ASSERT_EQ(again.streams_size(), 2);
  EXPECT_EQ(again.streams(0).durable(), 12U);
  EXPECT_EQ(again.streams(1).durable(), 4U);
  EXPECT_TRUE(tap.take_progress(Direction::a2c).empty());
}

TEST(SessionTap, goes_on_in_another_process_from_what_the_first_one_held) {
  SessionTap old_tap(1, Policy::strict);
  Batch batch;
  const auto opening = open_message(1, "tunnel");
  old_tap.add(Direction::c2a, 0, 0, false, opening, 7, batch);
  old_tap.add(Direction::c2a, 1, 0, false, "abc", 7, batch);
  settle(old_tap, batch);
  pb::RecorderSnapshot early;
  old_tap.snapshot(early);
  old_tap.add(Direction::c2a, 1, 3, false, "def", 7, batch);  // The old leg's tail.
  SessionTap new_tap(9, Policy::strict);
  Batch new_batch;
  new_tap.merge(early, new_batch);
  EXPECT_EQ(new_tap.kind(1), "tunnel");
  new_tap.add(Direction::c2a, 1, 6, false, "ghi", 7, new_batch);
  settle(new_tap, new_batch);
  EXPECT_EQ(new_tap.durable(1, Direction::c2a), 3U) << "the tail is not known to be durable yet";
  settle(old_tap, batch);
  pb::RecorderSnapshot last;
  old_tap.snapshot(last);
  new_tap.merge(last, new_batch);
  EXPECT_EQ(new_tap.durable(1, Direction::c2a), 9U);
}

TEST(SessionTap, forgets_channels_that_are_over_and_still_answers_for_them) {
  SessionTap tap(1, Policy::strict);
  Batch batch;
  std::string c2a;
  for (std::uint32_t channel = 1; channel < 3 * kTapStreamsMax; channel += 2) {
    const auto said = open_message(channel, "exec") + closed_message(channel);
    tap.add(Direction::c2a, 0, c2a.size(), false, said, 7, batch);
    c2a += said;
    tap.add(Direction::c2a, channel, 0, true, "x", 7, batch);
    tap.add(Direction::a2c, channel, 0, true, "y", 7, batch);
    settle(tap, batch);
    const auto progress = tap.take_progress(Direction::c2a);
    ASSERT_FALSE(progress.empty()) << "channel " << channel;
    ASSERT_EQ(progress.back().channel, channel);
    (void)tap.take_progress(Direction::a2c);
  }
  tap.add(Direction::c2a, 1, 0, true, "x", 7, batch);  // Sent again: `recorded` was lost.
  EXPECT_TRUE(batch.notes.empty());
  const auto again = tap.take_progress(Direction::c2a);
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].durable, 2U);
}

struct Built {
  std::string bytes;
  Sha256Stream chain;
  std::uint64_t records = 0;
  void piece(std::uint64_t offset, std::string_view payload) {
    PieceRecord piece;
    piece.channel = 1;
    piece.offset = offset;
    piece.payload = payload;
    const auto from = bytes.size();
    append_piece(bytes, 5, piece);
    seal_records(bytes, from, [&](const Record& record) {
      chain.add(as_bytes(record.chained));
      ++records;
    });
  }
  void chain_record() {
    const auto from = bytes.size();
    append_chain(bytes, RecordType::chain, 5, records, chain.digest());
    seal_records(bytes, from, [](const Record&) {});
  }
};

TEST(ScanFile, stops_at_a_torn_tail_wherever_it_is_torn) {
  Built built;
  built.piece(0, "first");
  const auto whole = built.bytes.size();
  built.piece(5, "second");
  for (auto size = whole; size <= built.bytes.size(); ++size) {
    int records = 0;
    const auto scanned = scan_file(std::string_view(built.bytes).substr(0, size),
                                   [&](const Record&, std::uint64_t) { ++records; });
    const bool all = size == built.bytes.size();
    EXPECT_EQ(records, all ? 2 : 1);
    EXPECT_EQ(scanned.end, all || size == whole ? FileEnd::whole : FileEnd::torn);
  }
}

TEST(ScanFile, tells_damage_in_the_middle_from_a_torn_tail) {
  Built built;
  built.piece(0, "first");
  built.piece(5, "second");
  built.bytes[12] = static_cast<char>(built.bytes[12] ^ 1);
  EXPECT_EQ(scan_file(built.bytes, [](const Record&, std::uint64_t) {}).end, FileEnd::damaged);
}

TEST(ChainCheck, finds_a_piece_changed_together_with_its_checksum) {
  Built built;
  built.piece(0, "first");
  built.chain_record();
  const auto holds = [](const std::string& bytes) {
    ChainCheck check;
    bool good = true;
    (void)scan_file(bytes, [&](const Record& record, std::uint64_t) { good &= check.add(record); });
    return good;
  };
  EXPECT_TRUE(holds(built.bytes));
  auto forged = built.bytes;
  forged.replace(forged.find("first"), 5, "FIRST");
  seal_records(forged, 0, [](const Record&) {});
  EXPECT_FALSE(holds(forged));
}

Result<Merged> merge_of(const std::vector<std::pair<std::uint64_t, std::string>>& held) {
  std::vector<PieceRef> pieces;
  for (std::size_t i = 0; i < held.size(); ++i) {
    PieceRef piece;
    piece.channel = 1;
    piece.offset = held[i].first;
    piece.length = held[i].second.size();
    piece.file = static_cast<std::uint32_t>(i);
    pieces.push_back(piece);
  }
  return merge_pieces(pieces, [&](const PieceRef& piece, std::uint64_t skip, std::uint64_t length) {
    return Result<std::string>(held[piece.file].second.substr(skip, length));
  });
}

TEST(MergePieces, resolves_overlaps_and_names_gaps_and_conflicts) {
  const auto agreeing = merge_of({{0, "abcdef"}, {4, "efgh"}, {2, "cd"}});
  ASSERT_TRUE(agreeing);
  EXPECT_EQ(agreeing->overlaps, 2U);
  EXPECT_EQ(agreeing->conflicts, 0U);
  EXPECT_TRUE(agreeing->gaps.empty());
  ASSERT_EQ(agreeing->slices.size(), 2U);
  EXPECT_EQ(agreeing->slices[1].offset(), 6U);
  const auto holed = merge_of({{0, "ab"}, {4, "ef"}});
  ASSERT_EQ(holed->gaps.size(), 1U);
  EXPECT_EQ(holed->gaps[0].from, 2U);
  EXPECT_EQ(holed->gaps[0].to, 4U);
  EXPECT_EQ(merge_of({{0, "abcd"}, {2, "XX"}})->conflicts, 1U);
  EXPECT_EQ(merge_of({{3, "abcd"}})->gaps.size(), 1U) << "a missing begin is a gap";
}

}  // namespace
}  // namespace everspan::recording
