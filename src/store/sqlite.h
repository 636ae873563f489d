// SQLite with Results: connection, cached prepared statements, transactions, backup. sqlite3.h
// stays in sqlite.cc and fault_vfs.cc.
//
// Error codes: db_busy, db_full, db_io, db_corrupt, db_constraint, db_missing, db_error.
// One connection belongs to one thread at a time. Set up on open: WAL, foreign keys, no trusted
// schema, cell size checks, defensive mode.
//
// While a process has a file open here it must not open that file in any other way: closing such a
// descriptor drops SQLite's POSIX locks (DESIGN section 3). Copies are made by backup_to().
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/bytes.h"
#include "common/result.h"

namespace everspan::store {

struct BlobView {  // Binds or reads bytes as a BLOB; plain text binds as TEXT.
  std::string_view bytes;
};

class Statement {
 public:
  Statement(Statement&&) noexcept;
  Statement& operator=(Statement&&) noexcept;
  ~Statement();  // Resets and goes back to its connection's cache.

  // Parameters count from 1. A failed bind shows at the next step().
  Statement& bind(int at, std::int64_t value);
  Statement& bind(int at, std::string_view text);  // Copied.
  Statement& bind(int at, BlobView blob);          // Copied.
  Statement& bind_null(int at);

  [[nodiscard]] Result<bool> step();  // True: a row is there.
  [[nodiscard]] Result<void> run();   // Steps to the end, drops rows.
  void reset();                       // For the next run; bindings are cleared.

  // Columns count from 0; views live until the next step() or reset().
  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] std::string_view bytes(int column) const;  // TEXT or BLOB.
  [[nodiscard]] bool is_null(int column) const;

 private:
  friend class Database;
  struct State;
  explicit Statement(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class Database {
 public:
  enum class Access { read_only, read_write, create };
  enum class Durability { full, normal };  // full: fsync at each commit. normal: at checkpoints.
  struct Options {
    Access access = Access::read_write;
    Durability durability = Durability::full;
    std::chrono::milliseconds busy_wait{5000};  // Then db_busy.
    bool auto_checkpoint = true;                // Off: the owner calls checkpoint().
    std::string vfs;                            // Empty: the system's.
  };
  static Result<Database> open(const std::string& path, const Options& options);
  static Result<Database> open_read_only(const std::string& path);
  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();  // Statements must be gone.

  [[nodiscard]] Result<void> run_script(const std::string& sql);  // Any number of statements.
  [[nodiscard]] Result<Statement> prepare(std::string_view sql);  // Cached by text.
  template <class... Values>
  [[nodiscard]] Result<void> run(std::string_view sql, const Values&... values) {
    auto statement = prepare(sql);
    if (!statement) return fail(statement);
    int at = 0;
    (statement->bind(++at, values), ...);
    return statement->run();
  }
  // First column of the first row; fails with db_missing when there is none.
  [[nodiscard]] Result<std::int64_t> integer(std::string_view sql);
  [[nodiscard]] Result<std::string> text(std::string_view sql);
  [[nodiscard]] std::int64_t rows_changed() const;

  [[nodiscard]] Result<void> set_durability(Durability durability);  // Outside transactions.
  [[nodiscard]] Result<void> integrity_check();
  // A consistent copy in one read transaction, fsynced, mode 0600. `path` must not exist.
  [[nodiscard]] Result<void> backup_to(const std::string& path);
  // Moves WAL pages into the file as far as no reader needs them there; never waits for readers.
  [[nodiscard]] Result<void> checkpoint();
  [[nodiscard]] int wal_pages() const;  // After this connection's last commit.

 private:
  friend class Statement;
  struct State;
  explicit Database(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

// Rolls back when dropped without commit().
class WriteTransaction {
 public:
  static Result<WriteTransaction> begin(Database& db);  // BEGIN IMMEDIATE
  WriteTransaction(WriteTransaction&&) noexcept;
  WriteTransaction& operator=(WriteTransaction&&) = delete;
  ~WriteTransaction();
  [[nodiscard]] Result<void> commit();

 private:
  explicit WriteTransaction(Database& db) : db_(&db) {}
  Database* db_;
};

// One consistent state for as long as it lives.
class ReadTransaction {
 public:
  static Result<ReadTransaction> begin(Database& db);
  ReadTransaction(ReadTransaction&&) noexcept;
  ReadTransaction& operator=(ReadTransaction&&) = delete;
  ~ReadTransaction();

 private:
  explicit ReadTransaction(Database& db) : db_(&db) {}
  Database* db_;
};

}  // namespace everspan::store
