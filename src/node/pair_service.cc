#include "node/pair_service.h"

#include <algorithm>

#include "common/log.h"
#include "common/version.h"
#include "node/pair_record_file.h"
#include "node/transaction_codec.h"
#include "proto/handover.pb.h"
#include "proto/node_link.pb.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

// After a release clients still come here for a while: what they write is passed on.
constexpr auto kForwardFor = 60s;
constexpr auto kStepWithin = 30s;

failover::RoleCore::Timing timing() {
  return {};
}

}  // namespace

PairService::PairService(Parts parts)
    : parts_(std::move(parts)),
      files_(parts_.paths.node(), parts_.node),
      writes_(parts_.control, *this, *this),
      roles_(parts_.node, timing()),
      actions_wakeup_(parts_.control),
      tick_wakeup_(parts_.control),
      dial_wakeup_(parts_.control),
      moved_(parts_.control),
      tasks_(parts_.control) {}

PairService::~PairService() = default;

Result<void> PairService::open() {
  const Result<void> files = files_.open();
  if (!files) return files;
  const Result<store::LogMeta> meta = parts_.reader.meta();
  if (!meta) return fail(meta);
  Result<std::optional<failover::RoleRecord>> record = read_role_record(parts_.paths.node());
  if (!record) return fail(record);
  if (*record) {
    record_ = std::move(**record);
  } else {
    record_ = {};
    record_.reg = {meta->lineage, meta->epoch, parts_.node, {parts_.node}};
  }
  return {};
}

void PairService::start(bool took_over) {
  if (active_) return;
  took_over_ = took_over;
  const Result<store::LogMeta> meta = parts_.reader.meta();
  if (!meta) {
    log_error("pair.cannot_start", {{"why", meta.error().text()}});
    return;
  }
  active_ = true;
  head_ = meta->head;
  committed_ = meta->committed;
  // What another process of this node stored meanwhile holds.
  Result<std::optional<failover::RoleRecord>> record = read_role_record(parts_.paths.node());
  if (record && *record) record_ = std::move(**record);
  if (!record) log_error("pair.bad_register", {{"why", record.error().text()}});
  const Result<void> files = files_.open();
  if (!files) log_error("pair.bad_files", {{"why", files.error().text()}});
  roles_ = Roles(parts_.node, timing());
  ship_ = Ship();
  writes_.begin_anew();
  role_ = failover::Role::taking;  // Until the core says what it is.
  tasks_.spawn("pair-actions", perform_loop());
  tasks_.spawn("pair-ticks", tick_loop());
  tasks_.spawn("pair-dial", dial_loop());
  // A joined node's log is empty: it has no site to serve until another node ships one.
  if (record_.peer.is_zero() && record_.reg.lineage.is_zero()) {
    role_ = failover::Role::backup;
    role_why_ = "joined: waits for `failover establish` from the node that has the site";
    return;
  }
  feed(Roles::Begun{record_, head_, net::now()});
}

void PairService::stop() {
  if (!active_) return;
  active_ = false;
  actions_.clear();
  if (link_ != nullptr) link_->close();
  link_.reset();
  ++link_number_;
  greeted_ = false;
  tasks_.cancel();
}

net::Task<> PairService::join() {
  stop();
  co_await tasks_.join();
  co_await writes_.join();
}

bool PairService::serves() const {
  return active_ && roles_.serves();
}

std::optional<NodeId> PairService::peer() const {
  if (record_.peer.is_zero()) return std::nullopt;
  return record_.peer;
}

std::optional<net::Address> PairService::peer_address() const {
  if (record_.peer.is_zero()) return std::nullopt;
  const PeerEntry* entry = files_.peer(record_.peer);
  if (entry == nullptr) return std::nullopt;
  return entry->address;
}

std::vector<NodeId> PairService::in_sync() const {
  return record_.reg.in_sync;
}

net::Task<Result<store::Outcome>> PairService::submit(store::Transaction transaction) {
  return net::asio::co_spawn(parts_.control, submit_here(std::move(transaction)),
                             net::asio::use_awaitable);
}

net::Task<Result<store::Outcome>> PairService::submit_here(store::Transaction transaction) {
  if (transaction.request_id.is_zero()) transaction.request_id = random_id<RequestId>();
  transaction.feature_level = parts_.local.feature_level();
  writes_.set_feature_level(parts_.local.feature_level());
  if (!active_) co_return co_await parts_.local.submit(std::move(transaction));
  const bool passing = role_ == failover::Role::releasing || role_ == failover::Role::taking ||
                       net::now() < forward_until_;
  const bool elsewhere = role_ == failover::Role::backup || role_ == failover::Role::in_doubt ||
                         (role_ == failover::Role::diverged && !serves());
  if (elsewhere && !passing) co_return Result<store::Outcome>(std::unexpected(not_primary()));
  co_return co_await writes_.submit(std::move(transaction));
}

