#include <future>

#include "store/detail/log_worker.h"
#include "store/log.h"

namespace everspan::store {

LogWriter::LogWriter(std::unique_ptr<Worker> worker) : worker_(std::move(worker)) {}
LogWriter::~LogWriter() = default;

Result<std::unique_ptr<LogWriter>> LogWriter::open(Options options) {
  auto worker = std::make_unique<Worker>(std::move(options));
  if (auto started = worker->start(); !started) return fail(started);
  return std::unique_ptr<LogWriter>(new LogWriter(std::move(worker)));
}
Result<void> LogWriter::become_writer(Generation generation) {
  return worker_->become_writer(generation);
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
  return worker_->head();
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
