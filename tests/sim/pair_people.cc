// PairWorld: clients, people, faults, and the mending after them.
#include <algorithm>

#include "pair_world.h"

namespace everspan::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kClientWaits = 12s;
constexpr Duration kMendEvery = 700ms;
constexpr int kStuckMends = 40;        // Longer than any fault lasts.
constexpr Duration kCalmFor = 1500ms;  // Settled that long, with writes: it is over.

}  // namespace

// ---- clients ----

std::string PairWorld::write_of(const Client& client) const {
  return std::to_string(client.number) + "/" + std::to_string(client.write);
}

void PairWorld::client_next(int number) {
  Client& client = clients_[static_cast<std::size_t>(number)];
  client.write += 1;
  client.waiting = true;
  client.since = now_;
  client_try(number, {});
}

void PairWorld::client_try(int number, Duration delay) {
  Client& client = clients_[static_cast<std::size_t>(number)];
  client.attempt = ++attempts_;
  after(delay, [this, number, attempt = client.attempt] {
    Client& client = clients_[static_cast<std::size_t>(number)];
    if (client.attempt != attempt) return;
    after(kClientWaits, [this, number, attempt] {
      Client& late = clients_[static_cast<std::size_t>(number)];
      if (late.attempt != attempt || !late.waiting) return;
      late.node = 1 - late.node;
      client_try(number, us(1000, 50'000));
    });
    node(client.node).submit(write_of(client), attempt);
  });
}

void PairWorld::client_answer(int index, std::uint64_t attempt, const Result<SimOutcome>& result) {
  const auto at = std::ranges::find(clients_, attempt, &Client::attempt);
  if (at == clients_.end() || !at->waiting) return;
  Client& client = *at;
  if (!result) {
    const std::string& code = result.error().code;
    if (code == "unknown") marks_.unknown += 1;
    if (code != "unknown" || random_.one_in(2)) client.node = 1 - client.node;
    return client_try(client.number, us(5000, code == "unreachable" ? 200'000 : 60'000));
  }
  client.waiting = false;
  client.attempt = ++attempts_;
  marks_.writes += 1;
  if (result->repeated) marks_.repeated += 1;
  const store::LogHead point{result->revision, result->hash};
  // Which revision was committed a node may forget with its power while the answer travels; not the
  // entry.
  const auto holds_it = [&point](const PairNode& it) {
    return it.disk.has(point) && it.disk.synced >= point.revision.value;
  };
  if (!holds_it(node(index)) && !holds_it(node(1 - index)))
    broke("acknowledged, and durable nowhere: " + write_of(client));
  for (const NodeId& store : result->stores) {
    const PairNode* it = by_id(store);
    if (it != nullptr && !forced_ever_ && !it->disk.keeps(point))
      broke("acknowledged with a store that has not fsynced it: " + write_of(client));
  }
  after(us(20'000, 400'000), [this, n = client.number] { client_next(n); });
}

// ---- people ----

std::uint64_t PairWorld::asked(int index, std::string what, std::function<void(bool)> then) {
  asked_[++tokens_] = {index, std::move(what), false, false, std::move(then)};
  marks_.asks += 1;
  if (noting_) note(index, "is asked: " + asked_[tokens_].what);
  return tokens_;
}

void PairWorld::answered(int index, std::uint64_t token, const std::optional<Error>& refused) {
  const auto found = asked_.find(token);
  if (found == asked_.end() || found->second.node != index)
    return broke("an answer that nobody asked for");
  if (found->second.answered) return broke("answered twice: " + found->second.what);
  found->second.answered = true;
  if (noting_)
    note(index, "answers " + found->second.what + ": " + (refused ? refused->code : "ok"));
  if (refused) marks_.refused += 1;
  if (found->second.then) found->second.then(!refused);
}

void PairWorld::ask(int index, bool become_primary) {
  if (!node(index).runs()) return;
  node(index).ask(asked(index, become_primary ? "become_primary" : "become_backup"),
                  become_primary);
}

void PairWorld::force(int index, bool become_primary) {
  if (!node(index).runs()) return;
  const LineageId line = new_lineage();
  forced_.insert(line);
  if (become_primary) forced_ever_ = true;
  (become_primary ? marks_.forced : marks_.rested) += 1;
  node(index).force(asked(index, become_primary ? "force_primary" : "force_backup"), become_primary,
                    line);
}

void PairWorld::break_up(int index) {
  if (!node(index).runs()) return;
  marks_.broken += 1;
  node(index).break_up(asked(index, "break"), new_lineage());
}

// First the backup stores it, then the primary.
void PairWorld::establish(int winner, bool yields) {
  const int loser = 1 - winner;
  const auto good = [this, winner, loser] {
    const PairNode& first = node(winner);
    return first.runs() && node(loser).runs() && open(0) && open(1) && !first.paired() &&
           first.serves();
  };
  if (!good() || (node(loser).serves() && !yields)) return;
  if (yields && node(loser).serves()) forced_ever_ = true;
  Register reg = node(winner).file.reg;
  reg.in_sync = {node(winner).id()};
  marks_.established += 1;
  node(loser).establish(asked(loser, "establish",
                              [this, good, winner, loser, reg](bool done) {
                                if (!done) return;
                                after(us(500, 20'000), [this, good, winner, loser, reg] {
                                  if (!good() || node(winner).file.reg.lineage != reg.lineage)
                                    return;
                                  node(winner).establish(asked(winner, "establish"),
                                                         node(loser).id(), reg, false);
                                });
                              }),
                        node(winner).id(), reg, yields);
}

void PairWorld::person() {
  if (!faults_) return;
  after(us(200'000, 1'500'000), [this] { person(); });
  const int index = static_cast<int>(random_.below(2));
  if (forces_ && random_.one_in(3)) return person_forces();
  if (breaks_ && random_.one_in(6)) {
    if (node(index).alive() && node(index).paired()) break_up(index);
    return;
  }
  if (!node(0).paired() || !node(1).paired()) {
    for (const int winner : {0, 1})
      if (node(winner).runs() && !node(winner).paired() && node(winner).serves())
        return establish(winner, random_.one_in(2));
    return;
  }
  ask(index, random_.one_in(2));
}

// Mostly where the product itself would say: look at `failover status`.
void PairWorld::person_forces() {
  const int index = static_cast<int>(random_.below(2));
  const PairNode& it = node(index);
  if (!it.alive()) return;
  if (it.greeted() && it.role() != Role::diverged && !random_.one_in(4)) return;
  force(index, random_.one_in(3) ? it.holds() : !it.holds());
}

// ---- faults ----

void PairWorld::fault() {
  if (!faults_) return;
  after(us(150'000, 1'200'000), [this] { fault(); });
  const int index = static_cast<int>(random_.below(2));
  const std::uint64_t long_us = random_.one_in(3) ? 9'000'000 : 800'000;
  switch (random_.below(14)) {
    case 0:
    case 1:
      if (node(index).link() != 0) node(index).link_closed(node(index).link());
      return;
    case 2:
      marks_.partitions += 1;
      block(0, true);
      block(1, true);
      return after(us(50'000, long_us), [this] {
        block(0, false);
        block(1, false);
      });
    case 3:
      marks_.one_way += 1;
      block(index, true);
      return after(us(50'000, long_us), [this, index] { block(index, false); });
    case 4:
    case 5:
      return kill(index, false);
    case 6:
    case 7:
      return kill(index, true);
    case 8:
      marks_.stops += 1;
      node(index).stop();
      return after(us(20'000, long_us), [this, index] { node(index).wake(); });
    case 9:
      disk(index).slow_until = now_ + us(100'000, 2'000'000);
      return;
    case 10:
      if (random_.one_in(2)) disk(index).hangs_until = now_ + us(100'000, long_us);
      return;
    case 11:
      marks_.disk_full += 1;
      disk(index).full_until = now_ + us(50'000, 3'000'000);
      return;
    case 12:
      if (node(index).alive()) node(index).compact();
      return;
    default:
      if (loses_ && random_.one_in(3)) lose(index);
  }
}

void PairWorld::kill(int index, bool power) {
  if (!node(index).alive()) return;
  (power ? marks_.power : marks_.kills) += 1;
  if (noting_) note(index, power ? "loses power" : "is killed");
  node(index).die(power);
  after(us(20'000, random_.one_in(4) ? 9'000'000 : 1'000'000), [this, index] { restart(index); });
}

void PairWorld::restart(int index) {
  if (!node(index).alive() && !lost(index)) node(index).start();
}

void PairWorld::died(int index) {
  for (auto& [token, one] : asked_)
    if (one.node == index && !one.answered) one.gone = true;
}

void PairWorld::lose(int index) {
  if (lost_[0] || lost_[1]) return;
  marks_.lost += 1;
  node(index).die(true);
  lost_[static_cast<std::size_t>(index)] = true;
  count_cell();
}

void PairWorld::heal() {
  faults_ = false;
  for (const int index : {0, 1}) {
    block(index, false);
    disk(index) = {};
    if (lost(index)) {
      NodeId id;
      id.bytes[0] = static_cast<std::uint8_t>(++node_ids_);
      node(index).lose_disk(id);
      ids_[static_cast<std::size_t>(index)].clear();
      lost_[static_cast<std::size_t>(index)] = false;
    }
    restart(index);
    node(index).wake();
  }
  after(us(100'000, 1'000'000), [this] { mend(); });
}

// ---- after the faults: what `failover status` tells a person to do ----

bool PairWorld::settled() {
  const auto good = [this](int leads) {
    const PairNode& a = node(leads);
    const PairNode& b = node(1 - leads);
    return a.role() == Role::primary && b.role() == Role::backup && a.serves() && !b.serves() &&
           a.file.reg == b.file.reg && a.file.reg.in_sync.size() == 2 && a.in_step() &&
           !b.file.prepared;
  };
  return node(0).alive() && node(1).alive() && node(0).greeted() && node(1).greeted() &&
         (good(0) || good(1));
}

void PairWorld::mend() {
  if (settled()) {
    if (settled_since_ == Instant::max()) settled_since_ = now_;
    const bool written =
        std::ranges::all_of(clients_, [this](const Client& c) { return c.since > settled_since_; });
    const bool answered = std::ranges::all_of(
        asked_, [](const auto& each) { return each.second.answered || each.second.gone; });
    if (written && answered && now_ - settled_since_ > kCalmFor) done_ = true;
    return after(kMendEvery, [this] { mend(); });
  }
  settled_since_ = Instant::max();
  after(kMendEvery, [this] { mend(); });
  PairNode& a = node(0);
  PairNode& b = node(1);
  // The only node that had the site was lost for good: there is nothing to mend.
  if (a.file.reg.epoch == Epoch{0} && b.file.reg.epoch == Epoch{0}) {
    done_ = true;
    return;
  }
  // A copy that the other may not take (its own history may lack what that one committed), or what
  // it refuses for good: a person picks the loser.
  for (const int index : {0, 1}) {
    const Ship::State state = node(index).ship_state();
    const bool stuck = state == Ship::State::snapshot || state == Ship::State::stopped;
    if (stuck && ++stuck_ > kStuckMends) {
      stuck_ = 0;
      return break_up(index);
    }
  }
  for (const int index : {0, 1}) {
    const PairNode& it = node(index);
    // The other was lost for good: it is another node now.
    if (it.paired() && by_id(it.file.peer) == nullptr)
      return it.serves() ? break_up(index) : force(index, true);
    // The other broke it, and this one did not hear.
    if (it.paired() && !node(1 - index).paired() && it.holds()) return break_up(index);
  }
  for (const int index : {0, 1})
    if (!node(index).paired() && node(index).serves()) return establish(index, true);
  if (!a.paired() && !b.paired()) {
    const bool b_is_more = b.disk.last() > a.disk.last() || a.file.reg.epoch == Epoch{0};
    const int index = b_is_more ? 1 : 0;  // One of epoch 0 has no site.
    return force(index, true);
  }
  if (!a.paired() || !b.paired()) {
    // Neither holds, or what holds does not serve yet.
    const int index = a.paired() ? 0 : 1;
    if (!node(index).serves() && node(index).role() != Role::taking) force(index, true);
    return;
  }
  if (a.role() == Role::diverged || b.role() == Role::diverged) {
    for (const int index : {0, 1})
      if (node(index).serves()) return break_up(index);
    // Both are there, so neither may be forced: a person ends the relationship first.
    return a.link() != 0 ? break_up(0) : force(0, true);
  }
  for (const int index : {0, 1})
    if (node(index).holds() && node(index).file.reg.rests) return ask(index, true);
}

std::string PairWorld::verdict() {
  if (!done_) {
    std::string out = "not mended in time:";
    for (const int index : {0, 1}) {
      const PairNode& it = node(index);
      out += " " + std::string(index == 0 ? "A " : "B ") + std::string(word(it.role())) +
             " epoch " + std::to_string(it.file.reg.epoch.value) +
             (it.greeted() ? " linked" : " apart") + (it.serves() ? " serves" : "") + " ship " +
             std::string(word(it.ship().state())) + " head " + std::to_string(it.disk.last()) +
             " committed " + std::to_string(it.disk.committed) + " in_sync " +
             std::to_string(it.file.reg.in_sync.size()) + ";";
    }
    return out;
  }
  for (const auto& [token, one] : asked_)
    if (!one.answered && !one.gone) broke("never answered: " + one.what);
  const std::uint64_t both = std::min(node(0).disk.committed, node(1).disk.committed);
  if (node(0).disk.heads[both] != node(1).disk.heads[both])
    broke("two histories at the end, revision " + std::to_string(both));
  check_ids(0);
  check_ids(1);
  return broken_;
}

}  // namespace everspan::sim
