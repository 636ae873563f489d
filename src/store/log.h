// The log of one node: what is settled here is settled (DESIGN section 3, frozen format in
// core/log_format.h and docs/decisions/2026-11-23-log-format.md).
//
// An entry is *appended* (fsynced here, and on every other node of the in-sync set), then
// *committed*: folded into `current` and acknowledged. Readers see committed state only. A node
// alone does both in one SQLite transaction; in a pair the backup's fsync stands between them.
//
// Exactly one process of a node writes: LogWriter, fenced by the generation that base granted. Any
// process reads: LogReader, which cannot hold up the writer.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"
#include "store/core/log_format.h"
#include "store/replication.h"

namespace everspan::store {

struct Record {
  std::string key;
  std::string bytes;
  Revision revision;  // Of the entry that last wrote it: its ETag.
};

// An operation with what must hold for the transaction to run.
struct Write {
  Operation operation;
  std::optional<Revision> expected;  // The record's revision; {0}: must not exist; none: whatever.

  static Write put(std::string kind, std::string key, std::string bytes,
                   std::optional<Revision> expected = std::nullopt);
  static Write erase(std::string kind, std::string key,
                     std::optional<Revision> expected = std::nullopt);
};

// All or nothing. 1..64 writes, each (kind, key) once.
struct Transaction {
  std::vector<Write> writes;
  RequestId request_id;             // Zero: not repeatable. Else: runs once in 24 hours.
  std::uint32_t flags = 0;          // kFlagRequired
  std::uint32_t feature_level = 1;  // The site's stored level that these forms belong to.
};

struct Outcome {
  Revision revision;
  LineageId lineage;
  Epoch epoch;
  std::vector<NodeId> stores;  // The nodes that fsynced it.
  bool repeated = false;       // This request id had run before: the first outcome.
};

// What the log says about itself, in one consistent state.
struct LogMeta {
  NodeId node_id;
  LineageId lineage;
  Epoch epoch;
  Generation generation;  // Of the last process that became writer.
  LogHead head;           // Last appended.
  Revision committed;     // Folded and visible; <= head.revision.
  LogHead base;           // The chain starts after this; older entries were compacted.
};

struct NewSite {
  LineageId lineage;
  Epoch epoch{1};
};

class LogWriter {
 public:
  struct Options {
    std::string path;                 // .../log.db
    NodeId node_id;                   // Must be the log's own.
    std::optional<NewSite> new_site;  // Makes the log when there is none; else not_found.
    std::function<WallTime()> now;    // Required. Called on the writer's thread.
    std::function<void(Revision)>
        head_moved;  // On the writer's thread after each commit. Must not wait.
    // After an I/O error nobody knows what is on the disk: the default ends the process with
    // kLogFatalExit. When a test's hook returns, the writer answers log_failed for good.
    std::function<void(const Error&)> on_fatal;
    // Asked about each entry that another node ships; an error refuses it. Must be quick. None:
    // every entry is taken.
    std::function<Result<void>(const LogEntry&)> admit_shipped;
    std::chrono::milliseconds lock_wait{5000};  // For another process's lock, in become_writer().
    std::string vfs;                            // For fault injection.
  };
  static constexpr int kLogFatalExit = 71;
  static constexpr const char* kOutcomeUnknown =
      "It is appended here, and may yet be committed or taken back";
  using Done = std::function<void(Result<Outcome>)>;
  using Released = std::function<void(Result<LogHead>)>;
  using Advanced = std::function<void(Result<LogHead>)>;  // The end of this log afterwards.
  // What a new writer does with entries that are appended and not committed.
  enum class Tail : std::uint8_t {
    fold,  // Commits them: this node is alone in the in-sync set.
    keep   // Leaves them until confirm(); submissions wait for that.
  };
  // More than this append_shipped() does not take at once.
  static constexpr std::size_t kShippedEntriesMax = 1024;
  static constexpr std::size_t kShippedBytesMax = 16 * 1024 * 1024;

  // Checks the file and its chain; changes nothing in an existing log. Any process may do this
  // while another one writes, so that become_writer() has little left to do.
  static Result<std::unique_ptr<LogWriter>> open(Options options);
  // Makes a node's log from a snapshot where there is none: log_exists.
  [[nodiscard]] static Result<void> create_from_snapshot(const std::string& snapshot,
                                                         const std::string& path,
                                                         const NodeId& node);
  ~LogWriter();  // Finishes the batch under way; what is still queued gets `stopped`.

