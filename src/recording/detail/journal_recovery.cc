#include "recording/detail/journal_recovery.h"

#include "proto/recording.pb.h"
#include "recording/core/scan.h"

namespace everspan::recording {
namespace {

constexpr std::uint64_t kReadBytes = 8 << 20;  // At a time; a record is far smaller.

}  // namespace

Result<void> JournalRecovery::refresh() {
  const auto names = list_journals(folder_);
  if (!names) return fail(names);
  for (const auto& name : *names) {
    const auto read = refresh_file(name);
    if (!read) return fail(read);
  }
  return {};
}

Result<void> JournalRecovery::refresh_file(const JournalName& name) {
  auto& seen = files_[name];
  for (bool first = true;; first = false) {
    const auto bytes = read_journal(folder_ + "/" + name.text(), seen.bytes, kReadBytes, first);
    if (!bytes) return fail(bytes);
    const auto scanned = scan_file(*bytes, [&](const Record& record, std::uint64_t) {
      if (record.type == RecordType::segment) {
        pb::RecordingSegment segment;
        if (!segment.ParseFromArray(record.body.data(), static_cast<int>(record.body.size())))
          return;
        const auto session = SessionId::from_raw(segment.session_id());
        if (!session) return;
        seen.streams[record.stream] = *session;
        sessions_[*session].merge(segment.before());
        return;
      }
      const auto stream = seen.streams.find(record.stream);
      if (stream == seen.streams.end()) return;
      if (record.type == RecordType::snapshot) {
        pb::RecorderSnapshot delta;
        if (delta.ParseFromArray(record.body.data(), static_cast<int>(record.body.size())))
          sessions_[stream->second].merge(delta);
      } else if (record.type == RecordType::data || record.type == RecordType::hashed) {
        if (const auto piece = parse_piece(record)) sessions_[stream->second].add(*piece);
      }
    });
    seen.bytes += scanned.good_bytes;
    if (bytes->size() < kReadBytes || scanned.good_bytes == 0) return {};
  }
}

void JournalRecovery::find(const SessionId& session, pb::RecorderSnapshot& out) const {
  const auto found = sessions_.find(session);
  if (found != sessions_.end()) found->second.write(out);
}

}  // namespace everspan::recording
