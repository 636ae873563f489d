// What two nodes keep in common besides the log: journal segments, recording files, blobs. Words
// that the union's core, its shell and its messages share. Pure.
#pragma once
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/crypto.h"
#include "common/ids.h"

namespace everspan::sync {

enum class UnionKind : std::uint8_t {
  journal = 1,    // Grows; written by its origin only.
  recording = 2,  // Grows; written by its origin only.
  blob = 3,       // Immutable, named by its SHA-256.
  file = 4,       // As a blob, but only between one who offers and one who waits for it.
};
[[nodiscard]] constexpr bool grows(UnionKind kind) {
  return kind == UnionKind::journal || kind == UnionKind::recording;
}

struct UnionKey {
  UnionKind kind = UnionKind::blob;
  NodeId origin;     // Zero unless it grows.
  std::string name;  // File name; of blobs and files the 32 bytes of the hash.
  auto operator<=>(const UnionKey&) const = default;
};
// A file name that the union copies: nothing else ever becomes a path.
[[nodiscard]] bool good_key(const UnionKey& key);
[[nodiscard]] std::string text_of(const UnionKey& key);  // For people: journal NODE/NAME.

// So far it is good, durable, and hashes to this.
struct UnionPoint {
  std::uint64_t length = 0;
  Sha256 hash{};
  bool operator==(const UnionPoint&) const = default;
};
struct UnionItem {
  UnionKey key;
  UnionPoint at;
  bool operator==(const UnionItem&) const = default;
};
[[nodiscard]] UnionItem item_of_hash(UnionKind kind, const Sha256& hash, std::uint64_t length);

// Items that are compared together: those of one origin, or blobs that begin with one byte.
struct UnionBucketId {
  UnionKind kind = UnionKind::blob;
  NodeId origin;
  std::uint8_t first = 0;
  auto operator<=>(const UnionBucketId&) const = default;
};
[[nodiscard]] UnionBucketId bucket_of(const UnionKey& key);

inline constexpr std::size_t kUnionPieceBytes = 1 << 20;    // Of data in one message.
inline constexpr std::size_t kUnionRangeBytes = 4 << 20;    // Asked for at once.
inline constexpr std::size_t kUnionWindowBytes = 16 << 20;  // Asked and not written yet.
inline constexpr std::size_t kUnionRangesMax = 1024;        // Asked and not answered yet.
inline constexpr std::size_t kUnionListItems = 4096;        // Of a page or an announcement.
inline constexpr std::size_t kUnionNameBytes = 96;
inline constexpr std::uint64_t kUnionLengthMax = 1ULL << 48;
inline constexpr std::size_t kUnionOffersMax = 16;
inline constexpr std::size_t kUnionOriginsMax = 256;       // Times two kinds.
inline constexpr std::size_t kUnionWantsMax = 128 * 1024;  // Known as missing at one time.

// --- Messages (proto/union.proto), checked ---
struct UnionBucket {
  UnionBucketId id;
  std::uint64_t items = 0;
  std::uint64_t bytes = 0;
  std::string digest;  // 16 bytes.
  bool operator==(const UnionBucket&) const = default;
};
struct UnionSummary {
  std::vector<UnionBucket> buckets;
};
struct UnionAskList {
  UnionBucketId bucket;
  std::string after;
};
struct UnionList {
  UnionBucketId bucket;
  std::vector<UnionItem> items;
  bool last = false;
};
struct UnionChanged {
  std::vector<UnionItem> items;
};
struct UnionOffers {
  std::vector<UnionItem> files;
};
struct UnionRecheck {
  UnionKey key;
};
struct UnionRechecked {
  UnionKey key;
  std::optional<UnionPoint> at;  // None: gone.
};
struct UnionRange {
  std::uint64_t id = 0;
  UnionKey key;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::optional<Sha256> before;
};
struct UnionAsk {
  std::vector<UnionRange> ranges;
};
struct UnionPiece {  // The shell keeps the data.
  std::uint64_t id = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::string code;
};
struct UnionProgress {
  std::string state;
  std::uint64_t items = 0;
  std::uint64_t journal_bytes = 0;
  std::uint64_t other_bytes = 0;
  std::uint64_t refused = 0;
  std::string problem_code;
  std::string problem;
  bool operator==(const UnionProgress&) const = default;
};
struct UnionMark {
  std::uint64_t token = 0;
};
struct UnionTold {
  std::uint64_t token = 0;
};
struct UnionMarked {
  std::uint64_t token = 0;
  std::uint64_t refused = 0;
};
using UnionWord = std::variant<UnionSummary, UnionAskList, UnionList, UnionChanged, UnionOffers,
                               UnionRecheck, UnionRechecked, UnionAsk, UnionPiece, UnionProgress,
                               UnionMark, UnionTold, UnionMarked>;

}  // namespace everspan::sync
