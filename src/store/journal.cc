#include "store/journal.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>

#include "common/log.h"
#include "store/detail/journal_folder.h"

namespace everspan::store {
namespace {

constexpr std::size_t kQueueEntriesMax = 16384;
constexpr std::size_t kBatchEntriesMax = 1024;

}  // namespace

class Journal::Worker {
 public:
  using Durable = std::function<void(Result<std::uint64_t>)>;

  explicit Worker(Options options)
      : options_(std::move(options)),
        wanted_generation_(options_.generation),
        folder_(options_.dir) {}
  ~Worker() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  Result<void> start();
  void append(JournalEntry entry, Durable durable);
  void set_generation(Generation generation) {
    {
      const std::lock_guard lock(mutex_);
      begin_wanted_ = generation != wanted_generation_;
      wanted_generation_ = generation;
    }
    wake_.notify_one();
  }
  Result<std::vector<JournalEntry>> read(std::uint64_t after, std::size_t limit);
  Result<Verdict> verify() {
    const std::lock_guard lock(folder_mutex_);
    return folder_.verify();
  }

 private:
  struct Item {
    JournalEntry entry;
    Durable durable;
  };
  void run();
  void write_batch(std::vector<Item>& batch, Generation generation);
  Result<void> write_bodies(const std::vector<JournalBody>& bodies);
  Result<void> begin_segment(Generation generation);

  const Options options_;
  std::mutex mutex_;  // Queue and wishes.
  std::condition_variable wake_;
  std::deque<Item> queue_;
  Generation wanted_generation_;
  bool begin_wanted_ = false;  // The segment of a new generation, before its first entry waits.
  bool stopping_ = false;

  std::mutex folder_mutex_;  // Reading, and where this process's segment stands.
  detail::JournalFolder folder_;
  std::string own_name_;
  std::uint64_t own_synced_ = 0;

  // Of the thread only:
  detail::File file_;
  SegmentPoint at_;
  Generation generation_;
  std::uint64_t last_seq_ = 0;
  std::thread thread_;
};

Result<void> Journal::Worker::start() {
  if (!options_.now) return fail("bad_options", "Journal needs a clock");
  if (auto made = detail::make_folder(options_.dir); !made) return made;
  if (auto made = detail::make_folder(folder_.node_dir(options_.node)); !made) return made;
  auto cuts = folder_.cut_torn_tails(options_.node);
  if (!cuts) return fail(cuts);
  auto newest = folder_.newest(options_.node);
  if (!newest) return fail(newest);
  last_seq_ = newest->last_seq;
  thread_ = std::thread([this] { run(); });
  for (const auto& cut : *cuts) {
    JournalEntry entry;
    entry.who = "node";
    entry.what = "journal.torn_tail";
    entry.subject = cut.segment;
    entry.detail = "{\"bytes\":" + std::to_string(cut.bytes) + "}";
    append(std::move(entry), {});
  }
  return {};
}

void Journal::Worker::append(JournalEntry entry, Durable durable) {
  const auto refuse = [&](const char* code, const char* message) {
    if (durable) return durable(fail(code, message, "Nothing was journalled"));
    log_error("journal.refused", {{"what", entry.what}, {"why", message}});
  };
  if (entry.who.size() > kJournalTextBytesMax || entry.what.size() > kJournalTextBytesMax ||
      entry.subject.size() > kJournalTextBytesMax || entry.detail.size() > kJournalDetailBytesMax)
    return refuse("too_large", "The journal entry is too large");
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() < kQueueEntriesMax && !stopping_) {
      queue_.push_back({std::move(entry), std::move(durable)});
      wake_.notify_one();
      return;
    }
  }
  refuse("slow_down", "Too many journal entries wait for the disk");
}

void Journal::Worker::run() {
  for (;;) {
    std::vector<Item> batch;
    bool begin_only = false;
    Generation generation;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || begin_wanted_ || !queue_.empty(); });
      const bool begin = std::exchange(begin_wanted_, false);
      if (queue_.empty() && stopping_) return;  // All is written.
      while (!queue_.empty() && batch.size() < kBatchEntriesMax) {
        batch.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
      generation = wanted_generation_;
      begin_only = begin && batch.empty();
    }
    if (!begin_only) {
      write_batch(batch, generation);
    } else {
      file_ = {};  // Unlocked, so that the next one is chained to its end.
      std::ignore = begin_segment(generation);  // The first entry tries again, and says so.
    }
  }
}

