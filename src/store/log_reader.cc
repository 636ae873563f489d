#include <sys/stat.h>

#include <algorithm>
#include <mutex>

#include "store/detail/log_table.h"
#include "store/detail/snapshot.h"
#include "store/log.h"
#include "store/sqlite.h"

namespace everspan::store {
namespace {

// The first key after all that begin with `prefix`; empty: there is none.
std::string end_of_prefix(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && static_cast<std::uint8_t>(end.back()) == 0xff) end.pop_back();
  if (!end.empty()) end.back() = static_cast<char>(static_cast<std::uint8_t>(end.back()) + 1);
  return end;
}

Record read_record(const Statement& row) {
  return {std::string(row.bytes(0)),
          std::string(row.bytes(1)),
          {static_cast<std::uint64_t>(row.integer(2))}};
}

auto compacted(Revision after) {
  return fail("compacted",
              "The log no longer has the entries after revision " + std::to_string(after.value), "",
              "Begin from the current records");
}

// The chain hash at `after`, which must be a point of this history up to `through`.
Result<Sha256> hash_of_shared(Database& db, const LogMeta& meta, Revision after, Revision through,
                              const std::optional<Sha256>& expected) {
  if (after < meta.base.revision) return compacted(after);
  if (after > through)
    return fail("diverged", "Revision " + std::to_string(after.value) + " is not reached here");
  auto hash = detail::hash_at(db, meta, after);
  if (hash && expected && *expected != *hash)
    return fail("diverged", "Another history stands at revision " + std::to_string(after.value));
  return hash;
}

Result<LogHead> committed_head(Database& db) {
  auto meta = detail::read_meta(db);
  if (!meta) return fail(meta);
  auto hash = detail::hash_at(db, *meta, meta->committed);
  if (!hash) return fail(hash);
  return LogHead{meta->committed, *hash};
}

}  // namespace

struct LogReader::State {
  std::string path;
  std::mutex mutex;
  std::optional<Database> db;
  ino_t inode = 0;

  // stat() opens nothing, so SQLite's locks stay.
  Result<void> follow_file() {
    struct stat file{};
    if (::stat(path.c_str(), &file) != 0) {
      if (db) return {};  // Another file is about to take its place; this one is whole.
      return fail_errno("not_found", "Open " + path, errno);
    }
    if (db && file.st_ino == inode) return {};
    db.reset();
    auto opened = Database::open_read_only(path);
    if (!opened) return fail(opened);
    if (auto good = detail::check_format(*opened); !good) return good;
    db.emplace(std::move(*opened));
    inode = file.st_ino;
    return {};
  }

  // Runs `query` with the connection, in one consistent state.
  template <class T, class Query>
  Result<T> in_one_state(const Query& query) {
    const std::lock_guard lock(mutex);
    if (auto followed = follow_file(); !followed) return fail(followed);
    auto transaction = ReadTransaction::begin(*db);
    if (!transaction) return fail(transaction);
    return query(*db);
  }
};

LogReader::LogReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
LogReader::~LogReader() = default;

Result<std::unique_ptr<LogReader>> LogReader::open(const std::string& path) {
  auto state = std::make_unique<State>();
  state->path = path;
  if (auto opened = state->follow_file(); !opened) return fail(opened);
  return std::unique_ptr<LogReader>(new LogReader(std::move(state)));
}

Result<std::optional<Record>> LogReader::get(std::string_view kind, std::string_view key) {
  return state_->in_one_state<std::optional<Record>>(
      [&](Database& db) -> Result<std::optional<Record>> {
        auto row =
            db.prepare("SELECT key, bytes, revision FROM \"current\" WHERE kind=?1 AND key=?2");
        if (!row) return fail(row);
        auto found = row->bind(1, kind).bind(2, BlobView{key}).step();
        if (!found) return fail(found);
        if (!*found) return std::optional<Record>();
        return std::optional(read_record(*row));
      });
}

Result<std::vector<Record>> LogReader::list(std::string_view kind, std::string_view prefix) {
  return state_->in_one_state<std::vector<Record>>(
      [&](Database& db) -> Result<std::vector<Record>> {
        const std::string end = end_of_prefix(prefix);
        std::string sql =
            "SELECT key, bytes, revision FROM \"current\" WHERE kind=?1 AND key >= ?2";
        if (!end.empty()) sql += " AND key < ?3";
        auto rows = db.prepare(sql + " ORDER BY key");
        if (!rows) return fail(rows);
        rows->bind(1, kind).bind(2, BlobView{prefix});
        if (!end.empty()) rows->bind(3, BlobView{end});
        std::vector<Record> records;
        for (;;) {
          auto row = rows->step();
          if (!row) return fail(row);
          if (!*row) return records;
          records.push_back(read_record(*rows));
        }
      });
}

