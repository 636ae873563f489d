#include "store/core/orphan_format.h"

#include <algorithm>

#include "common/bytes.h"

namespace everspan::store {
namespace {

constexpr std::string_view kMagic = "everspan orphan 1\n";
constexpr std::size_t kSizeBytes = 4;
constexpr std::size_t kHashBytes = 32;

std::string_view text_of(const Sha256& hash) {
  return as_text(Bytes(hash.data(), hash.size()));
}

// False: not enough is left.
bool take(std::string_view& rest, std::size_t size, std::string_view& taken) {
  if (rest.size() < size) return false;
  taken = rest.substr(0, size);
  rest.remove_prefix(size);
  return true;
}

auto bad_orphan(const std::string& what) {
  return fail("bad_orphan", what);
}

}  // namespace

std::string orphan_start(const LogHead& before) {
  std::string out(kMagic);
  put_u64(out, before.revision.value);
  out += text_of(before.hash);
  return out;
}

std::string orphan_entry(std::string_view encoded_entry) {
  std::string out;
  put_u32(out, static_cast<std::uint32_t>(encoded_entry.size()));
  out += encoded_entry;
  return out;
}

std::string orphan_end(const Sha256& last) {
  std::string out;
  put_u32(out, 0);
  out += text_of(last);
  return out;
}

Result<Orphan> walk_orphan(std::string_view bytes, const VisitOrphan& visit) {
  std::string_view part;
  if (!take(bytes, kMagic.size(), part) || part != kMagic)
    return bad_orphan("This is not an orphan file");
  Orphan orphan;
  if (!take(bytes, 8, part)) return bad_orphan("The orphan file ends in its first line");
  orphan.before.revision = {get_u64(as_bytes(part).data())};
  if (!take(bytes, kHashBytes, part)) return bad_orphan("The orphan file ends in its first line");
  std::ranges::copy(as_bytes(part), orphan.before.hash.begin());
  orphan.last = orphan.before;
  for (;;) {
    const std::string where = " after revision " + std::to_string(orphan.last.revision.value);
    if (!take(bytes, kSizeBytes, part)) return bad_orphan("The orphan file ends early," + where);
    const std::uint32_t size = get_u32(as_bytes(part).data());
    if (size == 0) break;
    if (!take(bytes, size, part)) return bad_orphan("The orphan file ends in an entry," + where);
    auto entry = decode_entry(part);
    if (!entry) return bad_orphan("An entry cannot be read" + where + ": " + entry.error().message);
    if (entry->revision != orphan.last.revision.next())
      return bad_orphan("An entry is missing" + where);
    orphan.last = {entry->revision, chain_hash(orphan.last.hash, part)};
    if (auto visited = visit(std::move(*entry)); !visited) return fail(visited);
  }
  if (!take(bytes, kHashBytes, part) || !bytes.empty())
    return bad_orphan("The orphan file does not end where it says");
  if (part != text_of(orphan.last.hash))
    return bad_orphan("An entry was changed: its hash differs");
  return orphan;
}

}  // namespace everspan::store
