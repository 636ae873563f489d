// ShipLeader brings one follower's log to what this node has appended, and keeps it there: the
// sending half of log shipping (DESIGN section 3; docs/decisions/2026-11-27-pair.md). Pure. The
// receiving half decides nothing: when it begins to follow it says where its log stands
// (Connected), then it appends what fits its head, cuts when told and able, and answers with its
// head, in the order in which it was told (store::LogWriter).
//
// clang-format off
//   off --Connected--> comparing --(common point)--> [cutting] --> catching_up --(at the head)--> live
//                       |  ^  |                         ^              |   ^                        |
//   (log begins later)  |  |  +--(committed differs)    |              |   +---(behind, no room)-----+
//                       v  |                 v          +--(taken back, while sent)-----------------+
//                  snapshot+            diverged                       |
//                                                   stopped <--(refused: disk full, ...)  --TryAgain--> comparing
//
// Invariants
//   S1  Entries go out in order, each message naming the point before it; nothing is sent beyond a
//       point that the follower is not known to have or to be sent.
//   S2  Cut is sent only for a point whose hash is the same on both sides, and only when the
//       follower's committed revision is not above it; else diverged, or a snapshot where a person
//       picked this history (`yields`).
//   S3  Durable{r} is given only when the follower itself said that it has r, in this history.
//   S4  What is in flight is bounded (kInFlightBytes, kInFlightEntries, and one message more),
//       whatever the writer does: entries that do not fit are read from the log later. Only the last
//       batch is kept: until its fsync it cannot be read.
//   S5  TakenBack: entries that were sent and rolled back here are never Durable from then on; the
//       follower is cut to the new head before anything else is sent.
//   S6  A word of an earlier connection changes nothing (`link`).
//   S7  Committed goes out only for what was sent before it on this link, or found to be there.
// clang-format on
#pragma once
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/ids.h"
#include "store/core/log_format.h"

namespace everspan::sync {

inline constexpr std::size_t kInFlightBytes = 16 * 1024 * 1024;
inline constexpr std::size_t kInFlightEntries = 4096;
inline constexpr std::size_t kBatchBytes = 1024 * 1024;  // Of one message; one entry may be larger.
inline constexpr std::size_t kBatchEntries = 512;        // The follower's log takes 1024.

class ShipLeader {
 public:
  enum class State : std::uint8_t {
    off,
    comparing,
    cutting,
    catching_up,
    live,
    snapshot,
    stopped,  // The follower cannot take more for now.
    diverged
  };

  // --- Events ---
  struct Connected {         // The follower said where its log stands, as durable at that time.
    std::uint64_t link = 0;  // Grows with each connection.
    LineageId own_lineage;
    store::LogHead own_base, own_head, own_committed;
    std::vector<NodeId> stores;  // Who has what is committed; at least this node.
    LineageId lineage;  // Of its last entry, or zero: histories of one lineage are never different
                        // in what is committed.
    store::LogHead base, head;
    Revision committed;
    bool yields = false;  // What it has and this node lacks may be replaced: a person said so.
  };
  struct Disconnected {};
  struct OwnHash {  // Of AskOwnHash.
    Revision revision;
    std::optional<Sha256> hash;
  };
  struct PeerHash {  // Of AskPeerHash.
    std::uint64_t link = 0;
    Revision revision;
    std::optional<Sha256> hash;
  };
  struct Appended {  // The writer is about to have these (before its fsync).
    store::LogHead before;
    std::vector<store::LogHead> heads;  // After each.
    std::vector<std::string> entries;
  };
  struct TakenBack {
    store::LogHead head;
  };
  struct Committed {
    store::LogHead head;
    std::vector<NodeId> stores;
  };
  struct Loaded {  // Of Load: entries after `before`, in order, durable here.
    store::LogHead before;
    std::vector<store::LogHead> heads;
    std::vector<std::string> entries;
    store::LogHead foldable;     // What one that has these may commit.
    std::vector<NodeId> stores;  // At least this node.
    bool compacted = false;      // They are gone: only a snapshot helps.
  };
  struct Acked {
    std::uint64_t link = 0;
    store::LogHead head;
  };
  struct Refused {
    std::uint64_t link = 0;
    std::string code;
    std::string message;
    store::LogHead head;
  };
  struct SnapshotTaken {  // By the follower; its log now begins and ends here.
    std::uint64_t link = 0;
    store::LogHead head;
  };
  struct SnapshotFailed {
    std::uint64_t link = 0;
    std::string why;
  };
  struct TryAgain {};  // From time to time (a second): what failed there may have been mended.
  using Event =
      std::variant<Connected, Disconnected, OwnHash, PeerHash, Appended, TakenBack, Committed,
                   Loaded, Acked, Refused, SnapshotTaken, SnapshotFailed, TryAgain>;

