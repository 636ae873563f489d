// RoleCore decides which of two nodes serves the site: the register {lineage, epoch, holder,
// in_sync} without a witness, kept by its holder (docs/decisions/2026-11-27-pair.md). Pure.
//
// It stands above HandoverCore, whose register it is here (turn = epoch): that one queues and
// forwards writes, this one says when the turn may pass.
//
//   alone --(established)--> primary <------------------------------+
//                               | ask, backup in sync and connected |  (lost before the commit
//                               v                                   |   point: goes on)
//                           releasing --(quiet, B prepared)--> [register: holder B] --> backup
//   backup --Prepare--> prepared --Released--> [register: holder self] --> taking --> primary
//
// clang-format off
// Invariants (tests and the simulator cite the number)
//   R1  A node serves an epoch only while its own durable register names it the holder of it.
//   R2  Epochs only grow within a lineage; a register with a lower epoch changes nothing. A turn that
//       the holder takes again itself skips the one that the other may have prepared for.
//   R3  Nothing is acknowledged by fewer stores than any register names that is durable here or on
//       its way to the disk: SetConfirmers shrinks after Saved, and grows before Save.
//   R4  in_sync grows only when the backup has durably everything that is appended: first the
//       writer waits for both (SetConfirmers), then what it had appended alone is waited for, then
//       the register is saved.
//   R5  The one commit point of a hand-over is the holder's Saved{holder: other}. Before it the
//       holder goes on when the other is lost, refuses or is silent; after it only the other serves.
//   R6  A node that prepared never serves by itself: only a register that names it (Released,
//       greeting), or a person's force makes it.
//   R7  Force begins a new lineage; two lineages, or two holders of one epoch, are `diverged`: both
//       keep what they have, the one that serves goes on, nothing is shipped until a person picks.
//   R8  Each Ask, AskForce, Established and Broken with a token is answered exactly once.
//   R9  A holder that rests (a person made it stop) still decides alone: it serves again, or hands
//       over, when a person asks. It yields to a later lineage that another node serves.
//
// In doubt: what each side's file says, who may serve, what resolves it. The simulator visits each.
//    A's register      B's record            may serve    resolved by
//  1 {e, A}            {e, A}                A            -
//  2 {e, A}            prepared e+1          A            going on, or A's next greeting: B drops it
//  3 {e+1, B}          prepared e+1          nobody       A's Released or greeting; without A: force
//  4 {e+1, B}          {e, A}                nobody       the same (B dropped it: A's greeting was older)
//  5 {e+1, B}          {e+1, B}              B            -
//  6 {e+2, A}          prepared e+1          A            A's next word or greeting
//  7 {e+2, A}          {e, A}                A            A's next word or greeting
//  8 lost for good     prepared e+1          nobody       force: new lineage
//  9 lost for good     {e, A}                nobody       force: new lineage, warns when not in_sync
// 10 {e+1, B}          lost for good         nobody       force at A: new lineage
// 11 {e, A}            {e', B, other line}   each its own diverged: a person picks
// 12 {e+1, B}          {e', B, other line}   B            A's next greeting: it follows
// 13 {e, A} rests      {e, A}                nobody       a person asks either to be primary
// 14 {e, A} rests      {e', B, other line}   B            A follows (what only A committed: diverged)
// 15 {e, A} unpaired   {e, A}                A            established again, or broken there too
// clang-format on
//
// One thread. Run the actions in order; events may be delivered meanwhile. Words of an earlier link
// are not delivered (the link's end drops them), a greeting says what is durable when it is sent.
#pragma once
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"
#include "store/core/log_format.h"

