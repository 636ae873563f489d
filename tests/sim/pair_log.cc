#include "pair_log.h"

#include <algorithm>
#include <utility>

namespace everspan::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kBatchMax = 16;

std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

std::unexpected<Error> refused(const char* code) {
  return fail(code, code);
}

}  // namespace

std::string encode_number(std::uint32_t number) {
  return {reinterpret_cast<const char*>(&number), sizeof number};
}
std::uint32_t decode_number(const std::string& bytes) {
  std::uint32_t number = 0;
  std::copy_n(bytes.data(), sizeof number, reinterpret_cast<char*>(&number));
  return number;
}
store::LogHead sim_head_after(const store::LogHead& before, std::uint32_t number) {
  std::uint64_t hash = 0;
  std::copy_n(before.hash.data(), sizeof hash, reinterpret_cast<std::uint8_t*>(&hash));
  hash = mix(hash + 0x9e3779b97f4a7c15ULL * (number + 1));
  store::LogHead out{before.revision.next(), {}};
  std::copy_n(reinterpret_cast<const std::uint8_t*>(&hash), sizeof hash, out.hash.data());
  return out;
}

// ---- the thread ----

void PairLog::enqueue(Fn run) {
  tasks_.emplace_back(submitted_, Task{std::move(run)});
  if (!busy_) next();
}

void PairLog::submit(std::string id, Done done) {
  submissions_.push_back({std::move(id), std::move(done), std::nullopt});
  ++submitted_;
  if (!busy_) next();
}

void PairLog::next() {
  busy_ = false;
  if (!tasks_.empty() && tasks_.front().first <= taken_) {
    busy_ = true;
    const Task task = std::move(tasks_.front().second);
    tasks_.pop_front();
    return task.run();
  }
  if (!submissions_.empty()) {
    busy_ = true;
    return begin_batch();
  }
  handle_confirmed();
}

// One transaction: `change` is on the disk when `then` runs.
void PairLog::write(Duration takes, Fn change, Fn then) {
  change_ = std::move(change);
  host_.on_writer(takes, [this, then = std::move(then)] {
    std::exchange(change_, nullptr)();
    disk_.synced = disk_.last();
    then();
  });
}

void PairLog::die(bool power) {
  if (change_) {
    const bool kept = host_.one_in(2);
    if (kept) change_();
    host_.torn(kept);
    if (kept) disk_.synced = disk_.last();
    change_ = nullptr;
  }
  if (power) {
    disk_.heads.resize(disk_.synced + 1);
    disk_.numbers.resize(disk_.synced + 1);
    disk_.stores.resize(disk_.synced + 1);
    if (host_.one_in(2)) disk_.committed = disk_.synced_committed;
    disk_.committed = std::min(disk_.committed, disk_.synced);
  }
}

// ---- the primary's side ----

void PairLog::confirm(const store::LogHead& through, std::vector<NodeId> stores) {
  if (following_) return;
  confirmed_.push_back({through, std::move(stores)});
  if (settling_)
    try_settle();
  else if (!busy_)
    handle_confirmed();
}

void PairLog::refuse_unconfirmed() {
  following_ = true;
  ++refusals_;
  confirmed_.clear();
  if (settling_) try_settle();
}

void PairLog::accept_again() {
  following_ = false;
  confirmed_.clear();
}

void PairLog::begin_batch() {
  batch_.clear();
  batch_refusals_ = refusals_;
  const std::uint64_t limit =
      tasks_.empty() ? kBatchMax
                     : std::min<std::uint64_t>(kBatchMax, tasks_.front().first - taken_);
  while (!submissions_.empty() && batch_.size() < std::max<std::uint64_t>(limit, 1)) {
    batch_.push_back(std::move(submissions_.front()));
    submissions_.pop_front();
    ++taken_;
  }
  if (!following_ && disk_.committed < disk_.last())
    return settle([this](bool settled) {
      if (settled) return run_batch();
      for (Submission& one : batch_) one.done(refused("not_primary"));
      next();
    });
  run_batch();
}

