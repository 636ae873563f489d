// Records of a recording file, to and from bytes. Pure. Numbers big-endian.
//
//   u32 size of type and body | u32 CRC-32C of type and body | u8 type | body
//
//   file      RecordingFile                                              first record of a file
//   segment   u32 stream | RecordingSegment                              before a stream's others
//   data      u32 stream | u32 channel | u8 flags | u64 offset | u64 wall ms | payload
//   hashed    as data, then u64 length | SHA-256 instead of the payload
//   snapshot  u32 stream | RecorderSnapshot                              what became known
//   chain     u32 stream | u64 records | SHA-256                         from time to time
//   end       u32 stream | u64 records | SHA-256 | RecordingEnd          last of a stream
//
// flags: bit 0 agent to console, bit 1 FIN. The SHA-256 of chain and end is over type and body of
// all records of the stream in this file so far, chain records left out.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/crypto.h"
#include "common/result.h"
#include "recording/core/types.h"

namespace everspan::recording {

enum class RecordType : std::uint8_t {
  file = 1,
  segment = 2,
  data = 3,
  hashed = 4,
  snapshot = 5,
  chain = 6,
  end = 7,
};

inline constexpr std::size_t kRecordHeaderBytes = 8;
inline constexpr std::size_t kRecordBytesMax = 1 << 20;  // Far above a payload or a snapshot.
inline constexpr std::size_t kDataFixedBytes = 4 + 4 + 1 + 8 + 8;

[[nodiscard]] std::uint32_t crc32c(std::string_view bytes);
// The same without the processor's instruction.
[[nodiscard]] std::uint32_t crc32c_portable(std::string_view bytes);

struct Record {
  RecordType type = RecordType::file;
  std::uint32_t stream = 0;  // 0 in a file record
  std::string_view body;     // After the stream number
  std::string_view chained;  // Type and body: what the chain is over
};
// One record at the front. nullopt: cut (more bytes are needed). Code `damaged`: checksum or form.
[[nodiscard]] Result<std::optional<Record>> parse_record(std::string_view bytes, std::size_t& size);

struct PieceRecord {
  std::uint32_t channel = 0;
  Direction direction = Direction::c2a;
  bool fin = false;
  bool hashed = false;
  std::uint64_t offset = 0;
  std::int64_t wall_ms = 0;
  std::uint64_t length = 0;  // Bytes, without FIN's number
  std::string_view payload;  // Or the 32 bytes of the hash
  [[nodiscard]] std::uint64_t end() const { return offset + length + (fin ? 1 : 0); }
};
[[nodiscard]] Result<PieceRecord> parse_piece(const Record& record);

struct ChainRecord {
  std::uint64_t records = 0;
  std::string_view digest;
  std::string_view rest;  // RecordingEnd bytes in an end record
};
[[nodiscard]] Result<ChainRecord> parse_chain(const Record& record);

// These leave the checksum 0; seal_records fills in those of whole records in `bytes`.
void append_file(std::string& out, std::string_view message);
void append_message(std::string& out, RecordType type, std::uint32_t stream,
                    std::string_view message);
void append_piece(std::string& out, std::uint32_t stream, const PieceRecord& piece);
void append_chain(std::string& out, RecordType type, std::uint32_t stream, std::uint64_t records,
                  const Sha256& digest, std::string_view message = {});

// Our own records, checksum filled in: for each, `each(record)`.
template <class Each>
void seal_records(std::string& bytes, std::size_t from, Each each);

// A whole record that was made here, at the front of `bytes`; its checksum is not looked at.
[[nodiscard]] Record own_record(std::string_view bytes);
// Size of the record at `at`, and its checksum written there. For seal_records.
[[nodiscard]] std::size_t seal_record(char* at, std::size_t room, Record& record);

template <class Each>
void seal_records(std::string& bytes, std::size_t from, Each each) {
  while (from < bytes.size()) {
    Record record;
    const auto size = seal_record(bytes.data() + from, bytes.size() - from, record);
    each(record);
    from += size;
  }
}

}  // namespace everspan::recording
