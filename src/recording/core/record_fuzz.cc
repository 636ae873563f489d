// Foreign recording files: scanned, chains checked, pieces merged; what parses is written back the
// same.
#include <cstdlib>
#include <vector>

#include "common/bytes.h"
#include "recording/core/merge.h"
#include "recording/core/scan.h"

namespace {

// Chance never finds a checksum: it is put right where a size fits, so that all behind it is
// reached.
std::string with_checksums(const std::uint8_t* data, std::size_t size) {
  using namespace everspan;
  std::string bytes(reinterpret_cast<const char*>(data), size);
  for (std::size_t at = 0; at + recording::kRecordHeaderBytes <= size;) {
    const std::size_t body = get_u32(as_bytes(bytes).data() + at);
    if (body < 1 || body > size - at - recording::kRecordHeaderBytes) break;
    std::string sum;
    put_u32(sum, recording::crc32c(
                     std::string_view(bytes).substr(at + recording::kRecordHeaderBytes, body)));
    bytes.replace(at + 4, 4, sum);
    at += recording::kRecordHeaderBytes + body;
  }
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace everspan;
  using namespace everspan::recording;
  const std::string kept = size > 0 && data[0] == 0xff
                               ? std::string(reinterpret_cast<const char*>(data), size)
                               : with_checksums(data, size);
  const std::string_view bytes(kept);
  ChainCheck chains;
  std::vector<PieceRef> pieces;
  const auto scanned = scan_file(bytes, [&](const Record& record, std::uint64_t position) {
    (void)chains.add(record);
    if (record.type != RecordType::data && record.type != RecordType::hashed) return;
    const auto piece = parse_piece(record);
    if (!piece) return;
    std::string again;
    append_piece(again, record.stream, *piece);
    seal_records(again, 0, [](const Record&) {});
    if (!bytes.substr(position).starts_with(again)) std::abort();
    pieces.push_back({piece->channel, piece->direction, piece->fin, piece->hashed, piece->offset,
                      piece->length, piece->wall_ms, 0, position});
  });
  if (scanned.good_bytes > size) std::abort();
  const auto merged = merge_pieces(
      std::move(pieces), [](const PieceRef&, std::uint64_t, std::uint64_t) -> Result<std::string> {
        return std::string("x");
      });
  if (!merged) std::abort();
  for (std::size_t i = 1; i < merged->slices.size(); ++i) {
    const auto& a = merged->slices[i - 1];
    const auto& b = merged->slices[i];
    const bool same = a.piece.channel == b.piece.channel && a.piece.direction == b.piece.direction;
    if (same && !b.piece.hashed && b.offset() < a.piece.end()) std::abort();
  }
  return 0;
}
