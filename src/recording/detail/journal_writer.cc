#include "recording/detail/journal_writer.h"

#include "common/bytes.h"
#include "common/version.h"
#include "proto/recording.pb.h"
#include "recording/core/policy.h"
#include "recording/core/record.h"

namespace everspan::recording {
namespace {

// A chain digest at least so often: what a crash may leave without one.
constexpr std::uint64_t kChainEveryBytes = 1 << 20;

std::size_t size_of_record(std::string_view at) {
  return kRecordHeaderBytes + get_u32(as_bytes(at).data());
}
std::uint32_t stream_of_record(std::string_view at) {
  return get_u32(as_bytes(at).data() + kRecordHeaderBytes + 1);
}

}  // namespace

JournalWriter::JournalWriter(RecorderOptions options, std::int64_t started_ms)
    : options_(std::move(options)), started_ms_(started_ms) {}

void JournalWriter::open_stream(std::uint32_t stream, SessionInfo info) {
  streams_[stream].info = std::move(info);
}

void JournalWriter::add(std::string records) {
  batches_.push_back(std::move(records));
}

void JournalWriter::close_stream(std::uint32_t stream, std::string reason) {
  closing_.emplace_back(stream, std::move(reason));
}

Result<void> JournalWriter::begin_file(std::int64_t wall_ms) {
  for (;;) {
    auto made =
        JournalFile::create(options_.folder, {started_ms_, options_.generation, next_number_});
    if (!made && made.error().code == "exists") {
      ++next_number_;
      continue;
    }
    if (!made) return fail(made);
    file_ = std::move(*made);
    break;
  }
  pb::RecordingFile head;
  head.set_site_id(options_.site.raw());
  head.set_node_id(options_.node.raw());
  head.set_generation(options_.generation);
  head.set_started_ms(wall_ms);
  head.set_number(next_number_++);
  head.set_release(std::string(program_version()));
  out_.clear();
  parts_.clear();
  append_file(out_, head.SerializeAsString());
  seal_records(out_, 0, [](const Record&) {});
  lay_own(0);
  suspect_ = false;
  ++files_;
  for (auto& [number, stream] : streams_) {
    const bool was_written = stream.in_file;
    stream.in_file = false;
    stream.chain = Sha256Stream();
    stream.records = 0;
    stream.unchained_bytes = 0;
    if (was_written) begin_segment(number, stream, wall_ms);  // R7
  }
  return {};
}

void JournalWriter::chain_record(Stream& stream, const Record& record) {
  stream.chain.add(as_bytes(record.chained));
  ++stream.records;
  stream.unchained_bytes += record.chained.size();
}

void JournalWriter::append_record(Stream& stream, std::size_t from) {
  seal_records(out_, from, [&](const Record& record) { chain_record(stream, record); });
  lay_own(from);
}

void JournalWriter::lay_own(std::size_t from) {
  parts_.push_back({nullptr, from, out_.size() - from});
}

Result<void> JournalWriter::write_out() {
  std::vector<iovec> parts;
  parts.reserve(parts_.size());
  for (const auto& part : parts_) {
    char* const at = (part.foreign != nullptr ? part.foreign : out_.data()) + part.from;
    if (!parts.empty() && static_cast<char*>(parts.back().iov_base) + parts.back().iov_len == at) {
      parts.back().iov_len += part.size;
    } else {
      parts.push_back({at, part.size});
    }
  }
  return file_.append(std::move(parts));
}

void JournalWriter::begin_segment(std::uint32_t number, Stream& stream, std::int64_t wall_ms) {
  pb::RecordingSegment segment;
  segment.set_session_id(stream.info.session.raw());
  segment.set_endpoint_id(stream.info.endpoint.raw());
  segment.set_person(stream.info.person);
  segment.set_policy(std::string(policy_word(stream.info.policy)));
  segment.set_grant_digest(stream.info.grant_digest);
  segment.set_started_ms(wall_ms);
  stream.durable.write(*segment.mutable_before());
  const auto from = out_.size();
  append_message(out_, RecordType::segment, number, segment.SerializeAsString());
  append_record(stream, from);
  stream.in_file = true;
}

void JournalWriter::end_segment(std::uint32_t number, Stream& stream, const std::string& reason,
                                std::int64_t wall_ms) {
  if (!stream.in_file) return;
  pb::RecordingEnd end;
  end.set_reason(reason);
  end.set_ended_ms(wall_ms);
  const auto from = out_.size();
  append_chain(out_, RecordType::end, number, stream.records, stream.chain.digest(),
               end.SerializeAsString());
  seal_records(out_, from, [](const Record&) {});
  lay_own(from);
}

void JournalWriter::lay_out(std::int64_t wall_ms) {
  for (auto& batch : batches_) {
    std::string_view rest = batch;
    while (!rest.empty()) {
      const auto size = size_of_record(rest);
      const auto number = stream_of_record(rest);
      const auto found = streams_.find(number);
      if (found != streams_.end()) {
        auto& stream = found->second;
        if (!stream.in_file) begin_segment(number, stream, wall_ms);
        const auto from = batch.size() - rest.size();
        Record record;
        (void)seal_record(batch.data() + from, size, record);
        chain_record(stream, record);
        parts_.push_back({batch.data(), from, size});
        if (stream.unchained_bytes >= kChainEveryBytes) {
          const auto chain_from = out_.size();
          append_chain(out_, RecordType::chain, number, stream.records, stream.chain.digest());
          seal_records(out_, chain_from, [](const Record&) {});
          lay_own(chain_from);
          stream.unchained_bytes = 0;
        }
      }
      rest.remove_prefix(size);
    }
  }
  for (const auto& [number, reason] : closing_) {
    const auto found = streams_.find(number);
    if (found != streams_.end()) end_segment(number, found->second, reason, wall_ms);
  }
}

// All of it is durable: remember for the next file, forget what is closed.
void JournalWriter::settle() {
  for (const auto& batch : batches_) {
    std::string_view rest = batch;
    while (!rest.empty()) {
      const auto size = size_of_record(rest);
      const auto found = streams_.find(stream_of_record(rest));
      if (found != streams_.end()) {
        const Record record = own_record(rest.substr(0, size));
        if (record.type == RecordType::snapshot) {
          pb::RecorderSnapshot delta;
          if (delta.ParseFromArray(record.body.data(), static_cast<int>(record.body.size())))
            found->second.durable.merge(delta);
        } else if (const auto piece = parse_piece(record)) {
          found->second.durable.add(*piece);
        }
      }
      rest.remove_prefix(size);
    }
  }
  spent_ = std::exchange(batches_, {});
  for (const auto& [number, reason] : closing_) streams_.erase(number);
  closing_.clear();
  out_.clear();
  parts_.clear();
}

Result<void> JournalWriter::rotate(std::int64_t wall_ms) {
  for (auto& [number, stream] : streams_) end_segment(number, stream, "rotated", wall_ms);
  const auto wrote = write_out();
  if (!wrote) return fail(wrote);
  const auto synced = file_.sync();
  if (!synced) return fail(synced);
  out_.clear();
  parts_.clear();
  return begin_file(wall_ms);
}

Result<void> JournalWriter::commit(std::int64_t wall_ms) {
  if (!has_work()) return {};
  if (!file_.is_open() || suspect_) {
    const auto begun = begin_file(wall_ms);
    if (!begun) return fail(begun);
  } else if (file_.size() >= options_.file_bytes_max) {
    suspect_ = true;  // Until the next file has begun.
    const auto rotated = rotate(wall_ms);
    if (!rotated) return fail(rotated);
  }
  suspect_ = true;  // Until it is durable.
  lay_out(wall_ms);
  const auto wrote = write_out();
  if (!wrote) return fail(wrote);
  const auto synced = file_.sync();
  if (!synced) return fail(synced);
  suspect_ = false;
  settle();
  return {};
}

Result<void> JournalWriter::finish(std::int64_t wall_ms) {
  for (const auto& [number, stream] : streams_) closing_.emplace_back(number, "stopped");
  if (!file_.is_open() && batches_.empty()) return {};
  return commit(wall_ms);
}

}  // namespace everspan::recording
