#include "store/read_model.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <utility>

#include "common/log.h"
#include "store/detail/files.h"

namespace everspan::store {
namespace {

constexpr std::size_t kBatchEntries = 500;  // Per transaction of the read model.

constexpr const char* kStateTable =
    "CREATE TABLE everspan_state("
    " schema_version INTEGER NOT NULL, revision INTEGER NOT NULL, hash BLOB NOT NULL) STRICT";

Result<void> remove_files(const std::string& path) {
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    if (auto gone = detail::remove_file(path + suffix); !gone) return gone;
  }
  return {};
}

Result<void> write_state(Database& db, const LogHead& at) {
  return db.run("UPDATE everspan_state SET revision=?1, hash=?2",
                static_cast<std::int64_t>(at.revision.value),
                BlobView{as_text(Bytes(at.hash.data(), at.hash.size()))});
}

}  // namespace

struct ReadModel::State {
  State(std::string path_in, Schema schema_in, Projection& projection_in)
      : path(std::move(path_in)), schema(std::move(schema_in)), projection(projection_in) {}

  const std::string path;
  const Schema schema;
  Projection& projection;
  std::mutex write_mutex;  // catch_up
  std::optional<Database> writer;
  LogHead at;
  std::atomic<std::uint64_t> applied{0};
  std::mutex read_mutex;
  std::optional<Database> reader;

  Result<void> open_connections();
  Result<void> make_tables();
  Result<void> drop_tables();
  Result<void> load_state();
  Result<void> rebuild(LogReader& log);
  Result<bool> apply_some(LogReader& log);
  Result<void> apply_entry(const LogEntry& entry);
  void moved_to(const LogHead& head) {
    at = head;
    applied = head.revision.value;
  }
};

Result<void> ReadModel::State::open_connections() {
  // SQLite gives a new file the rights of the umask.
  if (!detail::path_exists(path)) {
    auto file = detail::File::open(path, O_CREAT | O_EXCL | O_WRONLY);
    if (!file) return fail(file);
  }
  Database::Options how;
  how.durability = Database::Durability::normal;  // Lost pages are made again from the log.
  auto opened = Database::open(path, how);
  if (!opened) return fail(opened);
  writer.emplace(std::move(*opened));
  return load_state();
}

// Fails when the file is not one of this schema, or broken.
Result<void> ReadModel::State::load_state() {
  auto tables = writer->integer("SELECT count(*) FROM sqlite_schema");
  if (!tables) return fail(tables);
  if (*tables == 0) {
    auto transaction = WriteTransaction::begin(*writer);
    if (!transaction) return fail(transaction);
    if (auto made = make_tables(); !made) return made;
    return transaction->commit();
  }
  auto row = writer->prepare("SELECT schema_version, revision, hash FROM everspan_state");
  if (!row) return fail(row);
  auto found = row->step();
  if (!found) return fail(found);
  LogHead head;
  if (!*found || row->integer(0) != schema.version || row->bytes(2).size() != head.hash.size())
    return fail("other_schema", "The read model is of another schema");
  head.revision = {static_cast<std::uint64_t>(row->integer(1))};
  const Bytes hash = as_bytes(row->bytes(2));
  std::copy(hash.begin(), hash.end(), head.hash.begin());
  moved_to(head);
  return {};
}

Result<void> ReadModel::State::make_tables() {
  if (auto made = writer->run_script(kStateTable); !made) return made;
  for (const std::string& sql : schema.ddl) {
    if (auto made = writer->run_script(sql); !made) return made;
  }
  const Sha256 none{};
  auto put = writer->run("INSERT INTO everspan_state VALUES(?1, 0, ?2)", schema.version,
                         BlobView{as_text(Bytes(none.data(), none.size()))});
  if (put) moved_to({});
  return put;
}

Result<void> ReadModel::State::drop_tables() {
  std::vector<std::string> names;
  {
    auto rows = writer->prepare(
        "SELECT name FROM sqlite_schema WHERE type='table' AND name NOT LIKE 'sqlite\\_%' ESCAPE "
        "'\\'");
    if (!rows) return fail(rows);
    for (;;) {
      auto row = rows->step();
      if (!row) return fail(row);
      if (!*row) break;
      names.emplace_back(rows->bytes(0));
    }
  }
  for (const std::string& name : names) {
    if (auto dropped = writer->run_script("DROP TABLE IF EXISTS \"" + name + "\""); !dropped)
      return dropped;
  }
  return {};
}

