#include "store/detail/log_table.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "store/detail/files.h"

namespace everspan::store::detail {
namespace {

constexpr std::int64_t kApplicationId = 0x45564c47;  // "EVLG"
constexpr std::int64_t kFormat = 1;
// Of one transaction, which writes wait for.
constexpr std::size_t kCompactEntriesMax = 1000;
constexpr std::int64_t kCompactBytesMax = 8 * 1024 * 1024;

constexpr const char* kSchema = R"(
PRAGMA application_id = 1163283527;
PRAGMA user_version = 1;
CREATE TABLE meta(name TEXT PRIMARY KEY NOT NULL, value ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE log(
  revision INTEGER PRIMARY KEY NOT NULL,
  lineage BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  committed_revision INTEGER NOT NULL,
  primary_time INTEGER NOT NULL,
  request_id BLOB NOT NULL,
  flags INTEGER NOT NULL,
  feature_level INTEGER NOT NULL,
  operations BLOB NOT NULL,
  hash BLOB NOT NULL,
  trailing BLOB NOT NULL) STRICT;
CREATE TABLE "current"(
  kind TEXT NOT NULL,
  key BLOB NOT NULL,
  revision INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY(kind, key)) STRICT;
CREATE TABLE outcomes(
  request_id BLOB PRIMARY KEY NOT NULL,
  revision INTEGER NOT NULL,
  lineage BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  stores BLOB NOT NULL,
  time INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX outcomes_time ON outcomes(time);
)";

std::int64_t signed_of(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}
std::uint64_t unsigned_of(std::int64_t value) {
  return static_cast<std::uint64_t>(value);
}
BlobView blob(const Sha256& hash) {
  return {as_text(Bytes(hash.data(), hash.size()))};
}

template <class IdType>
bool read_id(IdType& id, std::string_view raw) {
  auto parsed = IdType::from_raw(raw);
  if (parsed) id = *parsed;
  return parsed.has_value();
}
bool read_hash(Sha256& hash, std::string_view raw) {
  if (raw.size() != hash.size()) return false;
  std::ranges::copy(as_bytes(raw), hash.begin());
  return true;
}

std::string join_ids(const std::vector<NodeId>& ids) {
  std::string raw;
  for (const NodeId& id : ids) raw += id.raw();
  return raw;
}

Result<void> set_meta(Database& db, std::string_view name, std::int64_t value) {
  return db.run("UPDATE meta SET value=?2 WHERE name=?1", name, value);
}

Result<void> write_base(Database& db, const LogHead& base) {
  if (auto set = set_meta(db, "base_revision", signed_of(base.revision.value)); !set) return set;
  return db.run("UPDATE meta SET value=?2 WHERE name=?1", std::string_view("base_hash"),
                blob(base.hash));
}

Result<void> fill_new_log(Database& db, const NodeId& node, const NewSite& site) {
  if (auto made = db.run_script(kSchema); !made) return made;
  constexpr auto kPut = "INSERT INTO meta(name, value) VALUES(?1, ?2)";
  const Sha256 genesis{};
  for (const char* name : {"generation", "head_revision", "committed_revision", "base_revision"}) {
    if (auto put = db.run(kPut, std::string_view(name), std::int64_t{0}); !put) return put;
  }
  for (const char* name : {"head_hash", "base_hash"}) {
    if (auto put = db.run(kPut, std::string_view(name), blob(genesis)); !put) return put;
  }
  if (auto put = db.run(kPut, std::string_view("epoch"), signed_of(site.epoch.value)); !put)
    return put;
  const std::string lineage = site.lineage.raw();
  if (auto put = db.run(kPut, std::string_view("lineage"), BlobView{lineage}); !put) return put;
  const std::string node_raw = node.raw();
  return db.run(kPut, std::string_view("node_id"), BlobView{node_raw});
}

// False: the row is not an entry of ours.
bool read_row(Statement& row, LogEntry& entry, Sha256& hash) {
  entry.revision = {unsigned_of(row.integer(0))};
  entry.epoch = {unsigned_of(row.integer(2))};
  entry.generation = {unsigned_of(row.integer(3))};
  entry.committed = {unsigned_of(row.integer(4))};
  entry.primary_time = {row.integer(5)};
  entry.flags = static_cast<std::uint32_t>(row.integer(7));
  entry.feature_level = static_cast<std::uint32_t>(row.integer(8));
  entry.trailing = row.bytes(11);
  auto operations = decode_operations(row.bytes(9));
  if (operations) entry.operations = std::move(*operations);
  return operations.has_value() && read_id(entry.lineage, row.bytes(1)) &&
         read_id(entry.request_id, row.bytes(6)) && read_hash(hash, row.bytes(10));
}

}  // namespace

Result<void> create_log_file(const std::string& path, const NodeId& node, const NewSite& site,
                             const FillLog& fill) {
  const std::string temporary = path + ".creating";
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    if (auto gone = remove_file(temporary + suffix); !gone) return gone;
  }
  if (auto file = File::open(temporary, O_CREAT | O_EXCL | O_WRONLY); !file) return fail(file);
  {
    auto db = Database::open(temporary, {});
    if (!db) return fail(db);
    auto transaction = WriteTransaction::begin(*db);
    if (!transaction) return fail(transaction);
    if (auto filled = fill_new_log(*db, node, site); !filled) return filled;
    if (fill)
      if (auto filled = fill(*db); !filled) return filled;
    if (auto committed = transaction->commit(); !committed) return committed;
  }  // The last connection closes: the WAL is in the file.
  if (auto synced = sync_file(temporary); !synced) return synced;
  // A link, not a rename: it never replaces a log.
  if (::link(temporary.c_str(), path.c_str()) != 0)
    return fail_errno(errno == EEXIST ? "log_exists" : "io_error", "Make " + path, errno);
  if (auto gone = remove_file(temporary); !gone) return gone;
  return sync_folder_of(path);
}

Result<void> check_format(Database& db) {
  auto id = db.integer("PRAGMA application_id");
  if (!id) return fail(id);
  if (*id != kApplicationId)
    return fail("bad_log", "This file is not a log of Everspan", "It was not touched");
  auto format = db.integer("PRAGMA user_version");
  if (!format) return fail(format);
  if (*format != kFormat)
    return fail("bad_log",
                "The log has format " + std::to_string(*format) + ", this release knows 1",
                "It was not touched", "Install the release that wrote it");
  return {};
}

Result<LogMeta> read_meta(Database& db) {
  auto rows = db.prepare("SELECT name, value FROM meta");
  if (!rows) return fail(rows);
  LogMeta meta;
  int seen = 0;
  for (;;) {
    auto row = rows->step();
    if (!row) return fail(row);
    if (!*row) break;
    const std::string name(rows->bytes(0));
    bool good = true;
    ++seen;
    if (name == "node_id")
      good = read_id(meta.node_id, rows->bytes(1));
    else if (name == "lineage")
      good = read_id(meta.lineage, rows->bytes(1));
    else if (name == "head_hash")
      good = read_hash(meta.head.hash, rows->bytes(1));
    else if (name == "base_hash")
      good = read_hash(meta.base.hash, rows->bytes(1));
    else if (name == "epoch")
      meta.epoch = {unsigned_of(rows->integer(1))};
    else if (name == "generation")
      meta.generation = {unsigned_of(rows->integer(1))};
    else if (name == "head_revision")
      meta.head.revision = {unsigned_of(rows->integer(1))};
    else if (name == "committed_revision")
      meta.committed = {unsigned_of(rows->integer(1))};
    else if (name == "base_revision")
      meta.base.revision = {unsigned_of(rows->integer(1))};
    else
      --seen;  // A later base may add names.
    if (!good) return fail("bad_log", "The log's " + name + " cannot be read");
  }
  if (seen != 9) return fail("bad_log", "The log's description is not complete");
  if (meta.committed > meta.head.revision || meta.base.revision > meta.committed)
    return fail("bad_log", "The log's revisions contradict each other");
  return meta;
}

Result<void> write_generation(Database& db, Generation generation) {
  return set_meta(db, "generation", signed_of(generation.value));
}

Result<void> write_epoch(Database& db, Epoch epoch) {
  return set_meta(db, "epoch", signed_of(epoch.value));
}

Result<void> write_lineage(Database& db, const LineageId& lineage) {
  const std::string raw = lineage.raw();
  return db.run("UPDATE meta SET value=?2 WHERE name=?1", std::string_view("lineage"),
                BlobView{raw});
}

Result<void> append_entry(Database& db, const LogEntry& entry, const Sha256& hash) {
  const std::string lineage = entry.lineage.raw();
  const std::string request = entry.request_id.raw();
  const std::string operations = encode_operations(entry.operations);
  return db.run(
      "INSERT INTO log(revision, lineage, epoch, generation, committed_revision, primary_time,"
      " request_id, flags, feature_level, operations, hash, trailing)"
      " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
      signed_of(entry.revision.value), BlobView{lineage}, signed_of(entry.epoch.value),
      signed_of(entry.generation.value), signed_of(entry.committed.value),
      entry.primary_time.unix_ms, BlobView{request}, std::int64_t{entry.flags},
      std::int64_t{entry.feature_level}, BlobView{operations}, blob(hash),
      BlobView{entry.trailing});
}

Result<void> write_head(Database& db, const LogHead& head) {
  if (auto set = set_meta(db, "head_revision", signed_of(head.revision.value)); !set) return set;
  return db.run("UPDATE meta SET value=?2 WHERE name=?1", std::string_view("head_hash"),
                blob(head.hash));
}

Result<void> write_start(Database& db, const LogHead& base) {
  if (auto moved = write_head(db, base); !moved) return moved;
  if (auto moved = write_base(db, base); !moved) return moved;
  return set_meta(db, "committed_revision", signed_of(base.revision.value));
}

Result<Compacted> compact_some(Database& db, const LogMeta& meta, WallTime older_than,
                               Revision below) {
  Compacted out{meta.base, false};
  {
    auto rows = db.prepare(
        "SELECT revision, primary_time, length(operations), hash FROM log"
        " WHERE revision > ?1 AND revision < ?2 ORDER BY revision");
    if (!rows) return fail(rows);
    rows->bind(1, signed_of(meta.base.revision.value))
        .bind(2, signed_of(std::min(below, meta.committed).value));
    std::int64_t bytes = 0;
    for (std::size_t count = 0;; ++count) {
      auto row = rows->step();
      if (!row) return fail(row);
      if (!*row || rows->integer(1) >= older_than.unix_ms) break;
      bytes += rows->integer(2);
      if (count == kCompactEntriesMax || (count > 0 && bytes > kCompactBytesMax)) {
        out.more = true;
        break;
      }
      out.base.revision = {unsigned_of(rows->integer(0))};
      if (!read_hash(out.base.hash, rows->bytes(3)))
        return fail("bad_log", "A hash of the log cannot be read");
    }
  }
  if (out.base == meta.base) return out;
  auto gone = db.run("DELETE FROM log WHERE revision <= ?1", signed_of(out.base.revision.value));
  if (!gone) return fail(gone);
  if (auto moved = write_base(db, out.base); !moved) return fail(moved);
  return out;
}

Result<void> cut_after(Database& db, const LogHead& head) {
  auto gone = db.run("DELETE FROM log WHERE revision > ?1", signed_of(head.revision.value));
  if (!gone) return gone;
  return write_head(db, head);
}

Result<void> fold_entry(Database& db, const LogEntry& entry, const std::vector<NodeId>& stores) {
  for (const Operation& it : entry.operations) {
    auto done = it.action == Action::put
                    ? db.run(
                          "INSERT INTO \"current\"(kind, key, revision, bytes)"
                          " VALUES(?1, ?2, ?3, ?4) ON CONFLICT(kind, key)"
                          " DO UPDATE SET revision=?3, bytes=?4",
                          std::string_view(it.kind), BlobView{it.key},
                          signed_of(entry.revision.value), BlobView{it.bytes})
                    : db.run("DELETE FROM \"current\" WHERE kind=?1 AND key=?2",
                             std::string_view(it.kind), BlobView{it.key});
    if (!done) return done;
  }
  if (entry.request_id.is_zero()) return {};
  const std::string request = entry.request_id.raw();
  const std::string lineage = entry.lineage.raw();
  const std::string raw_stores = join_ids(stores);
  return db.run(
      "INSERT OR IGNORE INTO outcomes(request_id, revision, lineage, epoch, stores, time)"
      " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
      BlobView{request}, signed_of(entry.revision.value), BlobView{lineage},
      signed_of(entry.epoch.value), BlobView{raw_stores}, entry.primary_time.unix_ms);
}

Result<void> write_committed(Database& db, Revision committed, WallTime newest) {
  if (auto set = set_meta(db, "committed_revision", signed_of(committed.value)); !set) return set;
  const auto kept_ms = std::chrono::milliseconds(kOutcomesKept).count();
  return db.run("DELETE FROM outcomes WHERE time < ?1", newest.unix_ms - kept_ms);
}

Result<void> fold_through(Database& db, Revision to, const std::vector<NodeId>& stores) {
  auto meta = read_meta(db);
  if (!meta) return fail(meta);
  if (to <= meta->committed) return {};
  if (to > meta->head.revision) return fail("bad_log", "Only what is appended can be committed");
  WallTime newest;
  auto folded = visit_entries(db, meta->committed, to, std::numeric_limits<std::size_t>::max(),
                              [&](LogEntry&& entry, const Sha256&) {
                                newest = entry.primary_time;
                                return fold_entry(db, entry, stores);
                              });
  if (!folded) return folded;
  return write_committed(db, to, newest);
}

Result<std::optional<Outcome>> find_outcome(Database& db, const RequestId& id) {
  auto row =
      db.prepare("SELECT revision, lineage, epoch, stores FROM outcomes WHERE request_id=?1");
  if (!row) return fail(row);
  const std::string raw = id.raw();
  auto found = row->bind(1, BlobView{raw}).step();
  if (!found) return fail(found);
  if (!*found) return std::optional<Outcome>();
  Outcome outcome;
  outcome.revision = {unsigned_of(row->integer(0))};
  outcome.epoch = {unsigned_of(row->integer(2))};
  outcome.repeated = true;
  bool good = read_id(outcome.lineage, row->bytes(1));
  for (auto ids = row->bytes(3); good && !ids.empty();) {
    NodeId node;
    good = read_id(node, ids.substr(0, 16));
    ids.remove_prefix(std::min<std::size_t>(16, ids.size()));
    outcome.stores.push_back(node);
  }
  if (!good) return fail("bad_log", "A stored outcome cannot be read");
  return std::optional(std::move(outcome));
}

Result<Revision> record_revision(Database& db, std::string_view kind, std::string_view key) {
  auto row = db.prepare("SELECT revision FROM \"current\" WHERE kind=?1 AND key=?2");
  if (!row) return fail(row);
  auto found = row->bind(1, kind).bind(2, BlobView{key}).step();
  if (!found) return fail(found);
  return *found ? Revision{unsigned_of(row->integer(0))} : Revision{};
}

Result<Sha256> hash_at(Database& db, const LogMeta& meta, Revision revision) {
  if (revision == meta.base.revision) return meta.base.hash;
  auto row = db.prepare("SELECT hash FROM log WHERE revision=?1");
  if (!row) return fail(row);
  auto found = row->bind(1, signed_of(revision.value)).step();
  if (!found) return fail(found);
  Sha256 hash{};
  if (!*found) return fail("db_missing", "The log has no such entry");
  if (!read_hash(hash, row->bytes(0))) return fail("bad_log", "A hash of the log cannot be read");
  return hash;
}

Result<void> visit_entries(Database& db, Revision after, Revision through, std::size_t limit,
                           const std::function<Result<void>(LogEntry&&, const Sha256&)>& visit) {
  auto rows = db.prepare(
      "SELECT revision, lineage, epoch, generation, committed_revision, primary_time, request_id,"
      " flags, feature_level, operations, hash, trailing FROM log"
      " WHERE revision > ?1 AND revision <= ?2 ORDER BY revision");
  if (!rows) return fail(rows);
  rows->bind(1, signed_of(after.value)).bind(2, signed_of(through.value));
  for (std::size_t i = 0; i < limit; ++i) {
    auto row = rows->step();
    if (!row) return fail(row);
    if (!*row) break;
    LogEntry entry;
    Sha256 hash{};
    if (!read_row(*rows, entry, hash))
      return fail("bad_chain",
                  "Entry " + std::to_string(entry.revision.value) + " of the log cannot be read");
    if (auto visited = visit(std::move(entry), hash); !visited) return visited;
  }
  return {};
}

Result<LogHead> verify_chain(Database& db, const LogMeta& meta, const LogHead& from) {
  LogHead at = from;
  auto walked = visit_entries(
      db, from.revision, {std::numeric_limits<std::int64_t>::max()},
      std::numeric_limits<std::size_t>::max(),
      [&](LogEntry&& entry, const Sha256& hash) -> Result<void> {
        const std::string name = "Entry " + std::to_string(entry.revision.value) + " of the log";
        if (entry.revision != at.revision.next())
          return fail("bad_chain", name + " does not follow the one before");
        if (chain_hash(at.hash, encode_entry(entry)) != hash)
          return fail("bad_chain", name + " was changed: its hash does not fit");
        at = {entry.revision, hash};
        return {};
      });
  if (!walked) return fail(walked);
  if (at != meta.head) return fail("bad_chain", "The log does not end where it says");
  return at;
}

}  // namespace everspan::store::detail
