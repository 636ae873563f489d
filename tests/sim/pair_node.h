// One node of a simulated pair: the production RoleCore, HandoverCore (turn = epoch) and
// ShipLeader, wired as the site process wires them, over a modelled log, a register file and links.
// What lives in memory dies with the process; a stopped process does nothing until it is woken, and
// then what queued comes at once. Each node has a clock of its own.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "failover/core/handover_core.h"
#include "failover/core/role_core.h"
#include "pair_log.h"
#include "sync/core/ship_core.h"

namespace everspan::sim {

using failover::HandoverCore;
using failover::Register;
using failover::Role;
using failover::RoleRecord;
using failover::WriteId;
using failover::WriteOutcome;
using Roles = failover::RoleCore;
using Ship = sync::ShipLeader;

// What goes over a link; the words of src/proto/node_link.proto.
namespace wire {
struct Greeting {
  Register reg;
};
struct Here {
  LineageId lineage;
  Epoch epoch;
  store::LogHead base, head;
  Revision committed;
  bool yields = false;
};
struct Entries {
  Epoch epoch;
  LineageId lineage;
  store::LogHead before;
  std::vector<std::string> entries;
};
struct Committed {
  store::LogHead head;
  std::vector<NodeId> stores;
};
struct Cut {
  store::LogHead common;
};
struct Ack {
  store::LogHead head;
};
struct Refused {
  std::string code;
  store::LogHead head;
};
struct AskHash {
  Revision revision;
};
struct Hash {
  Revision revision;
  std::optional<Sha256> hash;
};
struct Snapshot {
  std::shared_ptr<const LogDisk> log;
  bool replaces = false;
};
struct SnapshotDone {
  std::optional<store::LogHead> head;
};
struct Word {  // Of the roles.
  Roles::Event event;
};
struct Write {
  std::uint64_t call = 0;
  WriteId id;
};
struct WriteReply {
  std::uint64_t call = 0;
  Result<SimOutcome> outcome;
};
struct Ping {};
using Message = std::variant<Greeting, Here, Entries, Committed, Cut, Ack, Refused, AskHash, Hash,
                             Snapshot, SnapshotDone, Word, Write, WriteReply, Ping>;
}  // namespace wire

class PairWorld;

class PairNode final : public PairLog::Host {
 public:
  PairNode(PairWorld& world, int index, NodeId id);

  // The machine.
  void start();
  void die(bool power);
  void stop() { stopped_ = true; }  // SIGSTOP
  void wake();
  void lose_disk(NodeId new_id);  // For good; it comes back as an empty node.
  void compact() { log_->compact(); }

  // People and plans. The token is answered through PairWorld::answered().
  void ask(std::uint64_t token, bool become_primary);
  void force(std::uint64_t token, bool become_primary, LineageId lineage);
  void establish(std::uint64_t token, NodeId peer, Register reg, bool yields);
  void break_up(std::uint64_t token, LineageId lineage);

  void submit(const WriteId& id, std::uint64_t attempt);  // A client's.

  // The network.
  void use_link(std::uint64_t link);
  void link_closed(std::uint64_t link);  // By the other side.
  void deliver(std::uint64_t link, wire::Message message);

  [[nodiscard]] const NodeId& id() const { return id_; }
  [[nodiscard]] bool alive() const { return alive_; }
  [[nodiscard]] bool runs() const { return alive_ && !stopped_; }
  [[nodiscard]] std::uint64_t link() const { return link_; }
  [[nodiscard]] bool greeted() const { return greeted_; }
  [[nodiscard]] bool paired() const { return !file.peer.is_zero(); }
  [[nodiscard]] bool holds() const { return file.reg.holder == id_; }
  [[nodiscard]] const Roles& roles() const { return *roles_; }
  [[nodiscard]] Role role() const { return role_; }
  [[nodiscard]] bool serves() const { return alive_ && roles_->serves(); }
  [[nodiscard]] const Ship& ship() const { return ship_; }
  [[nodiscard]] Ship::State ship_state() const { return ship_.state(); }
  [[nodiscard]] bool in_step() const;  // Leads, and the other gets what is written.

  // The disk.
  RoleRecord file;
  LogDisk disk;
  // Clock: this node's instant is offset + now * (1 + drift / 1e6).
  Duration clock_offset{};
  std::int64_t clock_drift = 0;

