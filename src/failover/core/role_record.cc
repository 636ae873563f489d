#include "failover/core/role_record.h"

#include <algorithm>

#include "common/bytes.h"
#include "common/crypto.h"

namespace everspan::failover {
namespace {

constexpr std::string_view kMagic = "EVRG";
constexpr char kVersion = 1;
constexpr std::size_t kInSyncMax = 16;
constexpr std::size_t kDigestBytes = 32;

std::unexpected<Error> bad(const char* what) {
  return fail("bad_register", std::string("The register cannot be read: ") + what,
              "It was not changed", "Restore it, or force one side: see docs/operations/pair.md");
}

// Takes from the front; once something lacks, everything after fails.
class Taker {
 public:
  explicit Taker(std::string_view bytes) : bytes_(bytes) {}
  std::string_view take(std::size_t size) {
    if (size > bytes_.size()) {
      whole_ = false;
      return {};
    }
    const std::string_view out = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return out;
  }
  std::uint64_t number(std::size_t size) {
    std::uint64_t out = 0;
    for (const char c : take(size)) out = out << 8 | static_cast<std::uint8_t>(c);
    return out;
  }
  template <class IdType>
  IdType id() {
    const Result<IdType> out = IdType::from_raw(take(16));
    if (!out) whole_ = false;
    return out ? *out : IdType{};
  }
  [[nodiscard]] bool whole() const { return whole_; }
  [[nodiscard]] bool at_end() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool whole_ = true;
};

constexpr std::uint64_t kPrepared = 1;
constexpr std::uint64_t kRests = 2;
constexpr std::uint64_t kYields = 4;

}  // namespace

std::string encode_role_record(const RoleRecord& record) {
  std::string out(kMagic);
  out += kVersion;
  out += record.reg.lineage.raw();
  put_u64(out, record.reg.epoch.value);
  out += record.reg.holder.raw();
  out += static_cast<char>((record.prepared ? kPrepared : 0) | (record.reg.rests ? kRests : 0) |
                           (record.yields ? kYields : 0));
  out += static_cast<char>(record.reg.in_sync.size());
  for (const NodeId& node : record.reg.in_sync) out += node.raw();
  out += record.peer.raw();
  if (record.prepared) {
    put_u64(out, record.prepared->epoch.value);
    put_u64(out, record.prepared->head.revision.value);
    out += to_string(Bytes(record.prepared->head.hash));
  }
  put_u16(out, static_cast<std::uint16_t>(record.later.size()));
  out += record.later;
  const Sha256 digest = sha256(out);
  out += to_string(Bytes(digest));
  return out;
}

Result<RoleRecord> decode_role_record(std::string_view bytes) {
  if (bytes.size() < kMagic.size() + 1 + kDigestBytes || !bytes.starts_with(kMagic))
    return bad("it is no register");
  const std::string_view body = bytes.substr(0, bytes.size() - kDigestBytes);
  const Sha256 digest = sha256(body);
  if (to_string(Bytes(digest)) != bytes.substr(body.size())) return bad("its checksum is wrong");
  if (body[kMagic.size()] != kVersion) return bad("a newer release wrote it");
  Taker in(body.substr(kMagic.size() + 1));
  RoleRecord out;
  out.reg.lineage = in.id<LineageId>();
  out.reg.epoch = Epoch{in.number(8)};
  out.reg.holder = in.id<NodeId>();
  const std::uint64_t flags = in.number(1);
  if ((flags & ~(kPrepared | kRests | kYields)) != 0) return bad("a newer release wrote it");
  out.reg.rests = (flags & kRests) != 0;
  out.yields = (flags & kYields) != 0;
  const std::uint64_t count = in.number(1);
  if (count > kInSyncMax) return bad("more nodes in sync than a site has");
  for (std::uint64_t i = 0; i < count && in.whole(); ++i)
    out.reg.in_sync.push_back(in.id<NodeId>());
  out.peer = in.id<NodeId>();
  if ((flags & kPrepared) != 0) {
    Prepared what;
    what.epoch = Epoch{in.number(8)};
    what.head.revision = Revision{in.number(8)};
    const std::string_view hash = in.take(what.head.hash.size());
    if (in.whole()) std::ranges::copy(as_bytes(hash), what.head.hash.begin());
    out.prepared = what;
  }
  const std::uint64_t later = in.number(2);
  if (later > kRoleRecordLaterMax) return bad("its parts");
  out.later = in.take(later);
  if (!in.whole() || !in.at_end()) return bad("its parts");
  if (!std::ranges::is_sorted(out.reg.in_sync)) return bad("its nodes are not in order");
  return out;
}

}  // namespace everspan::failover
