// Two logs in one process and a link between them: what a pair does, without its network.
#pragma once
#include <algorithm>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "store/log.h"
#include "store/test_support/log_fixture.h"

namespace everspan::store {

inline NodeId other_node() {
  NodeId id;
  id.bytes.fill(0xa2);
  return id;
}
// A node that joins: its empty log is an ancestor of all.
inline LogWriter::Options follower_options(const std::string& path) {
  LogWriter::Options options = writer_options(path);
  options.node_id = other_node();
  options.new_site = NewSite{{}, {0}};
  return options;
}
inline Error not_primary() {
  return {"not_primary", "Another node is the primary", "", "Ask there"};
}

// Calls a member that answers by callback, and waits for the answer.
template <class Call>
Result<LogHead> wait_for(const Call& call) {
  std::promise<Result<LogHead>> promise;
  auto future = promise.get_future();
  call([&](Result<LogHead> result) { promise.set_value(std::move(result)); });
  return future.get();
}
inline Result<LogHead> ship(LogWriter& follower, Epoch turn, LogHead before,
                            std::vector<std::string> entries) {
  return wait_for([&](LogWriter::Advanced done) {
    follower.append_shipped(turn, before, std::move(entries), std::move(done));
  });
}
inline Result<LogHead> fold(LogWriter& follower, LogHead committed) {
  return wait_for([&](LogWriter::Advanced done) {
    follower.fold_shipped(committed, {test_node(), other_node()}, std::move(done));
  });
}
inline Result<LogHead> cut(LogWriter& follower, LogHead common, const std::string& folder) {
  return wait_for(
      [&](LogWriter::Advanced done) { follower.cut_to(common, folder, std::move(done)); });
}

// Ships at once; confirms when the follower has it, unless told to hold that back. disconnect()
// before either writer ends.
class MemoryLink : public Replication {
 public:
  using Step = std::function<void(const std::string& step)>;
  MemoryLink(LogWriter& primary, LogWriter& follower, Epoch turn, std::string orphans)
      : primary_(&primary), follower_(&follower), turn_(turn), orphans_(std::move(orphans)) {}

  void on_step(Step step) { step_ = std::move(step); }  // Before it is used.
  void hold_confirmations() {
    const std::lock_guard lock(mutex_);
    holds_ = true;
  }
  void confirm_held() {
    const std::lock_guard lock(mutex_);
    holds_ = false;
    if (held_ && primary_ != nullptr) primary_->confirm(*held_, stores());
    held_.reset();
  }
  void disconnect() {
    const std::lock_guard lock(mutex_);
    primary_ = nullptr;
    follower_ = nullptr;
  }
  LogHead shipped() {  // The last that was, whether or not it is still there.
    const std::lock_guard lock(mutex_);
    return shipped_;
  }
  static std::vector<NodeId> stores() { return {test_node(), other_node()}; }

  void appended(LogHead before, std::vector<Shipped> batch) override {
    step("appended");
    ship_batch(before, std::move(batch));
    step("sent");
  }
  void taken_back(LogHead head) override {
    step("taken_back");
    const std::lock_guard lock(mutex_);
    held_.reset();
    if (follower_ != nullptr) follower_->cut_to(head, orphans_, [](const Result<LogHead>&) {});
  }
  void committed(LogHead committed, const std::vector<NodeId>& stores) override {
    step("committed");
    const std::lock_guard lock(mutex_);
    if (follower_ != nullptr)
      follower_->fold_shipped(committed, stores,
                              [this](const Result<LogHead>&) { step("folded"); });
  }