  // --- Actions ---
  struct AskOwnHash {
    Revision revision;
  };
  struct AskPeerHash {
    Revision revision;
  };
  struct Load {
    Revision after;
    std::size_t entries_max = 0;
    std::size_t bytes_max = 0;
  };
  struct SendEntries {
    store::LogHead before;
    std::vector<std::string> entries;
  };
  struct SendCut {
    store::LogHead common;
  };
  struct SendCommitted {
    store::LogHead head;
    std::vector<NodeId> stores;
  };
  struct SendSnapshot {
    bool replaces = false;  // What differs there; else only what is behind.
  };
  struct Durable {  // The follower has it, for good; a point of this node's history.
    store::LogHead head;
  };
  struct Diverged {
    std::string why;
    store::LogHead common;  // Zero: none is known.
  };
  struct CaughtUp {};  // Live: everything appended so far was sent.
  using Action = std::variant<AskOwnHash, AskPeerHash, Load, SendEntries, SendCut, SendCommitted,
                              SendSnapshot, Durable, Diverged, CaughtUp>;

  [[nodiscard]] std::vector<Action> handle(const Event& event);
  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] Revision durable() const { return durable_; }    // Of the follower, this history.
  [[nodiscard]] const std::string& why() const { return why_; }  // stopped, snapshot, diverged.

 private:
  struct Sent {
    store::LogHead head;
    std::size_t bytes = 0;
  };

  void on(const Connected& event);
  void on(const Disconnected& event);
  void on(const OwnHash& event);
  void on(const PeerHash& event);
  void on(const Appended& event);
  void on(const TakenBack& event);
  void on(const Committed& event);
  void on(const Loaded& event);
  void on(const Acked& event);
  void on(const Refused& event);
  void on(const SnapshotTaken& event);
  void on(const SnapshotFailed& event);
  void on(const TryAgain& event);

  void start_over(const store::LogHead& follower_head);
  void compare();   // The next question of the search.
  void compared();  // Both answered it.
  void no_common_point();
  void common_is(const store::LogHead& common);
  void cut(const store::LogHead& common);
  void differs(std::string why, const store::LogHead& common);
  void send_snapshot(bool replaces);
  void agreed(const store::LogHead& point);  // The follower ends there.
  void catch_up();                           // Sends or asks for what comes next, if there is room.
  [[nodiscard]] bool send_last_batch();
  void send(const store::LogHead& before, const store::LogHead* heads, const std::string* entries,
            std::size_t count);
  void drop_in_flight();
  [[nodiscard]] bool current(std::uint64_t link) const {
    return link == link_ && state_ != State::off;  // S6
  }
  [[nodiscard]] bool room() const {
    return in_flight_bytes_ < kInFlightBytes && in_flight_.size() < kInFlightEntries;  // S4
  }
  template <class A>
  void act(A action) {
    actions_.emplace_back(std::move(action));
  }

  State state_ = State::off;
  std::string why_;
  std::uint64_t link_ = 0;
  bool one_lineage_ = false;
  store::LogHead own_base_, own_head_;
  Appended last_batch_;                   // As the writer told it last.
  store::LogHead peer_base_, peer_head_;  // As it said last.
  Revision peer_committed_;
  bool peer_yields_ = false;
  // The search: histories are equal at `low_` (when it is known), different or unknown above
  // `high_`.
  std::optional<store::LogHead> low_;
  std::uint64_t first_ = 0, high_ = 0, asked_ = 0;
  std::optional<Sha256> own_answer_, peer_answer_;
  bool own_answered_ = false, peer_answered_ = false;
  store::LogHead cut_to_;  // Sent, not acknowledged.
  bool snapshot_failed_ = false;
  bool snapshot_replaces_ = false;
  store::LogHead sent_;  // The follower has this or it is on its way (S1).
  std::deque<Sent> in_flight_;
  std::size_t in_flight_bytes_ = 0;
  bool loading_ = false;
  Revision durable_;
  Committed committed_;  // The last word; repeated when there is somebody to hear it.
  std::vector<Action> actions_;
};

[[nodiscard]] std::string_view word(ShipLeader::State state);

}  // namespace everspan::sync
