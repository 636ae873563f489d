// PairWorld: the scheduler and the network.
#include "pair_world.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>

namespace everspan::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kMendFor = 150s;  // Longer than every time-out after each other.

bool later_first(const auto& a, const auto& b) {
  return a.at != b.at ? a.at > b.at : a.order > b.order;
}

}  // namespace

void PairMarks::add(const PairMarks& o) {
  for (std::size_t i = 0; i < cells.size(); ++i) cells[i] += o.cells[i];
  const auto sum = [&](std::uint64_t PairMarks::* mark) { this->*mark += o.*mark; };
  using M = PairMarks;
  for (auto mark : {&M::events,     &M::writes,    &M::handovers, &M::asks,          &M::refused,
                    &M::forced,     &M::rested,    &M::broken,    &M::established,   &M::lost,
                    &M::kills,      &M::power,     &M::stops,     &M::cuts,          &M::snapshots,
                    &M::diverged,   &M::shrinks,   &M::grows,     &M::ship_diverged, &M::torn_kept,
                    &M::torn_lost,  &M::forwarded, &M::repeated,  &M::taken_back,    &M::unknown,
                    &M::partitions, &M::one_way,   &M::disk_full})
    sum(mark);
}

std::vector<std::string> PairWorld::planted_names() {
  return {"acknowledged_before_the_backup",
          "fsync_skipped",
          "shrink_not_saved_first",
          "grown_before_catch_up",
          "tail_not_cut",
          "prepared_serves",
          "released_before_quiet",
          "commit_point_before_prepared",
          "register_not_fsynced",
          "words_before_saved",
          "taken_back_counts",
          "tail_folded"};
}

PairWorld::PairWorld(std::uint64_t seed, std::string planted)
    : planted_(std::move(planted)), random_(seed) {
  noting_ = std::getenv("EVERSPAN_NOTES") != nullptr;
  due_.reserve(256);
  entries_.reserve(512);
}
PairWorld::~PairWorld() = default;

void PairWorld::after(Duration delay, Fn fn) {
  due_.push_back({now_ + std::max(delay, Duration{}), ++order_, std::move(fn)});
  std::ranges::push_heap(due_, later_first<Due, Due>);
}

void PairWorld::broke(const std::string& what) {
  if (broken_.empty())
    broken_ = what + " (at " + std::to_string((now_ - Instant(1h)).count() / 1000) + " ms)";
}

void PairWorld::note(int node, const std::string& what) const {
  std::cout << (now_ - Instant(1h)).count() << " us  " << (node == 0 ? "A " : "B ") << what << "\n";
}

LineageId PairWorld::new_lineage() {
  LineageId out;
  out.bytes[0] = static_cast<std::uint8_t>(++lineages_);
  out.bytes[15] = 1;
  return out;
}

std::uint32_t PairWorld::new_entry(SimEntry entry, int by) {
  const NodeId& id = node(by).id();
  const auto [writer, fresh] = writers_.emplace(std::pair(entry.lineage, entry.epoch), id);
  if (!fresh && writer->second != id)
    broke("two nodes write in epoch " + std::to_string(entry.epoch.value));
  entries_.push_back(std::move(entry));
  return static_cast<std::uint32_t>(entries_.size() - 1);
}

PairNode* PairWorld::by_id(const NodeId& id) {
  for (auto& one : nodes_)
    if (one->id() == id) return one.get();
  return nullptr;
}

std::string PairWorld::run() {
  now_ = Instant(1h);
  begin();
  while (!due_.empty() && broken_.empty() && !done_) {
    std::ranges::pop_heap(due_, later_first<Due, Due>);
    Due due = std::move(due_.back());
    due_.pop_back();
    now_ = due.at;
    if (now_ > end_at_) break;
    trace_ = (trace_ ^ static_cast<std::uint64_t>(now_.time_since_epoch().count()) ^ due.order) *
             0x100000001b3ULL;
    marks_.events += 1;
    due.fn();
  }
  return broken_.empty() ? verdict() : broken_;
}

