#include "store/sqlite.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/check.h"

namespace everspan::store {
namespace {

const char* code_of(int result) {
  switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "db_busy";
    case SQLITE_FULL:
      return "db_full";
    case SQLITE_IOERR:
      return "db_io";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return "db_corrupt";
    case SQLITE_CONSTRAINT:
      return "db_constraint";
    case SQLITE_CANTOPEN:
      return "db_missing";
    default:
      return "db_error";
  }
}

std::unexpected<Error> sqlite_error(sqlite3* db, int result) {
  std::string message = db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(result);
  return fail(code_of(result),
              "SQLite: " + message + " (" +
                  std::to_string(db != nullptr ? sqlite3_extended_errcode(db) : result) + ")");
}

const char* synchronous(Database::Durability durability) {
  return durability == Database::Durability::full ? "PRAGMA synchronous=FULL;"
                                                  : "PRAGMA synchronous=NORMAL;";
}

Result<void> fsync_path(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) return fail_errno("io_error", "Open " + path, errno);
  const int result = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  if (result != 0) return fail_errno("io_error", "Sync " + path, error);
  return {};
}

}  // namespace

struct Database::State {
  sqlite3* db = nullptr;
  int wal_pages = 0;
  std::unordered_map<std::string, std::vector<sqlite3_stmt*>> idle;  // Prepared, not in use.

  ~State() {
    for (auto& [sql, statements] : idle)
      for (sqlite3_stmt* it : statements) sqlite3_finalize(it);
    sqlite3_close_v2(db);
  }
};

struct Statement::State {
  std::shared_ptr<Database::State> database;
  std::string sql;
  sqlite3_stmt* handle = nullptr;
  int bind_result = SQLITE_OK;

  ~State() {
    sqlite3_reset(handle);
    sqlite3_clear_bindings(handle);
    database->idle[sql].push_back(handle);
  }
};

Statement::Statement(std::unique_ptr<State> state) : state_(std::move(state)) {}
Statement::Statement(Statement&&) noexcept = default;
Statement& Statement::operator=(Statement&&) noexcept = default;
Statement::~Statement() = default;

Statement& Statement::bind(int at, std::int64_t value) {
  state_->bind_result |= sqlite3_bind_int64(state_->handle, at, value);
  return *this;
}
Statement& Statement::bind(int at, std::string_view text) {
  state_->bind_result |=
      sqlite3_bind_text64(state_->handle, at, text.data() == nullptr ? "" : text.data(),
                          text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}
Statement& Statement::bind(int at, BlobView blob) {
  // A null pointer would bind NULL, not an empty blob.
  state_->bind_result |=
      sqlite3_bind_blob64(state_->handle, at, blob.bytes.data() == nullptr ? "" : blob.bytes.data(),
                          blob.bytes.size(), SQLITE_TRANSIENT);
  return *this;
}
Statement& Statement::bind_null(int at) {
  state_->bind_result |= sqlite3_bind_null(state_->handle, at);
  return *this;
}

Result<bool> Statement::step() {
  if (state_->bind_result != SQLITE_OK)
    return fail("db_error", "SQLite: a parameter could not be bound: " + state_->sql);
  const int result = sqlite3_step(state_->handle);
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) return false;
  return sqlite_error(state_->database->db, result);
}

Result<void> Statement::run() {
  for (;;) {
    auto row = step();
    if (!row) return fail(row);
    if (!*row) return {};
  }
}

void Statement::reset() {
  sqlite3_reset(state_->handle);  // Repeats the step's error, which the caller has.
  sqlite3_clear_bindings(state_->handle);
  state_->bind_result = SQLITE_OK;
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(state_->handle, column);
}
std::string_view Statement::bytes(int column) const {
  const void* data = sqlite3_column_blob(state_->handle, column);
  const int size = sqlite3_column_bytes(state_->handle, column);
  return {static_cast<const char*>(data), data == nullptr ? 0 : static_cast<std::size_t>(size)};
}
bool Statement::is_null(int column) const {
  return sqlite3_column_type(state_->handle, column) == SQLITE_NULL;
}

Database::Database(std::shared_ptr<State> state) : state_(std::move(state)) {}
Database::Database(Database&&) noexcept = default;
Database& Database::operator=(Database&&) noexcept = default;
Database::~Database() = default;