void Journal::Worker::write_batch(std::vector<Item>& batch, Generation generation) {
  const WallTime now = options_.now();
  std::vector<JournalBody> bodies;
  for (Item& it : batch) {
    last_seq_ = std::max(last_seq_ + 1, static_cast<std::uint64_t>(now.unix_ms) * 1000);
    if (it.entry.at.unix_ms == 0) it.entry.at = now;
    bodies.push_back({last_seq_, it.entry.at, std::move(it.entry.who), std::move(it.entry.what),
                      std::move(it.entry.subject), std::move(it.entry.detail)});
  }
  if (!file_ || generation_ != generation || at_.offset >= options_.segment_bytes_max) file_ = {};
  Result<void> written;
  // After an I/O error nobody knows what the segment holds: once more, whole, into a new one.
  // Readers drop what then stands twice.
  for (int attempt = 0; attempt < 2; ++attempt) {
    written = file_ ? Result<void>() : begin_segment(generation);
    if (written) written = write_bodies(bodies);
    if (written) break;
    file_ = {};
    log_error("journal.write_failed", {{"why", written.error().message}});
  }
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (!batch[i].durable) continue;
    if (written)
      batch[i].durable(bodies[i].seq);
    else
      batch[i].durable(fail("journal_failed", written.error().message));
  }
}

Result<void> Journal::Worker::write_bodies(const std::vector<JournalBody>& bodies) {
  std::string bytes;
  SegmentPoint end = at_;
  for (const JournalBody& body : bodies) end = encode_record(body, end, bytes);
  if (auto done = file_.write_all(bytes); !done) return done;
  if (auto done = file_.sync(); !done) return done;
  at_ = end;
  const std::lock_guard lock(folder_mutex_);
  own_synced_ = end.offset;
  return {};
}

Result<void> Journal::Worker::begin_segment(Generation generation) {
  const std::lock_guard lock(folder_mutex_);
  auto newest = folder_.newest(options_.node);
  if (!newest) return fail(newest);
  SegmentHeader header;
  header.node = options_.node;
  header.generation = generation;
  header.started_at = options_.now();
  header.previous_name = newest->name;
  header.previous_length = newest->point.offset;
  header.previous_hash = newest->point.hash;
  char numbers[64];
  std::snprintf(numbers, sizeof numbers, "%020llu-%013lld-",
                static_cast<unsigned long long>(generation.value),
                static_cast<long long>(header.started_at.unix_ms));
  const std::string name = numbers + to_hex(as_bytes(random_bytes(4))) + ".segment";
  const std::string path = folder_.node_dir(options_.node) + "/" + name;
  // Under its name only once locked and whole: another process never takes it for a torn one.
  const std::string making = path + ".making";
  auto file = detail::File::open(making, O_CREAT | O_EXCL | O_WRONLY | O_APPEND);
  if (!file) return fail(file);
  if (::flock(file->fd(), LOCK_EX | LOCK_NB) != 0)
    return fail_errno("io_error", "Lock " + path, errno);
  const EncodedHeader encoded = encode_header(header);
  if (auto done = file->write_all(encoded.bytes); !done) return done;
  if (auto done = file->sync(); !done) return done;
  if (auto done = detail::rename_file(making, path); !done) return done;
  if (auto done = detail::sync_folder_of(path); !done) return done;
  file_ = std::move(*file);
  at_ = encoded.end;
  generation_ = generation;
  own_name_ = name;
  own_synced_ = encoded.end.offset;
  return {};
}

Result<std::vector<JournalEntry>> Journal::Worker::read(std::uint64_t after, std::size_t limit) {
  const std::lock_guard lock(folder_mutex_);
  return folder_.read(after, limit, own_name_, own_synced_);
}

Journal::Journal(std::unique_ptr<Worker> worker) : worker_(std::move(worker)) {}
Journal::~Journal() = default;

Result<std::unique_ptr<Journal>> Journal::open(Options options) {
  auto worker = std::make_unique<Worker>(std::move(options));
  if (auto started = worker->start(); !started) return fail(started);
  return std::unique_ptr<Journal>(new Journal(std::move(worker)));
}
void Journal::append(JournalEntry entry, std::function<void(Result<std::uint64_t>)> durable) {
  worker_->append(std::move(entry), std::move(durable));
}
Result<std::uint64_t> Journal::append_and_wait(JournalEntry entry) {
  std::promise<Result<std::uint64_t>> promise;
  auto future = promise.get_future();
  append(std::move(entry), [&](Result<std::uint64_t> seq) { promise.set_value(std::move(seq)); });
  return future.get();
}
void Journal::set_generation(Generation generation) {
  worker_->set_generation(generation);
}
Result<std::vector<JournalEntry>> Journal::read(std::uint64_t after, std::size_t limit) {
  return worker_->read(after, limit);
}
Result<Journal::Verdict> Journal::verify() {
  return worker_->verify();
}

}  // namespace everspan::store
