// PairNode: the epoch's write path, and both halves of log shipping.
#include <algorithm>

#include "pair_node.h"
#include "pair_world.h"

namespace everspan::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAnswerWithin = 10s;
constexpr Duration kForwardFor = 60s;

}  // namespace

// ---- writes ----

void PairNode::submit(const WriteId& id, std::uint64_t attempt) {
  if (!alive_) return world_.client_answer(index_, attempt, fail("unreachable", "unreachable"));
  if (stopped_) return deferred_.push_back([this, id, attempt] { submit(id, attempt); });
  submit_for(id, {.attempt = attempt, .call = 0, .link = 0});
}

void PairNode::submit_for(const WriteId& id, Asker asker) {
  const bool passing =
      role_ == Role::releasing || role_ == Role::taking || local_now() < forward_until_;
  const bool elsewhere =
      role_ == Role::backup || role_ == Role::in_doubt || (role_ == Role::diverged && !serves());
  if (elsewhere && !passing) return answer_asker(asker, fail("not_primary", "not_primary"));
  if (const auto found = pending_.find(id); found != pending_.end()) {
    found->second.askers.push_back(asker);
    return;
  }
  Pending& pending = pending_[id];
  pending.askers.push_back(asker);
  pending.number = ++pendings_;
  later(kAnswerWithin, [this, id, number = pending.number] {
    const auto found = pending_.find(id);
    if (found != pending_.end() && found->second.number == number)
      feed_writes(HandoverCore::GiveUp{id});
  });
  feed_writes(HandoverCore::Write{id, false});
}

// Events that actions raise wait for their turn: the core's actions keep their order.
void PairNode::feed_writes(const HandoverCore::Event& event) {
  write_events_.push_back(event);
  if (feeding_writes_) return;
  feeding_writes_ = true;
  while (!write_events_.empty()) {
    const HandoverCore::Event next = std::move(write_events_.front());
    write_events_.pop_front();
    for (const HandoverCore::Action& action : writes_.handle(next)) perform_write(action);
  }
  feeding_writes_ = false;
}

void PairNode::perform_write(const HandoverCore::Action& action) {
  if (const auto* raising = std::get_if<HandoverCore::RaiseLog>(&action)) {
    raise(raising->turn);
  } else if (const auto* serving = std::get_if<HandoverCore::TellServing>(&action)) {
    feed(Roles::Raised{Epoch{serving->turn}});
  } else if (const auto* failed = std::get_if<HandoverCore::TellNotServing>(&action)) {
    feed(Roles::RaiseFailed{Epoch{failed->turn}, failed->why});
  } else if (const auto* released = std::get_if<HandoverCore::TellReleased>(&action)) {
    post([this, turn = released->turn] {
      forward_until_ = local_now() + kForwardFor;
      feed(Roles::Quiet{Epoch{turn}, disk.head()});
    });
  } else if (const auto* run = std::get_if<HandoverCore::RunWrite>(&action)) {
    run_write(run->id);
  } else if (const auto* forwarding = std::get_if<HandoverCore::ForwardWrite>(&action)) {
    forward(forwarding->id);
  } else if (const auto* answering = std::get_if<HandoverCore::Answer>(&action)) {
    answer(*answering);
  }
}

void PairNode::raise(std::uint64_t turn) {
  const std::vector<NodeId> stores = file.reg.in_sync;
  log_->raise_epoch(Epoch{turn}, [this, turn, stores](const Result<store::LogHead>& raised) {
    post([this, turn, stores, raised] {
      if (!raised) return feed_writes(HandoverCore::RaiseFailed{turn, raised.error().code});
      // Given away while the log raised it: a log that follows must not lead again.
      if (file.reg.holder != id_ || file.reg.rests || file.reg.epoch != Epoch{turn})
        return feed_writes(HandoverCore::RaiseFailed{turn, "superseded"});
      log_->accept_again();
      if (std::exchange(tail_counts_, false))
        log_->confirm(disk.head(), stores);
      else
        confirm_what_both_have();
      feed_writes(HandoverCore::Raised{turn});
      world_.raised(index_);
    });
  });
}