Result<void> ReadModel::State::rebuild(LogReader& log) {
  const LogHead before = at;
  auto transaction = WriteTransaction::begin(*writer);
  if (!transaction) return fail(transaction);
  const auto fill = [&]() -> Result<LogHead> {
    // Foreign keys would forbid dropping tables in any order; the rows go with them.
    if (auto deferred = writer->run_script("PRAGMA defer_foreign_keys=ON"); !deferred)
      return fail(deferred);
    if (auto dropped = drop_tables(); !dropped) return fail(dropped);
    if (auto made = make_tables(); !made) return fail(made);
    auto head = log.visit_current([&](std::string_view kind, const Record& record) -> Result<void> {
      if (!projection.knows(kind)) return {};
      return projection.put(*writer, kind, record);
    });
    if (!head) return head;
    if (auto written = write_state(*writer, *head); !written) return fail(written);
    if (auto committed = transaction->commit(); !committed) return fail(committed);
    return head;
  };
  auto head = fill();
  moved_to(head ? *head : before);
  if (!head) return fail(head);
  log_info("read_model.rebuilt", {{"revision", std::to_string(at.revision.value)}});
  return {};
}

Result<void> ReadModel::State::apply_entry(const LogEntry& entry) {
  for (const Operation& it : entry.operations) {
    if (!projection.knows(it.kind)) {
      if ((entry.flags & kFlagRequired) != 0)
        return fail("release_too_old",
                    "Entry " + std::to_string(entry.revision.value) +
                        " needs a release that knows records of kind " + it.kind,
                    "What was applied before stays", "Install the release that wrote it");
      continue;
    }
    auto done = it.action == Action::put
                    ? projection.put(*writer, it.kind, {it.key, it.bytes, entry.revision})
                    : projection.erase(*writer, it.kind, it.key);
    if (!done) return done;
  }
  return {};
}

// False: nothing is left to apply.
Result<bool> ReadModel::State::apply_some(LogReader& log) {
  auto read = log.entries(at.revision, kBatchEntries, at.hash);
  const bool other_history =
      !read && (read.error().code == "compacted" || read.error().code == "diverged");
  if (!read && !other_history) return fail(read);
  if (other_history || read->committed.value - at.revision.value > kRebuildAfterEntries) {
    if (auto rebuilt = rebuild(log); !rebuilt) return fail(rebuilt);
    return true;
  }
  if (read->entries.empty()) return false;
  auto transaction = WriteTransaction::begin(*writer);
  if (!transaction) return fail(transaction);
  for (const LogEntry& entry : read->entries) {
    if (auto applied_one = apply_entry(entry); !applied_one) return fail(applied_one);
  }
  if (auto written = write_state(*writer, read->last); !written) return fail(written);
  if (auto committed = transaction->commit(); !committed) return fail(committed);
  moved_to(read->last);
  return read->last.revision < read->committed;
}

ReadModel::ReadModel(std::unique_ptr<State> state) : state_(std::move(state)) {}
ReadModel::~ReadModel() = default;

Result<std::unique_ptr<ReadModel>> ReadModel::open(const std::string& path, Schema schema,
                                                   Projection& projection) {
  if (auto folder = std::string(path, 0, path.find_last_of('/')); path.contains('/')) {
    if (auto made = detail::make_folder(folder); !made) return fail(made);
  }
  auto state = std::make_unique<State>(path, std::move(schema), projection);
  auto opened = state->open_connections();
  if (!opened && opened.error().code != "db_busy" && opened.error().code != "db_full") {
    log_info("read_model.made_anew", {{"why", opened.error().message}});
    state->writer.reset();
    if (auto gone = remove_files(path); !gone) return fail(gone);
    opened = state->open_connections();
  }
  if (!opened) return fail(opened);
  auto reader = Database::open_read_only(path);
  if (!reader) return fail(reader);
  state->reader.emplace(std::move(*reader));
  return std::unique_ptr<ReadModel>(new ReadModel(std::move(state)));
}

Result<Revision> ReadModel::catch_up(LogReader& log) {
  const std::lock_guard lock(state_->write_mutex);
  for (;;) {
    auto more = state_->apply_some(log);
    if (!more) return fail(more);
    if (!*more) return applied();
  }
}

Revision ReadModel::applied() const {
  return {state_->applied.load()};
}

Result<void> ReadModel::read(const std::function<Result<void>(Database&)>& query) {
  const std::lock_guard lock(state_->read_mutex);
  auto transaction = ReadTransaction::begin(*state_->reader);
  if (!transaction) return fail(transaction);
  return query(*state_->reader);
}

}  // namespace everspan::store
