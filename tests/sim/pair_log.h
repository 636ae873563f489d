// The log of one node of a simulated pair, as store::LogWriter behaves: one writer thread with a
// queue; a batch is appended, shipped, fsynced, confirmed, folded; a follower appends what it is
// shipped, cuts, folds. What is not fsynced when the node dies is there or not; a fold that was not
// fsynced may be forgotten by a power cut.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"
#include "store/core/log_format.h"

namespace everspan::sim {

using Fn = std::function<void()>;

struct SimEntry {  // What an entry's bytes stand for: the bytes are its number.
  std::string id;  // Of the request.
  LineageId lineage;
  Epoch epoch;
};
struct SimOutcome {
  Revision revision;
  Sha256 hash{};
  LineageId lineage;
  Epoch epoch;
  std::vector<NodeId> stores;
  bool repeated = false;
};
[[nodiscard]] std::string encode_number(std::uint32_t number);
[[nodiscard]] std::uint32_t decode_number(const std::string& bytes);
[[nodiscard]] store::LogHead sim_head_after(const store::LogHead& before, std::uint32_t number);

// What is on the disk. heads[r] is the point at revision r; entries before `base` are kept for the
// judge only.
struct LogDisk {
  std::vector<store::LogHead> heads{store::LogHead{}};
  std::vector<std::uint32_t> numbers{0};
  std::vector<std::vector<NodeId>> stores{{}};  // Who had it when it was folded.
  std::uint64_t base = 0, committed = 0;
  std::uint64_t synced = 0, synced_committed = 0;
  Epoch epoch;
  LineageId lineage;
  [[nodiscard]] const store::LogHead& head() const { return heads.back(); }
  [[nodiscard]] std::uint64_t last() const { return heads.size() - 1; }
  [[nodiscard]] bool has(const store::LogHead& point) const {
    return point.revision.value <= last() && heads[point.revision.value] == point;
  }
  // Fsynced there, whatever happens.
  [[nodiscard]] bool keeps(const store::LogHead& point) const {
    return has(point) && point.revision.value <= synced;
  }
};

class PairLog {
 public:
  struct Batch {
    store::LogHead before;
    std::vector<store::LogHead> heads;
    std::vector<std::string> entries;
  };
  // The node around it. Calls come on the writer's thread.
  class Host {
   public:
    virtual ~Host() = default;
    virtual void on_writer(Duration delay, Fn fn) = 0;  // Of this life of the process.
    [[nodiscard]] virtual Duration fsync_takes() = 0;
    [[nodiscard]] virtual bool disk_full() = 0;
    [[nodiscard]] virtual bool one_in(std::uint64_t n) = 0;
    [[nodiscard]] virtual bool planted(const char* name) const = 0;
    [[nodiscard]] virtual std::uint32_t new_entry(SimEntry entry) = 0;
    [[nodiscard]] virtual const SimEntry& entry(std::uint32_t number) const = 0;
    virtual void appended(const Batch& batch) = 0;  // Replication
    virtual void taken_back(const store::LogHead& head) = 0;
    virtual void committed(const store::LogHead& head, const std::vector<NodeId>& stores) = 0;
    virtual void folded(const store::LogHead& head, const std::vector<NodeId>& stores) = 0;
    virtual void torn(bool kept) = 0;
  };
  using Done = std::function<void(Result<SimOutcome>)>;
  using Advanced = std::function<void(Result<store::LogHead>)>;

  PairLog(LogDisk& disk, Host& host) : disk_(disk), host_(host) {}

  void submit(std::string id, Done done);
  void confirm(const store::LogHead& through, std::vector<NodeId> stores);
  void refuse_unconfirmed();
  void accept_again();
  [[nodiscard]] bool following() const { return following_; }
  void append_shipped(Epoch turn, LineageId lineage, store::LogHead before,
                      std::vector<std::string> entries, Advanced done);
  void fold_shipped(store::LogHead committed, std::vector<NodeId> stores);
  void cut_to(store::LogHead common, Advanced done);
  void install(std::shared_ptr<const LogDisk> snapshot, bool replaces, Advanced done);
  void raise_epoch(Epoch epoch, Advanced done);
  void begin_lineage(LineageId lineage, Epoch epoch, Advanced done);
  void compact();
  // The process ends; `power`: the machine as well.
  void die(bool power);

  // What LogReader gives.
  [[nodiscard]] std::optional<Sha256> hash_at(Revision revision) const;

 private:
  struct Submission {
    std::string id;
    Done done;
    std::optional<Result<SimOutcome>> result;
  };
  struct Task {
    Fn run;  // Ends with next().
  };
  struct Confirmation {
    store::LogHead through;
    std::vector<NodeId> stores;
  };
  void enqueue(Fn run);
  void next();
  void write(Duration takes, Fn change, Fn then);
  void begin_batch();
  void run_batch();
  void settle(std::function<void(bool)> then);
  void try_settle();
  void finish_batch(bool settled);
  void fold(const Confirmation& it);
  void handle_confirmed();
  [[nodiscard]] std::optional<SimOutcome> outcome_of(const std::string& id) const;
  [[nodiscard]] Result<store::LogHead> check_shipped(Epoch turn,
                                                     const store::LogHead& before) const;
  void advance(Fn change, Advanced done);

  LogDisk& disk_;
  Host& host_;
  std::deque<Submission> submissions_;
  std::deque<std::pair<std::uint64_t, Task>> tasks_;  // With the submissions that come before.
  std::uint64_t submitted_ = 0, taken_ = 0;
  bool busy_ = false;
  bool following_ = false;
  std::uint64_t refusals_ = 0, batch_refusals_ = 0;
  std::deque<Confirmation> confirmed_;
  std::vector<Submission> batch_;
  std::uint64_t batch_before_ = 0;
  std::function<void(bool)> settling_;
  Fn change_;  // Under way to the disk.
};

}  // namespace everspan::sim
