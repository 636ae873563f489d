// Two nodes under a seeded scheduler, their links, clients that write and people that ask.
// Everything that decides is the production object (RoleCore, HandoverCore, ShipLeader).
//
// What goes wrong: processes are killed, machines lose power, processes are stopped and woken;
// links break, delay, hang in one direction or both; fsyncs are slow or hang; disks fill; logs are
// compacted; a node is lost for good. Messages of one connection arrive in order, or are lost with
// it. Clocks differ in offset and pace. People hand over, force, rest, break and establish at any
// time.
//
// Judge, at every step: an epoch has one holder and one writer; without force nobody serves beside
// the other; what a holder has committed is fsynced on every member of its durable in_sync, and in
// the log of whoever serves its lineage later; without force the committed histories are one; a
// request id has one effect; each ask is answered once; who may serve is as the in-doubt table
// says. After the faults ended, with a person's help where the table says so: both live, in sync,
// one primary, every write answered.
//
// A plan for both nodes can join: it is one more asker (PairNode::ask) and, for the replacement of
// a process, die(false) and start().
#pragma once
#include <array>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "common/random.h"
#include "pair_node.h"

namespace everspan::sim {

inline constexpr std::size_t kInDoubtCells = 15;  // role_core.h

struct PairMarks {  // Proof that the rare branches were reached.
  std::array<std::uint64_t, kInDoubtCells + 1> cells{};
  std::uint64_t events = 0, writes = 0, handovers = 0, asks = 0, refused = 0, forced = 0,
                rested = 0, broken = 0, established = 0, lost = 0, kills = 0, power = 0, stops = 0,
                cuts = 0, snapshots = 0, ship_diverged = 0, diverged = 0, shrinks = 0, grows = 0,
                torn_kept = 0, torn_lost = 0, taken_back = 0, forwarded = 0, repeated = 0,
                unknown = 0, partitions = 0, one_way = 0, disk_full = 0;
  void add(const PairMarks& other);
};

class PairWorld {
 public:
  PairWorld(std::uint64_t seed, std::string planted);
  ~PairWorld();
  std::string run();  // Empty, or what broke.
  [[nodiscard]] PairMarks& marks() { return marks_; }
  [[nodiscard]] std::uint64_t trace() const { return trace_; }
  static std::vector<std::string> planted_names();

  // --- For the nodes ---
  [[nodiscard]] Instant now() const { return now_; }
  void after(Duration delay, Fn fn);
  [[nodiscard]] Duration us(std::uint64_t low, std::uint64_t high) {
    return Duration(static_cast<Duration::rep>(random_.between(low, high)));
  }
  [[nodiscard]] SeededRandom& random() { return random_; }
  [[nodiscard]] bool planted(const char* name) const { return planted_ == name; }
  void broke(const std::string& what);
  [[nodiscard]] bool noting() const { return noting_; }  // EVERSPAN_NOTES=1 prints what happens.
  void note(int node, const std::string& what) const;
  void dial(int from);
  void send(std::uint64_t link, int from, wire::Message message);
  void close_link(std::uint64_t link, int from, bool tell);
  [[nodiscard]] Duration fsync_takes(int node);
  [[nodiscard]] bool disk_full(int node) const;
  [[nodiscard]] std::uint64_t load_most() const { return load_most_; }
  [[nodiscard]] std::uint32_t new_entry(SimEntry entry, int by);
  [[nodiscard]] const SimEntry& entry(std::uint32_t number) const { return entries_[number]; }
  [[nodiscard]] LineageId new_lineage();
  void died(int node);
  void saved(int node);
  void role_changed(int node, Role role);
  void raised(int node);
  void lineage_begun(int node);
  void replaced(int node);  // By a snapshot.
  void folded(int node, const store::LogHead& head, bool as_primary);
  void answered(int node, std::uint64_t token, const std::optional<Error>& refused);
  void client_answer(int node, std::uint64_t attempt, const Result<SimOutcome>& result);

