// The log's tables (frozen: docs/decisions/2026-11-23-log-format.md) and the steps on them. Every
// call runs inside a transaction of the caller's. Append and fold are separate steps on purpose:
// the pair puts the backup's fsync between them.
#pragma once
#include <string>

#include "store/log.h"
#include "store/sqlite.h"

namespace everspan::store::detail {

inline constexpr std::chrono::hours kOutcomesKept{24};

// Made under another name, fsynced, then linked to `path`: a log that exists is whole. `fill`, if
// any, puts more into it in the same transaction.
using FillLog = std::function<Result<void>(Database&)>;
[[nodiscard]] Result<void> create_log_file(const std::string& path, const NodeId& node,
                                           const NewSite& site, const FillLog& fill = {});
// Is it a log of ours, in a format that we know?
[[nodiscard]] Result<void> check_format(Database& db);

[[nodiscard]] Result<LogMeta> read_meta(Database& db);
[[nodiscard]] Result<void> write_generation(Database& db, Generation generation);
[[nodiscard]] Result<void> write_epoch(Database& db, Epoch epoch);
[[nodiscard]] Result<void> write_lineage(Database& db, const LineageId& lineage);

// Into `log`; moves the head.
[[nodiscard]] Result<void> append_entry(Database& db, const LogEntry& entry, const Sha256& hash);
[[nodiscard]] Result<void> write_head(Database& db, const LogHead& head);
// Deletes what is after `head`, which nothing committed is, and moves the head there.
[[nodiscard]] Result<void> cut_after(Database& db, const LogHead& head);
// History begins after `base`, which is committed, and has no entries yet.
[[nodiscard]] Result<void> write_start(Database& db, const LogHead& base);
struct Compacted {
  LogHead base;
  bool more = false;  // Other entries may go too.
};
// Deletes the first entries that are older than `older_than` and below `below` and the last
// committed one, at most some, and moves the base behind them.
[[nodiscard]] Result<Compacted> compact_some(Database& db, const LogMeta& meta, WallTime older_than,
                                             Revision below);
// Into `current` and `outcomes`; the caller moves committed_revision with write_committed().
[[nodiscard]] Result<void> fold_entry(Database& db, const LogEntry& entry,
                                      const std::vector<NodeId>& stores);
[[nodiscard]] Result<void> write_committed(Database& db, Revision committed, WallTime newest);
// Folds what is appended and not folded, through `to`.
[[nodiscard]] Result<void> fold_through(Database& db, Revision to,
                                        const std::vector<NodeId>& stores);

[[nodiscard]] Result<std::optional<Outcome>> find_outcome(Database& db, const RequestId& id);
// {0}: not there.
[[nodiscard]] Result<Revision> record_revision(Database& db, std::string_view kind,
                                               std::string_view key);
// The chain hash at a revision that the log still has (or its base); else db_missing.
[[nodiscard]] Result<Sha256> hash_at(Database& db, const LogMeta& meta, Revision revision);

// Calls `visit` for entries in (after, through], in order, at most `limit`.
[[nodiscard]] Result<void> visit_entries(
    Database& db, Revision after, Revision through, std::size_t limit,
    const std::function<Result<void>(LogEntry&&, const Sha256&)>& visit);
// Every hash after `from` up to the head. Fails with bad_chain.
[[nodiscard]] Result<LogHead> verify_chain(Database& db, const LogMeta& meta, const LogHead& from);

}  // namespace everspan::store::detail
