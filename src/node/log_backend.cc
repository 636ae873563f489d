#include "node/log_backend.h"

namespace everspan::node {
namespace {

Error no_log() {
  return {"not_writer", "This process has no log open", "Nothing was done", ""};
}

}  // namespace

net::Task<Result<void>> LogBackend::raise(std::uint64_t turn) {
  store::LogWriter* log = log_;
  if (log == nullptr) co_return Result<void>(std::unexpected(no_log()));
  const store::LogWriter::Tail tail = tail_ ? tail_() : store::LogWriter::Tail::fold;
  const std::function<Result<void>()> work = [log, turn, tail] {
    return log->become_writer(Generation{turn}, tail);
  };
  co_return co_await pool_.run(work);
}

void LogBackend::run(store::Transaction transaction, Done done) {
  if (log_ == nullptr) return done(std::unexpected(no_log()));
  log_->submit(std::move(transaction), std::move(done));
}

void LogBackend::release(Released done) {
  if (log_ == nullptr) return done(std::unexpected(no_log()));
  log_->release(std::move(done));
}

}  // namespace everspan::node
