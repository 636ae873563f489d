// Foreign bytes as an entry of the log, as its operations, as an orphan file and as a segment of
// the journal: what is read is written the same again, and no walk goes past the end.
#include <cstdlib>

#include "store/core/journal_format.h"
#include "store/core/log_format.h"
#include "store/core/orphan_format.h"

namespace {

using namespace everspan;
using namespace everspan::store;

void check_log(std::string_view bytes) {
  if (const auto operations = decode_operations(bytes))
    if (encode_operations(*operations) != bytes) std::abort();
  if (const auto entry = decode_entry(bytes))
    if (encode_entry(*entry) != bytes) std::abort();
}

// With no entry, or one of the corpus, the hash at the end fits.
void check_orphan(std::string_view bytes) {
  std::string again;
  std::size_t entries = 0;
  const auto visit = [&](LogEntry&& entry) -> Result<void> {
    again += orphan_entry(encode_entry(entry));
    ++entries;
    return {};
  };
  const auto orphan = walk_orphan(bytes, visit);
  if (!orphan) return;
  again.insert(0, orphan_start(orphan->before));
  if (again + orphan_end(orphan->last.hash) != bytes) std::abort();
  if (orphan->last.revision.value - orphan->before.revision.value != entries) std::abort();
}

// Chance finds no hash, so records are made of the bytes first, and damaged by them.
void check_journal(std::string_view bytes) {
  if (bytes.size() < 4) return;
  SegmentHeader header;
  header.previous_name = std::string(bytes.substr(0, bytes.size() % 64));
  const EncodedHeader start = encode_header(header);
  if (!decode_header(start.bytes)) std::abort();
  std::string records;
  SegmentPoint end = start.end;
  std::size_t made = 0;
  for (std::string_view rest = bytes.substr(4); made < 8 && !rest.empty(); ++made) {
    const std::size_t size = std::min<std::size_t>(rest.size(), 1 + (rest[0] & 0x3f));
    JournalBody body{.seq = made, .at = {}, .who = "w", .what = "x", .subject = {}, .detail = {}};
    body.detail = std::string(rest.substr(0, size));
    end = encode_record(body, end, records);
    rest.remove_prefix(size);
  }
  const Walk whole =
      walk_records(records, start.end, [](JournalBody&&, const SegmentPoint&) { return true; });
  if (whole.tail != TailState::whole || whole.end != end) std::abort();
  if (records.empty()) return;
  const auto at =
      (static_cast<unsigned char>(bytes[0]) * 256U + static_cast<unsigned char>(bytes[1])) %
      records.size();
  if (bytes[2] == 0)
    records.resize(at);
  else
    records[at] = static_cast<char>(records[at] ^ bytes[2]);
  std::size_t seen = 0;
  const Walk damaged = walk_records(records, start.end,
                                    [&](JournalBody&&, const SegmentPoint&) { return ++seen > 0; });
  if (seen >= made || damaged.end.offset > start.end.offset + records.size()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check_log(bytes);
  check_orphan(bytes);
  check_journal(bytes);
  if (const auto header = decode_header(bytes)) {
    if (header->end.offset > size) std::abort();
    (void)walk_records(bytes.substr(header->end.offset), header->end,
                       [](JournalBody&&, const SegmentPoint&) { return true; });
  }
  return 0;
}
