#include "store/core/journal_format.h"

#include <algorithm>

namespace everspan::store {
namespace {

constexpr std::string_view kMagic = "EVJ1";
constexpr std::size_t kHashBytes = 32;
constexpr std::size_t kNameBytesMax = 255;
constexpr std::size_t kBodyBytesMin = 8 + 8 + 2 + 2 + 2 + 4;

std::string_view text_of(const Sha256& hash) {
  return as_text(Bytes(hash.data(), hash.size()));
}

Sha256 hash_of(std::string_view raw) {
  Sha256 hash{};
  std::ranges::copy(as_bytes(raw.substr(0, kHashBytes)), hash.begin());
  return hash;
}

// Takes from the front; false when there is too little.
bool take(std::string_view& rest, std::size_t size, std::string_view& out) {
  if (rest.size() < size) return false;
  out = rest.substr(0, size);
  rest.remove_prefix(size);
  return true;
}
bool take_u64(std::string_view& rest, std::uint64_t& out) {
  std::string_view raw;
  if (!take(rest, 8, raw)) return false;
  out = get_u64(as_bytes(raw).data());
  return true;
}
bool take_text(std::string_view& rest, std::size_t length_bytes, std::string& out) {
  std::string_view raw;
  if (!take(rest, length_bytes, raw)) return false;
  const std::size_t size =
      length_bytes == 2 ? get_u16(as_bytes(raw).data()) : get_u32(as_bytes(raw).data());
  if (!take(rest, size, raw)) return false;
  out = raw;
  return true;
}

void put_text16(std::string& out, std::string_view text) {
  put_u16(out, static_cast<std::uint16_t>(text.size()));
  out += text;
}

bool decode_body(std::string_view rest, JournalBody& body) {
  std::uint64_t at = 0;
  const bool good = take_u64(rest, body.seq) && take_u64(rest, at) &&
                    take_text(rest, 2, body.who) && take_text(rest, 2, body.what) &&
                    take_text(rest, 2, body.subject) && take_text(rest, 4, body.detail);
  body.at = {static_cast<std::int64_t>(at)};
  return good;
}

Sha256 record_hash(const Sha256& before, std::string_view length_and_body) {
  Sha256Stream hash;
  hash.add(Bytes(before.data(), before.size()));
  hash.add(as_bytes(length_and_body));
  return hash.digest();
}

}  // namespace

EncodedHeader encode_header(const SegmentHeader& header) {
  EncodedHeader out;
  out.bytes = kMagic;
  out.bytes += header.node.raw();
  put_u64(out.bytes, header.generation.value);
  put_u64(out.bytes, static_cast<std::uint64_t>(header.started_at.unix_ms));
  put_text16(out.bytes, header.previous_name);
  put_u64(out.bytes, header.previous_length);
  out.bytes += text_of(header.previous_hash);
  const Sha256 hash = sha256(out.bytes);
  out.bytes += text_of(hash);
  out.end = {out.bytes.size(), hash};
  return out;
}

Result<DecodedHeader> decode_header(std::string_view bytes) {
  std::string_view rest = bytes;
  std::string_view magic;
  std::string_view node;
  std::string_view previous_hash;
  std::string_view hash;
  DecodedHeader out;
  std::uint64_t started = 0;
  const bool complete = take(rest, kMagic.size(), magic) && take(rest, 16, node) &&
                        take_u64(rest, out.header.generation.value) && take_u64(rest, started) &&
                        take_text(rest, 2, out.header.previous_name) &&
                        take_u64(rest, out.header.previous_length) &&
                        take(rest, kHashBytes, previous_hash);
  if (!complete || !take(rest, kHashBytes, hash))
    return fail("torn", "The segment's header is not complete");
  const std::size_t hashed = bytes.size() - rest.size() - kHashBytes;
  if (magic != kMagic || out.header.previous_name.size() > kNameBytesMax ||
      sha256(bytes.substr(0, hashed)) != hash_of(hash))
    return fail("bad_segment", "The segment's header was changed");
  auto id = NodeId::from_raw(node);
  if (!id) return fail(id);
  out.header.node = *id;
  out.header.started_at = {static_cast<std::int64_t>(started)};
  out.header.previous_hash = hash_of(previous_hash);
  out.end = {hashed + kHashBytes, hash_of(hash)};
  return out;
}

SegmentPoint encode_record(const JournalBody& body, const SegmentPoint& before, std::string& out) {
  std::string raw;
  put_u64(raw, body.seq);
  put_u64(raw, static_cast<std::uint64_t>(body.at.unix_ms));
  put_text16(raw, body.who);
  put_text16(raw, body.what);
  put_text16(raw, body.subject);
  put_u32(raw, static_cast<std::uint32_t>(body.detail.size()));
  raw += body.detail;
  std::string record;
  put_u32(record, static_cast<std::uint32_t>(raw.size()));
  record += raw;
  const Sha256 hash = record_hash(before.hash, record);
  record += text_of(hash);
  out += record;
  return {before.offset + record.size(), hash};
}

Walk walk_records(std::string_view bytes, const SegmentPoint& from,
                  const std::function<bool(JournalBody&&, const SegmentPoint& after)>& visit) {
  Walk walk{from, TailState::whole};
  std::string_view rest = bytes;
  const auto ends_as = [&](TailState state) {
    // Space that was allocated and never written reads as zeros.
    const bool zeros = rest.find_first_not_of('\0') == std::string_view::npos;
    walk.tail = zeros ? TailState::torn : state;
    return walk;
  };
  while (!rest.empty()) {
    if (rest.size() < 4) return ends_as(TailState::torn);
    const std::size_t length = get_u32(as_bytes(rest).data());
    if (length < kBodyBytesMin || length > kJournalBodyBytesMax) return ends_as(TailState::broken);
    const std::size_t size = 4 + length + kHashBytes;
    if (rest.size() < size) return ends_as(TailState::torn);
    const bool last = rest.size() == size;
    const Sha256 hash = record_hash(walk.end.hash, rest.substr(0, 4 + length));
    JournalBody body;
    if (hash != hash_of(rest.substr(4 + length)) || !decode_body(rest.substr(4, length), body))
      return ends_as(last ? TailState::torn : TailState::broken);
    const SegmentPoint after{walk.end.offset + size, hash};
    if (!visit(std::move(body), after)) return walk;
    walk.end = after;
    rest.remove_prefix(size);
  }
  return walk;
}

}  // namespace everspan::store
