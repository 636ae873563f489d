// The journal: who did what, for ever, append-only and tamper-evident (sessions, audit, upgrade
// steps).
//
// DIR/<node hex>/<generation>-<start ms>-<random>.segment; each writing process has segments of its
// own, so the old and the new site may both append while one hands over. A segment begins with the
// name, length and hash of the one that was newest when it began, and each record carries
// SHA-256(hash before || record): a changed, removed or re-ordered record, and a removed segment,
// shows in verify(). A tail that a crash tore is cut at the next open of the journal, once its
// writer is gone (it holds a lock): the cut is journalled, and what was cut is kept in
// SEGMENT.torn-OFFSET.
//
// Order: by (seq, generation). seq is microseconds since 1970, grows strictly within a writer and
// past everything that was durable when it opened; two processes at once may interleave, so a
// reader that asks within a second of now should ask again. Threads: all calls from any thread.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"

namespace everspan::store {

inline constexpr std::size_t kJournalTextBytesMax = 512;  // who, what, subject, each.
inline constexpr std::size_t kJournalDetailBytesMax = 64 * 1024;
inline constexpr std::size_t kJournalSegmentBytesMax = 8 * 1024 * 1024;  // Then the next one.

struct JournalEntry {
  std::string who;      // Account, "node", "base", ...
  std::string what;     // Stable word: "session.started".
  std::string subject;  // Id or name of what it is about.
  std::string detail;   // JSON object or empty. Never a secret.
  WallTime at;
  // Set by the journal:
  std::uint64_t seq = 0;
  NodeId node;
  Generation generation;
};

class Journal {
 public:
  struct Options {
    std::string dir;
    NodeId node;
    Generation generation;          // Of this process; 0 for one that holds none yet.
    std::function<WallTime()> now;  // Required.
    std::size_t segment_bytes_max = kJournalSegmentBytesMax;
  };
  static Result<std::unique_ptr<Journal>> open(Options options);
  ~Journal();  // Writes what is queued.

  // `durable` is called on the journal's thread once fsynced (many share one fsync). Without it a
  // failure is logged. Codes: too_large, journal_failed, slow_down.
  void append(JournalEntry entry, std::function<void(Result<std::uint64_t> seq)> durable = {});
  [[nodiscard]] Result<std::uint64_t> append_and_wait(JournalEntry entry);
  // Once this process was granted a generation: a segment under it begins now, so that the first
  // entry, which a write may wait for, need not wait for its making.
  void set_generation(Generation generation);

  // Durable entries of every origin node with seq > after, in order. All of one seq stay on one
  // page.
  [[nodiscard]] Result<std::vector<JournalEntry>> read(std::uint64_t after, std::size_t limit);

  struct Verdict {
    std::uint64_t segments = 0;
    std::uint64_t entries = 0;
    std::vector<std::string> problems;  // One sentence each; empty: whole.
  };
  [[nodiscard]] Result<Verdict> verify();

 private:
  class Worker;
  explicit Journal(std::unique_ptr<Worker> worker);
  std::unique_ptr<Worker> worker_;
};

}  // namespace everspan::store
