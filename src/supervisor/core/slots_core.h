// SlotsCore decides what runs on a node and which process may write. Pure: events in, actions out.
//
//             StartCandidate           Switch: ReleaseWriter, Released, grant
//    (none) ----------------> candidate -----------------------------> active (watched)
//                                 |                                      |         |
//                                 | exits, sick, not ready        Good:  |         | exits, sick,
//                                 | in time (fails only      fallback    |         | silent: killed
//                                 | itself)                   retires    |         |
//                                 v                                      v         v
//                               (none)                                active     (none)
//
//    active --Switch--> fallback --the watched one failed, or Back--> active
//
// Invariants
//   S1  One holder. A generation is granted to one instance, and only when the holder before it
//       said Released of its own generation, or is dead (Exited), or is the same instance.
//   S2  Generations only grow; none is granted twice. A released one is never used again.
//   S3  Where the state changed, Persist is the first action: a grant is durable before it is sent.
//   S4  A key acts once: a finished one is answered from the table, a pending one is joined. The
//       outcome is in the same write as what it did.
//   S5  A candidate can fail only itself: no event of it ends, replaces or unseats the active one.
//   S6  While a fallback is kept, an active one that exits, is sick or is silent goes; once it is
//       dead the fallback is granted. Without a fallback the active one is started again, ever more
//       slowly.
//   S7  A process that a restarted base finds again keeps slot and right. Its holder is granted
//       anew, for it may have released to the base that died. Until it came back nobody else is
//       granted.
//   S8  Time in which base itself did not run (stopped, suspended) counts as nobody's silence.
//
// Use: run the returned actions in order; then call again at wake_at() at the latest. One thread.
// Kill answers with Exited when the process is dead; a lost answer would stop everything, so the
// shell must watch every process that it started or adopted.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/core/slots_types.h"

namespace everspan::supervisor {

class SlotsCore {
 public:
  // `state` as loaded. Every process recorded in it is taken as alive until Exited says otherwise.
  SlotsCore(State state, Limits limits, Instant now);

  [[nodiscard]] std::vector<Action> handle(const Event& event, Instant now);
  [[nodiscard]] Instant wake_at() const { return wake_at_; }
  [[nodiscard]] const State& state() const { return state_; }
  [[nodiscard]] const std::vector<Release>& releases() const { return releases_; }
  [[nodiscard]] const Slot* find(InstanceId instance) const;
  [[nodiscard]] const Slot* find(Role role) const;
  [[nodiscard]] bool connected(InstanceId instance) const;
  [[nodiscard]] bool serving() const;  // The active one said Activated for the current generation.

 private:
  struct Live {  // What is known of a running instance, in memory only.
    bool connected = false;
    bool healthy = true;
    bool activated = false;
    bool kill_sent = false;
    bool says_linked = false;  // Came back, and has its socket to the other one.
    std::string kill_why;
    Instant started_at;
    Instant heard_at;
    std::optional<Instant> activate_by;
    std::optional<Instant> ready_by;
    std::optional<Instant> exit_by;
    std::optional<Instant> retired_at;
  };
  struct Handover {
    InstanceId from = 0;
    InstanceId to = 0;
    std::string key;
    bool back = false;
    std::string why;
    std::uint32_t silence_ms = 0;
    Instant deadline;
  };
  struct Restart {
    int failures = 0;
    Instant at;
  };

  void on(const FirstRelease& event);
  void on(const ReleaseKnown& event);
  void on(const Started& event);
  void on(const StartFailed& event);
  void on(const Returned& event);
  void on(const Disconnected& event);
  void on(const Ready& event);
  void on(const Heartbeat& event);
  void on(const Activated& event);
  void on(const NotActivated& event);
  void on(const Released& event);
  void on(const Exited& event);
  void on(const Request& event);
  void on(const StageDone& event);
  void on(const SelfTestDone& event);
  void on(const StopAll& event);
  void on(const TimePassed&) {}

  // Requests (slots_requests.cc).
  void ask(const Request& r, const StageRequest& what);
  void ask(const Request& r, const SelfTestRequest& what);
  void ask(const Request& r, const StartCandidateRequest& what);
  void ask(const Request& r, const StopCandidateRequest& what);
  void ask(const Request& r, const SwitchRequest& what);
  void ask(const Request& r, const GoodRequest& what);
  void ask(const Request& r, const BackRequest& what);
  void ask(const Request& r, const QueryRequest& what);
  void ask(const Request& r, const StatusRequest& what);
  [[nodiscard]] bool may_ask(const Request& r) const;
  void refuse(const Request& r, std::string code, std::string message, std::string next = {});
  void begin_effect(const Request& r, EffectKind kind);
  void end_effect(const std::string& key, EffectKind kind, Outcome outcome);
  void end_effects(EffectKind kind, const Outcome& outcome);
  void raise_floor();
  [[nodiscard]] Effect* effect(std::string_view key);

  // What follows from where things stand (slots_settle.cc).
  void settle();
  void settle_starts();
  void settle_grant();
  void settle_times(const Slot& slot, Live& live);
  void settle_handover();
  void settle_links();
  void grant(Slot& slot);
  void finish_handover();
  void abort_handover(std::string code, std::string message);
  void go_back(const std::string& why);
  void kill(InstanceId instance, std::string why);
  void retire(Slot& slot, std::string why);
  void restart_later(Role role, Duration ran);
  void forgive_lost_time();
  void plan_wake();

  Slot* slot_of(InstanceId instance);
  Slot* slot_of(Role role);
  Live* live_of(InstanceId instance);
  void erase(InstanceId instance);
  template <class A>
  void act(A action) {
    actions_.emplace_back(std::move(action));
  }

  State state_;
  Limits limits_;
  std::vector<Release> releases_;
  std::map<InstanceId, Live> live_;
  std::map<Role, Restart> restart_;
  std::optional<Handover> handover_;
  std::multimap<std::string, InstanceId> waiting_;  // key -> who wants the reply
  std::pair<InstanceId, InstanceId> linked_{0, 0};
  bool stopping_ = false;
  bool dirty_ = false;
  Instant now_;
  Instant wake_at_;
  std::vector<Action> actions_;
};

}  // namespace everspan::supervisor
