// PairNode: the process, its links and its roles. Writes and shipping are in pair_node_work.cc.
#include "pair_node.h"

#include <algorithm>

#include "pair_world.h"

namespace everspan::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kBeat = 1s;
constexpr Duration kSilent = 3s;
constexpr Duration kDialEvery = 300ms;
constexpr Duration kOtherDialsFirst = 2s;

}  // namespace

PairNode::PairNode(PairWorld& world, int index, NodeId id)
    : world_(world), index_(index), id_(id), roles_(std::make_unique<Roles>(id, Roles::Timing{})) {}

Instant PairNode::local_now() const {
  const Duration now = world_.now().time_since_epoch();
  return Instant(clock_offset + now + now * clock_drift / 1'000'000);
}

void PairNode::later(Duration delay, Fn fn) {
  world_.after(delay, [this, life = life_, fn = std::move(fn)]() mutable {
    if (life != life_) return;
    if (stopped_) return deferred_.push_back(std::move(fn));
    fn();
  });
}

void PairNode::post(Fn fn) {
  const Instant now = world_.now();
  last_post_ = std::max(last_post_, now + world_.us(0, 200));
  later(last_post_ - now, std::move(fn));
}

// ---- the machine ----

void PairNode::start() {
  ++life_;
  alive_ = true;
  stopped_ = false;
  deferred_.clear();
  roles_ = std::make_unique<Roles>(id_, Roles::Timing{});
  writes_ = HandoverCore();
  ship_ = Ship();
  log_ = std::make_unique<PairLog>(disk, *this);
  role_ = Role::taking;
  actions_.clear();
  performing_ = blocked_ = false;
  tick_at_ = Instant::max();
  pending_.clear();
  write_events_.clear();
  feeding_writes_ = false;
  calls_.clear();
  forward_until_ = Instant::min();
  tail_counts_ = leads_ = follows_ = peer_confirms_ = greeted_ = false;
  alone_ = file.reg.in_sync.size() == 1;
  head_ = disk.head();
  peer_durable_ = {};
  here_.reset();
  link_ = 0;
  ++link_number_;
  without_since_ = local_now();
  if (!holds()) log_->refuse_unconfirmed();
  if (planted("tail_folded")) log_->confirm(head_, {id_});
  if (world_.noting()) world_.note(index_, "begins");
  feed(Roles::Begun{file, head_, local_now()});
  later(world_.us(0, 1'000'000), [this] { beat(); });
  later(world_.us(0, 300'000), [this] { dial(); });
}

void PairNode::die(bool power) {
  if (!alive_) return;
  log_->die(power);
  if (saving_ && one_in(2)) {  // The rename was made.
    file = *saving_;
    world_.saved(index_);
  }
  saving_.reset();
  if (link_ != 0) world_.close_link(link_, index_, !power);
  link_ = 0;
  ++life_;
  alive_ = stopped_ = false;
  deferred_.clear();
  world_.died(index_);
}

void PairNode::wake() {
  if (!alive_ || !stopped_) return;
  stopped_ = false;
  std::vector<Fn> due;
  due.swap(deferred_);
  const std::uint64_t life = life_;
  for (Fn& fn : due) {
    if (life != life_) return;
    if (stopped_)
      deferred_.push_back(std::move(fn));
    else
      fn();
  }
}

void PairNode::lose_disk(NodeId new_id) {
  id_ = new_id;
  file = {};
  disk = {};
}

// ---- links ----

void PairNode::beat() {
  if (link_ != 0) {
    send(wire::Ping{});
    if (local_now() - last_heard_ > kSilent) drop_link();
  }
  const Ship::State state = ship_.state();
  if (state == Ship::State::stopped || state == Ship::State::snapshot ||
      state == Ship::State::catching_up)
    feed_ship(Ship::TryAgain{});
  later(kBeat, [this] { beat(); });
}

void PairNode::dial() {
  if (link_ != 0 || !paired()) {
    without_since_ = local_now();
  } else if (id_ < file.peer || local_now() >= without_since_ + kOtherDialsFirst) {
    world_.dial(index_);
  }
  later(kDialEvery, [this] { dial(); });
}

void PairNode::use_link(std::uint64_t link) {
  if (link_ != 0) drop_link();
  link_ = link;
  ++link_number_;
  last_heard_ = local_now();
  const bool memory = planted("words_before_saved");
  send(wire::Greeting{memory ? roles_->record().reg : file.reg});
}

void PairNode::link_closed(std::uint64_t link) {
  if (stopped_) return deferred_.push_back([this, link] { link_closed(link); });
  if (link_ == link) drop_link();
}

void PairNode::drop_link() {
  if (world_.noting()) world_.note(index_, "drops its link");
  world_.close_link(link_, index_, true);
  link_ = 0;
  ++link_number_;
  greeted_ = false;
  here_.reset();
  calls_.clear();
  feed_writes(HandoverCore::PeerLost{});
  feed_ship(Ship::Disconnected{});
  feed(Roles::LinkDown{local_now()});
}

void PairNode::send(wire::Message message) {
  if (link_ != 0) world_.send(link_, index_, std::move(message));
}

void PairNode::deliver(std::uint64_t link, wire::Message message) {
  if (!alive_) return;
  if (stopped_) {
    deferred_.push_back([this, link, message] { deliver(link, message); });
    return;
  }
  if (link != link_) return;
  last_heard_ = local_now();
  heard(message);
}

void PairNode::heard(wire::Message& message) {
  if (const auto* greeting = std::get_if<wire::Greeting>(&message)) {
    greeted_ = true;
    if (world_.noting()) world_.note(index_, "is linked");
    feed_writes(HandoverCore::PeerConnected{});
    feed(Roles::LinkUp{greeting->reg, local_now()});
    if (planted("grown_before_catch_up")) feed(Roles::PeerHas{head_.revision, local_now()});
    return tell_where();
  }
  if (!greeted_) return drop_link();
  if (auto* said = std::get_if<wire::Word>(&message)) {
    if (auto* asks = std::get_if<Roles::PeerAsks>(&said->event)) asks->now = local_now();
    if (auto* broken = std::get_if<Roles::Broken>(&said->event)) {
      broken->now = local_now();
      broken->lineage = world_.new_lineage();
    }
    return feed(said->event);
  }
  if (const auto* write = std::get_if<wire::Write>(&message))
    return submit_for(write->id, {.attempt = 0, .call = write->call, .link = link_number_});
  if (auto* reply = std::get_if<wire::WriteReply>(&message)) {
    const auto call = calls_.find(reply->call);
    if (call == calls_.end()) return;
    const WriteId id = call->second;
    calls_.erase(call);
    if (const auto found = pending_.find(id); found != pending_.end())
      found->second.result = std::move(reply->outcome);
    return feed_writes(HandoverCore::PeerAnswered{id, WriteOutcome::done});
  }
  follow(message);
}

// ---- roles ----

void PairNode::feed(const Roles::Event& event) {
  for (Roles::Action& action : roles_->handle(event))
    actions_.push_back({std::move(action), link_number_});
  schedule_tick();
  if (performing_ || blocked_ || actions_.empty()) return;
  performing_ = true;
  later(world_.us(0, 100), [this] {
    performing_ = false;
    perform();
  });
}

void PairNode::schedule_tick() {
  const Instant wake = roles_->wake_at();
  if (wake >= tick_at_) return;
  tick_at_ = wake;
  const Duration left = std::max(wake - local_now(), Duration{});
  later(left + 1ms, [this, number = ++tick_] {
    if (number != tick_) return;
    tick_at_ = Instant::max();
    if (local_now() >= roles_->wake_at()) return feed(Roles::Tick{local_now()});
    schedule_tick();
  });
}

// One after the other: what stands behind a Save waits until that is on the disk.
void PairNode::perform() {
  while (!blocked_ && !actions_.empty()) {
    const Queued queued = std::move(actions_.front());
    actions_.pop_front();
    if (const auto* saving = std::get_if<Roles::Save>(&queued.action)) {
      save(*saving);
    } else if (const auto* begin = std::get_if<Roles::BeginLineage>(&queued.action)) {
      if (disk.lineage == begin->lineage) {
        world_.lineage_begun(
            index_);  // Perhaps by the process before, which did not live to say so.
        continue;
      }
      blocked_ = true;
      log_->begin_lineage(begin->lineage, begin->epoch, [this](const Result<store::LogHead>& done) {
        if (!done) world_.broke("a lineage that cannot begin: " + done.error().code);
        post([this] {
          world_.lineage_begun(index_);
          blocked_ = false;
          perform();
        });
      });
    } else {
      perform_now(queued.action, queued.link);
    }
  }
}

void PairNode::save(const Roles::Save& action) {
  const bool shrinks = action.record.reg.in_sync.size() < file.reg.in_sync.size();
  if (planted("shrink_not_saved_first") && shrinks && action.record.reg.holder == id_) {
    alone_ = true;
    log_->confirm(head_, {id_});
  }
  saving_ = action.record;
  const auto stored = [this, record = action.record] {
    saving_.reset();
    file = record;
    world_.saved(index_);
  };
  if (planted("register_not_fsynced") || planted("words_before_saved")) {
    const bool tells = planted("register_not_fsynced");
    later(fsync_takes(), [this, stored, tells, number = action.number] {
      stored();
      if (!tells) feed(Roles::Saved{number});
    });
    if (tells) feed(Roles::Saved{action.number});
    return;
  }
  blocked_ = true;
  later(fsync_takes(), [this, stored, number = action.number] {
    stored();
    blocked_ = false;
    feed(Roles::Saved{number});
    if (!performing_) perform();
  });
}

void PairNode::perform_now(const Roles::Action& action, std::uint64_t link) {
  if (const auto* grant = std::get_if<Roles::Grant>(&action)) {
    tail_counts_ = grant->tail_counts;
    feed_writes(HandoverCore::Granted{grant->epoch.value, grant->head_needed.value});
    feed_writes(HandoverCore::HaveHead{head_.revision.value});
  } else if (const auto* release = std::get_if<Roles::AskRelease>(&action)) {
    if (planted("released_before_quiet")) feed(Roles::Quiet{release->epoch, head_});
    feed_writes(HandoverCore::AskRelease{release->epoch.value});
  } else if (std::holds_alternative<Roles::AbortRelease>(action)) {
    feed_writes(HandoverCore::AbortRelease{});
  } else if (const auto* confirmers = std::get_if<Roles::SetConfirmers>(&action)) {
    set_confirmers(*confirmers);
  } else if (const auto* there = std::get_if<Roles::PeerServes>(&action)) {
    feed_writes(HandoverCore::PeerServes{there->epoch.value});
  } else if (const auto* changed = std::get_if<Roles::RoleChanged>(&action)) {
    change_role(*changed);
  } else if (const auto* ship = std::get_if<Roles::Ship>(&action)) {
    leads_ = ship->leader;
    follows_ = ship->follower;
    if (!leads_) feed_ship(Ship::Disconnected{});
    ship_with_peer();
    tell_where();
  } else if (const auto* answer = std::get_if<Roles::Answer>(&action)) {
    world_.answered(index_, answer->token, answer->refused);
  } else if (link == link_number_) {
    say(action);
  }
}

// What is for the other node; over the link that it is about, or not at all.
void PairNode::say(const Roles::Action& action) {
  if (const auto* ask = std::get_if<Roles::SendAsk>(&action)) {
    say_word(Roles::PeerAsks{ask->token, {}});
  } else if (const auto* reply = std::get_if<Roles::SendAskReply>(&action)) {
    say_word(Roles::PeerAsksAnswered{reply->token, reply->refused});
  } else if (const auto* prepare = std::get_if<Roles::SendPrepare>(&action)) {
    say_word(Roles::PeerPrepare{prepare->what});
    if (planted("commit_point_before_prepared")) feed(Roles::PeerPrepared{prepare->what.epoch});
  } else if (const auto* prepared = std::get_if<Roles::SendPrepared>(&action)) {
    say_word(Roles::PeerPrepared{prepared->epoch});
  } else if (const auto* refused = std::get_if<Roles::SendRefused>(&action)) {
    say_word(Roles::PeerRefused{refused->epoch, refused->code, refused->message});
  } else if (const auto* abort = std::get_if<Roles::SendAbort>(&action)) {
    say_word(Roles::PeerAbort{abort->epoch});
  } else if (const auto* told = std::get_if<Roles::SendRegister>(&action)) {
    say_word(Roles::PeerRegister{told->reg});
  } else if (std::holds_alternative<Roles::SendBroken>(action)) {
    say_word(Roles::Broken{});
    drop_link();
  }
}

void PairNode::set_confirmers(const Roles::SetConfirmers& action) {
  peer_confirms_ =
      std::ranges::any_of(action.in_sync, [this](const NodeId& node) { return node != id_; });
  alone_ = !peer_confirms_ || planted("acknowledged_before_the_backup");
  confirm_what_both_have();
  post([this, number = action.number] { feed(Roles::ConfirmersSet{number}); });
}

void PairNode::change_role(const Roles::RoleChanged& action) {
  role_ = action.role;
  world_.role_changed(index_, role_);
  if (role_ == Role::backup) log_->refuse_unconfirmed();
  if (role_ != Role::in_doubt || !planted("prepared_serves")) return;
  later(2s, [this] {
    if (role_ != Role::in_doubt || !file.prepared) return;
    file.reg.epoch = file.prepared->epoch;
    file.reg.holder = id_;
    file.prepared.reset();
    world_.saved(index_);
    die(false);
    start();
  });
}

// ---- people ----

void PairNode::ask(std::uint64_t token, bool become_primary) {
  feed(Roles::Ask{token, become_primary, local_now()});
}
void PairNode::force(std::uint64_t token, bool become_primary, LineageId lineage) {
  feed(Roles::AskForce{token, become_primary, lineage, disk.epoch, local_now()});
}
void PairNode::establish(std::uint64_t token, NodeId peer, Register reg, bool yields) {
  // A link from before is one of no relationship, which the roles took no notice of.
  if (link_ != 0) drop_link();
  feed(Roles::Established{token, peer, std::move(reg), yields, head_, local_now()});
}
void PairNode::break_up(std::uint64_t token, LineageId lineage) {
  feed(Roles::Broken{token, lineage, local_now()});
}

bool PairNode::in_step() const {
  return alive_ && leads_ &&
         (ship_.state() == Ship::State::live || ship_.state() == Ship::State::catching_up);
}

}  // namespace everspan::sim