namespace everspan::failover {

struct Register {
  LineageId lineage;
  Epoch epoch;
  NodeId holder;
  std::vector<NodeId> in_sync;  // Sorted; always has the holder.
  bool rests = false;           // The holder does not serve (R9).
  bool operator==(const Register&) const = default;
};
struct Prepared {  // Not the holder: asked to take over, and said that it can.
  Epoch epoch;
  store::LogHead head;
  bool operator==(const Prepared&) const = default;
};
// What a node must not forget: the file DIR/node/register.
struct RoleRecord {
  Register reg;
  NodeId peer;  // Zero: no relationship.
  std::optional<Prepared> prepared;
  // A person picked the other's history: what this node has and the other lacks may be replaced
  // (the old log is kept). Until this node is in sync.
  bool yields = false;
  std::string later;  // Fields of later releases, kept as they are.
  bool operator==(const RoleRecord&) const = default;
};

enum class Role : std::uint8_t {
  alone,      // No relationship; serves.
  primary,    // Serves.
  releasing,  // Primary that lets go: writes queue.
  backup,     // Follows, or rests.
  taking,     // The register names this node; its log is being raised.
  in_doubt,   // Prepared, and the other is away: it may have released.
  diverged,   // Two histories: see R7. Serves if `serves` was true before.
};
[[nodiscard]] std::string_view word(Role role);

class RoleCore {
 public:
  struct Timing {
    // The backup is away, or stores nothing more though it is behind: go on alone.
    Duration shrink_after = std::chrono::seconds(5);
    Duration hand_over_within = std::chrono::seconds(10);  // Before the commit point; then abort.
    // A backup that held up writes while it was linked is not waited for again before this.
    Duration grow_again_after = std::chrono::seconds(30);
  };
  RoleCore(NodeId self, Timing timing);

  // --- Events ---
  struct Begun {
    RoleRecord record;
    store::LogHead head;  // Appended, durable.
    Instant now;
  };
  struct LinkUp {  // The other's greeting.
    Register reg;
    Instant now;
  };
  struct LinkDown {
    Instant now;
  };
  struct Established {  // A person; already agreed by both. This node: the holder or not.
    std::uint64_t token = 0;
    NodeId peer;
    Register reg;
    bool yields = false;
    store::LogHead head;  // Of this node's log, when the writer tells of all that it appends.
    Instant now;
  };
  struct Broken {  // The relationship ends; who held goes on alone, the other serves nothing.
    std::uint64_t token = 0;  // 0: the other node said so.
    LineageId lineage;        // New, for who goes on.
    Instant now;
  };
  struct Appended {  // Own log. Primary: new entries, before their fsync; backup: shipped, durable.
    store::LogHead head;
    Instant now;
  };
  struct TakenBack {  // Appended before, rolled back: history ends here again.
    store::LogHead head;
  };
  struct ConfirmersSet {  // The writer works by this SetConfirmers, and every Appended of before
                          // has
    std::uint64_t number = 0;  // been delivered.
  };
  struct PeerHas {  // The follower says that it has this durably (ShipLeader::Durable).
    Revision revision;
    Instant now;
  };
  struct PeerLog {  // Its log knows this turn: only later ones are taken there (ShipHere).
    Epoch epoch;
  };
  struct HistoriesDiffer {};  // ShipLeader::Diverged.
  struct Saved {
    std::uint64_t number = 0;
  };
  struct Quiet {  // HandoverCore's TellReleased: nothing is under way.
    Epoch epoch;
    store::LogHead head;
  };
  struct Raised {  // HandoverCore's TellServing.
    Epoch epoch;
  };
  struct RaiseFailed {
    Epoch epoch;
    std::string why;
  };
  struct Ask {  // A person or a plan: `become_primary` of this node, or the other way.
    std::uint64_t token = 0;
    bool become_primary = false;
    Instant now;
  };
  struct AskForce {  // become-primary, or become-backup, --even-if-unreachable.
    std::uint64_t token = 0;
    bool become_primary = false;
    LineageId new_lineage;
    Epoch log_epoch;  // Highest that this node's log knows.
    Instant now;
  };
  struct PeerAsks {  // The backup wants to be primary (RoleAsk).
    std::uint64_t token = 0;
    Instant now;
  };
  struct PeerAsksAnswered {
    std::uint64_t token = 0;
    std::optional<Error> refused;
  };
  struct PeerPrepare {
    Prepared what;
  };
  struct PeerPrepared {
    Epoch epoch;
  };
  struct PeerRefused {
    Epoch epoch;
    std::string code;
    std::string message;
  };
  struct PeerAbort {
    Epoch epoch;
  };
  struct PeerRegister {  // Released, Serving and Register messages: what the other's file says.
    Register reg;
  };
  struct Tick {
    Instant now;
  };
  using Event = std::variant<Begun, LinkUp, LinkDown, Established, Broken, Appended, TakenBack,
                             ConfirmersSet, PeerHas, PeerLog, HistoriesDiffer, Saved, Quiet, Raised,
                             RaiseFailed, Ask, AskForce, PeerAsks, PeerAsksAnswered, PeerPrepare,
                             PeerPrepared, PeerRefused, PeerAbort, PeerRegister, Tick>;