Error PairService::not_primary() const {
  const std::optional<net::Address> primary = peer_address();
  if (role_ == failover::Role::in_doubt)
    return {"not_primary", "This node was asked to take over and cannot learn whether it may",
            "Nothing was done",
            "When the other node is back it goes on by itself; if it is gone for good: `failover "
            "become-primary --even-if-unreachable`"};
  return {"not_primary", "This node is the backup", "Nothing was done",
          primary ? "Ask the primary at " + primary->text() : "Ask the primary"};
}

// ---- the epoch's write path: who runs writes ----

net::Task<Result<void>> PairService::raise(std::uint64_t turn) {
  const std::vector<NodeId> stores = record_.reg.in_sync;
  const Result<store::LogMeta> meta = parts_.reader.meta();
  if (!meta) co_return fail(meta);
  if (meta->epoch < Epoch{turn}) {
    const std::function<void(store::LogWriter::Advanced)> begin =
        [this, turn](store::LogWriter::Advanced done) {
          parts_.log.raise_epoch(Epoch{turn}, std::move(done));
        };
    const Result<store::LogHead> raised = co_await advanced(begin);
    if (!raised) co_return fail(raised);
  }
  // Given away while the log raised it: a log that follows must not lead again.
  const failover::Register& reg = record_.reg;
  if (reg.holder != parts_.node || reg.rests || reg.epoch != Epoch{turn})
    co_return fail("superseded", "Another node serves by now");
  if (tail_counts_) parts_.log.confirm(parts_.log.last(), stores);
  tail_counts_ = false;
  parts_.log.accept_again();
  co_return Result<void>();
}

// One of the writer's steps, awaited.
net::Task<Result<store::LogHead>> PairService::advanced(
    std::function<void(store::LogWriter::Advanced)> begin) {
  const auto wakeup = std::make_shared<net::Wakeup>(parts_.control);
  const auto result = std::make_shared<std::optional<Result<store::LogHead>>>();
  auto done = [this, wakeup, result](Result<store::LogHead> head) {
    auto tell = [wakeup, result, head = std::move(head)]() mutable {
      *result = std::move(head);
      wakeup->notify();
    };
    net::asio::post(parts_.control, std::move(tell));
  };
  begin(std::move(done));
  const bool notified = co_await wakeup->wait_until(net::now() + kStepWithin);
  if (!notified || !*result)
    co_return fail("timeout", "The log did not take the step in time", "It may still take it", "");
  co_return std::move(**result);
}

net::Task<Result<void>> PairService::begin_lineage(LineageId lineage, Epoch epoch) {
  const Result<store::LogMeta> meta = parts_.reader.meta();
  if (!meta) co_return fail(meta);
  if (meta->lineage == lineage) co_return Result<void>();
  const std::function<void(store::LogWriter::Advanced)> begin =
      [this, lineage, epoch](store::LogWriter::Advanced done) {
        parts_.log.begin_lineage(lineage, epoch, std::move(done));
      };
  const Result<store::LogHead> begun = co_await advanced(begin);
  if (!begun) co_return fail(begun);
  co_return Result<void>();
}

store::LogWriter::Tail PairService::before_writer() {
  Result<std::optional<failover::RoleRecord>> record = read_role_record(parts_.paths.node());
  if (!record) {
    // Whether this node may serve is not known: it stores nothing of its own.
    log_error("pair.bad_register", {{"why", record.error().text()}});
    parts_.log.refuse_unconfirmed(record.error());
    return store::LogWriter::Tail::keep;
  }
  const Result<store::LogMeta> meta = parts_.reader.meta();
  const bool joined = !*record && meta && meta->lineage.is_zero();
  if (*record) record_ = std::move(**record);
  const bool holds = !joined && record_.reg.holder == parts_.node;
  if (!holds) parts_.log.refuse_unconfirmed(not_primary());
  if (record_.peer.is_zero())
    return holds ? store::LogWriter::Tail::fold : store::LogWriter::Tail::keep;
  alone_ = record_.reg.in_sync.size() == 1;
  replicate();
  return store::LogWriter::Tail::keep;
}

// This object outlives the writer (it lives as long as the process), so the pointer owns nothing.
void PairService::replicate() {
  parts_.log.set_replication(std::shared_ptr<store::Replication>(std::shared_ptr<void>(), this));
}