  // Only with a generation that base granted to this process. Raises it in the log (fsynced) and
  // starts the writer's thread. Refuses with generation_not_higher, db_busy (another process holds
  // the lock). May be called again with a higher one after release() or `superseded`.
  [[nodiscard]] Result<void> become_writer(Generation generation, Tail tail = Tail::fold);

  // A process that may be granted one day checks what another one has appended meanwhile, so that
  // become_writer() finds little left however long it waited. From any thread, returns at once;
  // often is cheap. What it finds wrong become_writer() finds again, and says.
  void verify_ahead();

  // From any thread. `done` is called exactly once, on the writer's thread or at once on this one
  // when refused; it must not wait. Codes: bad_transaction, too_large, conflict, disk_full,
  // slow_down (queue full), no_site (a log that joined and is empty), not_writer, superseded,
  // released, stopped, log_failed. An Error whose `kept` is kOutcomeUnknown: it was appended and
  // may yet be committed; only its request id tells.
  void submit(Transaction transaction, Done done);
  [[nodiscard]] Result<Outcome> submit_and_wait(Transaction transaction);  // Blocks.

  // Everything submitted before is finished, everything after is refused with `released`. Then
  // `released` gets the last point of history. Also fine when this process never was the writer.
  void release(Released released);
  [[nodiscard]] Result<LogHead> release_and_wait();

  [[nodiscard]] bool is_writer() const;  // From any thread.
  // The last revision that this process wrote, or found when it became the writer; 0: neither. From
  // any thread, without waiting for the disk.
  [[nodiscard]] Revision head() const;
  [[nodiscard]] LogHead last() const;  // The same, with its hash.

  // --- The primary of a pair. From any thread; nothing here waits. ---

  // From the next batch on each is appended, shipped, and committed once it is confirmed: one batch
  // at a time, so that conditions and request ids are checked against everything appended. Null:
  // alone, as above. A batch under way goes on as it began. The writer keeps it as long as needed.
  void set_replication(std::shared_ptr<Replication> replication);
  // Every member of the in-sync set has fsynced this log up to `through`; `stores`: who these are.
  // Counts only when `through` is a point of this history and nothing was taken back since, so a
  // late one does no harm. Also commits what become_writer(Tail::keep) left.
  void confirm(LogHead through, std::vector<NodeId> stores);
  // This process is no longer the primary's. The batch under way is answered with `why`, outcome
  // unknown, and stays appended; whatever is submitted from now on gets `why`, nothing stored.
  // Until accept_again() this writer follows. Holds across become_writer().
  void refuse_unconfirmed(Error why);
  void accept_again();

  // --- The follower, after refuse_unconfirmed(). `done` as for submit(); on the writer's thread.
  // Codes of all: leading (it accepts submissions), slow_down, disk_full, not_writer, superseded,
  // released, stopped, log_failed. What fails changed nothing. ---

  // Appends what the primary of `turn` has after `before`: fsynced, not committed. The entries are
  // encode_entry()'s bytes. None is fine: it raises the epoch, and finds out whether histories
  // agree. Codes: not_next (`before` is not last()), other_lineage, epoch_lower, bad_entry,
  // too_large, or what `admit_shipped` said.
  void append_shipped(Epoch turn, LogHead before, std::vector<std::string> entries, Advanced done);
  // Commits up to `committed`, as the primary did. It must be a point of this history: not_next
  // (not here yet), diverged. Answers with the committed point. Not fsynced: it follows from the
  // entries.
  void fold_shipped(LogHead committed, std::vector<NodeId> stores, Advanced done);
  // What the primary does not have goes: history after `common` is written to a file in
  // `orphan_folder` (store/orphan.h), then deleted. Codes: committed (something committed would be
  // lost), not_ancestor (`common` is no point of this history), io_error (the file).
  void cut_to(LogHead common, std::string orphan_folder, Advanced done);
  // A snapshot of the primary's log (LogReader::snapshot_to) takes the place of this one. The old
  // file stays beside it, whole, as LOG.old-REVISION-HASH. Readers follow. Behind: this log is an
  // ancestor as far as one can tell; else other_lineage, epoch_lower, committed (it has more than
  // the snapshot), and nothing changed. Diverged: a person decided that the other side goes on.
  // Also bad_snapshot, not_found, io_error.
  enum class Replaces : std::uint8_t { behind, diverged };
  void install_snapshot(std::string snapshot, Replaces what, Advanced done);