  // --- Actions ---
  struct Save {  // fsync, then Saved{number}. Before what follows in later actions.
    RoleRecord record;
    std::uint64_t number = 0;
  };
  struct Grant {  // To HandoverCore: Granted.
    Epoch epoch;
    Revision head_needed;
    // All that is appended here counts as committed: nobody else can have had this turn, and what
    // the one before acknowledged is among it.
    bool tail_counts = false;
  };
  struct AskRelease {
    Epoch epoch;
  };
  struct AbortRelease {
    Epoch epoch;
  };
  struct SetConfirmers {          // Who must have an entry durably before it is acknowledged. Then
    std::vector<NodeId> in_sync;  // ConfirmersSet.
    std::uint64_t number = 0;
  };
  struct BeginLineage {  // In the log, durable, before what follows; nothing to do when it is so.
    LineageId lineage;
    Epoch epoch;
  };
  struct PeerServes {  // To HandoverCore: the other has this turn, what waits is forwarded.
    Epoch epoch;
  };
  struct SendAsk {
    std::uint64_t token = 0;
  };
  struct SendAskReply {
    std::uint64_t token = 0;
    std::optional<Error> refused;
  };
  struct SendPrepare {
    Prepared what;
  };
  struct SendPrepared {
    Epoch epoch;
  };
  struct SendRefused {
    Epoch epoch;
    std::string code;
    std::string message;
  };
  struct SendAbort {
    Epoch epoch;
  };
  enum class Word : std::uint8_t { released, serving, changed };
  struct SendRegister {
    Word word = Word::changed;
    Register reg;
  };
  struct SendBroken {};  // And end the link.
  struct RoleChanged {
    Role role = Role::alone;
    std::string why;
  };
  struct Ship {  // May this node's log be shipped to the other, or be taken from it? On change
                 // only.
    bool leader = false;
    bool follower = false;
    bool operator==(const Ship&) const = default;
  };
  struct MoveEnds {};  // The other serves: sessions follow it.
  struct Answer {      // Of an event with a token.
    std::uint64_t token = 0;
    std::optional<Error> refused;
  };
  using Action =
      std::variant<Save, Grant, AskRelease, AbortRelease, SetConfirmers, BeginLineage, PeerServes,
                   SendAsk, SendAskReply, SendPrepare, SendPrepared, SendRefused, SendAbort,
                   SendRegister, SendBroken, RoleChanged, Ship, MoveEnds, Answer>;

  [[nodiscard]] std::vector<Action> handle(const Event& event);
  [[nodiscard]] Instant wake_at() const;  // Deliver Tick no later than this.
  [[nodiscard]] Role role() const { return role_; }
  [[nodiscard]] const RoleRecord& record() const { return record_; }    // Of the last Save.
  [[nodiscard]] const RoleRecord& durable() const { return durable_; }  // Of the last Saved.
  [[nodiscard]] bool linked() const { return linked_; }
  [[nodiscard]] bool peer_in_sync() const;
  [[nodiscard]] bool serves() const { return serves_; }  // R1

 private:
  // What waits for a Save to be durable.
  enum class Then : std::uint8_t { nothing, prepared, released, taken, adopted };
  struct Pending {
    std::uint64_t number = 0;
    RoleRecord record;
    Then then = Then::nothing;
    std::uint64_t link = 0;   // Which it concerns.
    std::uint64_t token = 0;  // Answered then.
    bool tell_broken = false;
    Grant grant;  // taken
  };
  enum class Growing : std::uint8_t { no, asked, waiting };  // R4
  enum class Phase : std::uint8_t { quieting, catching_up, preparing, committing };
  struct Release {  // A hand-over, from the side that lets go.
    Phase phase = Phase::quieting;
    std::uint64_t token = 0;  // 0: nobody waits.
    bool by_peer = false;     // The token is the other's.
    std::uint64_t link = 0;
    store::LogHead head;
  };

