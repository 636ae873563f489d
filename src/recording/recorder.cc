#include "recording/recorder.h"

#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "common/log.h"
#include "net/async.h"
#include "proto/recording.pb.h"
#include "recording/detail/journal_recovery.h"
#include "recording/detail/journal_writer.h"

namespace everspan::recording {
namespace {

std::int64_t wall_ms() {
  return net::wall_now().unix_ms;
}

// Waits after a failed write before the next attempt: a full disk does not empty at once.
constexpr auto kRetryAfter = std::chrono::milliseconds(500);

struct OpenJob {
  std::uint32_t stream;
  SessionInfo info;
};
struct CloseJob {
  std::uint32_t stream;
  std::string reason;
};
struct WriteJob {
  Batch batch;
  std::size_t size = 0;  // Of its records, which the writer takes.
  std::function<void(Batch)> done;
};
using Job = std::variant<OpenJob, CloseJob, WriteJob>;

struct RecoverJob {
  SessionId session;
  std::function<void(std::unique_ptr<pb::RecorderSnapshot>)> done;
};

}  // namespace

struct Recorder::State {
  explicit State(const RecorderOptions& given)
      : options(given), writer(given, wall_ms()), recovery(given.folder) {}

  RecorderOptions options;
  mutable std::mutex mutex;
  std::condition_variable wake;  // The writer
  std::condition_variable wake_recovery;
  std::vector<Job> jobs;
  bool writer_idle = false;  // It waits for a first job; while it gathers more nobody wakes it up.
  std::vector<RecoverJob> recover_jobs;
  std::optional<Error> failing;
  bool stopping = false;
  std::atomic<std::size_t> queued_bytes = 0;
  std::atomic<std::uint32_t> next_stream = 1;
  std::atomic<std::uint64_t> bytes = 0, batches = 0, syncs = 0, files = 0;

  JournalWriter writer;      // Writer thread only.
  JournalRecovery recovery;  // Recovery thread only.
  std::thread writer_thread;
  std::thread recovery_thread;

  void push(Job job) {
    bool idle = false;
    {
      const std::lock_guard lock(mutex);
      jobs.push_back(std::move(job));
      idle = std::exchange(writer_idle, false);
    }
    if (idle) wake.notify_one();
  }
  void run_writer();
  bool commit(std::vector<WriteJob>& waiting);
  void run_recovery();
};

// One group: everything that has come by now. Returns false when it has to be tried again.
bool Recorder::State::commit(std::vector<WriteJob>& waiting) {
  const auto done = writer.commit(wall_ms());
  files = writer.files();
  if (!done) {
    const std::lock_guard lock(mutex);
    if (!failing) log_error("recording.failing", {{"error", done.error().text()}});
    failing = done.error();
    return false;
  }
  ++syncs;
  {
    const std::lock_guard lock(mutex);
    if (failing) log_info("recording.works_again");
    failing.reset();
  }
  auto spent = writer.take_spent();
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    auto& job = waiting[i];
    if (i < spent.size()) {
      job.batch.records = std::move(spent[i]);
      job.batch.records.clear();
    }
    bytes += job.size;
    queued_bytes -= job.size;
    ++batches;
    job.done(std::move(job.batch));
  }
  waiting.clear();
  return true;
}

void Recorder::State::run_writer() {
  const auto interval = std::chrono::milliseconds(options.sync_interval_ms);
  std::vector<WriteJob> waiting;
  auto next = net::now();
  for (;;) {
    std::vector<Job> taken;
    bool last = false;
    {
      std::unique_lock lock(mutex);
      if (!writer.has_work()) {
        writer_idle = true;
        wake.wait(lock, [&] { return stopping || !jobs.empty(); });
        writer_idle = false;
      }
      // Gather more until the next fsync is due; stop at once when the process ends.
      wake.wait_for(lock, next - net::now(), [&] { return stopping; });
      taken.swap(jobs);
      last = stopping;
    }
    for (auto& job : taken) {
      if (auto* open = std::get_if<OpenJob>(&job)) {
        writer.open_stream(open->stream, std::move(open->info));
      } else if (auto* close = std::get_if<CloseJob>(&job)) {
        writer.close_stream(close->stream, std::move(close->reason));
      } else {
        auto& write = std::get<WriteJob>(job);
        writer.add(std::move(write.batch.records));  // Kept there until it is durable.
        waiting.push_back(std::move(write));
      }
    }
    const bool done = commit(waiting);
    next = net::now() + (done ? interval : kRetryAfter);
    if (!last) continue;
    const auto finished = writer.finish(wall_ms());
    if (!finished) log_error("recording.not_finished", {{"error", finished.error().text()}});
    return;
  }
}

void Recorder::State::run_recovery() {
  for (;;) {
    std::vector<RecoverJob> taken;
    {
      std::unique_lock lock(mutex);
      wake_recovery.wait(lock, [&] { return stopping || !recover_jobs.empty(); });
      if (stopping) return;
      taken.swap(recover_jobs);
    }
    const auto read = recovery.refresh();
    if (!read) log_error("recording.recovery_failed", {{"error", read.error().text()}});
    for (auto& job : taken) {
      auto snapshot = std::make_unique<pb::RecorderSnapshot>();
      recovery.find(job.session, *snapshot);
      job.done(std::move(snapshot));
    }
  }
}

Result<std::unique_ptr<Recorder>> Recorder::open(const RecorderOptions& options) {
  if (::mkdir(options.folder.c_str(), 0700) != 0 && errno != EEXIST)
    return fail_errno("io", "Cannot make the folder of recordings", errno);
  auto state = std::make_unique<State>(options);
  auto* raw = state.get();
  std::unique_ptr<Recorder> recorder(new Recorder(std::move(state)));
  raw->writer_thread = std::thread([raw] { raw->run_writer(); });
  raw->recovery_thread = std::thread([raw] { raw->run_recovery(); });
  return recorder;
}

Recorder::Recorder(std::unique_ptr<State> state) : state_(std::move(state)) {}

Recorder::~Recorder() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->wake.notify_all();
  state_->wake_recovery.notify_all();
  if (state_->writer_thread.joinable()) state_->writer_thread.join();
  if (state_->recovery_thread.joinable()) state_->recovery_thread.join();
}

std::uint32_t Recorder::open_stream(const SessionInfo& info) {
  const auto stream = state_->next_stream++;
  state_->push(OpenJob{stream, info});
  return stream;
}

void Recorder::close_stream(std::uint32_t stream, const std::string& reason) {
  state_->push(CloseJob{stream, reason});
}

void Recorder::submit(Batch batch, std::function<void(Batch)> done) {
  state_->queued_bytes += batch.records.size();
  const auto size = batch.records.size();
  state_->push(WriteJob{std::move(batch), size, std::move(done)});
}

std::size_t Recorder::queued_bytes() const {
  return state_->queued_bytes;
}

void Recorder::recover(SessionId session,
                       std::function<void(std::unique_ptr<pb::RecorderSnapshot>)> done) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->recover_jobs.push_back({session, std::move(done)});
  }
  state_->wake_recovery.notify_one();
}

Recorder::Counters Recorder::counters() const {
  return {state_->bytes, state_->batches, state_->syncs, state_->files};
}

std::optional<Error> Recorder::failing() const {
  const std::lock_guard lock(state_->mutex);
  return state_->failing;
}

}  // namespace everspan::recording
