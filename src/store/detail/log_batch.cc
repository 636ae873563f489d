#include "store/detail/log_batch.h"

#include "store/detail/log_table.h"

namespace everspan::store::detail {
namespace {

// None: it may run. Else the answer that it gets instead.
Result<std::optional<Result<Outcome>>> answer_without_running(Database& db, const Pending& it) {
  using Answer = std::optional<Result<Outcome>>;
  if (!it.request_id.is_zero()) {
    auto before = find_outcome(db, it.request_id);
    if (!before) return fail(before);
    if (*before) return Answer(std::in_place, std::move(**before));
  }
  for (std::size_t i = 0; i < it.operations.size(); ++i) {
    if (!it.expected[i]) continue;
    auto revision = record_revision(db, it.operations[i].kind, it.operations[i].key);
    if (!revision) return fail(revision);
    if (*revision != *it.expected[i])
      return Answer(std::in_place, fail("conflict",
                                        revision->value == 0 ? "The record does not exist"
                                        : it.expected[i]->value == 0
                                            ? "The record exists already"
                                            : "The record was changed meanwhile, at revision " +
                                                  std::to_string(revision->value),
                                        "Nothing of this write was stored", "Read it again"));
  }
  return Answer();
}

// Append and fold: with this node alone in the in-sync set one fsync does both.
Result<Outcome> run_one(Database& db, const BatchContext& context, const LogMeta& meta,
                        LogHead& head, Pending& it) {
  LogEntry entry;
  entry.revision = head.revision.next();
  entry.lineage = meta.lineage;
  entry.epoch = meta.epoch;
  entry.generation = context.generation;
  entry.committed = head.revision;
  entry.primary_time = context.now;
  entry.request_id = it.request_id;
  entry.flags = it.flags;
  entry.feature_level = it.feature_level;
  entry.operations = std::move(it.operations);
  head = {entry.revision, chain_hash(head.hash, encode_entry(entry))};
  Outcome outcome{entry.revision, entry.lineage, entry.epoch, {context.node}, false};
  if (auto appended = append_entry(db, entry, head.hash); !appended) return fail(appended);
  if (auto folded = fold_entry(db, entry, outcome.stores); !folded) return fail(folded);
  return outcome;
}

}  // namespace

Result<BatchResult> commit_batch(Database& db, const BatchContext& context,
                                 std::vector<Pending>& batch) {
  auto transaction = WriteTransaction::begin(db);
  if (!transaction) return fail(transaction);
  auto meta = read_meta(db);
  if (!meta) return fail(meta);
  if (meta->generation != context.generation)
    return fail("superseded", "The log has generation " + std::to_string(meta->generation.value));
  BatchResult result{false, meta->head};
  for (Pending& it : batch) {
    auto answer = answer_without_running(db, it);
    if (!answer) return fail(answer);
    if (*answer) {
      it.result = std::move(*answer);
      continue;
    }
    auto outcome = run_one(db, context, *meta, result.head, it);
    if (!outcome) return fail(outcome);
    it.result = std::move(outcome);
    result.changed = true;
  }
  if (!result.changed) return result;
  if (auto moved = write_head(db, result.head); !moved) return fail(moved);
  if (auto moved = write_committed(db, result.head.revision, context.now); !moved)
    return fail(moved);
  if (auto committed = transaction->commit(); !committed) return fail(committed);
  return result;
}

}  // namespace everspan::store::detail
