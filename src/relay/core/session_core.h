// One session in one process of a node: where the newest leg of each side is, what happens when
// legs come, move and go, here and at the other site process (the peer process, over the bridge).
// Pure.
//
// Each side (console, agent):
//
//                attach here                     LegAttached from the peer process
//   nowhere ------------------> here <---------------------------------------> peer
//      ^        leg lost         |                 attach here                  |
//      +-------------------------+----------------------------------------------+
//                                                  LegGone, bridge lost
//
// An attach waits (pending) until the peer process has answered `AskPeer`, and, where nobody in
// memory knows the session and it is not its first, until its recordings were read (`Recover`). An
// older leg drains after a planned attach: it is read up to its end's Barrier, gets ours, and is
// closed.
//
// Invariants
//   P1  Here at most one leg a side is current. Over both processes the highest generation wins;
//       every other leg drains, or is superseded.
//   P2  An attach whose generation is not above all known ones of its side is refused.
//   P3  Nothing is sent on a draining leg but our Barrier, and that only after its end's: the end's
//       Barrier says that it knows of its new leg, which may be the slower connection.
//   P4  Whenever frames may have been lost without their end knowing (a leg broke before its
//       barrier, a process died between two legs, frames came for an absent side), both ends are
//       told PeerAttached{lost} as soon as both have a leg.
//   P5  A draining leg is closed after its end's barrier, its loss, or the shell's deadline; the
//       process with the newer leg hears which (LegDrained).
//   P6  Each attach is answered exactly once, Accept or Refuse, unless its leg is lost before.
//   P7  If the newer leg goes before the end's Barrier came, its end may not know of it and still
//       use the draining one: that is in use again.
//   P8  The recorder is where the agent's leg is: after it moved and drained, HandOverRecorder.
//   P9  While takes_over(side), the shell keeps what is for that side until it is decided where its
//       leg is: sent over the bridge it would pass the answer on the way.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "relay/core/types.h"

namespace everspan::relay {

using LegId = std::uint64_t;  // The shell's name for a connection; never used again. 0: none.

// ---- Actions, to be done in order ----
struct Accept {
  LegId leg = 0;
  Side side = Side::console;
  std::uint64_t generation = 0;
  bool peer_attached = false;  // The other side has a leg.
};
struct Refuse {
  LegId leg = 0;
  std::string code;  // superseded
};
struct Supersede {  // A leg that was in use: refuse `superseded`, close.
  LegId leg = 0;
};
struct Drain {  // Nothing more is sent to this leg; go on reading it, but not for ever.
  LegId leg = 0;
};
struct Reinstate {  // A draining leg is in use again: the newer one is gone.
  LegId leg = 0;
};
struct CloseDrained {  // Read to the end: send our Barrier, the last frame, and close.
  LegId leg = 0;
};
struct TellAttached {  // PeerAttached to this side's newest leg, here or over the bridge.
  Side side = Side::console;
  std::uint64_t generation = 0;
  bool lost = false;
};
struct TellGone {  // PeerGone, likewise.
  Side side = Side::console;
};
struct AskPeer {  // LegAttached over the bridge.
  Side side = Side::console;
  std::uint64_t generation = 0;
  bool planned = false;
  std::uint64_t query = 0;
};
struct AnswerPeer {  // SessionState: answer() is what it says.
  std::uint64_t query = 0;
};
struct SendLegGone {
  Side side = Side::console;
  std::uint64_t generation = 0;
  std::uint64_t still = 0;  // An older leg that is in use here; 0: none.
};
struct SendLegDrained {
  Side side = Side::console;
  bool clean = false;
};
struct Recover {};           // Read what recordings hold, then recovered().
struct HandOverRecorder {};  // Finish the segment, send RecorderDone when durable.
using Action =
    std::variant<Accept, Refuse, Supersede, Drain, Reinstate, CloseDrained, TellAttached, TellGone,
                 AskPeer, AnswerPeer, SendLegGone, SendLegDrained, Recover, HandOverRecorder>;

struct SideView {
  std::uint64_t generation = 0;  // Of the leg, where here.
  std::uint64_t highest = 0;     // Ever seen.
  bool here = false;
  bool draining = false;
};
struct PeerView {  // As SessionState says.
  bool known = false;
  SideView sides[2];
  bool unsynced = false;
};

enum class Where : std::uint8_t { nowhere, here, peer };

class SessionCore {
 public:
  // ---- Events ----
  void attach(LegId leg, Side side, std::uint64_t generation, AttachReason reason);
  void leg_lost(LegId leg);  // Any leg of this session that closed by itself or by deadline.
  void barrier(LegId leg);   // Its end's.
  void frames_dropped();     // Frames came for a side without a leg.
  void recovered();
  void recorder_done();  // RecorderDone came: the peer process's segment is complete.
  // From the bridge.
  void peer_connected(bool connected);
  void peer_answer(std::uint64_t query, const PeerView& view);
  void peer_silent(std::uint64_t query);  // No answer in time: as if there were no peer process.
  void peer_attached(Side side, std::uint64_t generation, bool planned, std::uint64_t query);
  void peer_leg_gone(Side side, std::uint64_t generation, std::uint64_t still);
  void peer_leg_drained(Side side, bool clean);

