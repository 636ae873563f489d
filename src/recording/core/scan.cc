#include "recording/core/scan.h"

namespace everspan::recording {
namespace {

// Is there a good record behind the damaged one at the front?
bool goes_on(std::string_view bytes) {
  if (bytes.size() < kRecordHeaderBytes) return false;
  const std::size_t body = get_u32(as_bytes(bytes).data());
  if (body < 1 || body > kRecordBytesMax || kRecordHeaderBytes + body >= bytes.size()) return false;
  std::size_t size = 0;
  const auto next = parse_record(bytes.substr(kRecordHeaderBytes + body), size);
  return next && next->has_value();
}

}  // namespace

ScannedFile scan_file(std::string_view bytes, const EachRecord& each) {
  ScannedFile scanned;
  while (scanned.good_bytes < bytes.size()) {
    const auto rest = bytes.substr(scanned.good_bytes);
    std::size_t size = 0;
    const auto record = parse_record(rest, size);
    if (!record) {
      scanned.end = goes_on(rest) ? FileEnd::damaged : FileEnd::torn;
      return scanned;
    }
    if (!*record) {
      scanned.end = FileEnd::torn;
      return scanned;
    }
    each(**record, scanned.good_bytes);
    scanned.good_bytes += size;
  }
  return scanned;
}

bool ChainCheck::add(const Record& record) {
  if (record.type == RecordType::file) return true;
  auto& chain = chains_[record.stream];
  if (record.type == RecordType::chain || record.type == RecordType::end) {
    const auto said = parse_chain(record);
    return said && said->records == chain.records && said->digest == as_text(chain.digest.digest());
  }
  chain.digest.add(as_bytes(record.chained));
  ++chain.records;
  return true;
}

}  // namespace everspan::recording
