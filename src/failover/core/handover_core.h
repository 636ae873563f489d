// HandoverCore passes the right to write from one process to another: both halves, pure.
//
// It stands over a register {turn, holder} that somebody else keeps. In one node base is the
// register and the turn is the generation; in a pair the witness (or the holder's own durable
// record) is, and the turn is the epoch. The core never decides who is next; it makes sure that at
// most one runs writes for a turn, and that a write which meets a hand-over is run once and
// answered.
//
//              Granted(turn)          Raised
//    learner ----------------> taking --------> serving <---- Granted(higher): raise, go on
//       ^                        | RaiseFailed     |  AskRelease
//       |<-----------------------+                 v
//       |                                      releasing --(writes under way ended)--> released
//       |<-- PeerServes(higher turn), Fenced ----------------------------------------------+
//
// Invariants
//   H1  RunWrite is given only while serving, under the turn whose Raised was seen.
//   H2  TellReleased(turn) comes after every RunWrite of that turn has its WriteDone: nothing under
//       way. It is the one commit point of this side: before it the process may go on by itself
//       (register lost, AbortRelease), after it only a new Granted makes it write again.
//   H3  A turn never goes down; words about lower turns change nothing.
//   H4  Each write that came in is answered once, or its asker is gone. Its request id never
//       changes, so run again after a crash of the other side it has one effect (the log's table
//       of outcomes).
//   H5  What waits is bounded (kWaitingMax); beyond that "unavailable": nothing was done.
//   H6  Fenced (the log refused: a higher turn was raised) ends serving at once. Fencing is the
//       last line: it holds whatever the register, base or a clock did.
//
// In doubt: who died or was lost, what the register's last durable record says, who may serve, and
// what resolves it. A holds turn t and is asked to release; B is to take t+1.
//
//   died / lost                     record       may serve            resolved by
//   ------------------------------  -----------  -------------------  -----------------------------
//   holder, before Released         {t, A}       nobody               register sees A dead: grants
//                                                                     t+1
//   holder, after Released          {t, A}       nobody               register grants t+1 to B as
//                                                                     planned
//   holder stopped, not Released    {t, A}       nobody               register kills A
//                                                                     (pair: promises run out)
//   register, before recording      {t, A}       A if not Released;   register is back: grants t+1
//     B's turn                                   else nobody          to A (it may have released),
//                                                                     or goes on
//   register, after recording       {t+1, B}     nobody until told    register is back: repeats
//     B's turn                                                        Granted to B
//   taker, before Raised            {t+1, B}     nobody               register sees B dead: grants
//                                                                     t+2 to A
//   taker, after Raised             {t+1, B}     nobody (A is         register sees B dead: grants
//                                                fenced)              t+2 to A
//   taker stopped, wakes late       {t+2, A}     A                    the log's turn fences B (H6)
//   link between the two            any          the holder           waiting writes stay with
//                                                                     their ids and go out when it
//                                                                     is back, or run here on
//                                                                     Granted
//   both, or the machine            as recorded  the recorded holder  started again, granted a
//                                                                     higher turn
//
// Pair without a witness: B's durable *prepared*, then A's durable *released* are the record's two
// halves; only the never-serving B can be in doubt.
//
// One thread. Run the actions in order. Writes are named by request id; their bytes stay with the
// shell from Write until Answer.
#pragma once
#include <cstdint>
#include <deque>
#include <string>
#include <variant>
#include <vector>

namespace everspan::failover {

inline constexpr std::size_t kWaitingMax =
    10'000;  // 64 KiB each would be 640 MiB: shells bound bytes too.

using WriteId = std::string;  // Request id; 16 bytes where clients make them.

enum class WriteOutcome : std::uint8_t {
  done,         // Committed (or refused by its own rules): the shell has the answer's bytes.
  not_run,      // Nothing was done, for certain: fenced before commit.
  unavailable,  // Nothing was done; ask again later.
  unknown,      // May have run: ask again with the same id.
};

class HandoverCore {
 public:
  enum class State : std::uint8_t { learner, taking, serving, releasing, released };

