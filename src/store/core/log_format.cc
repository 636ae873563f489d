#include "store/core/log_format.h"

#include <limits>
#include <set>
#include <utility>

namespace everspan::store {
namespace {

constexpr std::string_view kMagic = "ELG1";
constexpr std::size_t kHeaderBytes = 4 + 8 + 16 + 8 + 8 + 8 + 8 + 16 + 4 + 4;
constexpr std::size_t kOperationBytesMin = 1 + 2 + 2 + 4;

// Reads big-endian fields off a view; a short read leaves `ok` false and gives zeros.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  std::string_view take(std::size_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      return {};
    }
    const auto taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  std::uint8_t u8() {
    const auto raw = take(1);
    return ok_ ? static_cast<std::uint8_t>(raw[0]) : 0;
  }
  std::uint16_t u16() {
    const auto raw = take(2);
    return ok_ ? get_u16(as_bytes(raw).data()) : 0;
  }
  std::uint32_t u32() {
    const auto raw = take(4);
    return ok_ ? get_u32(as_bytes(raw).data()) : 0;
  }
  std::uint64_t u64() {
    const auto raw = take(8);
    return ok_ ? get_u64(as_bytes(raw).data()) : 0;
  }
  template <class IdType>
  IdType id() {
    const auto raw = take(16);
    IdType id;
    for (std::size_t i = 0; i < raw.size(); ++i) id.bytes[i] = static_cast<std::uint8_t>(raw[i]);
    return id;
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool at_end() const { return ok_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

bool good_kind(std::string_view kind) {
  if (kind.empty() || kind.size() > kKindBytesMax) return false;
  for (const char c : kind) {
    const bool good =
        (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
    if (!good) return false;
  }
  return true;
}

auto bad_entry(const char* what) {
  return fail("bad_entry", what);
}

}  // namespace

Result<void> check_operations(const std::vector<Operation>& operations) {
  if (operations.empty())
    return fail("bad_transaction", "A transaction has at least one operation");
  if (operations.size() > kOperationsMax)
    return fail("too_large", "A transaction has at most 64 operations", "Nothing was changed",
                "Split it");
  std::set<std::pair<std::string_view, std::string_view>> seen;
  std::size_t total = 2;
  for (const Operation& it : operations) {
    if (it.action != Action::put && it.action != Action::erase)
      return fail("bad_transaction", "An operation puts or erases");
    if (!good_kind(it.kind))
      return fail("bad_transaction", "A kind is 1 to 64 characters of a-z 0-9 _ . -");
    if (it.key.empty() || it.key.size() > kKeyBytesMax)
      return fail("bad_transaction", "A key is 1 to 512 bytes");
    if (it.action == Action::erase && !it.bytes.empty())
      return fail("bad_transaction", "An erase carries no bytes");
    if (it.bytes.size() > kRecordBytesMax)
      return fail("too_large", "A record is at most 256 KiB", "Nothing was changed");
    if (!seen.emplace(it.kind, it.key).second)
      return fail("bad_transaction", "A record stands once in a transaction");
    total += kOperationBytesMin + it.kind.size() + it.key.size() + it.bytes.size();
  }
  if (total > kTransactionBytesMax)
    return fail("too_large", "A transaction is at most 4 MiB", "Nothing was changed", "Split it");
  return {};
}

std::string encode_operations(const std::vector<Operation>& operations) {
  std::string out;
  put_u16(out, static_cast<std::uint16_t>(operations.size()));
  for (const Operation& it : operations) {
    out += static_cast<char>(it.action);
    put_u16(out, static_cast<std::uint16_t>(it.kind.size()));
    out += it.kind;
    put_u16(out, static_cast<std::uint16_t>(it.key.size()));
    out += it.key;
    put_u32(out, static_cast<std::uint32_t>(it.bytes.size()));
    out += it.bytes;
  }
  return out;
}

Result<std::vector<Operation>> decode_operations(std::string_view bytes) {
  Reader in(bytes);
  const std::size_t count = in.u16();
  if (count > kOperationsMax) return bad_entry("The entry has more than 64 operations");
  std::vector<Operation> operations;
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    Operation it;
    it.action = static_cast<Action>(in.u8());
    it.kind = in.take(in.u16());
    it.key = in.take(in.u16());
    it.bytes = in.take(in.u32());
    operations.push_back(std::move(it));
  }
  if (!in.at_end()) return bad_entry("The operations of an entry do not fill their bytes");
  if (auto good = check_operations(operations); !good)
    return fail("bad_entry", "The entry breaks a limit: " + good.error().message);
  return operations;
}

std::string encode_entry(const LogEntry& entry) {
  const std::string operations = encode_operations(entry.operations);
  std::string out;
  out.reserve(kHeaderBytes + 8 + operations.size() + entry.trailing.size());
  out += kMagic;
  put_u64(out, entry.revision.value);
  out += entry.lineage.raw();
  put_u64(out, entry.epoch.value);
  put_u64(out, entry.generation.value);
  put_u64(out, entry.committed.value);
  put_u64(out, static_cast<std::uint64_t>(entry.primary_time.unix_ms));
  out += entry.request_id.raw();
  put_u32(out, entry.flags);
  put_u32(out, entry.feature_level);
  put_u32(out, static_cast<std::uint32_t>(operations.size()));
  out += operations;
  put_u32(out, static_cast<std::uint32_t>(entry.trailing.size()));
  out += entry.trailing;
  return out;
}

Result<LogEntry> decode_entry(std::string_view bytes) {
  if (bytes.size() > kHeaderBytes + 8 + kTransactionBytesMax + kTrailingBytesMax)
    return bad_entry("The entry is too large");
  Reader in(bytes);
  if (in.take(4) != kMagic) return bad_entry("This is not an entry of the log");
  LogEntry entry;
  entry.revision = {in.u64()};
  entry.lineage = in.id<LineageId>();
  entry.epoch = {in.u64()};
  entry.generation = {in.u64()};
  entry.committed = {in.u64()};
  entry.primary_time = {static_cast<std::int64_t>(in.u64())};
  entry.request_id = in.id<RequestId>();
  entry.flags = in.u32();
  entry.feature_level = in.u32();
  const auto operations = in.take(in.u32());
  const std::size_t trailing_size = in.u32();
  if (trailing_size > kTrailingBytesMax) return bad_entry("The entry's later fields are too large");
  entry.trailing = in.take(trailing_size);
  if (!in.at_end()) return bad_entry("The entry's lengths do not fit its size");
  // SQLite's integers are signed.
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (entry.revision.value == 0 || entry.revision.value > kMax || entry.epoch.value > kMax ||
      entry.generation.value > kMax || entry.committed.value >= entry.revision.value)
    return bad_entry("The entry's numbers cannot be");
  auto decoded = decode_operations(operations);
  if (!decoded) return fail(decoded);
  entry.operations = std::move(*decoded);
  return entry;
}

Sha256 chain_hash(const Sha256& before, std::string_view encoded_entry) {
  Sha256Stream hash;
  hash.add(Bytes(before.data(), before.size()));
  hash.add(as_bytes(encoded_entry));
  return hash.digest();
}

}  // namespace everspan::store
