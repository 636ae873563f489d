// The frozen format of the log's entries: limits, bytes, chain hash. Pure.
//
// Every release reads and writes these bytes; only base software may change them
// (docs/decisions/2026-11-23-log-format.md, golden bytes in log_format_test.cc). What a later
// release adds travels in `trailing`: stored, shipped and hashed as it is.
//
//   hash(n) = SHA-256( hash(n-1) || encode_entry(n) ),  hash(0) = 32 zero bytes
//
// So an empty log is an ancestor of all.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/crypto.h"
#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"

namespace everspan::store {

// Limits from the start, so that every node of every release can hold what any other wrote.
inline constexpr std::size_t kRecordBytesMax = 256 * 1024;  // Value of one record.
inline constexpr std::size_t kOperationsMax = 64;           // Operations of one transaction.
inline constexpr std::size_t kKindBytesMax = 64;
inline constexpr std::size_t kKeyBytesMax = 512;
inline constexpr std::size_t kTrailingBytesMax = 64 * 1024;
inline constexpr std::size_t kTransactionBytesMax =
    4 * 1024 * 1024;  // All its operations, encoded.

enum class Action : std::uint8_t { put = 1, erase = 2 };

struct Operation {
  Action action = Action::put;
  std::string kind;   // [a-z0-9_.-]+
  std::string key;    // Any bytes, at least one.
  std::string bytes;  // Of the record; empty for erase.
  bool operator==(const Operation&) const = default;
};

// Bit 0: a follower or read model that does not know a kind in here stops loudly. Others are kept.
inline constexpr std::uint32_t kFlagRequired = 1;

struct LogEntry {
  Revision revision;
  LineageId lineage;
  Epoch epoch;
  Generation generation;  // Which writer process of the primary's.
  Revision committed;     // What the primary knew as committed when it made this entry.
  WallTime primary_time;
  RequestId request_id;  // Zero: none.
  std::uint32_t flags = 0;
  std::uint32_t feature_level = 1;
  std::vector<Operation> operations;
  std::string trailing;  // Fields of later releases: kept, hashed, not understood.
  bool operator==(const LogEntry&) const = default;
};

// A point of history; with the lineage and epoch of its entry it names one for good.
struct LogHead {
  Revision revision;
  Sha256 hash{};
  bool operator==(const LogHead&) const = default;
};

// Fails with bad_transaction or too_large. A (kind, key) stands at most once in a transaction.
[[nodiscard]] Result<void> check_operations(const std::vector<Operation>& operations);

[[nodiscard]] std::string encode_operations(const std::vector<Operation>& operations);
[[nodiscard]] Result<std::vector<Operation>> decode_operations(std::string_view bytes);

// The whole entry, as hashed and as shipped to another node.
[[nodiscard]] std::string encode_entry(const LogEntry& entry);
[[nodiscard]] Result<LogEntry> decode_entry(std::string_view bytes);

[[nodiscard]] Sha256 chain_hash(const Sha256& before, std::string_view encoded_entry);

}  // namespace everspan::store