 private:
  struct Asker {
    std::uint64_t attempt = 0;  // Of a client; 0: a call of the other node.
    std::uint64_t call = 0, link = 0;
  };
  struct Pending {
    std::vector<Asker> askers;
    std::optional<Result<SimOutcome>> result;
    std::uint64_t number = 0;
  };
  struct Queued {
    Roles::Action action;
    std::uint64_t link = 0;
  };

  [[nodiscard]] Instant local_now() const;
  void later(Duration delay, Fn fn);  // Of this life; deferred while stopped.
  void post(Fn fn);                   // From the writer's thread to the control executor, in order.
  void beat();
  void dial();
  void drop_link();
  void send(wire::Message message);
  void say_word(Roles::Event event) { send(wire::Word{std::move(event)}); }
  // Roles.
  void feed(const Roles::Event& event);
  void perform();
  void perform_now(const Roles::Action& action, std::uint64_t link);
  void say(const Roles::Action& action);
  void save(const Roles::Save& action);
  void set_confirmers(const Roles::SetConfirmers& action);
  void change_role(const Roles::RoleChanged& action);
  void schedule_tick();
  // The epoch's write path.
  void feed_writes(const HandoverCore::Event& event);
  void perform_write(const HandoverCore::Action& action);
  void submit_for(const WriteId& id, Asker asker);
  void run_write(const WriteId& id);
  void forward(const WriteId& id);
  void answer(const HandoverCore::Answer& action);
  void answer_asker(const Asker& asker, const Result<SimOutcome>& result);
  void raise(std::uint64_t turn);
  // Shipping.
  void feed_ship(const Ship::Event& event);
  void perform_ship(Ship::Action& action);
  void ship_with_peer();
  void load(const Ship::Load& action);
  void tell_where();
  void confirm_what_both_have();
  void follow(wire::Message& message);
  [[nodiscard]] PairLog::Advanced answer_leader();
  void stored_as_follower(const store::LogHead& head);
  void back_to(const store::LogHead& head);
  void heard(wire::Message& message);
  // PairLog::Host
  void on_writer(Duration delay, Fn fn) override { later(delay, std::move(fn)); }
  Duration fsync_takes() override;
  bool disk_full() override;
  bool one_in(std::uint64_t n) override;
  [[nodiscard]] bool planted(const char* name) const override;
  std::uint32_t new_entry(SimEntry entry) override;
  [[nodiscard]] const SimEntry& entry(std::uint32_t number) const override;
  void appended(const PairLog::Batch& batch) override;
  void taken_back(const store::LogHead& head) override;
  void committed(const store::LogHead& head, const std::vector<NodeId>& stores) override;
  void folded(const store::LogHead& head, const std::vector<NodeId>& stores) override;
  void torn(bool kept) override;

  PairWorld& world_;
  int index_;
  NodeId id_;
  std::uint64_t life_ = 0;
  bool alive_ = false;
  bool stopped_ = false;
  std::vector<Fn> deferred_;
  Instant last_post_;
  std::unique_ptr<Roles> roles_;
  HandoverCore writes_;
  Ship ship_;
  std::unique_ptr<PairLog> log_;
  Role role_ = Role::alone;
  std::deque<Queued> actions_;
  bool performing_ = false;  // Or about to.
  bool blocked_ = false;     // By a Save or the log.
  std::optional<RoleRecord> saving_;
  Instant tick_at_ = Instant::max();
  std::uint64_t tick_ = 0;
  // Writes.
  std::map<WriteId, Pending> pending_;
  std::uint64_t pendings_ = 0;
  std::deque<HandoverCore::Event> write_events_;
  bool feeding_writes_ = false;
  std::map<std::uint64_t, WriteId> calls_;
  std::uint64_t next_call_ = 0;
  Instant forward_until_ = Instant::min();
  bool tail_counts_ = false;
  // Shipping.
  bool leads_ = false, follows_ = false;
  bool alone_ = true, peer_confirms_ = false;
  store::LogHead head_, peer_durable_;
  std::optional<wire::Here> here_;
  // Links.
  std::uint64_t link_ = 0;  // The world's number; 0: none.
  std::uint64_t link_number_ = 0;
  bool greeted_ = false;
  Instant last_heard_;
  Instant without_since_;
};

}  // namespace everspan::sim
