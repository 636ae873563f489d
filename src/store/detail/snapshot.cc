#include "store/detail/snapshot.h"

#include <cstdint>
#include <limits>
#include <vector>

#include "common/failpoint.h"
#include "store/detail/log_table.h"

namespace everspan::store::detail {
namespace {

constexpr std::size_t kStoresMax = 64;

auto bad_snapshot(const std::string& what) {
  return fail("bad_snapshot", what, "The log is as it was", "Ask for another snapshot");
}

Result<void> copy_current(Database& from, Database& to, Revision last) {
  auto rows = from.prepare("SELECT kind, key, revision, bytes FROM \"current\"");
  if (!rows) return fail(rows);
  for (;;) {
    auto row = rows->step();
    if (!row) return fail(row);
    if (!*row) return {};
    const std::vector<Operation> record = {{Action::put, std::string(rows->bytes(0)),
                                            std::string(rows->bytes(1)),
                                            std::string(rows->bytes(3))}};
    if (auto good = check_operations(record); !good)
      return bad_snapshot("A record of the snapshot breaks a limit: " + good.error().message);
    const std::int64_t revision = rows->integer(2);
    if (revision < 1 || static_cast<std::uint64_t>(revision) > last.value)
      return bad_snapshot("A record of the snapshot is of a revision that cannot be");
    auto put = to.run("INSERT INTO \"current\"(kind, key, revision, bytes) VALUES(?1, ?2, ?3, ?4)",
                      std::string_view(record[0].kind), BlobView{record[0].key}, revision,
                      BlobView{record[0].bytes});
    if (!put) return put;
  }
}

Result<void> copy_outcomes(Database& from, Database& to, Revision last) {
  auto rows =
      from.prepare("SELECT request_id, revision, lineage, epoch, stores, time FROM outcomes");
  if (!rows) return fail(rows);
  for (;;) {
    auto row = rows->step();
    if (!row) return fail(row);
    if (!*row) return {};
    const std::string request(rows->bytes(0));
    const std::string lineage(rows->bytes(2));
    const std::string stores(rows->bytes(4));
    const std::int64_t revision = rows->integer(1);
    if (request.size() != 16 || lineage.size() != 16 || stores.size() % 16 != 0 ||
        stores.size() > 16 * kStoresMax || revision < 1 ||
        static_cast<std::uint64_t>(revision) > last.value || rows->integer(3) < 0)
      return bad_snapshot("An outcome of the snapshot cannot be read");
    auto put = to.run(
        "INSERT INTO outcomes(request_id, revision, lineage, epoch, stores, time)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
        BlobView{request}, revision, BlobView{lineage}, rows->integer(3), BlobView{stores},
        rows->integer(5));
    if (!put) return put;
  }
}

Result<std::vector<std::string>> schema_of(Database& db) {
  auto rows = db.prepare(
      "SELECT type || ' ' || name || ' ' || coalesce(sql, '')"
      " FROM sqlite_schema ORDER BY 1");
  if (!rows) return fail(rows);
  std::vector<std::string> schema;
  for (;;) {
    auto row = rows->step();
    if (!row) return fail(row);
    if (!*row) return schema;
    schema.emplace_back(rows->bytes(0));
  }
}

// A view or trigger could stand where a table should.
Result<void> check_schema(Database& snapshot, Database& ours) {
  auto theirs = schema_of(snapshot);
  if (!theirs) return fail(theirs);
  auto mine = schema_of(ours);
  if (!mine) return fail(mine);
  if (*theirs != *mine) return bad_snapshot("The snapshot's tables are not those of a log");
  return {};
}

Result<LogMeta> check_snapshot(Database& snapshot) {
  if (auto good = check_format(snapshot); !good) return fail(good);
  if (auto good = snapshot.integrity_check(); !good) return fail(good);
  auto meta = read_meta(snapshot);
  if (!meta) return meta;
  auto entries = snapshot.integer("SELECT count(*) FROM log");
  if (!entries) return fail(entries);
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (*entries != 0 || meta->head != meta->base || meta->committed != meta->head.revision ||
      meta->head.revision.value > kMax || meta->epoch.value > kMax || meta->lineage.is_zero())
    return bad_snapshot("The snapshot does not say where its history stands");
  return meta;
}

Result<LogMeta> make_log(const std::string& snapshot, const std::string& path, const NodeId& node,
                         Generation generation) {
  auto from = Database::open(snapshot, {});
  if (!from) {
    if (from.error().code == "db_missing") return fail("not_found", from.error().message);
    return bad_snapshot(from.error().message);
  }
  auto reading = ReadTransaction::begin(*from);
  if (!reading) return bad_snapshot(reading.error().message);
  auto meta = check_snapshot(*from);
  if (!meta) return bad_snapshot(meta.error().message);
  const auto fill = [&](Database& to) -> Result<void> {
    if (auto good = check_schema(*from, to); !good) return good;
    if (auto copied = copy_current(*from, to, meta->head.revision); !copied) return copied;
    if (auto copied = copy_outcomes(*from, to, meta->head.revision); !copied) return copied;
    if (auto begun = write_start(to, meta->head); !begun) return begun;
    failpoint("log.replace");
    return write_generation(to, generation);
  };
  if (auto made = create_log_file(path, node, {meta->lineage, meta->epoch}, fill); !made)
    return fail(made);
  return meta;
}

}  // namespace

Result<void> write_snapshot(Database& log, const std::string& path) {
  auto meta = read_meta(log);
  if (!meta) return fail(meta);
  auto hash = hash_at(log, *meta, meta->committed);
  if (!hash) return fail(hash);
  const LogHead head{meta->committed, *hash};
  return create_log_file(path, {}, {meta->lineage, meta->epoch}, [&](Database& to) -> Result<void> {
    if (auto copied = copy_current(log, to, head.revision); !copied) return copied;
    if (auto copied = copy_outcomes(log, to, head.revision); !copied) return copied;
    return write_start(to, head);
  });
}

Result<LogMeta> make_log_from_snapshot(const std::string& snapshot, const std::string& path,
                                       const NodeId& node, Generation generation) {
  auto made = make_log(snapshot, path, node, generation);
  // It is no failure of this node's log.
  if (!made && made.error().code == "db_full")
    return fail("disk_full", "The disk is full", "The log is as it was",
                "Free space, then try again");
  if (!made && made.error().code == "db_io")
    return fail("io_error", "The snapshot could not be copied: " + made.error().message,
                "The log is as it was");
  if (!made && made.error().code.starts_with("db_")) return bad_snapshot(made.error().message);
  return made;
}

}  // namespace everspan::store::detail