void PairWorld::begin() {
  forces_ = random_.one_in(3);
  breaks_ = random_.one_in(4);
  loses_ = forces_ && random_.one_in(3);
  joins_ = random_.one_in(4);
  heal_at_ = now_ + us(4'000'000, 14'000'000);
  end_at_ = heal_at_ + kMendFor;
  slow_network_us_ = random_.one_in(4) ? 40'000 : 1500;
  load_most_ = random_.one_in(2) ? 512 : random_.between(1, 8);
  for (int index = 0; index < 2; ++index) {
    NodeId id;
    id.bytes[0] = static_cast<std::uint8_t>(++node_ids_);
    nodes_[static_cast<std::size_t>(index)] = std::make_unique<PairNode>(*this, index, id);
    node(index).clock_offset = us(0, 3'600'000'000);
    node(index).clock_drift = static_cast<std::int64_t>(random_.below(100'000)) - 50'000;
  }
  PairNode& a = node(0);
  PairNode& b = node(1);
  const LineageId line = new_lineage();
  lines_[line];
  a.disk.lineage = line;
  a.disk.epoch = Epoch{1};
  a.file.reg = {line, Epoch{1}, a.id(), {a.id()}, false};
  if (!joins_) {
    b.disk.lineage = line;
    b.disk.epoch = Epoch{1};
    a.file.reg.in_sync = {a.id(), b.id()};
    b.file.reg = a.file.reg;
    a.file.peer = b.id();
    b.file.peer = a.id();
  }
  line_of_ = {a.disk.lineage, b.disk.lineage};
  file_of_ = {a.file, b.file};
  holders_[{line, Epoch{1}}] = a.id();
  a.start();
  b.start();
  for (int n = 0; n < 3; ++n) {
    clients_.push_back({.number = n});
    after(us(1000, 200'000), [this, n] { client_next(n); });
  }
  if (joins_) after(us(100'000, 900'000), [this] { establish(0, false); });
  after(us(100'000, 900'000), [this] { person(); });
  after(us(200'000, 900'000), [this] { fault(); });
  after(heal_at_ - now_, [this] { heal(); });
}

// ---- the network ----

void PairWorld::dial(int from) {
  const int to = 1 - from;
  const auto good = [this, from, to] {
    return node(from).runs() && node(to).runs() && open(from) && open(to) &&
           node(from).file.peer == node(to).id() && node(to).file.peer == node(from).id();
  };
  if (!good()) return;
  after(us(200, slow_network_us_), [this, from, to, good] {
    if (!good() || node(from).link() != 0) return;
    const std::uint64_t link = ++links_;
    const Duration back = us(100, slow_network_us_);
    link_[link].arrival[static_cast<std::size_t>(from)] = now_ + back;
    node(to).use_link(link);
    after(back, [this, link, from, to] {
      if (!node(from).runs() || !open(to)) return close_link(link, from, true);
      if (link_.contains(link)) node(from).use_link(link);
    });
  });
}

void PairWorld::send(std::uint64_t link, int from, wire::Message message) {
  const auto found = link_.find(link);
  if (found == link_.end()) return;
  const int to = 1 - from;
  const auto end = static_cast<std::size_t>(to);
  const bool bulk = std::holds_alternative<wire::Snapshot>(message);
  Duration delay = us(50, random_.one_in(16) ? slow_network_us_ * 8 : slow_network_us_);
  if (bulk) delay += us(10'000, 300'000);
  Instant at = now_ + delay;
  if (!bulk) {  // A link of its own has an order of its own.
    at = std::max(at, found->second.arrival[end]);
    found->second.arrival[end] = at;
  }
  Fn arrives = [this, link, to, message = std::move(message)]() mutable {
    const auto here = link_.find(link);
    if (here != link_.end() && !open(1 - to))
      return here->second.held[static_cast<std::size_t>(to)].push_back(
          [this, link, to, message] { node(to).deliver(link, message); });
    if (here == link_.end()) return;
    node(to).deliver(link, std::move(message));
  };
  after(at - now_, std::move(arrives));
}

// `tell`: the other end hears it, unless the way is blocked.
void PairWorld::close_link(std::uint64_t link, int from, bool tell) {
  const auto found = link_.find(link);
  if (found == link_.end()) return;
  const int to = 1 - from;
  found->second.up[static_cast<std::size_t>(from)] = false;
  if (!found->second.up[static_cast<std::size_t>(to)]) {
    link_.erase(found);
    return;
  }
  if (!tell) return;
  const Instant at = std::max(found->second.arrival[static_cast<std::size_t>(to)],
                              now_ + us(50, slow_network_us_));
  after(at - now_, [this, link, from, to] {
    if (!open(from)) return;  // It will find the silence.
    if (node(to).alive()) node(to).link_closed(link);
  });
}

void PairWorld::block(int from, bool blocked) {
  blocked_[static_cast<std::size_t>(from)] = blocked;
  if (blocked) return;
  const auto to = static_cast<std::size_t>(1 - from);
  for (auto& [number, link] : link_) {
    std::vector<Fn> held;
    held.swap(link.held[to]);
    Duration delay = 1ms;
    for (Fn& fn : held) after(delay += 1us, std::move(fn));
    link.arrival[to] = std::max(link.arrival[to], now_ + delay);
  }
}

Duration PairWorld::fsync_takes(int index) {
  const Disk& it = disk(index);
  if (now_ < it.hangs_until) return it.hangs_until - now_;
  if (now_ < it.slow_until) return us(20'000, 300'000);
  return us(200, 3000);
}

bool PairWorld::disk_full(int index) const {
  return now_ < disks_[static_cast<std::size_t>(index)].full_until;
}

}  // namespace everspan::sim