void PairLog::run_batch() {
  if (following_) {
    for (Submission& one : batch_) one.done(refused("not_primary"));
    return next();
  }
  Batch batch;
  batch.before = disk_.head();
  batch_before_ = disk_.last();
  std::vector<std::uint32_t> numbers;
  for (Submission& one : batch_) {
    if (const auto known = outcome_of(one.id)) {
      one.result = *known;
      continue;
    }
    const auto same = std::ranges::find_if(
        batch_, [&](const Submission& other) { return &other < &one && other.id == one.id; });
    if (same != batch_.end()) continue;  // Asked twice in one batch: answered with the first.
    const std::uint32_t number = host_.new_entry({one.id, disk_.lineage, disk_.epoch});
    const store::LogHead before = batch.heads.empty() ? batch.before : batch.heads.back();
    numbers.push_back(number);
    batch.heads.push_back(sim_head_after(before, number));
    batch.entries.push_back(encode_number(number));
    one.result = SimOutcome{batch.heads.back().revision,
                            batch.heads.back().hash,
                            disk_.lineage,
                            disk_.epoch,
                            {},
                            false};
  }
  if (batch.heads.empty()) return finish_batch(true);
  host_.appended(batch);
  if (host_.disk_full()) {
    return host_.on_writer(1ms, [this, before = batch.before] {
      host_.taken_back(before);
      for (Submission& one : batch_) {
        const bool old = one.result && (*one.result)->repeated;
        one.done(old ? std::move(*one.result) : Result<SimOutcome>(refused("disk_full")));
      }
      next();
    });
  }
  const auto change = [this, heads = batch.heads, numbers = std::move(numbers)] {
    disk_.heads.insert(disk_.heads.end(), heads.begin(), heads.end());
    disk_.numbers.insert(disk_.numbers.end(), numbers.begin(), numbers.end());
    disk_.stores.resize(disk_.heads.size());
    disk_.synced_committed = disk_.committed;
  };
  const auto then = [this] { settle([this](bool settled) { finish_batch(settled); }); };
  if (host_.planted("fsync_skipped")) {
    change();
    host_.on_writer(host_.fsync_takes(), [this] { disk_.synced = disk_.last(); });
    return host_.on_writer(1us, then);
  }
  write(host_.fsync_takes(), change, then);
}

// Until every member of the in-sync set has what is appended, or this node is no primary any more.
void PairLog::settle(std::function<void(bool)> then) {
  settling_ = std::move(then);
  try_settle();
}

void PairLog::try_settle() {
  const store::LogHead head = disk_.head();
  while (!confirmed_.empty()) {
    const Confirmation it = std::move(confirmed_.front());
    confirmed_.pop_front();
    if (it.through != head) continue;
    const auto then = std::exchange(settling_, nullptr);
    return host_.on_writer(50us, [this, it, then] {
      fold(it);
      for (Submission& one : batch_)
        if (one.result && !(*one.result)->repeated) (*one.result)->stores = it.stores;
      then(true);
    });
  }
  if (refusals_ != batch_refusals_) std::exchange(settling_, nullptr)(false);
}

void PairLog::finish_batch(bool settled) {
  for (Submission& one : batch_) {
    if (!one.result) {
      const auto same = std::ranges::find(batch_, one.id, &Submission::id);
      one.result = same->result;
    }
  }
  for (Submission& one : batch_) {
    const bool fresh = (*one.result)->revision.value > batch_before_;
    one.done(fresh && !settled ? Result<SimOutcome>(refused("unknown")) : std::move(*one.result));
  }
  batch_.clear();
  next();
}

void PairLog::fold(const Confirmation& it) {
  for (std::uint64_t r = disk_.committed + 1; r <= it.through.revision.value; ++r)
    disk_.stores[r] = it.stores;
  disk_.committed = std::max(disk_.committed, it.through.revision.value);
  host_.folded(it.through, it.stores);
  host_.committed(it.through, it.stores);
}

void PairLog::handle_confirmed() {
  while (!confirmed_.empty()) {
    const Confirmation it = std::move(confirmed_.front());
    confirmed_.pop_front();
    if (it.through.revision.value > disk_.committed && disk_.has(it.through)) fold(it);
  }
}

std::optional<SimOutcome> PairLog::outcome_of(const std::string& id) const {
  for (std::uint64_t r = disk_.last(); r > 0; --r) {
    const SimEntry& entry = host_.entry(disk_.numbers[r]);
    if (entry.id == id)
      return SimOutcome{Revision{r}, disk_.heads[r].hash, entry.lineage,
                        entry.epoch, disk_.stores[r],     true};
  }
  return std::nullopt;
}

std::optional<Sha256> PairLog::hash_at(Revision revision) const {
  if (revision.value < disk_.base || revision.value > disk_.last()) return std::nullopt;
  return disk_.heads[revision.value].hash;
}

// ---- the follower's side ----

void PairLog::advance(Fn change, Advanced done) {
  write(host_.fsync_takes(), std::move(change), [this, done = std::move(done)] {
    done(disk_.head());
    next();
  });
}

Result<store::LogHead> PairLog::check_shipped(Epoch turn, const store::LogHead& before) const {
  if (!following_) return refused("leading");
  if (turn < disk_.epoch) return refused("epoch_lower");
  if (host_.disk_full()) return refused("disk_full");
  if (before != disk_.head()) return refused("not_next");
  return before;
}