  // --- Either. Durable when `done` is called, but for compact(). ---

  // A new primary's turn: entries made here carry it, and lower ones are refused. epoch_lower.
  void raise_epoch(Epoch epoch, Advanced done);
  // Later entries carry this lineage; the chain goes on. epoch_lower, bad_lineage (zero).
  void begin_lineage(LineageId lineage, Epoch epoch, Advanced done);
  // Entries go that are older than `older_than` and below `below`, never the last committed one;
  // the chain starts after them. Some at a time, so that no write waits long. Answers with the new
  // base. Whoever reads from before it is told `compacted`, and begins from the current records.
  void compact(WallTime older_than, Revision below, Advanced done);

 private:
  class Worker;
  explicit LogWriter(std::unique_ptr<Worker> worker);
  std::unique_ptr<Worker> worker_;
};

// Committed state and history, over a read-only connection of its own. From any thread; calls take
// turns. Each call sees one consistent state. A log that was copied to a new file is followed
// there.
class LogReader {
 public:
  static Result<std::unique_ptr<LogReader>> open(const std::string& path);
  ~LogReader();

  [[nodiscard]] Result<std::optional<Record>> get(std::string_view kind, std::string_view key);
  // In order of key; `prefix` of the key.
  [[nodiscard]] Result<std::vector<Record>> list(std::string_view kind,
                                                 std::string_view prefix = {});
  struct Entries {
    std::vector<LogEntry> entries;
    LogHead last;        // Of the last one in `entries`, or `after` when there is none.
    Revision committed;  // As of this state.
  };
  // Committed entries after `after`. `expected_hash`, if given, is the chain hash at `after`:
  // fails with compacted (gone), diverged (another history).
  [[nodiscard]] Result<Entries> entries(Revision after, std::size_t limit,
                                        const std::optional<Sha256>& expected_hash = std::nullopt);
  // As entries(), but also what is appended and not committed, as it is shipped to another node. At
  // most what append_shipped() takes at once.
  struct Appended {
    LogHead before;  // `after`, with its hash.
    std::vector<Replication::Shipped> entries;
    LogHead foldable;  // What a node that has these may commit; not past the last of them.
  };
  [[nodiscard]] Result<Appended> appended(Revision after, std::size_t limit,
                                          const std::optional<Sha256>& expected_hash = {});
  // The chain hash at a revision, committed or not: compacted (gone), not_found (not there yet).
  [[nodiscard]] Result<Sha256> hash_at(Revision revision);
  // Every record of `current`, and where history stood: one consistent state. Large: streams.
  using Visit = std::function<Result<void>(std::string_view kind, const Record&)>;
  [[nodiscard]] Result<LogHead> visit_current(const Visit& visit);
  [[nodiscard]] Result<LogHead> head();  // Committed.
  [[nodiscard]] Result<LogMeta> meta();
  // The outcome of a request, as long as it is kept.
  [[nodiscard]] Result<std::optional<Outcome>> outcome(const RequestId& id);

  // The whole chain against its hashes, and the file's own structure.
  [[nodiscard]] Result<LogHead> verify();
  [[nodiscard]] Result<void> backup_to(const std::string& path);
  // Committed state without its history, as a log file of no node. `path` must not exist.
  [[nodiscard]] Result<void> snapshot_to(const std::string& path);

 private:
  struct State;
  explicit LogReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// A descriptor that becomes readable when some process's writer committed (a hint: it may come
// twice or for nothing, never too early). Costs the writer one small write that nobody waits for.
class HeadWatch {
 public:
  static Result<HeadWatch> open(const std::string& log_path);
  HeadWatch(HeadWatch&& other) noexcept;
  HeadWatch& operator=(HeadWatch&&) = delete;
  ~HeadWatch();
  [[nodiscard]] int fd() const { return fd_; }
  void drain();  // Call when readable, before reading the log.

 private:
  explicit HeadWatch(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace everspan::store