void PairNode::run_write(const WriteId& id) {
  log_->submit(id, [this, id](Result<SimOutcome> result) {
    post([this, id, result = std::move(result)] {
      if (const auto found = pending_.find(id); found != pending_.end())
        found->second.result = result;
      feed_writes(HandoverCore::WriteDone{id, WriteOutcome::done});
    });
  });
}

void PairNode::forward(const WriteId& id) {
  if (link_ == 0) return;  // PeerLost puts it back.
  world_.marks().forwarded += 1;
  const std::uint64_t call = ++next_call_;
  calls_[call] = id;
  send(wire::Write{call, id});
  later(kAnswerWithin, [this, call] {
    const auto found = calls_.find(call);
    if (found == calls_.end()) return;
    const WriteId id = found->second;
    calls_.erase(found);
    feed_writes(HandoverCore::PeerAnswered{id, WriteOutcome::unknown});
  });
}

void PairNode::answer(const HandoverCore::Answer& action) {
  const auto found = pending_.find(action.id);
  if (found == pending_.end()) return;
  const Pending pending = std::move(found->second);
  pending_.erase(found);
  Result<SimOutcome> result = fail("unknown", "unknown");
  if (action.outcome == WriteOutcome::done && pending.result) result = *pending.result;
  if (action.outcome == WriteOutcome::not_run || action.outcome == WriteOutcome::unavailable)
    result = fail("unavailable", "unavailable");
  for (const Asker& asker : pending.askers) answer_asker(asker, result);
}

void PairNode::answer_asker(const Asker& asker, const Result<SimOutcome>& result) {
  if (asker.attempt != 0) return world_.client_answer(index_, asker.attempt, result);
  if (asker.link == link_number_) send(wire::WriteReply{asker.call, result});
}

// ---- what the log's writer tells ----

void PairNode::appended(const PairLog::Batch& batch) {
  if (world_.noting())
    world_.note(index_, "appends " + std::to_string(batch.heads.back().revision.value));
  post([this, batch] {
    head_ = batch.heads.back();
    feed(Roles::Appended{head_, local_now()});
    feed_ship(Ship::Appended{batch.before, batch.heads, batch.entries});
    // Alone since the batch began: it was not in what was confirmed then.
    if (alone_) log_->confirm(batch.heads.back(), {id_});
  });
  if (alone_) log_->confirm(batch.heads.back(), {id_});
}

void PairNode::taken_back(const store::LogHead& head) {
  world_.marks().taken_back += 1;
  post([this, head] {
    if (planted("taken_back_counts")) {
      head_ = head;
      return;
    }
    back_to(head);
  });
}

void PairNode::back_to(const store::LogHead& head) {
  head_ = head;
  if (peer_durable_.revision > head.revision) peer_durable_ = head;
  feed(Roles::TakenBack{head});
  feed_ship(Ship::TakenBack{head});
}

// What the other's word asked for may end when this node leads already: its own log is what it is.
void PairNode::stored_as_follower(const store::LogHead& head) {
  const bool back = head.revision < head_.revision;
  if (back) return back_to(head);
  head_ = head;
  feed(Roles::Appended{head_, local_now()});
}

void PairNode::committed(const store::LogHead& head, const std::vector<NodeId>& stores) {
  post([this, head, stores] { feed_ship(Ship::Committed{head, stores}); });
}

void PairNode::folded(const store::LogHead& head, const std::vector<NodeId>& stores) {
  (void)stores;
  world_.folded(index_, head, !log_->following());
}
void PairNode::torn(bool kept) {
  (kept ? world_.marks().torn_kept : world_.marks().torn_lost) += 1;
}