Result<Database> Database::open(const std::string& path, const Options& options) {
  auto state = std::make_shared<State>();
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  switch (options.access) {
    case Access::read_only:
      flags |= SQLITE_OPEN_READONLY;
      break;
    case Access::read_write:
      flags |= SQLITE_OPEN_READWRITE;
      break;
    case Access::create:
      flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
      break;
  }
  const int result = sqlite3_open_v2(path.c_str(), &state->db, flags,
                                     options.vfs.empty() ? nullptr : options.vfs.c_str());
  if (result != SQLITE_OK) {
    auto error = sqlite_error(state->db, result);
    error.error().message = path + ": " + error.error().message;
    return error;
  }
  sqlite3_busy_timeout(state->db, static_cast<int>(options.busy_wait.count()));
  sqlite3_db_config(state->db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  if (!options.auto_checkpoint) {
    // Closing stays quick, and leaves the WAL to whoever still has the file.
    sqlite3_db_config(state->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    sqlite3_wal_hook(
        state->db,
        [](void* context, sqlite3*, const char*, int pages) {
          static_cast<State*>(context)->wal_pages = pages;
          return SQLITE_OK;
        },
        state.get());
  }
  Database db(std::move(state));
  std::string setup =
      "PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;";
  if (options.access == Access::read_only)
    setup += "PRAGMA query_only=ON;";
  else
    setup += synchronous(options.durability);
  if (auto done = db.run_script(setup); !done) return fail(done);
  if (options.access != Access::read_only) {
    auto mode = db.text("PRAGMA journal_mode=WAL");
    if (!mode) return fail(mode);
    if (*mode != "wal") return fail("db_error", "SQLite: " + path + " cannot use a WAL");
  }
  return db;
}

Result<Database> Database::open_read_only(const std::string& path) {
  Options options;
  options.access = Access::read_only;
  return open(path, options);
}

Result<void> Database::run_script(const std::string& sql) {
  const int result = sqlite3_exec(state_->db, sql.c_str(), nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) return sqlite_error(state_->db, result);
  return {};
}

Result<Statement> Database::prepare(std::string_view sql) {
  auto& idle = state_->idle[std::string(sql)];
  sqlite3_stmt* handle = nullptr;
  if (!idle.empty()) {
    handle = idle.back();
    idle.pop_back();
  } else {
    const int result = sqlite3_prepare_v3(state_->db, sql.data(), static_cast<int>(sql.size()),
                                          SQLITE_PREPARE_PERSISTENT, &handle, nullptr);
    if (result != SQLITE_OK) return sqlite_error(state_->db, result);
    if (handle == nullptr) return fail("db_error", "SQLite: an empty statement");
  }
  auto statement = std::make_unique<Statement::State>();
  statement->database = state_;
  statement->sql = sql;
  statement->handle = handle;
  return Statement(std::move(statement));
}

Result<std::int64_t> Database::integer(std::string_view sql) {
  auto statement = prepare(sql);
  if (!statement) return fail(statement);
  auto row = statement->step();
  if (!row) return fail(row);
  if (!*row) return fail("db_missing", "No such row");
  return statement->integer(0);
}

Result<std::string> Database::text(std::string_view sql) {
  auto statement = prepare(sql);
  if (!statement) return fail(statement);
  auto row = statement->step();
  if (!row) return fail(row);
  if (!*row) return fail("db_missing", "No such row");
  return std::string(statement->bytes(0));
}

std::int64_t Database::rows_changed() const {
  return sqlite3_changes64(state_->db);
}

// Not a prepared statement: SQLite does such a PRAGMA when it is compiled.
Result<void> Database::set_durability(Durability durability) {
  return run_script(synchronous(durability));
}

Result<void> Database::integrity_check() {
  auto found = text("PRAGMA integrity_check(1)");
  if (!found) return fail(found);
  if (*found != "ok") return fail("db_corrupt", "SQLite: " + *found);
  return {};
}

Result<void> Database::backup_to(const std::string& path) {
  const int fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return fail_errno("io_error", "Make " + path, errno);
  ::close(fd);
  sqlite3* copy = nullptr;
  int result =
      sqlite3_open_v2(path.c_str(), &copy,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  if (result == SQLITE_OK) {
    sqlite3_backup* backup = sqlite3_backup_init(copy, "main", state_->db, "main");
    if (backup != nullptr) sqlite3_backup_step(backup, -1);
    result = backup != nullptr ? sqlite3_backup_finish(backup) : sqlite3_errcode(copy);
  }
  if (result != SQLITE_OK) {
    auto error = sqlite_error(copy, result);
    sqlite3_close_v2(copy);
    return error;
  }
  result = sqlite3_close(copy);
  if (result != SQLITE_OK) return sqlite_error(nullptr, result);
  if (auto synced = fsync_path(path, O_RDWR); !synced) return synced;
  const auto folder = std::filesystem::path(path).parent_path();
  return fsync_path(folder.empty() ? "." : folder.string(), O_RDONLY | O_DIRECTORY);
}

Result<void> Database::checkpoint() {
  const int result =
      sqlite3_wal_checkpoint_v2(state_->db, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (result == SQLITE_BUSY) return {};  // Another process is at it.
  if (result != SQLITE_OK) return sqlite_error(state_->db, result);
  return {};
}

int Database::wal_pages() const {
  return state_->wal_pages;
}

Result<WriteTransaction> WriteTransaction::begin(Database& db) {
  if (auto begun = db.run("BEGIN IMMEDIATE"); !begun) return fail(begun);
  return WriteTransaction(db);
}
WriteTransaction::WriteTransaction(WriteTransaction&& other) noexcept
    : db_(std::exchange(other.db_, nullptr)) {}
WriteTransaction::~WriteTransaction() {
  if (db_ == nullptr) return;
  // After some errors SQLite has rolled back by itself, and this says so.
  [[maybe_unused]] const auto rolled_back = db_->run("ROLLBACK");
}
Result<void> WriteTransaction::commit() {
  auto committed = db_->run("COMMIT");
  if (committed) db_ = nullptr;
  return committed;
}

Result<ReadTransaction> ReadTransaction::begin(Database& db) {
  if (auto begun = db.run("BEGIN"); !begun) return fail(begun);
  return ReadTransaction(db);
}
ReadTransaction::ReadTransaction(ReadTransaction&& other) noexcept
    : db_(std::exchange(other.db_, nullptr)) {}
ReadTransaction::~ReadTransaction() {
  if (db_ == nullptr) return;
  [[maybe_unused]] const auto ended = db_->run("COMMIT");
}

}  // namespace everspan::store
