#include <future>

#include "store/detail/log_worker.h"
#include "store/detail/snapshot.h"
#include "store/log.h"

namespace everspan::store {

LogWriter::LogWriter(std::unique_ptr<Worker> worker) : worker_(std::move(worker)) {}
LogWriter::~LogWriter() = default;

Result<std::unique_ptr<LogWriter>> LogWriter::open(Options options) {
  auto worker = std::make_unique<Worker>(std::move(options));
  if (auto started = worker->start(); !started) return fail(started);
  return std::unique_ptr<LogWriter>(new LogWriter(std::move(worker)));
}
Result<void> LogWriter::become_writer(Generation generation, Tail tail) {
  return worker_->become_writer(generation, tail);
}
void LogWriter::verify_ahead() {
  worker_->verify_ahead();
}
void LogWriter::submit(Transaction transaction, Done done) {
  worker_->submit(std::move(transaction), std::move(done));
}
void LogWriter::release(Released released) {
  worker_->release(std::move(released));
}
bool LogWriter::is_writer() const {
  return worker_->is_writer();
}
Revision LogWriter::head() const {
  return worker_->last().revision;
}
LogHead LogWriter::last() const {
  return worker_->last();
}
void LogWriter::set_replication(std::shared_ptr<Replication> replication) {
  worker_->set_replication(std::move(replication));
}
void LogWriter::confirm(LogHead through, std::vector<NodeId> stores) {
  worker_->confirm(through, std::move(stores));
}
void LogWriter::refuse_unconfirmed(Error why) {
  worker_->refuse_unconfirmed(std::move(why));
}
void LogWriter::accept_again() {
  worker_->accept_again();
}
void LogWriter::append_shipped(Epoch turn, LogHead before, std::vector<std::string> entries,
                               Advanced done) {
  worker_->append_shipped(turn, before, std::move(entries), std::move(done));
}
void LogWriter::fold_shipped(LogHead committed, std::vector<NodeId> stores, Advanced done) {
  worker_->fold_shipped(committed, std::move(stores), std::move(done));
}
void LogWriter::cut_to(LogHead common, std::string orphan_folder, Advanced done) {
  worker_->cut_to(common, std::move(orphan_folder), std::move(done));
}
void LogWriter::install_snapshot(std::string snapshot, Replaces what, Advanced done) {
  worker_->install_snapshot(std::move(snapshot), what, std::move(done));
}
Result<void> LogWriter::create_from_snapshot(const std::string& snapshot, const std::string& path,
                                             const NodeId& node) {
  if (auto made = detail::make_log_from_snapshot(snapshot, path, node, {}); !made)
    return fail(made);
  return {};
}
void LogWriter::raise_epoch(Epoch epoch, Advanced done) {
  worker_->raise_epoch(epoch, std::move(done));
}
void LogWriter::compact(WallTime older_than, Revision below, Advanced done) {
  worker_->compact(older_than, below, std::move(done));
}
void LogWriter::begin_lineage(LineageId lineage, Epoch epoch, Advanced done) {
  worker_->begin_lineage(lineage, epoch, std::move(done));
}

Result<Outcome> LogWriter::submit_and_wait(Transaction transaction) {
  std::promise<Result<Outcome>> promise;
  auto future = promise.get_future();
  submit(std::move(transaction),
         [&](Result<Outcome> result) { promise.set_value(std::move(result)); });
  return future.get();
}
Result<LogHead> LogWriter::release_and_wait() {
  std::promise<Result<LogHead>> promise;
  auto future = promise.get_future();
  release([&](Result<LogHead> result) { promise.set_value(std::move(result)); });
  return future.get();
}

Write Write::put(std::string kind, std::string key, std::string bytes,
                 std::optional<Revision> expected) {
  return {{Action::put, std::move(kind), std::move(key), std::move(bytes)}, expected};
}
Write Write::erase(std::string kind, std::string key, std::optional<Revision> expected) {
  return {{Action::erase, std::move(kind), std::move(key), {}}, expected};
}

}  // namespace everspan::store
