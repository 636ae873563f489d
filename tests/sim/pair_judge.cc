// PairWorld: what must always hold.
#include <algorithm>

#include "pair_world.h"

namespace everspan::sim {
namespace {

bool has(const std::vector<NodeId>& nodes, const NodeId& node) {
  return std::ranges::find(nodes, node) != nodes.end();
}

}  // namespace

// A register was stored.
void PairWorld::saved(int index) {
  const auto at = static_cast<std::size_t>(index);
  const PairNode& it = node(index);
  const RoleRecord before = std::exchange(file_of_[at], it.file);
  const Register& reg = it.file.reg;
  const auto turn = std::pair(reg.lineage, reg.epoch);
  if (noting_)
    note(
        index,
        "saved lineage " + std::to_string(reg.lineage.bytes[0]) + " epoch " +
            std::to_string(reg.epoch.value) + (reg.holder == it.id() ? " mine" : " other's") +
            (reg.rests ? " rests" : "") + " in_sync " + std::to_string(reg.in_sync.size()) +
            (it.file.prepared ? " prepared " + std::to_string(it.file.prepared->epoch.value) : "") +
            (it.file.yields ? " yields" : "") + (it.paired() ? "" : " unpaired"));
  if (reg.holder == it.id() && reg.lineage != it.disk.lineage && forced_.contains(reg.lineage))
    forced_at_[at] = true;
  const auto [holder, fresh] = holders_.emplace(turn, reg.holder);
  if (!fresh && holder->second != reg.holder)
    broke("two holders of epoch " + std::to_string(reg.epoch.value));
  if (it.file.prepared) prepared_.emplace(reg.lineage, it.file.prepared->epoch);
  const bool released =
      before.reg.holder == it.id() && reg.holder != it.id() && before.reg.lineage == reg.lineage;
  if (released && before.reg.epoch < reg.epoch && !before.peer.is_zero() &&
      before.peer == it.file.peer) {
    marks_.handovers += 1;
    if (!prepared_.contains(turn)) broke("released to a node that had not prepared");
  }
  if (reg.holder == it.id() && before.reg.in_sync.size() != reg.in_sync.size())
    (reg.in_sync.size() == 1 ? marks_.shrinks : marks_.grows) += 1;
  if (reg.holder == it.id()) {
    const store::LogHead& committed = it.disk.heads[it.disk.committed];
    for (const NodeId& member : reg.in_sync) {
      const PairNode* store = by_id(member);
      if (store != nullptr && !store->disk.keeps(committed))
        broke("in sync in the register, and without what is committed");
    }
  }
  if (it.file.prepared && it.serves()) broke("R6: prepared and serving");
  count_cell();
}

// It serves from now on.
void PairWorld::raised(int index) {
  const PairNode& it = node(index);
  if (it.file.reg.holder != it.id()) return;  // It is told to release at once.
  check_alone(index, "serves");
  const auto line = lines_.find(it.disk.lineage);
  if (line == lines_.end()) return broke("serves a history that was never begun");
  if (line->second.kept > 0 && !it.disk.has(line->second.committed[line->second.kept - 1].first))
    broke("serves without what was committed before");
}

void PairWorld::check_alone(int index, const char* what) {
  const PairNode& other = node(1 - index);
  if (!other.serves()) return;
  if (!forced_ever_ || other.file.reg.lineage == node(index).file.reg.lineage)
    broke(std::string("two nodes at a time: one ") + what + " while the other serves");
}

void PairWorld::lineage_begun(int index) {
  const auto at = static_cast<std::size_t>(index);
  const PairNode& it = node(index);
  const LineageId from = std::exchange(line_of_[at], it.disk.lineage);
  if (lines_.contains(it.disk.lineage)) return;  // Begun before a crash.
  Line begun;
  const auto parent = lines_.find(from);
  if (parent != lines_.end()) {
    // Also by a force that another decision overtook before its history was begun.
    const bool forced = forced_.contains(it.disk.lineage) || forced_at_[at];
    const auto& committed = parent->second.committed;
    for (std::size_t i = 0; i < parent->second.kept; ++i) {
      if (it.disk.has(committed[i].first)) {
        begun.committed.push_back(committed[i]);
        continue;
      }
      if (!forced) broke("a break left out what was committed");
      if (has(committed[i].second, it.id())) broke("a store lost what it had confirmed");
    }
  }
  forced_at_[at] = false;
  begun.kept = begun.committed.size();
  lines_[it.disk.lineage] = std::move(begun);
}

void PairWorld::replaced(int index) {
  line_of_[static_cast<std::size_t>(index)] = node(index).disk.lineage;
  ids_[static_cast<std::size_t>(index)].clear();
  check_ids(index);
}

// Committed: readers see it, and it may be acknowledged.
void PairWorld::folded(int index, const store::LogHead& head, bool as_primary) {
  const PairNode& it = node(index);
  if (noting_) note(index, "commits " + std::to_string(head.revision.value));
  line_of_[static_cast<std::size_t>(index)] = it.disk.lineage;
  const std::uint64_t revision = head.revision.value;
  auto& ids = ids_[static_cast<std::size_t>(index)];
  for (std::uint64_t r = revision; r > 0; --r) {
    const auto [known, fresh] = ids.emplace(entry(it.disk.numbers[r]).id, r);
    if (!fresh && known->second != r) broke("a request ran twice: " + known->first);
    if (!fresh) break;
  }
  const PairNode& other = node(1 - index);
  const std::uint64_t both = std::min(revision, other.disk.committed);
  if (!forced_ever_ && !lost_[0] && !lost_[1] && it.disk.heads[both] != other.disk.heads[both])
    broke("two committed histories, at revision " + std::to_string(both));
  if (!as_primary) return;
  if (it.file.reg.holder != it.id()) broke("R1: committed under another's register");
  check_alone(index, "commits");
  for (const NodeId& member : it.file.reg.in_sync) {
    const PairNode* store = by_id(member);
    if (store != nullptr && !lost(store == nodes_[0].get() ? 0 : 1) && !store->disk.keeps(head))
      broke("R3: committed without a member of the in-sync set");
  }
  Line& line = lines_[it.disk.lineage];
  if (line.kept > 0 && line.committed[line.kept - 1].first.revision >= head.revision) return;
  line.committed.resize(line.kept);
  line.committed.emplace_back(head, it.disk.stores[revision]);
  line.kept += 1;
}

void PairWorld::check_ids(int index) {
  const PairNode& it = node(index);
  std::map<std::string, std::uint64_t> seen;
  for (std::uint64_t r = 1; r <= it.disk.committed; ++r) {
    const auto [known, fresh] = seen.emplace(entry(it.disk.numbers[r]).id, r);
    if (!fresh) broke("a request ran twice: " + known->first);
  }
}

void PairWorld::role_changed(int index, Role role) {
  if (role == Role::diverged) marks_.diverged += 1;
  if (noting_) note(index, "is " + std::string(word(role)));
}

// ---- the table of role_core.h ----

void PairWorld::count_cell() {
  const std::size_t found = std::max(cell(0, 1), cell(1, 0));
  if (found != 0 && found != cell_) marks_.cells[found] += 1;
  cell_ = found;
}

// As `a` holds, or did last. 0: not in the table (something is under way).
std::size_t PairWorld::cell(int ai, int bi) {
  const PairNode& a = node(ai);
  const PairNode& b = node(bi);
  const auto nobody = [&](std::size_t number, bool b_may) {
    const bool bad = a.serves() || (b.serves() && !b_may);
    if (bad && !lost(ai) && !lost(bi))
      broke("a node serves in cell " + std::to_string(number) + " of the in-doubt table");
    return number;
  };
  const Register& ra = a.file.reg;
  const Register& rb = b.file.reg;
  const bool a_holds = ra.holder == a.id();
  const bool b_thinks_a = rb.holder == a.id() && b.file.peer == a.id();
  const bool prepared = b.file.prepared.has_value();
  if (lost(ai)) {
    if (!b_thinks_a || rb.rests) return 0;
    return prepared ? 8 : 9;
  }
  if (!a.paired()) return a_holds && b_thinks_a && !ra.lineage.is_zero() ? 15 : 0;
  if (lost(bi)) {  // Seen from the other side it is 9, but for who let go in a hand-over.
    const bool let_go = cell_ == 3 || cell_ == 4 || cell_ == 5 || cell_ == 10;
    return !a_holds && ra.holder == a.file.peer && let_go ? nobody(10, false) : 0;
  }
  if (!b.paired()) return 0;
  const bool b_holds = rb.holder == b.id();
  if (ra.lineage != rb.lineage) {
    if (!b_holds || rb.rests) return 0;
    if (a_holds) return ra.rests ? nobody(14, true) : 11;
    return ra.holder == b.id() ? nobody(12, true) : 0;
  }
  if (a_holds && b_thinks_a) {
    if (ra.rests && rb.epoch == ra.epoch && !prepared) return nobody(13, false);
    if (ra.rests) return 0;
    if (ra.epoch == rb.epoch) return prepared ? 2 : 1;
    if (ra.epoch > rb.epoch) return prepared && b.file.prepared->epoch < ra.epoch ? 6 : 7;
    return 0;
  }
  if (!a_holds && ra.holder == b.id() && b_thinks_a && ra.epoch > rb.epoch)
    return nobody(prepared ? 3 : 4, false);
  // The same as the first, from the other side; it counts when it comes of a hand-over.
  if (!a_holds && b_holds && ra.epoch == rb.epoch && (cell_ == 3 || cell_ == 4 || cell_ == 5))
    return 5;
  return 0;
}

}  // namespace everspan::sim