  void on(const Begun& event);
  void on(const LinkUp& event);
  void on(const LinkDown& event);
  void on(const Established& event);
  void on(const Broken& event);
  void on(const Appended& event);
  void on(const TakenBack& event);
  void on(const ConfirmersSet& event);
  void on(const PeerHas& event);
  void on(const PeerLog& event);
  void on(const HistoriesDiffer& event);
  void on(const Saved& event);
  void on(const Quiet& event);
  void on(const Raised& event);
  void on(const RaiseFailed& event);
  void on(const Ask& event);
  void on(const AskForce& event);
  void on(const PeerAsks& event);
  void on(const PeerAsksAnswered& event);
  void on(const PeerPrepare& event);
  void on(const PeerPrepared& event);
  void on(const PeerRefused& event);
  void on(const PeerAbort& event);
  void on(const PeerRegister& event);
  void on(const Tick& event);

  [[nodiscard]] bool holds() const { return record_.reg.holder == self_; }
  [[nodiscard]] bool paired() const { return !record_.peer.is_zero(); }
  [[nodiscard]] bool diverged() const { return registers_differ_ || histories_differ_; }
  [[nodiscard]] Role derived() const;
  void settle(const std::string& why);  // Tells role and shipping, where they changed.
  Pending& save(Then then);
  void saved(const Pending& done);
  void reply(std::uint64_t token, std::optional<Error> refused);
  // Role: meeting the other's register.
  void meet(bool greeting);
  void follow(Then then, const std::string& why);
  void tell_who_serves();
  void link_lost();
  // Confirmers.
  void set_confirmers(bool anyway);
  void consider_growing();
  void stop_growing();
  void go_alone();
  void watch(bool progress);  // For a backup that holds up the writes.
  // Turns.
  void take(Epoch epoch, bool tail_counts, Revision needed, const std::string& why);
  void take_again(const std::string& why);
  void stop_serving();
  void consider_later_turn();
  void serve_again(std::uint64_t token);
  void begin_release(std::uint64_t token, bool by_peer);
  void consider_prepare();
  void abort(const Error& why);
  void answer_release(std::optional<Error> refused);
  void answer_askers(const std::optional<Error>& refused);
  void force_primary(const AskForce& event);
  void force_backup(const AskForce& event);
  template <class A>
  void act(A action) {
    actions_.emplace_back(std::move(action));
  }

  NodeId self_;
  Timing timing_;
  RoleRecord record_;
  RoleRecord durable_;
  std::deque<Pending> pending_;
  std::uint64_t saves_ = 0;
  Role role_ = Role::alone;
  Ship ship_;
  bool told_ = false;  // Role and shipping, at least once.
  bool serves_ = false;
  bool quiet_ = true;  // No write runs here.
  bool raise_failed_ = false;
  std::uint64_t link_ = 0;  // Counts them.
  bool linked_ = false;
  Register theirs_;  // As the other said last, on this link.
  bool registers_differ_ = false;
  bool histories_differ_ = false;
  store::LogHead head_;
  std::deque<Revision> recent_;  // Heads after the last few batches.
  Revision peer_has_;            // On this link, in this history.
  Epoch peer_log_;               // PeerLog, on this link.
  Growing growing_ = Growing::no;
  std::uint64_t growing_number_ = 0;
  std::vector<NodeId> confirmers_;
  std::uint64_t confirmers_number_ = 0;
  std::optional<Release> release_;
  std::uint64_t asked_peer_ = 0;  // Our Ask{become_primary} that the other works on.
  std::uint64_t forcing_ = 0;     // Our AskForce that waits for the turn.
  Instant now_ = Instant::min();
  Instant shrink_at_ = Instant::max();
  Instant give_up_at_ = Instant::max();
  Instant grow_not_before_ = Instant::min();
  std::vector<Action> actions_;
};

}  // namespace everspan::failover