  // --- Events ---
  struct Granted {  // By the register, durable there already.
    std::uint64_t turn = 0;
    std::uint64_t head_needed = 0;  // Revision to have before raising; 0: the log is shared.
  };
  struct HaveHead {
    std::uint64_t head = 0;
  };
  struct Raised {  // The log holds `turn` durably.
    std::uint64_t turn = 0;
  };
  struct RaiseFailed {
    std::uint64_t turn = 0;
    std::string why;
  };
  struct AskRelease {
    std::uint64_t turn = 0;
  };
  struct AbortRelease {};  // The register is lost or changed its mind, before TellReleased.
  struct PeerConnected {};
  struct PeerLost {};
  struct PeerServes {  // Its word over the hand-over link.
    std::uint64_t turn = 0;
  };
  struct Fenced {};  // A commit found a higher turn in the log.
  // The register begins anew, and may grant the turn once more that this process had: a node whose
  // process serves again keeps the pair's epoch. What runs goes on under the turn that it began
  // with.
  struct BeginsAnew {};
  struct Write {
    WriteId id;
    bool from_peer = false;
  };
  struct WriteDone {  // Of RunWrite.
    WriteId id;
    WriteOutcome outcome = WriteOutcome::done;
  };
  struct PeerAnswered {  // Of ForwardWrite.
    WriteId id;
    WriteOutcome outcome = WriteOutcome::done;
  };
  struct AskerGone {  // The client hung up: no answer is wanted.
    WriteId id;
  };
  struct GiveUp {  // Waited too long: answered unavailable, or unknown if it may have run.
    WriteId id;
  };
  using Event = std::variant<Granted, HaveHead, Raised, RaiseFailed, AskRelease, AbortRelease,
                             PeerConnected, PeerLost, PeerServes, Fenced, BeginsAnew, Write,
                             WriteDone, PeerAnswered, AskerGone, GiveUp>;

  // --- Actions ---
  struct RaiseLog {  // First commit of `turn`; refused by the log unless higher than what it holds.
    std::uint64_t turn = 0;
  };
  struct StartAccepting {};
  struct StopAccepting {};
  struct TellServing {  // Register and peer.
    std::uint64_t turn = 0;
  };
  struct TellNotServing {  // Register.
    std::uint64_t turn = 0;
    std::string why;
  };
  struct TellReleased {  // Register. H2.
    std::uint64_t turn = 0;
  };
  struct RunWrite {
    WriteId id;
  };
  struct ForwardWrite {
    WriteId id;
  };
  struct Answer {  // To the client, or to the peer that forwarded it.
    WriteId id;
    bool to_peer = false;
    WriteOutcome outcome = WriteOutcome::done;
  };
  using Action = std::variant<RaiseLog, StartAccepting, StopAccepting, TellServing, TellNotServing,
                              TellReleased, RunWrite, ForwardWrite, Answer>;

  [[nodiscard]] std::vector<Action> handle(const Event& event);
  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] std::uint64_t turn() const { return turn_; }
  [[nodiscard]] std::size_t waiting() const { return waiting_.size() + forwarded_.size(); }
  [[nodiscard]] std::size_t running() const { return running_.size(); }

 private:
  struct Waiting {
    WriteId id;
    bool for_client = false;    // Who wants the answer: one of our clients, the peer, both, or
    bool for_peer = false;      // nobody any longer.
    bool may_have_run = false;  // Was sent to a peer that then was lost.
  };

  void on(const Granted& event);
  void on(const HaveHead& event);
  void on(const Raised& event);
  void on(const RaiseFailed& event);
  void on(const AskRelease& event);
  void on(const AbortRelease& event);
  void on(const PeerConnected& event);
  void on(const PeerLost& event);
  void on(const PeerServes& event);
  void on(const Fenced& event);
  void on(const BeginsAnew& event);
  void on(const Write& event);
  void on(const WriteDone& event);
  void on(const PeerAnswered& event);
  void on(const AskerGone& event);
  void on(const GiveUp& event);

  void raise_if_ready();
  void flush();             // Runs, forwards or keeps what waits, as the state says.
  void release_if_quiet();  // H2
  void answer(const Waiting& write, WriteOutcome outcome);
  Waiting* find(const WriteId& id);
  template <class A>
  void act(A action) {
    actions_.emplace_back(std::move(action));
  }

  State state_ = State::learner;
  std::uint64_t turn_ = 0;       // Highest that this process was granted.
  std::uint64_t peer_turn_ = 0;  // Highest that the peer said it serves; 0 when it is gone.
  std::uint64_t head_ = 0;
  std::uint64_t head_needed_ = 0;
  bool raising_ = false;
  bool peer_here_ = false;
  std::deque<Waiting> waiting_;    // In order of arrival.
  std::deque<Waiting> forwarded_;  // At the peer, not answered yet.
  std::deque<Waiting> running_;    // In our log, not done yet.
  std::vector<Action> actions_;
};

}  // namespace everspan::failover
