// A release's own view of the settings: one SQLite file with the schema that this release likes,
// built from the log and thrown away at will. Two releases keep one each, so neither migrates the
// other's.
//
// Invariant: the file holds exactly the fold of the log up to applied(), changed in one transaction
// with it. A file of another schema version, or a broken one, is made anew.
// Threads: catch_up() from one thread; read() from any, beside it.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "store/log.h"
#include "store/sqlite.h"

namespace everspan::store {

// How records become rows. Called inside the read model's transaction.
class Projection {
 public:
  virtual ~Projection() = default;
  // False: the kind is stored in the log but not shown here. An entry marked `required` with a kind
  // that is not known stops catch_up() with release_too_old.
  [[nodiscard]] virtual bool knows(std::string_view kind) const = 0;
  [[nodiscard]] virtual Result<void> put(Database& db, std::string_view kind,
                                         const Record& record) = 0;
  [[nodiscard]] virtual Result<void> erase(Database& db, std::string_view kind,
                                           std::string_view key) = 0;
};

class ReadModel {
 public:
  struct Schema {
    std::int64_t version = 1;      // Another number: the file is made anew.
    std::vector<std::string> ddl;  // CREATE TABLE ...; names must not begin with "everspan_".
  };
  // More entries than this behind: built from `current` instead of entry by entry.
  static constexpr std::uint64_t kRebuildAfterEntries = 20000;

  static Result<std::unique_ptr<ReadModel>> open(const std::string& path, Schema schema,
                                                 Projection& projection);
  ~ReadModel();

  // Applies what is committed and not applied yet; returns where it stands then.
  [[nodiscard]] Result<Revision> catch_up(LogReader& log);
  [[nodiscard]] Revision applied() const;  // From any thread.
  // Runs `query` on a read-only connection, in one consistent state.
  [[nodiscard]] Result<void> read(const std::function<Result<void>(Database&)>& query);

 private:
  struct State;
  explicit ReadModel(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace everspan::store
