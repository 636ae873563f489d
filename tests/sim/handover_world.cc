// Base's half, the faults and the verdict.
#include "handover_world.h"

#include <algorithm>

namespace everspan::sim {

using namespace std::chrono_literals;
using namespace supervisor;

namespace {
constexpr Duration kFaultsFor = 8s;
constexpr Duration kQuietFor = 25s;  // Longer than every deadline of base after each other.
}  // namespace

void HandoverMarks::add(const HandoverMarks& o) {
  switches += o.switches;
  went_back += o.went_back;
  planned_back += o.planned_back;
  base_crashes += o.base_crashes;
  torn_lost += o.torn_lost;
  torn_kept += o.torn_kept;
  kills += o.kills;
  stops += o.stops;
  forwarded += o.forwarded;
  queued += o.queued;
  fenced += o.fenced;
  stray += o.stray;
  commits += o.commits;
  repeated_keys += o.repeated_keys;
  regrants += o.regrants;
  lock_held_dead += o.lock_held_dead;
}

std::vector<std::string> HandoverWorld::planted_names() {
  return {"grant_before_death", "sent_before_persisted",    "generation_unchecked",
          "queue_dropped",      "forwarded_under_a_new_id", "acknowledge_before_sync",
          "effects_forgotten"};
}

HandoverWorld::HandoverWorld(std::uint64_t seed, std::string planted)
    : planted_(std::move(planted)), random_(seed) {
  kinds_["first"] = Release::good;
  for (int n = 0; n < 3; ++n) clients_.push_back({.number = n});
}

void HandoverWorld::after(Duration delay, Fn fn) {
  due_.push({.at = now_ + std::max(delay, Duration{}), .order = ++order_, .fn = std::move(fn)});
}
Duration HandoverWorld::ms(std::uint64_t low, std::uint64_t high) {
  return std::chrono::microseconds(random_.between(low * 1000, high * 1000));
}
void HandoverWorld::broke(const std::string& what) {
  if (broken_.empty())
    broken_ = what + " (at " + std::to_string(now_.time_since_epoch().count() / 1000) + " ms)";
}

std::string HandoverWorld::run() {
  now_ = Instant(1h);
  const auto healed_at = now_ + kFaultsFor;
  const auto end = healed_at + kQuietFor;
  base_start();
  for (auto& c : clients_) after(ms(500, 900), [this, n = c.number] { client_next(n); });
  after(ms(600, 1000), [this] { operator_step(); });
  after(ms(700, 1500), [this] { fault(); });
  after(kFaultsFor, [this] { heal(); });
  while (!due_.empty() && broken_.empty() && due_.top().at <= end) {
    auto due = due_.top();
    due_.pop();
    now_ = due.at;
    due.fn();
  }
  return broken_.empty() ? verdict() : broken_;
}

// --- Base ---

void HandoverWorld::base_start() {
  life_ += 1;
  busy_ = false;
  inbox_.clear();
  if (planted("effects_forgotten")) disk_.effects.clear();
  base_ = std::make_unique<SlotsCore>(disk_, Limits{}, now_);
  for (const auto& [digest, kind] : kinds_)
    base_tell(ReleaseKnown{{.digest = digest, .version = "1.0.0", .security_floor = {}}});
  for (const auto& slot : disk_.slots) {
    if (!slot.process) continue;
    auto* s = site(slot.instance);
    if (s == nullptr || !s->alive) {
      base_tell(Exited{.instance = slot.instance, .how = "ended while base was away"});
    } else {
      at_site(slot.instance, ms(10, 100), [this, id = slot.instance, life = life_] {
        auto& s = *site(id);
        if (life != life_ || !base_) return;
        s.connection = ++connections_;
        s.last_arrival_at_base = s.last_arrival_here = now_;
        auto* peer = site(s.peer);
        site_say(id, Returned{.instance = id, .linked = peer != nullptr && peer->alive});
      });
    }
  }
  base_tell(FirstRelease{"first"});
  base_wake(life_);
}

void HandoverWorld::base_crash() {
  if (!base_) return;
  marks_.base_crashes += 1;
  // A rename under way is there or not.
  if (busy_ && random_.one_in(2)) {
    disk_ = base_->state();
    persisted();
  }
  base_.reset();
  life_ += 1;
  busy_ = false;
  inbox_.clear();
  for (auto& [id, s] : sites_)
    if (s.alive && s.connection != 0) {
      s.connection = 0;
      at_site(id, ms(0, 2), [this, i = id] {
        if (site(i)->connection == 0) site_lost_base(i);
      });
    }
  after(ms(10, 500), [this] { base_start(); });
}

void HandoverWorld::base_tell(Event event) {
  inbox_.push_back(std::move(event));
  base_run();
}

// One event after the other; while the state is being made durable base does nothing else.
void HandoverWorld::base_run() {
  while (base_ && !busy_ && !inbox_.empty()) {
    const auto event = std::move(inbox_.front());
    inbox_.pop_front();
    auto actions = base_->handle(event, now_);
    std::deque<Action> todo(actions.begin(), actions.end());
    if (planted("sent_before_persisted") && !todo.empty() &&
        std::holds_alternative<Persist>(todo.front())) {
      todo.push_back(todo.front());
      todo.pop_front();
    }
    base_perform(std::move(todo), life_);
  }
}

void HandoverWorld::base_perform(std::deque<Action> actions, std::uint64_t life) {
  if (life != life_) return;
  busy_ = false;
  while (!actions.empty()) {
    const auto action = std::move(actions.front());
    actions.pop_front();
    if (std::holds_alternative<Persist>(action)) {
      busy_ = true;
      const Duration takes = slow_disk_ ? ms(20, 300) : ms(0, 3);
      return after(takes, [this, life, rest = std::move(actions)]() mutable {
        if (life != life_) return;
        disk_ = base_->state();
        persisted();
        base_perform(std::move(rest), life);
        base_run();
      });
    }
    base_act(action);
    if (life != life_) return;
  }
}

// Each time that a key becomes the reason of a switch, it acted.
void HandoverWorld::persisted() {
  if (disk_.switch_key == switch_key_seen_) return;
  switch_key_seen_ = disk_.switch_key;
  if (switch_key_seen_.empty()) return;
  if (++switched_by_key_[switch_key_seen_] > 1) broke("key " + switch_key_seen_ + " acted twice");
}

void HandoverWorld::check_grant(InstanceId to, std::uint64_t generation) {
  const auto [holder, fresh] = granted_.emplace(generation, to);
  if (!fresh && holder->second != to)
    broke("generation " + std::to_string(generation) + " was granted to two processes");
  if (last_granted_ != 0) {
    const auto before = granted_[last_granted_];
    const auto* s = site(before);
    if (before == to)
      marks_.regrants += 1;
    else if (s != nullptr && s->alive && !s->released_told)
      broke("granted while the earlier holder lives and did not release");
  }
  last_granted_ = std::max(last_granted_, generation);
  if (auto* s = site(to)) s->released_told = false;
}

void HandoverWorld::base_send(InstanceId to, Fn fn) {
  auto* s = site(to);
  if (s == nullptr || s->connection == 0) return;
  s->last_arrival_here = std::max(s->last_arrival_here, now_ + ms(0, 2));
  at_site(to, s->last_arrival_here - now_, [this, to, c = s->connection, fn = std::move(fn)] {
    if (site(to)->connection == c) fn();
  });
}

void HandoverWorld::base_watch(InstanceId id) {
  after(ms(0, 3), [this, id] {
    if (base_) base_tell(Exited{.instance = id, .how = "ended"});
  });
}

void HandoverWorld::base_act(const Action& action) {
  if (const auto* start = std::get_if<StartProcess>(&action)) {
    site_start(start->instance, start->digest);
    base_tell(Started{.instance = start->instance, .process = ProcessRecord{.pid = 1}});
  } else if (const auto* welcome = std::get_if<SendWelcome>(&action)) {
    base_send(welcome->instance, [this, id = welcome->instance] {
      auto& s = *site(id);
      s.welcomed = true;
      if (s.release == Release::exits) return site_die(id);
      if (s.ready) return site_say(id, supervisor::Ready{id});  // Says it to each base anew.
      if (s.release == Release::hangs) return;
      at_site(id, ms(20, 150), [this, id] {
        site(id)->ready = true;
        site_say(id, supervisor::Ready{id});
      });
    });
  } else if (const auto* activate = std::get_if<SendActivate>(&action)) {
    check_grant(activate->instance, activate->generation);
    base_send(activate->instance, [this, a = *activate] {
      site_feed(a.instance, HandoverCore::Granted{.turn = a.generation});
    });
  } else if (const auto* release = std::get_if<SendReleaseWriter>(&action)) {
    base_send(release->instance, [this, r = *release] {
      site_feed(r.instance, HandoverCore::AskRelease{.turn = r.generation});
    });
  } else if (const auto* link = std::get_if<LinkPeers>(&action)) {
    const auto connect = [this, number = ++links_](InstanceId me, InstanceId other) {
      base_send(me, [this, me, other, number] {
        if (site(other) == nullptr || !site(other)->alive) return;
        if (site(me)->peer != 0) site_feed(me, HandoverCore::PeerLost{});
        site(me)->peer = other;
        site(me)->link = number;
        site_feed(me, HandoverCore::PeerConnected{});
      });
    };
    connect(link->one, link->other);
    connect(link->other, link->one);
  } else if (const auto* retire = std::get_if<SendRetire>(&action)) {
    base_send(retire->instance, [this, id = retire->instance] { site_die(id); });
  } else if (const auto* kill = std::get_if<Kill>(&action)) {
    // SIGKILL takes until the process leaves the kernel.
    after(ms(0, 60), [this, id = kill->instance] { site_die(id); });
    if (planted("grant_before_death"))
      base_tell(Exited{.instance = kill->instance, .how = "killed"});
  } else if (const auto* note = std::get_if<Note>(&action)) {
    if (note->event == "base.went_back") marks_.went_back += 1;
  } else if (const auto* reply = std::get_if<Reply>(&action)) {
    if (reply->outcome.ok && reply->key.starts_with("switch")) marks_.switches += 1;
    if (reply->outcome.ok && reply->key.starts_with("back")) marks_.planned_back += 1;
  }
}

void HandoverWorld::base_wake(std::uint64_t life) {
  if (life != life_ || !base_) return;
  if (!busy_) base_tell(TimePassed{});
  if (life != life_ || !base_) return;
  after(std::max<Duration>(base_->wake_at() - now_, 10ms), [this, life] { base_wake(life); });
}

// --- The operator: upgrades without end, and asks some things twice ---

void HandoverWorld::ask(const std::string& key, decltype(Request::what) what) {
  if (!base_) return;
  const auto* active = base_->find(Role::active);
  if (active == nullptr || active->instance == 0) return;
  auto* s = site(active->instance);
  if (s == nullptr || !s->alive || s->connection == 0 || s->stopped) return;
  site_say(s->id, Request{.from = s->id, .key = key, .what = std::move(what)});
}

void HandoverWorld::operator_step() {
  if (!faults_) return;
  after(ms(50, 500), [this] { operator_step(); });
  if (!base_) return;
  if (!asked_.empty() && random_.one_in(3)) {
    marks_.repeated_keys += 1;
    const auto [key, what] = asked_[random_.below(asked_.size())];
    return ask(key, what);
  }
  const auto* candidate = base_->find(Role::candidate);
  std::string key;
  decltype(Request::what) what = StatusRequest{};
  const auto number = std::to_string(++plans_);
  if (base_->find(Role::fallback) != nullptr) {
    const bool good = random_.one_in(2);
    key = (good ? "good-" : "back-") + number;
    if (good)
      what = GoodRequest{};
    else
      what = BackRequest{.why = "operator"};
  } else if (candidate == nullptr) {
    const auto digest = "release-" + number;
    kinds_[digest] = random_.one_in(2) ? Release::good : static_cast<Release>(random_.below(5));
    base_tell(ReleaseKnown{{.digest = digest, .version = "1.0.0", .security_floor = {}}});
    if (!base_) return;
    key = "start-" + number;
    what = StartCandidateRequest{.digest = digest};
  } else if (random_.one_in(6)) {
    key = "stop-" + number;
    what = StopCandidateRequest{.why = "operator"};
  } else {
    key = "switch-" + number;
    what = SwitchRequest{.digest = candidate->digest, .silence_ms = 600};
  }
  asked_.emplace_back(key, what);
  ask(key, what);
}

void HandoverWorld::fault() {
  if (!faults_) return;
  after(ms(50, 1200), [this] { fault(); });
  std::vector<InstanceId> alive;
  for (const auto& [id, s] : sites_)
    if (s.alive) alive.push_back(id);
  const auto victim = alive.empty() ? 0 : alive[random_.below(alive.size())];
  switch (random_.below(5)) {
    case 0:
      return base_crash();
    case 1:
      if (victim == 0) return;
      marks_.kills += 1;
      return site_die(victim);
    case 2:
    case 3:
      if (victim == 0) return;
      marks_.stops += 1;
      site(victim)->stopped = true;
      return after(ms(20, 4000), [this, victim] { site_wake(victim); });
    default:
      slow_disk_ = true;
      return after(ms(50, 1000), [this] { slow_disk_ = false; });
  }
}

void HandoverWorld::heal() {
  faults_ = false;
  slow_disk_ = false;
  for (auto& [digest, kind] : kinds_) kind = Release::good;
  for (auto& [id, s] : sites_) {
    s.release = Release::good;
    site_wake(id);
  }
}

std::string HandoverWorld::verdict() {
  for (const auto& write : acknowledged_)
    if (!log_writes_.contains(write)) return "acknowledged write " + write + " is lost";
  if (!base_ || !base_->serving()) return "nobody serves after the faults ended";
  for (const auto& c : clients_)
    if (c.waiting && now_ - c.since > 15s)
      return "client " + std::to_string(c.number) + " waits for its write since " +
             std::to_string((now_ - c.since).count() / 1000) + " ms";
  if (answered_after_heal_ == 0) return "no write was answered after the faults ended";
  return {};
}

}  // namespace everspan::sim