void PairLog::append_shipped(Epoch turn, LineageId lineage, store::LogHead before,
                             std::vector<std::string> entries, Advanced done) {
  enqueue([this, turn, lineage, before, entries = std::move(entries), done = std::move(done)] {
    const bool overwrites = host_.planted("tail_not_cut") && following_ && disk_.has(before);
    const Result<store::LogHead> fits = check_shipped(turn, before);
    if (!fits && !overwrites) {
      host_.on_writer(1us, [this, done, fits] {
        done(fits);
        next();
      });
      return;
    }
    const auto change = [this, turn, lineage, before, entries] {
      disk_.epoch = std::max(disk_.epoch, turn);
      disk_.lineage = lineage;
      store::LogHead head = before;
      for (const std::string& bytes : entries) {
        const std::uint32_t number = decode_number(bytes);
        head = sim_head_after(head, number);
        const std::uint64_t at = head.revision.value;
        if (at >= disk_.heads.size()) {
          disk_.heads.emplace_back();
          disk_.numbers.push_back(0);
          disk_.stores.emplace_back();
        }
        disk_.heads[at] = head;
        disk_.numbers[at] = number;
      }
      disk_.synced_committed = disk_.committed;
    };
    if (host_.planted("fsync_skipped")) {
      change();
      host_.on_writer(host_.fsync_takes(), [this] { disk_.synced = disk_.last(); });
      done(disk_.head());
      return next();
    }
    if (!overwrites) return advance(change, done);
    store::LogHead head = before;
    for (const std::string& bytes : entries) head = sim_head_after(head, decode_number(bytes));
    write(host_.fsync_takes(), change, [this, done, head] {
      done(head);
      next();
    });
  });
}

void PairLog::fold_shipped(store::LogHead committed, std::vector<NodeId> stores) {
  enqueue([this, it = Confirmation{committed, std::move(stores)}] {
    const std::uint64_t to = it.through.revision.value;
    const bool here = disk_.has(it.through);
    host_.on_writer(20us, [this, it, here, to] {
      if (following_ && here && to > disk_.committed && to >= disk_.base) {
        for (std::uint64_t r = disk_.committed + 1; r <= to; ++r) disk_.stores[r] = it.stores;
        disk_.committed = to;
        host_.folded(disk_.heads[to], it.stores);
      }
      next();
    });
  });
}

void PairLog::cut_to(store::LogHead common, Advanced done) {
  enqueue([this, common, done = std::move(done)] {
    const char* no = nullptr;
    if (!following_)
      no = "leading";
    else if (common.revision.value < disk_.committed)
      no = "committed";
    else if (!disk_.has(common))
      no = "not_ancestor";
    if (no != nullptr) {
      host_.on_writer(1us, [this, done, no] {
        done(refused(no));
        next();
      });
      return;
    }
    if (host_.planted("tail_not_cut")) {
      done(common);
      return next();
    }
    const auto change = [this, to = common.revision.value] {
      disk_.heads.resize(to + 1);
      disk_.numbers.resize(to + 1);
      disk_.stores.resize(to + 1);
      disk_.synced_committed = disk_.committed;
    };
    advance(change, done);
  });
}

void PairLog::install(std::shared_ptr<const LogDisk> snapshot, bool replaces, Advanced done) {
  enqueue([this, snapshot, replaces, done = std::move(done)] {
    const char* no = nullptr;
    const bool fresh = disk_.last() == 0;
    if (!following_)
      no = "leading";
    else if (!replaces && !fresh && snapshot->lineage != disk_.lineage)
      no = "other_lineage";
    else if (!replaces && !fresh && snapshot->epoch < disk_.epoch)
      no = "epoch_lower";
    else if (!replaces && snapshot->committed < disk_.committed)
      no = "committed";
    if (no != nullptr) {
      host_.on_writer(1us, [this, done, no] {
        done(refused(no));
        next();
      });
      return;
    }
    const auto change = [this, snapshot] {
      const Epoch epoch = std::max(disk_.epoch, snapshot->epoch);
      disk_ = *snapshot;
      disk_.epoch = epoch;
      disk_.base = disk_.committed;
      disk_.heads.resize(disk_.committed + 1);
      disk_.numbers.resize(disk_.committed + 1);
      disk_.stores.resize(disk_.committed + 1);
      disk_.synced_committed = disk_.committed;
    };
    advance(change, done);
  });
}

// ---- either ----

void PairLog::raise_epoch(Epoch epoch, Advanced done) {
  enqueue([this, epoch, done = std::move(done)] {
    if (epoch < disk_.epoch) {
      done(refused("epoch_lower"));
      return next();
    }
    advance([this, epoch] { disk_.epoch = epoch; }, done);
  });
}

void PairLog::begin_lineage(LineageId lineage, Epoch epoch, Advanced done) {
  enqueue([this, lineage, epoch, done = std::move(done)] {
    if (epoch < disk_.epoch) {
      done(refused("epoch_lower"));
      return next();
    }
    advance(
        [this, lineage, epoch] {
          disk_.lineage = lineage;
          disk_.epoch = epoch;
        },
        done);
  });
}

void PairLog::compact() {
  enqueue([this] {
    if (disk_.committed > 1) disk_.base = std::max(disk_.base, disk_.committed - 1);
    next();
  });
}

}  // namespace everspan::sim