void PairService::run(store::Transaction transaction, Done done) {
  tasks_.spawn("pair-write", run_here(std::move(transaction), std::move(done)));
}

net::Task<> PairService::run_here(store::Transaction transaction, Done done) {
  Result<store::Outcome> outcome = co_await parts_.local.submit(std::move(transaction));
  done(std::move(outcome));
}

// Nothing runs any more, so what is appended is all there is.
void PairService::release(Released done) {
  const Result<store::LogMeta> meta = parts_.reader.meta();
  if (!meta) return done(fail(meta));
  done(meta->head);
}

void PairService::serving(std::uint64_t turn) {
  feed(Roles::Raised{Epoch{turn}});
  parts_.host.role_changed(role_, role_why_);  // It serves from now on.
}
void PairService::not_serving(std::uint64_t turn, std::string why) {
  feed(Roles::RaiseFailed{Epoch{turn}, std::move(why)});
}
void PairService::released(std::uint64_t turn, store::LogHead head) {
  forward_until_ = net::now() + kForwardFor;
  feed(Roles::Quiet{Epoch{turn}, head});
}

net::Task<Result<std::unique_ptr<pb::WriteOutcome>>> PairService::forward_write(
    std::string transaction, Instant deadline) {
  Result<std::string> answer = co_await call("write", std::move(transaction), deadline);
  if (!answer) {
    if (answer.error().code == "unreachable")
      co_return fail("peer_gone", "The node that took over was lost before it answered");
    co_return fail(answer);
  }
  auto outcome = std::make_unique<pb::WriteOutcome>();
  if (!outcome->ParseFromString(*answer))
    co_return fail("bad_answer", "The other node's answer cannot be read");
  co_return outcome;
}

// Writes of the other node come as calls, which are answered where they are run.
void PairService::answer_write(const pb::WriteOutcome& outcome) {
  log_warning("pair.unasked_answer", {{"id", std::to_string(outcome.id())}});
}

// ---- status ----

upgrade::Roles PairService::roles() const {
  upgrade::Roles out;
  out.primary = serves() || record_.peer.is_zero() ? parts_.node : record_.reg.holder;
  if (role_ == failover::Role::releasing || role_ == failover::Role::taking) out.primary = {};
  out.in_sync = roles_.peer_in_sync() && roles_.linked();
  return out;
}

api::FailoverStatus PairService::status() const {
  api::FailoverStatus out;
  out.role = std::string(failover::word(role_));
  if (record_.peer.is_zero() && record_.reg.lineage.is_zero()) out.role = "joining";
  out.why = role_why_;
  out.node = parts_.node;
  const std::vector<net::Address> own = parts_.host.own_addresses();
  if (!own.empty()) out.address = own.front().text();
  out.lineage = record_.reg.lineage;
  out.epoch = record_.reg.epoch;
  out.head = head_.revision;
  out.committed = committed_;
  out.in_sync = record_.reg.in_sync;
  out.stores.push_back({parts_.node, head_.revision});
  out.shipping = follows_ ? "following" : std::string(sync::word(ship_.state()));
  out.shipping_why = not_taken_;
  out.last_in_sync = last_in_sync_;
  out.history.assign(history_.begin(), history_.end());
  if (record_.peer.is_zero()) {
    out.stores.clear();
    return out;
  }
  out.stores.push_back({record_.peer, {}});
  if (leads_ && greeted_) out.stores.back().durable = peer_durable_.revision;
  api::FailoverStatus::Peer peer;
  peer.node = record_.peer;
  if (const PeerEntry* entry = files_.peer(record_.peer)) peer.address = entry->address.text();
  peer.connected = link_ != nullptr && greeted_;
  peer.last_heard = last_heard_;
  peer.clock_ahead_ms = clock_ahead_ms_;
  if (!peer.connected) peer.why_not = dial_failed_;
  if (greeting_ != nullptr) {
    peer.release = greeting_->release();
    const bool holder = greeting_->reg().holder() == record_.peer.raw();
    peer.role = holder ? "primary" : "backup";
  }
  out.peer = std::move(peer);
  if (leads_ && peer.connected)
    out.lag_records = head_.revision.value - std::min(head_.revision, peer_durable_.revision).value;
  return out;
}

void PairService::journal(std::string who, std::string what, std::string detail) {
  store::JournalEntry entry;
  entry.who = std::move(who);
  entry.what = std::move(what);
  entry.subject = parts_.node.hex();
  entry.at = net::wall_now();
  entry.detail = std::move(detail);
  parts_.journal.append(std::move(entry));
}

}  // namespace everspan::node
