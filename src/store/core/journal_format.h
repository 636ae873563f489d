// Bytes of a journal segment. Pure. Frozen like the log's: see
// docs/decisions/2026-11-23-log-format.md.
//
//   header  "EVJ1" node(16) generation(8) started_ms(8) u16+previous name, previous length(8),
//           previous hash(32), SHA-256 of all that(32)
//   record  u32 length, body, SHA-256(hash before || length || body)(32)
//   body    seq(8) at_ms(8) u16+who u16+what u16+subject u32+detail, later fields (kept)
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "common/crypto.h"
#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"

namespace everspan::store {

inline constexpr std::size_t kJournalBodyBytesMax = 128 * 1024;  // Room for later fields.

struct SegmentHeader {
  NodeId node;
  Generation generation;
  WallTime started_at;
  std::string previous_name;  // Empty: the node's first.
  std::uint64_t previous_length = 0;
  Sha256 previous_hash{};
};

struct JournalBody {
  std::uint64_t seq = 0;
  WallTime at;
  std::string who;
  std::string what;
  std::string subject;
  std::string detail;
  bool operator==(const JournalBody&) const = default;
};

// A point in a segment: all before `offset` is good and hashes to `hash`.
struct SegmentPoint {
  std::uint64_t offset = 0;
  Sha256 hash{};
  bool operator==(const SegmentPoint&) const = default;
};

struct EncodedHeader {
  std::string bytes;
  SegmentPoint end;
};
[[nodiscard]] EncodedHeader encode_header(const SegmentHeader& header);
struct DecodedHeader {
  SegmentHeader header;
  SegmentPoint end;
};
// Codes: torn (more bytes are needed), bad_segment.
[[nodiscard]] Result<DecodedHeader> decode_header(std::string_view bytes);

// Appends the record to `out` and returns the point after it.
SegmentPoint encode_record(const JournalBody& body, const SegmentPoint& before, std::string& out);

// How a walk over records ended.
enum class TailState {
  whole,   // At the end of a record.
  torn,    // In the last record: what a crash leaves.
  broken,  // In the middle: changed by somebody, or a bad disk.
};
struct Walk {
  SegmentPoint end;  // After the last good record.
  TailState tail = TailState::whole;
};
// `bytes` is the segment from `from.offset` on. `visit` false: stop there (tail: whole).
[[nodiscard]] Walk walk_records(
    std::string_view bytes, const SegmentPoint& from,
    const std::function<bool(JournalBody&&, const SegmentPoint& after)>& visit);

}  // namespace everspan::store
