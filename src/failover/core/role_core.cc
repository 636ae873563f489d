// RoleCore: the register, the other's register, and who must have an entry. Hand-overs are in
// role_handover.cc, what people decide in role_person.cc.
#include "failover/core/role_core.h"

#include <algorithm>
#include <utility>

#include "failover/core/detail/role_relation.h"

namespace everspan::failover {
namespace {

using detail::has;
using detail::Relation;
using detail::sorted;

// A backup that lacks no more than these is waited for, so that it can be in sync under load.
constexpr std::size_t kNearBatches = 4;

}  // namespace

RoleCore::RoleCore(NodeId self, Timing timing) : self_(self), timing_(timing) {}

std::vector<RoleCore::Action> RoleCore::handle(const Event& event) {
  std::visit([this](const auto& e) { on(e); }, event);
  return std::exchange(actions_, {});
}

Instant RoleCore::wake_at() const {
  const bool holds_off = linked_ && holds() && !peer_in_sync() && grow_not_before_ > now_;
  return std::min({shrink_at_, give_up_at_, holds_off ? grow_not_before_ : Instant::max()});
}

bool RoleCore::peer_in_sync() const {
  return paired() && has(record_.reg.in_sync, record_.peer);
}

Role RoleCore::derived() const {
  if (release_) return Role::releasing;
  if (!paired()) return holds() ? Role::alone : Role::backup;
  if (diverged()) return Role::diverged;
  if (holds() && !record_.reg.rests) return serves_ ? Role::primary : Role::taking;
  if (!holds() && record_.prepared && !linked_) return Role::in_doubt;
  return Role::backup;
}

void RoleCore::settle(const std::string& why) {
  const Role role = derived();
  if (role != role_ || !told_) act(RoleChanged{role, why});
  role_ = role;
  const bool both = paired() && !diverged();
  const bool leads = holds() || release_;  // What it releases stays its own until that is durable.
  const Ship ship{both && leads, both && !leads};
  if (ship != ship_ || !told_) act(ship);
  ship_ = ship;
  told_ = true;
}

// Later actions wait for it (the shell keeps their order); what depends on it being durable comes
// with Saved.
RoleCore::Pending& RoleCore::save(Then then) {
  Pending pending;
  pending.number = ++saves_;
  pending.record = record_;
  pending.then = then;
  pending.link = link_;
  pending_.push_back(std::move(pending));
  act(Save{record_, saves_});
  return pending_.back();
}

void RoleCore::on(const Saved& event) {
  while (!pending_.empty() && pending_.front().number <= event.number) {
    const Pending done = std::move(pending_.front());
    pending_.pop_front();
    const bool changed = durable_.reg != done.record.reg;
    durable_ = done.record;
    set_confirmers(false);  // R3
    const bool ours = durable_.reg.holder == self_ || done.then == Then::adopted;
    if (linked_ && changed && ours) act(SendRegister{Word::changed, durable_.reg});
    saved(done);
    if (done.tell_broken) act(SendBroken{});
    if (done.token != 0) act(Answer{done.token, std::nullopt});
  }
  consider_growing();
}

void RoleCore::saved(const Pending& done) {
  switch (done.then) {
    case Then::nothing:
    case Then::adopted:
      // It rests now: the one that serves another history is followed (R9).
      if (linked_ && registers_differ_ && record_.reg.rests) meet(false);
      return;
    case Then::prepared:
      if (linked_ && link_ == done.link && record_.prepared == done.record.prepared)
        act(SendPrepared{record_.prepared->epoch});
      return;
    case Then::released:  // R5: the commit point has passed.
      if (linked_) act(SendRegister{Word::released, done.record.reg});
      give_up_at_ = Instant::max();
      answer_release(std::nullopt);
      release_.reset();
      settle("released to the other node");
      act(MoveEnds{});
      return tell_who_serves();
    case Then::taken:
      // Told to rest before it was granted: nothing runs that would have to end first.
      if (holds() && record_.reg.rests) quiet_ = true;
      if (!holds() || record_.reg.rests || done.record.reg.epoch != record_.reg.epoch) return;
      set_confirmers(true);
      act(BeginLineage{durable_.reg.lineage, durable_.reg.epoch});
      return act(done.grant);
  }
}

// ---- the process begins, links come and go ----

void RoleCore::on(const Begun& event) {
  record_ = durable_ = event.record;
  head_ = event.head;
  now_ = event.now;
  if (!holds()) {
    if (!paired()) return settle("it has no site, or its failover relationship was broken");
    return settle(record_.prepared ? "it had prepared to take over when it stopped"
                                   : "the register says so");
  }
  if (record_.reg.rests) return settle("a person made it rest");
  settle(paired() ? "the register names this node" : "no failover relationship");
  quiet_ = false;
  set_confirmers(true);
  watch(false);
  act(BeginLineage{record_.reg.lineage, record_.reg.epoch});
  act(Grant{.epoch = record_.reg.epoch, .head_needed = {}, .tail_counts = false});
}

void RoleCore::on(const LinkUp& event) {
  if (!paired()) return;
  now_ = event.now;
  if (linked_) link_lost();
  linked_ = true;
  link_ += 1;
  theirs_ = event.reg;
  peer_has_ = {};
  peer_log_ = {};
  histories_differ_ = false;
  grow_not_before_ = Instant::min();
  watch(false);
  meet(true);
}

void RoleCore::on(const LinkDown& event) {
  now_ = event.now;
  if (linked_) link_lost();
}

void RoleCore::link_lost() {
  linked_ = false;
  stop_growing();
  abort({"unreachable", "The other node was lost before it took over", "This node goes on",
         "Try again when it is back"});
  if (asked_peer_ != 0 && !holds())
    act(Answer{std::exchange(asked_peer_, 0),
               record_.prepared ? detail::in_doubt() : detail::lost_while_asking()});
  watch(false);
  settle("the primary was lost after this node had prepared to take over");
}

void RoleCore::on(const PeerRegister& event) {
  if (!paired() || !linked_) return;
  theirs_ = event.reg;
  meet(false);
}

// What the other's file says. A greeting is also the word that an earlier Prepare is void: it was
// sent by a process that is not preparing on this link.
void RoleCore::meet(bool greeting) {
  const Relation relation = detail::relate(self_, record_.reg, theirs_);
  registers_differ_ = relation == Relation::differ;
  switch (relation) {
    case Relation::agree: {
      if (holds()) break;
      RoleRecord news = record_;
      news.reg = theirs_;
      if (greeting) news.prepared.reset();
      if (has(theirs_.in_sync, self_)) news.yields = false;
      if (news == record_) break;
      record_ = std::move(news);
      save(Then::nothing);
      break;
    }
    case Relation::ahead:
      act(SendRegister{Word::changed, record_.reg});
      break;
    case Relation::wait:
      break;
    case Relation::takes: {
      const bool prepared = record_.prepared && record_.prepared->epoch == theirs_.epoch;
      const Revision needed = prepared ? record_.prepared->head.revision : Revision{};
      record_.reg = theirs_;
      return take(theirs_.epoch, true, needed, "the primary released");
    }
    case Relation::follow:
      return follow(Then::nothing, "the primary serves a later turn");
    case Relation::adopt:
      return follow(Then::adopted, "the other node serves a history that a person began");
    case Relation::differ:
      stop_growing();
      abort(detail::histories_differ());
      return settle("the two nodes have different histories");
  }
  settle("the two nodes agree");
  tell_who_serves();
  consider_later_turn();
}

void RoleCore::follow(Then then, const std::string& why) {
  stop_serving();
  record_.reg = theirs_;
  record_.prepared.reset();
  if (has(theirs_.in_sync, self_)) record_.yields = false;
  save(then);
  settle(why);
  tell_who_serves();
}

void RoleCore::tell_who_serves() {
  if (linked_ && paired() && !diverged() && !holds() && !release_ && !record_.reg.rests)
    act(PeerServes{record_.reg.epoch});
}

void RoleCore::on(const HistoriesDiffer&) {
  if (!paired() || !holds()) return;
  histories_differ_ = true;
  stop_growing();
  abort(detail::histories_differ());
  settle("the other node has committed what this one lacks");
}

// ---- who must have an entry ----

void RoleCore::on(const Appended& event) {
  now_ = event.now;
  head_ = event.head;
  recent_.push_back(head_.revision);
  if (recent_.size() > kNearBatches) recent_.pop_front();
  watch(false);
}

void RoleCore::on(const TakenBack& event) {
  head_ = event.head;
  recent_.clear();
  peer_has_ = std::min(peer_has_, head_.revision);
  watch(false);
}

void RoleCore::on(const PeerHas& event) {
  now_ = event.now;
  const bool progress = event.revision > peer_has_;
  peer_has_ = std::max(peer_has_, event.revision);
  watch(progress);
  consider_growing();
  consider_prepare();
}

// R3: the strictest of what is durable, what is on its way to the disk, and what is being grown to.
void RoleCore::set_confirmers(bool anyway) {
  if (durable_.reg.holder != self_) return;
  std::vector<NodeId> wanted = durable_.reg.in_sync;
  const auto add = [&wanted](const std::vector<NodeId>& nodes) {
    wanted.insert(wanted.end(), nodes.begin(), nodes.end());
  };
  for (const Pending& one : pending_)
    if (one.record.reg.holder == self_) add(one.record.reg.in_sync);
  if (growing_ != Growing::no) add({record_.peer});
  wanted = sorted(std::move(wanted));
  if (wanted == confirmers_ && !anyway) return;
  confirmers_ = wanted;
  act(SetConfirmers{std::move(wanted), ++confirmers_number_});
}

// R4: the writer waits for both, then all that it appended alone is there, then the register.
void RoleCore::consider_growing() {
  const bool leads = holds() && durable_.reg.holder == self_ && !release_ && !diverged();
  if (!paired() || !linked_ || !leads || peer_in_sync() || now_ < grow_not_before_) return;
  if (!serves_ && !record_.reg.rests) return;
  const Revision near = recent_.empty() ? head_.revision : recent_.front();
  if (growing_ == Growing::no && peer_has_ >= near) {
    growing_ = Growing::asked;
    set_confirmers(true);
    growing_number_ = confirmers_number_;
    watch(true);
  } else if (growing_ == Growing::waiting && peer_has_ >= head_.revision) {
    growing_ = Growing::no;
    record_.reg.in_sync = sorted({self_, record_.peer});
    save(Then::nothing);
    watch(false);
  }
}

void RoleCore::on(const ConfirmersSet& event) {
  if (growing_ == Growing::asked && event.number >= growing_number_) growing_ = Growing::waiting;
  consider_growing();
}

void RoleCore::stop_growing() {
  if (growing_ == Growing::no) return;
  growing_ = Growing::no;
  set_confirmers(false);
}

void RoleCore::watch(bool progress) {
  const bool waits = holds() && !record_.reg.rests && (peer_in_sync() || growing_ != Growing::no);
  if (!waits || (linked_ && peer_has_ >= head_.revision)) {
    shrink_at_ = Instant::max();
  } else if (progress || shrink_at_ == Instant::max()) {
    shrink_at_ = now_ + timing_.shrink_after;
  }
}

void RoleCore::on(const Tick& event) {
  now_ = event.now;
  if (now_ >= shrink_at_) {
    shrink_at_ = Instant::max();
    go_alone();
  }
  if (now_ >= give_up_at_) {
    give_up_at_ = Instant::max();
    abort({"timeout", "The other node did not get ready in time", "This node goes on",
           "See `failover status`"});
  }
  consider_growing();
}

void RoleCore::go_alone() {
  if (linked_) grow_not_before_ = now_ + timing_.grow_again_after;
  abort({"timeout", "The other node stores nothing more", "This node goes on",
         "See `failover status` there"});
  stop_growing();
  if (!holds() || !peer_in_sync()) return;
  record_.reg.in_sync = {self_};
  save(Then::nothing);  // R3: it counts alone once that is durable.
}

}  // namespace everspan::failover
