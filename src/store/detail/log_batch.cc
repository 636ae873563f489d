#include "store/detail/log_batch.h"

#include <map>
#include <utility>

#include "common/check.h"
#include "store/detail/log_table.h"

namespace everspan::store::detail {
namespace {

// What the transactions before in the same batch have changed, while it is not in the tables yet.
struct Unfolded {
  std::map<std::pair<std::string, std::string>, Revision> records;  // {0}: erased.
  std::map<RequestId, Outcome> outcomes;

  void add(const LogEntry& entry, const Outcome& outcome) {
    for (const Operation& it : entry.operations)
      records[{it.kind, it.key}] = it.action == Action::put ? entry.revision : Revision{};
    if (!entry.request_id.is_zero()) outcomes[entry.request_id] = outcome;
  }
};

Result<std::optional<Outcome>> outcome_of(Database& db, const Unfolded& unfolded,
                                          const RequestId& id) {
  const auto found = unfolded.outcomes.find(id);
  if (found == unfolded.outcomes.end()) return find_outcome(db, id);
  Outcome outcome = found->second;
  outcome.repeated = true;
  return std::optional(std::move(outcome));
}

Result<Revision> revision_of(Database& db, const Unfolded& unfolded, const Operation& operation) {
  if (!unfolded.records.empty()) {
    const auto found = unfolded.records.find({operation.kind, operation.key});
    if (found != unfolded.records.end()) return found->second;
  }
  return record_revision(db, operation.kind, operation.key);
}

// None: it may run. Else the answer that it gets instead.
Result<std::optional<Result<Outcome>>> answer_without_running(Database& db,
                                                              const Unfolded& unfolded,
                                                              const Pending& it) {
  using Answer = std::optional<Result<Outcome>>;
  if (!it.request_id.is_zero()) {
    auto before = outcome_of(db, unfolded, it.request_id);
    if (!before) return fail(before);
    if (*before) return Answer(std::in_place, std::move(**before));
  }
  for (std::size_t i = 0; i < it.operations.size(); ++i) {
    if (!it.expected[i]) continue;
    auto revision = revision_of(db, unfolded, it.operations[i]);
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

LogEntry make_entry(const BatchContext& context, const LogMeta& meta, Revision committed,
                    const LogHead& head, Pending& it) {
  LogEntry entry;
  entry.revision = head.revision.next();
  entry.lineage = meta.lineage;
  entry.epoch = meta.epoch;
  entry.generation = context.generation;
  entry.committed = committed;
  entry.primary_time = context.now;
  entry.request_id = it.request_id;
  entry.flags = it.flags;
  entry.feature_level = it.feature_level;
  entry.operations = std::move(it.operations);
  return entry;
}

Outcome outcome_of_entry(const LogEntry& entry) {
  return {entry.revision, entry.lineage, entry.epoch, {}, false};
}

Result<LogMeta> fenced_meta(Database& db, const BatchContext& context) {
  auto meta = read_meta(db);
  if (!meta) return meta;
  if (meta->generation != context.generation)
    return fail("superseded", "The log has generation " + std::to_string(meta->generation.value));
  if (meta->lineage.is_zero())
    return fail("no_site", "This node has joined a site, and has nothing of it yet",
                "Nothing of this write was stored", "Send it to the primary");
  check(meta->committed == meta->head.revision, "a batch runs on what is not committed");
  return meta;
}

}  // namespace

Result<BatchResult> commit_batch(Database& db, const BatchContext& context,
                                 std::vector<Pending>& batch) {
  auto transaction = WriteTransaction::begin(db);
  if (!transaction) return fail(transaction);
  auto meta = fenced_meta(db, context);
  if (!meta) return fail(meta);
  const Unfolded nothing;  // Each is folded at once.
  BatchResult result{false, meta->head, meta->head};
  for (Pending& it : batch) {
    auto answer = answer_without_running(db, nothing, it);
    if (!answer) return fail(answer);
    if (*answer) {
      it.result = std::move(*answer);
      continue;
    }
    const LogEntry entry = make_entry(context, *meta, result.head.revision, result.head, it);
    result.head = {entry.revision, chain_hash(result.head.hash, encode_entry(entry))};
    Outcome outcome = outcome_of_entry(entry);
    outcome.stores = {context.node};
    if (auto appended = append_entry(db, entry, result.head.hash); !appended) return fail(appended);
    if (auto folded = fold_entry(db, entry, outcome.stores); !folded) return fail(folded);
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

Result<BatchResult> append_batch(Database& db, const BatchContext& context,
                                 Replication& replication, std::vector<Pending>& batch) {
  auto begun = WriteTransaction::begin(db);
  if (!begun) return fail(begun);
  std::optional<WriteTransaction> transaction(std::move(*begun));
  auto meta = fenced_meta(db, context);
  if (!meta) return fail(meta);
  Unfolded unfolded;
  BatchResult result{false, meta->head, meta->head};
  std::vector<Replication::Shipped> shipped;
  for (Pending& it : batch) {
    auto answer = answer_without_running(db, unfolded, it);
    if (!answer) return fail(answer);
    if (*answer) {
      it.result = std::move(*answer);
      continue;
    }
    const LogEntry entry = make_entry(context, *meta, meta->committed, result.head, it);
    std::string encoded = encode_entry(entry);
    result.head = {entry.revision, chain_hash(result.head.hash, encoded)};
    if (auto appended = append_entry(db, entry, result.head.hash); !appended) return fail(appended);
    shipped.push_back({entry.revision, result.head.hash, std::move(encoded)});
    it.result = outcome_of_entry(entry);
    unfolded.add(entry, **it.result);
    result.changed = true;
  }
  if (!result.changed) return result;
  if (auto moved = write_head(db, result.head); !moved) return fail(moved);
  replication.appended(result.before, std::move(shipped));
  auto committed = transaction->commit();
  if (committed) return result;
  transaction.reset();  // Rolls back.
  // After an I/O error nobody knows whether it is on the disk: the process ends instead.
  if (committed.error().code == "db_full") replication.taken_back(result.before);
  return fail(committed);
}

}  // namespace everspan::store::detail
