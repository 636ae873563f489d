// The site's half: its process, the log, the clients.
#include <utility>

#include "handover_world.h"

namespace everspan::sim {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

// --- The log ---

Duration HandoverWorld::sync_time() {
  return slow_disk_ ? ms(50, 400) : ms(1, 4);
}

// One writer at a time, as SQLite's lock has it; a stopped holder keeps it.
void HandoverWorld::log_begin(InstanceId by, std::uint64_t generation, bool raise, WriteId id,
                              std::string write, std::function<void(LogAnswer)> then) {
  auto* s = site(by);
  if (s == nullptr || !s->alive) return;
  if (log_lock_ != 0) {
    return at_site(by, ms(1, 3), [=, this] { log_begin(by, generation, raise, id, write, then); });
  }
  const bool fits = raise ? generation > log_generation_ : generation == log_generation_;
  if (!fits && !(planted("generation_unchecked") && !raise)) {
    marks_.fenced += raise ? 0 : 1;
    return then(LogAnswer::fenced);
  }
  log_lock_ = by;
  log_unfinished_ = [=, this] { log_finish(by, generation, raise, id, write); };
  if (planted("acknowledge_before_sync") && !raise) then(LogAnswer::done);
  at_site(by, sync_time(), [=, this] {
    log_finish(by, generation, raise, id, write);
    log_lock_ = 0;
    log_unfinished_ = nullptr;
    if (!planted("acknowledge_before_sync") || raise) then(LogAnswer::done);
  });
}

void HandoverWorld::log_finish(InstanceId by, std::uint64_t generation, bool raise,
                               const WriteId& id, const std::string& write) {
  if (generation < log_generation_)
    broke("a commit under generation " + std::to_string(generation) + " after " +
          std::to_string(log_generation_) + " was raised");
  const auto [writer, first] = writers_.emplace(generation, by);
  if (!first && writer->second != by)
    broke("two processes committed in generation " + std::to_string(generation));
  if (raise) log_generation_ = generation;
  marks_.commits += 1;
  if (id.empty() || !log_ids_.insert(id).second) return;  // Known id: its outcome is there already.
  log_.push_back({.generation = generation, .by = by, .id = id, .write = write});
  if (!log_writes_.insert(write).second) broke("write " + write + " ran twice");
}

// What its dead process was writing is whole in the file, or torn and dropped.
void HandoverWorld::log_process_died(InstanceId by) {
  if (log_lock_ != by) return;
  marks_.lock_held_dead += 1;
  if (random_.one_in(2)) {
    marks_.torn_kept += 1;
    log_unfinished_();
  } else {
    marks_.torn_lost += 1;
  }
  log_lock_ = 0;
  log_unfinished_ = nullptr;
}

// --- The process ---

HandoverWorld::Site* HandoverWorld::site(InstanceId id) {
  const auto at = sites_.find(id);
  return at == sites_.end() ? nullptr : &at->second;
}

void HandoverWorld::at_site(InstanceId id, Duration delay, Fn fn) {
  after(delay, [this, id, fn = std::move(fn)] {
    auto* s = site(id);
    if (s == nullptr || !s->alive) return;
    if (s->stopped)
      s->deferred.push_back(fn);
    else
      fn();
  });
}

void HandoverWorld::site_start(InstanceId id, const std::string& digest) {
  auto& s = sites_[id];
  s.id = id;
  s.digest = digest;
  s.release = kinds_[digest];
  s.connection = ++connections_;
  s.last_arrival_here = s.last_arrival_at_base = s.last_arrival_at_peer = now_;
  at_site(id, ms(100, 100), [this, id] { site_beat(id); });
}

void HandoverWorld::site_beat(InstanceId id) {
  auto& s = *site(id);
  if (s.release == Release::hangs && !s.ready) return;
  const bool sick = s.release == Release::unhealthy && s.ready;
  site_say(id, supervisor::Heartbeat{.instance = id, .healthy = !sick, .why = "probe"});
  at_site(id, 200ms, [this, id] { site_beat(id); });
}

// In order within one connection; gone with it.
void HandoverWorld::site_say(InstanceId id, supervisor::Event event) {
  auto& s = *site(id);
  if (s.connection == 0) return;
  s.last_arrival_at_base = std::max(s.last_arrival_at_base, now_ + ms(0, 2));
  after(s.last_arrival_at_base - now_, [this, id, c = s.connection, event = std::move(event)] {
    const auto* from = site(id);
    if (base_ && from != nullptr && from->connection == c) base_tell(event);
  });
}

void HandoverWorld::site_lost_base(InstanceId id) {
  auto& s = *site(id);
  s.connection = 0;
  if (!s.welcomed) return site_die(id);  // Nobody knows of it.
  // Before TellReleased it may go on alone; after it the register decides (H2).
  at_site(id, ms(1, 5), [this, id] { site_feed(id, HandoverCore::AbortRelease{}); });
}

void HandoverWorld::site_die(InstanceId id) {
  auto& s = *site(id);
  if (!s.alive) return;
  s.alive = false;
  s.accepting = false;
  s.connection = 0;
  log_process_died(id);
  base_watch(id);
  // Its clients' connections are cut: they ask again with the same ids.
  for (const auto& [write, attempt] : s.askers)
    for (auto& c : clients_)
      if (c.attempt == attempt && c.waiting)
        after(ms(1, 5),
              [this, n = c.number, attempt] { client_answer(n, attempt, WriteOutcome::unknown); });
  if (auto* peer = site(s.peer); peer != nullptr && peer->peer == id)
    at_site(peer->id, ms(0, 3), [this, p = peer->id, id] {
      if (site(p)->peer != id) return;
      site(p)->peer = 0;
      site_feed(p, HandoverCore::PeerLost{});
    });
}

void HandoverWorld::site_wake(InstanceId id) {
  auto* s = site(id);
  if (s == nullptr || !s->stopped) return;
  s->stopped = false;
  auto deferred = std::exchange(s->deferred, {});
  for (auto& fn : deferred) {
    if (s->alive && !s->stopped)
      fn();
    else if (s->alive)
      s->deferred.push_back(std::move(fn));
  }
}

void HandoverWorld::to_peer(Site& from, Fn at_peer) {
  const auto* peer = site(from.peer);
  if (peer == nullptr || !peer->alive) return;
  from.last_arrival_at_peer = std::max(from.last_arrival_at_peer, now_ + ms(0, 2));
  at_site(peer->id, from.last_arrival_at_peer - now_,
          [this, to = peer->id, link = from.link, fn = std::move(at_peer)] {
            over_link(to, link, fn);
          });
}

// What came before this end has its descriptor waits in the socket.
void HandoverWorld::over_link(InstanceId to, std::uint64_t link, Fn fn) {
  const auto& s = *site(to);
  if (s.link == link && s.peer != 0) return fn();
  if (s.link < link) at_site(to, 1ms, [this, to, link, fn] { over_link(to, link, fn); });
}

void HandoverWorld::site_feed(InstanceId id, const HandoverCore::Event& event) {
  auto* s = site(id);
  if (s == nullptr || !s->alive) return;
  for (const auto& action : s->core.handle(event)) {
    if (!s->alive) return;
    site_do(*s, action);
  }
}

void HandoverWorld::site_run_write(Site& s, const WriteId& id) {
  const auto turn = s.core.turn();
  log_begin(s.id, turn, false, id, s.writes[id], [this, me = s.id, id](LogAnswer answer) {
    if (answer == LogAnswer::fenced) site_feed(me, HandoverCore::Fenced{});
    site_feed(
        me, HandoverCore::WriteDone{
                .id = id,
                .outcome = answer == LogAnswer::done ? WriteOutcome::done : WriteOutcome::not_run});
  });
}

void HandoverWorld::site_do(Site& s, const HandoverCore::Action& action) {
  const auto id = s.id;
  if (const auto* raise = std::get_if<HandoverCore::RaiseLog>(&action)) {
    const auto turn = raise->turn;
    // An id of the raise itself is not needed: it writes no settings.
    log_begin(id, turn, true, "", "", [this, id, turn](LogAnswer answer) {
      if (answer == LogAnswer::done)
        site_feed(id, HandoverCore::Raised{.turn = turn});
      else
        site_feed(id, HandoverCore::RaiseFailed{.turn = turn, .why = "fenced"});
    });
  } else if (std::holds_alternative<HandoverCore::StartAccepting>(action)) {
    s.accepting = true;
  } else if (std::holds_alternative<HandoverCore::StopAccepting>(action)) {
    s.accepting = false;
  } else if (const auto* serving = std::get_if<HandoverCore::TellServing>(&action)) {
    site_say(id, supervisor::Activated{.instance = id, .generation = serving->turn});
    to_peer(s, [this, p = s.peer, turn = serving->turn] {
      site_feed(p, HandoverCore::PeerServes{.turn = turn});
    });
    if (s.release == Release::sick_after_switch)
      at_site(id, 200ms, [this, id] { site(id)->stopped = true; });
  } else if (const auto* failed = std::get_if<HandoverCore::TellNotServing>(&action)) {
    site_say(id, supervisor::NotActivated{
                     .instance = id, .generation = failed->turn, .why = failed->why});
  } else if (const auto* released = std::get_if<HandoverCore::TellReleased>(&action)) {
    s.released_told = true;
    site_say(id, supervisor::Released{.instance = id, .generation = released->turn});
    // A thread that the drain forgot tries to commit late: the log's fence is there for it.
    if (random_.one_in(3)) {
      const WriteId stray = "stray-" + std::to_string(++order_);
      at_site(id, ms(5, 200), [this, id, turn = released->turn, stray] {
        marks_.stray += 1;
        log_begin(id, turn, false, stray, stray, [](LogAnswer) {});
      });
    }
  } else if (const auto* write = std::get_if<HandoverCore::RunWrite>(&action)) {
    site_run_write(s, write->id);
  } else if (const auto* forward = std::get_if<HandoverCore::ForwardWrite>(&action)) {
    if (planted("queue_dropped")) return;
    marks_.forwarded += 1;
    WriteId sent = forward->id;
    if (planted("forwarded_under_a_new_id")) sent += "'";
    to_peer(s, [this, p = s.peer, sent, text = s.writes[forward->id]] {
      site(p)->writes[sent] = text;
      site_feed(p, HandoverCore::Write{.id = sent, .from_peer = true});
    });
  } else if (const auto* answer = std::get_if<HandoverCore::Answer>(&action)) {
    if (answer->to_peer) {
      WriteId original = answer->id;
      if (planted("forwarded_under_a_new_id") && original.ends_with("'")) original.pop_back();
      to_peer(s, [this, p = s.peer, original, outcome = answer->outcome] {
        site_feed(p, HandoverCore::PeerAnswered{.id = original, .outcome = outcome});
      });
    } else if (const auto asker = s.askers.find(answer->id); asker != s.askers.end()) {
      const auto attempt = asker->second;
      s.askers.erase(asker);
      for (const auto& c : clients_)
        if (c.attempt == attempt)
          after(ms(0, 2), [this, n = c.number, attempt, outcome = answer->outcome] {
            client_answer(n, attempt, outcome);
          });
    }
  }
}

// --- Clients ---

void HandoverWorld::client_next(int number) {
  auto& c = clients_[static_cast<std::size_t>(number)];
  c.write += 1;
  c.waiting = true;
  c.since = now_;
  client_try(number);
}

void HandoverWorld::client_try(int number) {
  auto& c = clients_[static_cast<std::size_t>(number)];
  // Connections of this writer stay with a process for a while after it stopped accepting.
  std::vector<InstanceId> open;
  for (const auto& [id, s] : sites_) {
    const auto state = s.core.state();
    const bool keeps = state == HandoverCore::State::releasing ||
                       state == HandoverCore::State::released ||
                       (state == HandoverCore::State::learner && s.core.turn() > 0);
    if (s.alive && (s.accepting || (keeps && random_.one_in(2)))) open.push_back(id);
  }
  if (open.empty())  // In the backlog.
    return after(ms(2, 10), [this, number] { client_try(number); });
  auto& s = *site(open[random_.below(open.size())]);
  c.attempt = ++order_;
  const auto text = std::to_string(number) + "/" + std::to_string(c.write);
  if (!s.accepting) marks_.queued += 1;
  s.askers[text] = c.attempt;
  at_site(s.id, ms(0, 2), [this, id = s.id, text] {
    site(id)->writes[text] = text;
    site_feed(id, HandoverCore::Write{.id = text});
  });
}

void HandoverWorld::client_answer(int number, std::uint64_t attempt, WriteOutcome outcome) {
  auto& c = clients_[static_cast<std::size_t>(number)];
  if (!c.waiting || c.attempt != attempt) return;
  if (outcome != WriteOutcome::done) {
    c.attempt = ++order_;
    return after(ms(2, 20), [this, number] { client_try(number); });
  }
  c.waiting = false;
  const auto text = std::to_string(number) + "/" + std::to_string(c.write);
  acknowledged_.insert(text);
  if (!faults_) answered_after_heal_ += 1;
  after(faults_ ? ms(5, 60) : ms(100, 400), [this, number] { client_next(number); });
}

}  // namespace everspan::sim