Result<LogReader::Entries> LogReader::entries(Revision after, std::size_t limit,
                                              const std::optional<Sha256>& expected_hash) {
  return state_->in_one_state<Entries>([&](Database& db) -> Result<Entries> {
    auto meta = detail::read_meta(db);
    if (!meta) return fail(meta);
    auto hash = hash_of_shared(db, *meta, after, meta->committed, expected_hash);
    if (!hash) return fail(hash);
    Entries out{{}, {after, *hash}, meta->committed};
    auto read = detail::visit_entries(db, after, meta->committed, limit,
                                      [&](LogEntry&& entry, const Sha256& at) -> Result<void> {
                                        out.last = {entry.revision, at};
                                        out.entries.push_back(std::move(entry));
                                        return {};
                                      });
    if (!read) return fail(read);
    return out;
  });
}

Result<LogReader::Appended> LogReader::appended(Revision after, std::size_t limit,
                                                const std::optional<Sha256>& expected_hash) {
  return state_->in_one_state<Appended>([&](Database& db) -> Result<Appended> {
    auto meta = detail::read_meta(db);
    if (!meta) return fail(meta);
    auto hash = hash_of_shared(db, *meta, after, meta->head.revision, expected_hash);
    if (!hash) return fail(hash);
    Appended out{{after, *hash}, {}, {}};
    Revision last = after;
    std::size_t bytes = 0;
    bool full = false;
    limit = std::min(limit, LogWriter::kShippedEntriesMax);
    auto read = detail::visit_entries(db, after, meta->head.revision, limit,
                                      [&](LogEntry&& entry, const Sha256& at) -> Result<void> {
                                        std::string encoded = encode_entry(entry);
                                        bytes += encoded.size();
                                        full = bytes > LogWriter::kShippedBytesMax;
                                        if (full) return fail("too_large", "");
                                        last = entry.revision;
                                        out.entries.push_back({last, at, std::move(encoded)});
                                        return {};
                                      });
    if (!read && !full) return fail(read);
    const Revision foldable = std::min(last, meta->committed);
    auto at = detail::hash_at(db, *meta, foldable);
    if (!at) return fail(at);
    out.foldable = {foldable, *at};
    return out;
  });
}

Result<Sha256> LogReader::hash_at(Revision revision) {
  return state_->in_one_state<Sha256>([&](Database& db) -> Result<Sha256> {
    auto meta = detail::read_meta(db);
    if (!meta) return fail(meta);
    if (revision < meta->base.revision) return compacted(revision);
    if (revision > meta->head.revision)
      return fail("not_found", "The log ends before revision " + std::to_string(revision.value));
    return detail::hash_at(db, *meta, revision);
  });
}

Result<LogHead> LogReader::visit_current(const Visit& visit) {
  return state_->in_one_state<LogHead>([&](Database& db) -> Result<LogHead> {
    auto rows = db.prepare("SELECT key, bytes, revision, kind FROM \"current\" ORDER BY kind, key");
    if (!rows) return fail(rows);
    for (;;) {
      auto row = rows->step();
      if (!row) return fail(row);
      if (!*row) break;
      if (auto visited = visit(rows->bytes(3), read_record(*rows)); !visited) return fail(visited);
    }
    return committed_head(db);
  });
}

Result<LogHead> LogReader::head() {
  return state_->in_one_state<LogHead>([](Database& db) { return committed_head(db); });
}

Result<LogMeta> LogReader::meta() {
  return state_->in_one_state<LogMeta>([](Database& db) { return detail::read_meta(db); });
}

Result<std::optional<Outcome>> LogReader::outcome(const RequestId& id) {
  return state_->in_one_state<std::optional<Outcome>>(
      [&](Database& db) { return detail::find_outcome(db, id); });
}

Result<LogHead> LogReader::verify() {
  return state_->in_one_state<LogHead>([](Database& db) -> Result<LogHead> {
    if (auto good = db.integrity_check(); !good) return fail(good);
    auto meta = detail::read_meta(db);
    if (!meta) return fail(meta);
    return detail::verify_chain(db, *meta, meta->base);
  });
}

Result<void> LogReader::backup_to(const std::string& path) {
  const std::lock_guard lock(state_->mutex);
  if (auto followed = state_->follow_file(); !followed) return followed;
  return state_->db->backup_to(path);
}

Result<void> LogReader::snapshot_to(const std::string& path) {
  auto written = state_->in_one_state<LogHead>([&](Database& db) -> Result<LogHead> {
    if (auto done = detail::write_snapshot(db, path); !done) return fail(done);
    return LogHead{};
  });
  if (!written) return fail(written);
  return {};
}

}  // namespace everspan::store