Duration PairNode::fsync_takes() {
  return world_.fsync_takes(index_);
}
bool PairNode::disk_full() {
  return world_.disk_full(index_);
}
bool PairNode::one_in(std::uint64_t n) {
  return world_.random().one_in(n);
}
bool PairNode::planted(const char* name) const {
  return world_.planted(name);
}
std::uint32_t PairNode::new_entry(SimEntry entry) {
  return world_.new_entry(std::move(entry), index_);
}
const SimEntry& PairNode::entry(std::uint32_t number) const {
  return world_.entry(number);
}

// ---- shipping: leader ----

void PairNode::feed_ship(const Ship::Event& event) {
  const Ship::State before = ship_.state();
  for (Ship::Action& action : ship_.handle(event)) perform_ship(action);
  if (world_.noting() && ship_.state() != before)
    world_.note(index_, "ships: " + std::string(sync::word(ship_.state())) + " " + ship_.why());
}

void PairNode::ship_with_peer() {
  if (!leads_ || link_ == 0 || !here_) return;
  Ship::Connected event;
  event.link = link_number_;
  event.own_lineage = disk.lineage;
  event.own_base = disk.heads[disk.base];
  event.own_head = head_;
  event.own_committed = disk.heads[disk.committed];
  event.stores = {id_};
  event.lineage = here_->lineage;
  event.base = here_->base;
  event.head = here_->head;
  event.committed = here_->committed;
  event.yields = here_->yields;
  peer_durable_ = {};
  feed_ship(event);
}

void PairNode::perform_ship(Ship::Action& action) {
  if (const auto* own = std::get_if<Ship::AskOwnHash>(&action)) {
    feed_ship(Ship::OwnHash{own->revision, log_->hash_at(own->revision)});
  } else if (const auto* asking = std::get_if<Ship::AskPeerHash>(&action)) {
    send(wire::AskHash{asking->revision});
  } else if (const auto* loading = std::get_if<Ship::Load>(&action)) {
    load(*loading);
  } else if (auto* sending = std::get_if<Ship::SendEntries>(&action)) {
    send(wire::Entries{file.reg.epoch, file.reg.lineage, sending->before,
                       std::move(sending->entries)});
  } else if (const auto* cutting = std::get_if<Ship::SendCut>(&action)) {
    world_.marks().cuts += 1;
    send(wire::Cut{cutting->common});
  } else if (const auto* committing = std::get_if<Ship::SendCommitted>(&action)) {
    send(wire::Committed{committing->head, committing->stores});
  } else if (const auto* copying = std::get_if<Ship::SendSnapshot>(&action)) {
    world_.marks().snapshots += 1;
    send(wire::Snapshot{std::make_shared<LogDisk>(disk), copying->replaces});
  } else if (const auto* durable = std::get_if<Ship::Durable>(&action)) {
    peer_durable_ = durable->head;
    if (world_.noting())
      world_.note(index_, "hears " + std::to_string(peer_durable_.revision.value));
    feed(Roles::PeerHas{peer_durable_.revision, local_now()});
    confirm_what_both_have();
  } else if (std::holds_alternative<Ship::Diverged>(action)) {
    world_.marks().ship_diverged += 1;
    feed(Roles::HistoriesDiffer{});
  }
}

void PairNode::load(const Ship::Load& action) {
  later(world_.us(50, 2000), [this, action, link = link_number_] {
    if (link != link_number_) return;
    Ship::Loaded event;
    event.before.revision = action.after;
    event.stores = {id_};
    const std::uint64_t after = action.after.value;
    if (after < disk.base) {
      event.compacted = true;
      return feed_ship(event);
    }
    if (after > disk.last()) return feed_ship(event);
    event.before = disk.heads[after];
    const std::uint64_t most = std::min<std::uint64_t>(action.entries_max, world_.load_most());
    for (std::uint64_t r = after + 1; r <= disk.last() && event.heads.size() < most; ++r) {
      event.heads.push_back(disk.heads[r]);
      event.entries.push_back(encode_number(disk.numbers[r]));
    }
    const std::uint64_t sent = after + event.heads.size();
    event.foldable = disk.heads[std::min(sent, disk.committed)];
    feed_ship(event);
  });
}