  [[nodiscard]] std::vector<Action> take_actions();
  // What AnswerPeer says; clears `unsynced`, which the asker takes over.
  [[nodiscard]] PeerView answer();

  // ---- State ----
  [[nodiscard]] Where where(Side side) const { return sides_[index(side)].where; }
  [[nodiscard]] LegId leg(Side side) const { return sides_[index(side)].leg; }
  [[nodiscard]] std::uint64_t generation(Side side) const { return sides_[index(side)].generation; }
  [[nodiscard]] bool draining(Side side) const { return !sides_[index(side)].draining.empty(); }
  [[nodiscard]] bool has_leg_anywhere() const;
  // Nothing of it is here, and the peer process has it: this process may forget it.
  [[nodiscard]] bool may_forget() const;
  [[nodiscard]] bool pending() const { return !pending_.empty(); }
  // The peer process has this side's leg, and is being asked for it because a newer one came here:
  // from the moment that it answers it has no leg to give frames to (P9).
  [[nodiscard]] bool takes_over(Side side) const;

 private:
  struct Draining {
    LegId leg = 0;
    std::uint64_t generation = 0;
    bool successor_at_peer = false;
  };
  struct SideState {
    std::uint64_t generation = 0;  // Of the newest leg, here or at the peer process
    std::uint64_t highest = 0;     // Of any attach ever seen
    Where where = Where::nowhere;
    LegId leg = 0;              // where == here
    bool barrier_seen = false;  // On the current leg: its end knows of a newer one before us.
    std::vector<Draining> draining;
    bool draining_at_peer = false;
  };
  struct Pending {
    LegId leg = 0;
    Side side = Side::console;
    std::uint64_t generation = 0;
    AttachReason reason = AttachReason::first;
    std::uint64_t query = 0;  // 0: not waiting for the peer process
    bool asked = false;
    bool recovering = false;
  };

  template <class T>
  void act(T action) {
    actions_.emplace_back(std::move(action));
  }
  SideState& at(Side side) { return sides_[index(side)]; }
  [[nodiscard]] const SideState& at(Side side) const { return sides_[index(side)]; }
  void proceed(std::size_t i);
  void complete(const Pending& pending);
  void refuse_pending_below(Side side, std::uint64_t generation);
  void retire_current(Side side, bool planned, bool successor_at_peer);
  void drained(Side side, const Draining& leg, bool clean);
  void resync();
  bool reinstate(Side side);
  void hand_over_recorder_if_moved();
  void take_peer_side(Side side, const SideView& view);
  [[nodiscard]] std::uint64_t highest(Side side) const;

  SideState sides_[2];
  std::vector<Pending> pending_;
  std::vector<Action> actions_;
  std::uint64_t next_query_ = 1;
  bool peer_connected_ = false;
  bool known_ = false;            // Some process in memory has had a leg of it.
  bool unsynced_ = false;         // P4 is owed.
  bool recording_ = false;        // An agent's leg has been here since the last hand-over.
  bool awaits_recorder_ = false;  // The peer process still has a segment open.
};

}  // namespace everspan::relay