 private:
  void step(const std::string& name) const {
    if (step_) step_(name);
  }
  void ship_batch(LogHead before, std::vector<Shipped> batch) {
    const std::lock_guard lock(mutex_);
    if (follower_ == nullptr) return;
    shipped_ = {batch.back().revision, batch.back().hash};
    std::vector<std::string> entries;
    for (Shipped& it : batch) entries.push_back(std::move(it.entry));
    follower_->append_shipped(turn_, before, std::move(entries), [this](Result<LogHead> head) {
      if (!head) return;
      step("shipped");
      const std::lock_guard inner(mutex_);
      if (holds_)
        held_ = *head;
      else if (primary_ != nullptr)
        primary_->confirm(*head, stores());
      step("confirmed");
    });
  }
  // A refused call answers at once, on this thread.
  std::recursive_mutex mutex_;
  LogWriter* primary_;
  LogWriter* follower_;
  const Epoch turn_;
  const std::string orphans_;
  Step step_;
  bool holds_ = false;
  std::optional<LogHead> held_;
  LogHead shipped_;
};

// Brings the follower, which has an ancestor of the primary's history, to its head.
inline Result<LogHead> catch_up(LogReader& primary, LogWriter& follower, Epoch turn) {
  for (;;) {
    const LogHead from = follower.last();
    auto missing = primary.appended(from.revision, 100, from.hash);
    if (!missing) return fail(missing);
    std::vector<std::string> entries;
    for (auto& it : missing->entries) entries.push_back(std::move(it.entry));
    const bool all = entries.empty();
    auto head = ship(follower, turn, from, std::move(entries));
    if (!head) return head;
    if (auto folded = fold(follower, missing->foldable); !folded) return folded;
    if (all) return head;
  }
}

// The last point that both histories pass through.
inline Result<LogHead> common_point(LogReader& one, LogReader& other) {
  auto mine = one.meta();
  if (!mine) return fail(mine);
  auto theirs = other.meta();
  if (!theirs) return fail(theirs);
  for (Revision at = std::min(mine->head.revision, theirs->head.revision);; --at.value) {
    auto here = one.hash_at(at);
    if (!here) return fail(here);
    auto there = other.hash_at(at);
    if (!there) return fail(there);
    if (*here == *there) return LogHead{at, *here};
  }
}

// Two logs, opened as after any crash: one leads a new turn, the other is cut to the common point,
// brought to the same head, and follows. Both were in sync before, so everything appended at the
// leader may be committed.
class ConnectedPair {
 public:
  static Result<std::unique_ptr<ConnectedPair>> open(LogWriter::Options primary,
                                                     LogWriter::Options follower,
                                                     Generation generation, Epoch turn,
                                                     MemoryLink::Step step = {}) {
    const std::string primary_path = primary.path;
    const std::string follower_path = follower.path;
    auto pair = std::make_unique<ConnectedPair>();
    auto first = LogWriter::open(std::move(primary));
    if (!first) return fail(first);
    pair->primary_ = std::move(*first);
    auto second = LogWriter::open(std::move(follower));
    if (!second) return fail(second);
    pair->follower_ = std::move(*second);
    auto connected = pair->connect(primary_path, follower_path, generation, turn, std::move(step));
    if (!connected) return fail(connected);
    return pair;
  }
  ~ConnectedPair() {
    if (link_) link_->disconnect();
  }
  [[nodiscard]] LogWriter& primary() const { return *primary_; }
  [[nodiscard]] LogWriter& follower() const { return *follower_; }
  [[nodiscard]] MemoryLink& link() const { return *link_; }

 private:
  Result<void> connect(const std::string& primary_path, const std::string& follower_path,
                       Generation generation, Epoch turn, MemoryLink::Step step) {
    constexpr auto kKeep = LogWriter::Tail::keep;
    if (auto became = primary_->become_writer(generation, kKeep); !became) return became;
    follower_->refuse_unconfirmed(not_primary());
    if (auto became = follower_->become_writer(generation, kKeep); !became) return became;
    auto raised = wait_for([&](auto done) { primary_->raise_epoch(turn, std::move(done)); });
    if (!raised) return fail(raised);
    auto here = LogReader::open(primary_path);
    if (!here) return fail(here);
    auto there = LogReader::open(follower_path);
    if (!there) return fail(there);
    auto common = common_point(**here, **there);
    if (!common) return fail(common);
    const std::string orphans = follower_path + ".orphans";
    if (auto done = cut(*follower_, *common, orphans); !done) return fail(done);
    if (auto head = catch_up(**here, *follower_, turn); !head) return fail(head);
    link_ = std::make_shared<MemoryLink>(*primary_, *follower_, turn, orphans);
    link_->on_step(std::move(step));
    primary_->set_replication(link_);
    primary_->confirm(primary_->last(), MemoryLink::stores());
    return {};
  }

  std::unique_ptr<LogWriter> primary_;
  std::unique_ptr<LogWriter> follower_;
  std::shared_ptr<MemoryLink> link_;
};

}  // namespace everspan::store