void PairNode::confirm_what_both_have() {
  if (!holds()) return;
  if (!peer_confirms_) return log_->confirm(head_, {id_});
  if (peer_durable_.revision.value == 0) return;
  std::vector<NodeId> both{id_, file.peer};
  std::ranges::sort(both);
  log_->confirm(peer_durable_, std::move(both));
}

// ---- shipping: follower, and what it answers ----

void PairNode::tell_where() {
  if (!follows_ || link_ == 0 || !greeted_) return;
  wire::Here here;
  here.lineage = disk.last() == disk.base ? disk.lineage : entry(disk.numbers.back()).lineage;
  if (disk.last() == 0) here.lineage = {};
  here.epoch = disk.epoch;
  here.base = disk.heads[disk.base];
  here.head = disk.head();
  here.committed = Revision{disk.committed};
  here.yields = file.yields;
  send(here);
}

PairLog::Advanced PairNode::answer_leader() {
  return [this, link = link_number_](const Result<store::LogHead>& head) {
    post([this, link, head] {
      if (world_.noting())
        world_.note(index_, head ? "stored " + std::to_string(head->revision.value)
                                 : "refused what was shipped: " + head.error().code);
      if (head) stored_as_follower(*head);
      if (link != link_number_) return;
      if (head)
        send(wire::Ack{*head});
      else
        send(wire::Refused{head.error().code, disk.head()});
    });
  };
}

void PairNode::follow(wire::Message& message) {
  if (const auto* here = std::get_if<wire::Here>(&message)) {
    here_ = *here;
    feed(Roles::PeerLog{here->epoch});
    return ship_with_peer();
  }
  if (const auto* ack = std::get_if<wire::Ack>(&message)) {
    if (leads_) feed_ship(Ship::Acked{link_number_, ack->head});
    return;
  }
  if (const auto* refused = std::get_if<wire::Refused>(&message)) {
    if (leads_) feed_ship(Ship::Refused{link_number_, refused->code, "", refused->head});
    return;
  }
  if (const auto* hash = std::get_if<wire::Hash>(&message)) {
    if (leads_) feed_ship(Ship::PeerHash{link_number_, hash->revision, hash->hash});
    return;
  }
  if (const auto* done = std::get_if<wire::SnapshotDone>(&message)) {
    if (!leads_) return;
    if (done->head) return feed_ship(Ship::SnapshotTaken{link_number_, *done->head});
    return feed_ship(Ship::SnapshotFailed{link_number_, "refused"});
  }
  if (const auto* ask = std::get_if<wire::AskHash>(&message))
    return send(wire::Hash{ask->revision, log_->hash_at(ask->revision)});
  if (std::holds_alternative<wire::Ping>(message)) return;
  if (!follows_) return send(wire::Refused{"not_following", disk.head()});
  if (auto* entries = std::get_if<wire::Entries>(&message)) {
    if (entries->lineage != file.reg.lineage)
      return send(wire::Refused{"other_lineage", disk.head()});
    log_->append_shipped(entries->epoch, entries->lineage, entries->before,
                         std::move(entries->entries), answer_leader());
  } else if (const auto* committed = std::get_if<wire::Committed>(&message)) {
    log_->fold_shipped(committed->head, committed->stores);
  } else if (const auto* cut = std::get_if<wire::Cut>(&message)) {
    log_->cut_to(cut->common, answer_leader());
  } else if (const auto* snapshot = std::get_if<wire::Snapshot>(&message)) {
    if (snapshot->replaces && !file.yields) return send(wire::SnapshotDone{});
    const auto done = [this, link = link_number_](const Result<store::LogHead>& head) {
      post([this, link, head] {
        if (head) {
          head_ = *head;
          world_.replaced(index_);
          feed(Roles::Appended{head_, local_now()});
        }
        if (link == link_number_)
          send(wire::SnapshotDone{head ? std::optional(*head) : std::nullopt});
      });
    };
    log_->install(snapshot->log, snapshot->replaces, done);
  }
}

}  // namespace everspan::sim
