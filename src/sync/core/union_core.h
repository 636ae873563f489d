// UnionCore brings two nodes to hold the same journal segments, recording files and blobs: one
// object at each node, alike (DESIGN section 3; docs/decisions/2026-11-28-union.md). Pure. It also
// carries single large files (a snapshot of the log) between one who offers and one who waits.
//
// clang-format off
//   off --Connected--> comparing --(all buckets agree or are listed)--> copying <--> in_sync
//
// Of one item that this node lacks:
//
//   waiting --> opening (resumes a large one) --> active (asked, coming) --> settling --Stored--> gone
//      ^            |                                |                          |
//      +--- held: retry_at (failed, no space) <------+--------------------------+--> refused
//
// Invariants
//   U1  Only what this node lacks is asked for, and only from where what it has durably ends.
//   U2  What grows is appended to by nobody but its origin, and to a copy only what the origin
//       said comes next: the origin compares the hash of what is before, the receiver checks the
//       records and the hash at the announced point.
//   U3  A copy that its origin does not know like that (longer, or different) is kept beside, never
//       overwritten, and that is news. The origin read its file anew before (Recheck). A file of
//       this node's own is never touched: it is fetched only if there is none of its name.
//   U4  What is asked and not written is at most kUnionWindowBytes and kUnionRangesMax; nobody
//       is served more than twice that at a time.
//   U5  Journal first and in the order of its segments, then waited-for files, then the rest, small
//       before large.
//   U6  in_sync: everything announced is durable here, but for what is younger than kFresh and for
//       what is refused (counted, and news).
//   U7  A word of an earlier link changes nothing.
// clang-format on
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "common/time.h"
#include "sync/core/union_inventory.h"
#include "sync/core/union_types.h"

namespace everspan::sync {

enum class UnionState : std::uint8_t { off, comparing, copying, in_sync };
[[nodiscard]] std::string_view word(UnionState state);

struct UnionMissing {
  std::uint64_t items = 0;
  std::uint64_t journal_bytes = 0;
  std::uint64_t other_bytes = 0;
};

struct UnionStatus {
  UnionState state = UnionState::off;  // Of both directions: the one that is less far.
  UnionMissing here;                   // What the peer has and this node lacks.
  UnionMissing there;                  // The reverse, as the peer last said.
  std::uint64_t refused = 0;           // Cannot be copied, either way.
  std::uint64_t conflicts = 0;         // Kept beside since the start.
  std::string problem_code;            // Of this node, else of the peer; empty: none.
  std::string problem;
};

class UnionCore {
 public:
  explicit UnionCore(const NodeId& node) : node_(node) {}

  // --- Events ---
  struct Own {  // Found here, or grown; whole and durable.
    UnionItem item;
  };
  struct Scanned {  // Everything that is here was given once.
  };
  struct Connected {
    std::uint64_t link = 0;
    NodeId peer;
  };
  struct Disconnected {
    std::uint64_t link = 0;
  };
  struct Heard {
    std::uint64_t link = 0;
    UnionWord word;
  };
  struct Opened {  // Of Open.
    UnionKey key;
    std::uint64_t offset = 0;
  };
  struct Written {  // Of Write: these bytes are no longer in memory.
    std::uint64_t bytes = 0;
  };
  struct Stored {  // Durable up to here.
    UnionItem item;
  };
  struct StoreFailed {
    UnionKey key;
    std::string code;  // bad_hash, busy, disk_full, exists, io
    std::string message;
  };
  struct Closed {};    // Of CloseAll.
  struct KeptBeside {  // Of KeepBeside.
    UnionKey key;
    std::string as;                  // File name.
    std::optional<UnionPoint> left;  // Of the copy; none: it begins anew.
  };
  struct Rescanned {  // Of Rescan; none: there is no such file.
    UnionKey key;
    std::optional<UnionPoint> at;
  };
  struct Caught {  // Of CatchUp: all that was written before it is given as Own.
    std::uint64_t token = 0;
  };
  struct Served {  // Of Serve.
    std::uint64_t id = 0;
  };
  struct Space {
    bool enough = true;
  };
  struct Offer {
    UnionItem file;
    bool withdrawn = false;
  };
  struct Await {
    UnionItem file;
    bool given_up = false;
  };
  struct Prove {  // Is everything at both? Answered by Proved, or never when the link is lost.
    std::uint64_t token = 0;
  };
  struct TimePassed {};
  using Event = std::variant<Own, Scanned, Connected, Disconnected, Heard, Opened, Written, Stored,
                             StoreFailed, Closed, KeptBeside, Rescanned, Caught, Served, Space,
                             Offer, Await, Prove, TimePassed>;

  // --- Actions ---
  struct Send {
    UnionWord word;
  };
  struct Serve {  // Read, send as pieces; check `before` first.
    UnionRange range;
  };
  struct Open {  // Is there a part of it from an earlier time?
    UnionItem item;
  };
  struct Write {  // The data of the piece that was just heard.
    UnionKey key;
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    bool whole = false;               // Shown under its name only when complete.
    std::optional<UnionPoint> check;  // The piece ends here: check, make durable, say Stored.
  };
  struct Forget {  // No more comes of it for now; a part is kept for later.
    UnionKey key;
  };
  struct CloseAll {};
  struct KeepBeside {
    UnionKey key;
    UnionPoint origin_has;
  };
  struct Rescan {
    UnionKey key;
  };
  struct CatchUp {
    std::uint64_t token = 0;
  };
  struct FileHere {  // An awaited file is stored.
    UnionKey key;
  };
  struct News {        // For the journal.
    std::string what;  // union.conflict, union.refused, union.in_sync
    std::string subject;
    std::string detail;  // JSON
  };
  struct Proved {
    std::uint64_t token = 0;
    std::uint64_t refused = 0;  // Items that are on one node only, and cannot be copied.
  };
  struct Violation {  // The peer does not keep to the protocol: close the link.
    std::string why;
  };
  using Action = std::variant<Send, Serve, Open, Write, Forget, CloseAll, KeepBeside, Rescan,
                              CatchUp, FileHere, News, Proved, Violation>;

  [[nodiscard]] std::vector<Action> handle(const Event& event, Instant now);
  [[nodiscard]] Instant wake_at() const;
  [[nodiscard]] UnionStatus status() const;
  [[nodiscard]] std::optional<UnionPoint> own(const UnionKey& key) const { return own_.find(key); }

 private:
  const NodeId node_;
  UnionInventory own_;
};

}  // namespace everspan::sync
