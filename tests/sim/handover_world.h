// One node under a seeded scheduler: SlotsCore as base, two or more site processes with a
// HandoverCore each, the log that they share, clients that write. Everything that decides is the
// production object.
//
// What can go wrong here is what can go wrong on one machine: processes are killed, stopped
// (SIGSTOP) and woken, base is killed and comes back with what was durable, fsync is slow, SIGKILL
// takes a while, a commit that was being written when its process died is there or not, releases
// are bad. Messages of one connection arrive in order; they are lost with the connection.
//
// Oracle, at every step: one process per generation; no commit under a lower generation than the
// log's; a grant only when the earlier holder released or is dead; a key switches once; each write
// is in the log at most once. At the end, after the faults ended: every acknowledged write is in
// the log, every write was answered, somebody serves.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "common/random.h"
#include "failover/core/handover_core.h"
#include "supervisor/core/slots_core.h"

namespace everspan::sim {

using failover::HandoverCore;
using failover::WriteId;
using failover::WriteOutcome;
using supervisor::InstanceId;
using supervisor::SlotsCore;

struct HandoverMarks {  // Proof that the rare branches were reached.
  int switches = 0, went_back = 0, planned_back = 0, base_crashes = 0, torn_lost = 0, torn_kept = 0;
  int kills = 0, stops = 0, forwarded = 0, queued = 0, fenced = 0, stray = 0, commits = 0;
  int repeated_keys = 0, regrants = 0, lock_held_dead = 0;
  void add(const HandoverMarks& other);
};

class HandoverWorld {
 public:
  HandoverWorld(std::uint64_t seed, std::string planted);
  // Empty, or what broke.
  std::string run();
  [[nodiscard]] const HandoverMarks& marks() const { return marks_; }
  static std::vector<std::string> planted_names();

 private:
  // --- Scheduler ---
  using Fn = std::function<void()>;
  struct Due {
    Instant at;
    std::uint64_t order;
    Fn fn;
    bool operator>(const Due& o) const { return at != o.at ? at > o.at : order > o.order; }
  };
  void after(Duration delay, Fn fn);
  [[nodiscard]] Duration ms(std::uint64_t low, std::uint64_t high);
  void broke(const std::string& what);
  [[nodiscard]] bool planted(const char* name) const { return planted_ == name; }

  // --- The log (SQLite as the sites see it) ---
  struct Entry {
    std::uint64_t generation = 0;
    InstanceId by = 0;
    WriteId id;
    std::string write;  // Which client's which write: the same for every attempt.
  };
  enum class LogAnswer : std::uint8_t { done, fenced };
  void log_begin(InstanceId by, std::uint64_t generation, bool raise, WriteId id, std::string write,
                 std::function<void(LogAnswer)> then);
  void log_finish(InstanceId by, std::uint64_t generation, bool raise, const WriteId& id,
                  const std::string& write);
  void log_process_died(InstanceId by);
  Duration sync_time();

  // --- Sites ---
  enum class Release : std::uint8_t { good, exits, hangs, unhealthy, sick_after_switch };
  struct Site {
    InstanceId id = 0;
    std::string digest;
    Release release = Release::good;
    bool alive = true, stopped = false, welcomed = false, ready = false, accepting = false;
    bool released_told = false;
    std::uint64_t connection = 0;  // To base; 0: none.
    Instant last_arrival_here, last_arrival_at_base, last_arrival_at_peer;
    InstanceId peer = 0;
    std::uint64_t link = 0;  // To the peer; what came over an older one is lost.
    HandoverCore core;
    std::map<WriteId, std::string> writes;    // Id -> which write.
    std::map<WriteId, std::uint64_t> askers;  // Id -> client attempt.
    std::vector<Fn> deferred;                 // While stopped.
  };
  Site* site(InstanceId id);
  void at_site(InstanceId id, Duration delay, Fn fn);
  void site_start(InstanceId id, const std::string& digest);
  void site_feed(InstanceId id, const HandoverCore::Event& event);
  void site_do(Site& s, const HandoverCore::Action& action);
  void site_run_write(Site& s, const WriteId& id);
  void site_say(InstanceId id, supervisor::Event event);
  void site_beat(InstanceId id);
  void site_lost_base(InstanceId id);
  void site_die(InstanceId id);
  void site_wake(InstanceId id);
  void to_peer(Site& from, Fn at_peer);
  void over_link(InstanceId to, std::uint64_t link, Fn fn);

  // --- Clients ---
  struct Client {
    int number = 0;
    std::uint64_t write = 0;    // Of the one under way.
    std::uint64_t attempt = 0;  // Answers to earlier attempts mean nothing.
    bool waiting = false;
    Instant since;
  };
  void client_next(int number);
  void client_try(int number);
  void client_answer(int number, std::uint64_t attempt, WriteOutcome outcome);

  // --- Base ---
  void base_start();
  void base_crash();
  void base_tell(supervisor::Event event);
  void base_run();
  void base_perform(std::deque<supervisor::Action> actions, std::uint64_t life);
  void base_act(const supervisor::Action& action);
  void base_send(InstanceId to, Fn at_site);
  void base_wake(std::uint64_t life);
  void base_watch(InstanceId id);
  void check_grant(InstanceId to, std::uint64_t generation);
  void persisted();

  // --- Faults and the operator ---
  void operator_step();
  void ask(const std::string& key, decltype(supervisor::Request::what) what);
  void fault();
  void heal();
  std::string verdict();

  std::string planted_;
  SeededRandom random_;
  HandoverMarks marks_;
  Instant now_;
  std::uint64_t order_ = 0;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  std::string broken_;
  bool faults_ = true;
  bool slow_disk_ = false;

  std::vector<Entry> log_;
  std::set<WriteId> log_ids_;
  std::set<std::string> log_writes_;
  std::map<std::uint64_t, InstanceId> writers_;  // Generation -> who committed in it.
  std::uint64_t log_generation_ = 0;
  InstanceId log_lock_ = 0;
  Fn log_unfinished_;  // What the holder of the lock is writing.

  std::map<InstanceId, Site> sites_;
  std::vector<Client> clients_;
  std::set<std::string> acknowledged_;
  std::uint64_t answered_after_heal_ = 0;

  std::unique_ptr<SlotsCore> base_;
  supervisor::State disk_;
  std::deque<supervisor::Event> inbox_;
  std::uint64_t life_ = 0;  // Of base; grows with each start and crash.
  bool busy_ = false;
  std::map<std::uint64_t, InstanceId> granted_;
  std::uint64_t last_granted_ = 0;
  std::map<std::string, int> switched_by_key_;
  std::string switch_key_seen_;
  std::uint64_t connections_ = 0;
  std::uint64_t links_ = 0;
  int plans_ = 0;
  std::vector<std::pair<std::string, decltype(supervisor::Request::what)>> asked_;
  std::map<std::string, Release> kinds_;
};

}  // namespace everspan::sim