 private:
  struct Due {
    Instant at;
    std::uint64_t order;
    Fn fn;
  };
  struct Link {
    std::array<bool, 2> up{true, true};
    std::array<Instant, 2> arrival{};     // Of the last message to this end.
    std::array<std::vector<Fn>, 2> held;  // To this end, while the way is blocked.
  };
  struct Client {
    int number = 0;
    std::uint64_t write = 0, attempt = 0;
    int node = 0;
    bool waiting = false;
    Instant since;
  };
  struct Asked {
    int node = 0;
    std::string what;
    bool answered = false;
    bool gone = false;  // Its process died.
    std::function<void(bool)> then;
  };
  struct Disk {
    Instant slow_until, hangs_until, full_until;
  };
  struct Line {  // A lineage, as promised to whoever saw its commits.
    std::vector<std::pair<store::LogHead, std::vector<NodeId>>> committed;
    std::size_t kept = 0;  // How many of them its holders must have; the rest was left by a force.
  };

  PairNode& node(int index) { return *nodes_[static_cast<std::size_t>(index)]; }
  [[nodiscard]] bool lost(int index) const { return lost_[static_cast<std::size_t>(index)]; }
  Disk& disk(int index) { return disks_[static_cast<std::size_t>(index)]; }
  [[nodiscard]] bool open(int from) const { return !blocked_[static_cast<std::size_t>(from)]; }
  PairNode* by_id(const NodeId& id);
  void begin();
  void block(int from, bool blocked);
  // pair_people.cc
  void client_next(int number);
  void client_try(int number, Duration delay);
  [[nodiscard]] std::string write_of(const Client& client) const;
  std::uint64_t asked(int node, std::string what, std::function<void(bool)> then = {});
  void ask(int node, bool become_primary);
  void force(int node, bool become_primary);
  void break_up(int node);
  void establish(int winner, bool yields);
  void person();
  void person_forces();
  void fault();
  void kill(int node, bool power);
  void restart(int node);
  void lose(int node);
  void heal();
  void mend();
  [[nodiscard]] bool settled();
  std::string verdict();
  // pair_judge.cc
  void count_cell();
  [[nodiscard]] std::size_t cell(int a, int b);
  void check_alone(int node, const char* what);
  void check_ids(int node);

  std::string planted_;
  bool noting_ = false;
  SeededRandom random_;
  PairMarks marks_;
  std::uint64_t trace_ = 0;
  Instant now_;
  std::uint64_t order_ = 0;
  std::vector<Due> due_;
  std::string broken_;
  bool faults_ = true;
  bool done_ = false;
  bool forces_ = false, breaks_ = false, loses_ = false, joins_ = false;
  Instant heal_at_, end_at_;
  Instant settled_since_ = Instant::max();
  int stuck_ = 0;  // Mends at which a copy was refused.
  std::uint64_t load_most_ = 512;
  std::uint64_t slow_network_us_ = 2000;

  std::array<std::unique_ptr<PairNode>, 2> nodes_;
  std::array<bool, 2> lost_{};
  std::array<bool, 2> blocked_{};  // From this node to the other.
  std::array<Disk, 2> disks_{};
  std::uint64_t links_ = 0;
  std::map<std::uint64_t, Link> link_;
  std::vector<Client> clients_;
  std::uint64_t attempts_ = 0;
  std::vector<SimEntry> entries_{SimEntry{}};
  std::uint64_t lineages_ = 0, node_ids_ = 0;
  std::map<std::uint64_t, Asked> asked_;
  std::uint64_t tokens_ = 0;
  bool busy_person_ = false;

  // Judge.
  bool forced_ever_ = false;
  std::array<bool, 2> forced_at_{};  // A force is in the register, and its history not yet begun.
  std::set<LineageId> forced_;       // Begun by force.
  std::map<std::pair<LineageId, Epoch>, NodeId> holders_;
  std::map<std::pair<LineageId, Epoch>, NodeId> writers_;
  std::set<std::pair<LineageId, Epoch>> prepared_;
  std::map<LineageId, Line> lines_;
  std::array<LineageId, 2> line_of_{};  // Of each node's log, as far as the judge has seen.
  std::array<RoleRecord, 2> file_of_{};
  std::array<std::map<std::string, std::uint64_t>, 2> ids_;
  std::size_t cell_ = 0;
};

}  // namespace everspan::sim
