#include "recording/reader.h"

#include <algorithm>
#include <map>
#include <optional>

#include "proto/recording.pb.h"
#include "recording/core/merge.h"
#include "recording/core/policy.h"
#include "recording/core/scan.h"
#include "recording/detail/journal_file.h"

namespace everspan::recording {
namespace {

// One file in memory at a time: files are bounded (RecorderOptions::file_bytes_max and one group).
constexpr std::uint64_t kFileBytesMax = 1ULL << 30;

SessionInfo info_of(const pb::RecordingSegment& segment, const SessionId& session) {
  SessionInfo info;
  info.session = session;
  if (const auto endpoint = EndpointId::from_raw(segment.endpoint_id())) info.endpoint = *endpoint;
  info.person = segment.person();
  info.policy = policy_of(segment.policy());
  info.grant_digest = segment.grant_digest();
  return info;
}

std::optional<pb::RecordingSegment> parse_segment(const Record& record) {
  pb::RecordingSegment segment;
  if (!segment.ParseFromArray(record.body.data(), static_cast<int>(record.body.size())))
    return std::nullopt;
  return segment;
}

// All that the files hold of one session.
class Collected {
 public:
  Result<void> read(const std::string& folder, const SessionId& session) {
    const auto names = list_journals(folder);
    if (!names) return fail(names);
    for (const auto& name : *names) {
      const auto done = read_file(folder + "/" + name.text(), session);
      if (!done) return fail(done);
    }
    if (report.segments == 0)
      return fail("not_found", "There is no recording of session " + session.hex());
    return {};
  }

  Result<Merged> merge() const {
    return merge_pieces(pieces,
                        [this](const PieceRef& piece, std::uint64_t skip,
                               std::uint64_t length) -> Result<std::string> {
                          const auto bytes =
                              read_journal(paths[piece.file], piece.position + skip, length, false);
                          if (!bytes) return fail(bytes);
                          if (bytes->size() != length)
                            return fail("io", "A file of recordings became shorter");
                          return *bytes;
                        });
  }

  std::vector<std::string> paths;
  std::vector<PieceRef> pieces;
  VerifyReport report;

 private:
  Result<void> read_file(const std::string& path, const SessionId& session);
  void take_piece(const Record& record, std::uint64_t position);
};

void Collected::take_piece(const Record& record, std::uint64_t position) {
  const auto piece = parse_piece(record);
  if (!piece) {
    ++report.broken_chains;
    return;
  }
  PieceRef ref;
  ref.channel = piece->channel;
  ref.direction = piece->direction;
  ref.fin = piece->fin;
  ref.hashed = piece->hashed;
  ref.offset = piece->offset;
  ref.length = piece->length;
  ref.wall_ms = piece->wall_ms;
  ref.file = static_cast<std::uint32_t>(paths.size() - 1);
  ref.position = position + kRecordHeaderBytes + record.chained.size() - piece->payload.size();
  report.bytes += piece->length;
  pieces.push_back(ref);
}

Result<void> Collected::read_file(const std::string& path, const SessionId& session) {
  const auto bytes = read_journal(path, 0, kFileBytesMax, false);
  if (!bytes) return fail(bytes);
  paths.push_back(path);
  std::map<std::uint32_t, bool> ended;  // Streams of this session here, and whether they ended.
  ChainCheck chains;
  const auto scanned = scan_file(*bytes, [&](const Record& record, std::uint64_t position) {
    if (record.type == RecordType::segment) {
      const auto segment = parse_segment(record);
      if (segment && segment->session_id() == session.raw()) {
        ended[record.stream] = false;
        ++report.segments;
      }
    }
    const auto stream = ended.find(record.stream);
    if (record.type == RecordType::file || stream == ended.end()) return;
    if (!chains.add(record)) ++report.broken_chains;
    if (record.type == RecordType::end) stream->second = true;
    if (record.type == RecordType::data || record.type == RecordType::hashed)
      take_piece(record, position);
  });
  if (ended.empty()) {
    paths.pop_back();
    return {};
  }
  for (const auto& [stream, closed] : ended)
    if (!closed) ++report.open_segments;
  if (scanned.end == FileEnd::torn) ++report.torn_tails;
  if (scanned.end == FileEnd::damaged) ++report.broken_files;
  return {};
}

}  // namespace

Result<std::vector<RecordingSummary>> list_recordings(const std::string& folder) {
  const auto names = list_journals(folder);
  if (!names) return fail(names);
  std::map<SessionId, RecordingSummary> found;
  for (const auto& name : *names) {
    const auto bytes = read_journal(folder + "/" + name.text(), 0, kFileBytesMax, false);
    if (!bytes) return fail(bytes);
    std::map<std::uint32_t, RecordingSummary*> streams;
    (void)scan_file(*bytes, [&](const Record& record, std::uint64_t) {
      if (record.type == RecordType::segment) {
        const auto segment = parse_segment(record);
        if (!segment) return;
        const auto session = SessionId::from_raw(segment->session_id());
        if (!session) return;
        auto& summary = found[*session];
        if (summary.segments++ == 0) {
          summary.info = info_of(*segment, *session);
          summary.started_ms = segment->started_ms();
        }
        summary.last_ms = std::max(summary.last_ms, segment->started_ms());
        streams[record.stream] = &summary;
      }
      if (record.type != RecordType::data && record.type != RecordType::hashed) return;
      const auto stream = streams.find(record.stream);
      const auto piece = parse_piece(record);
      if (!piece || stream == streams.end()) return;
      stream->second->bytes += piece->length;
      stream->second->last_ms = std::max(stream->second->last_ms, piece->wall_ms);
    });
  }
  std::vector<RecordingSummary> list;
  list.reserve(found.size());
  for (auto& [session, summary] : found) list.push_back(std::move(summary));
  std::ranges::sort(list, std::greater(), &RecordingSummary::started_ms);
  return list;
}

Result<std::vector<Piece>> read_recording(const std::string& folder, const SessionId& session) {
  Collected collected;
  const auto read = collected.read(folder, session);
  if (!read) return fail(read);
  const auto merged = collected.merge();
  if (!merged) return fail(merged);
  std::vector<Piece> pieces;
  for (const auto& slice : merged->slices) {
    Piece piece;
    piece.channel = slice.piece.channel;
    piece.direction = slice.piece.direction;
    piece.offset = slice.offset();
    piece.wall_ms = slice.piece.wall_ms;
    piece.fin = slice.piece.fin;
    piece.content = !slice.piece.hashed;
    piece.length = slice.piece.length - slice.skip;
    const auto size = piece.content ? piece.length : sizeof(Sha256);
    auto bytes = read_journal(collected.paths[slice.piece.file], slice.piece.position + slice.skip,
                              size, false);
    if (!bytes) return fail(bytes);
    piece.bytes = std::move(*bytes);
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

Result<VerifyReport> verify_recording(const std::string& folder, const SessionId& session) {
  Collected collected;
  const auto read = collected.read(folder, session);
  if (!read) return fail(read);
  const auto merged = collected.merge();
  if (!merged) return fail(merged);
  auto report = collected.report;
  report.gaps = merged->gaps;
  report.overlaps = merged->overlaps;
  report.conflicts = merged->conflicts;
  report.ok = report.gaps.empty() && report.conflicts == 0 && report.broken_chains == 0 &&
              report.broken_files == 0;
  return report;
}

}  // namespace everspan::recording
