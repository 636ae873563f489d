#include "relay/detail/shard.h"

#include <utility>

#include "common/log.h"
#include "proto/recording.pb.h"
#include "recording/recorder.h"
#include "relay/detail/messages.h"

namespace everspan::relay {
namespace {

constexpr Duration kTick = std::chrono::milliseconds(100);
constexpr int kTicksPerBeat = 10;

}  // namespace

Shard::Shard(std::weak_ptr<Relay::State> relay, unsigned shard_index, unsigned count,
             net::Executor e, Services& s, recording::Recorder* r, const RelayOptions& o)
    : index(shard_index),
      executor(std::move(e)),
      services(s),
      recorder(r),
      options(o),
      relay_(std::move(relay)),
      shards_(count),
      scope_(executor) {}

Shard::~Shard() = default;

void Shard::start() {
  scope_.spawn("relay.beat", beat());
}

net::Task<void> Shard::beat() {
  for (int ticks = 0;; ++ticks) {
    const bool go_on = co_await net::sleep_for(kTick);
    if (!go_on || stopping_) co_return;
    const auto now = net::now();
    for (const auto& [id, session] : sessions_) {
      session->tell_waiting();
      if (session->pending()) session->check_queries(now);
    }
    if (ticks % kTicksPerBeat == 0) tick(now);
  }
}

void Shard::tick(Instant now) {
  const auto info = orders();
  pb::LinkMessage message;
  write_orders(info, *message.mutable_orders());
  auto frame = control_frame(message);
  const bool changed = !last_orders_.empty() && frame != last_orders_;
  last_orders_ = frame;
  const Duration heartbeat = std::chrono::milliseconds(info.heartbeat_ms);
  for (const auto& [id, session] : sessions_) {
    session->tick(now, heartbeat, options.silent_heartbeats_max);
    if (changed) session->send_orders(frame);
  }
  std::vector<AgentLink*> dead;
  for (const auto& [endpoint, link] : agents_) {
    if (!link->beat(now, heartbeat, options.silent_heartbeats_max))
      dead.push_back(link.get());
    else if (changed)
      link->send(frame);
  }
  for (auto* link : dead) agent_closed(*link, {"silent", "Nothing was heard", {}, {}});
}

// ---- Sessions ----

void Shard::end_session(const SessionId& id, const std::string& signed_tombstone, bool from_peer) {
  if (!from_peer && bridge_) {
    pb::BridgeMessage message;
    message.mutable_ended()->set_session_id(id.raw());
    message.mutable_ended()->set_tombstone(signed_tombstone);
    bridge_message(id.raw(), message);
  }
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  pb::SignedTombstone signed_message;
  pb::Tombstone tombstone;
  if (!signed_message.ParseFromString(signed_tombstone) ||
      !tombstone.ParseFromString(signed_message.tombstone())) {
    log_error("session.bad_tombstone", {{"session", id.hex()}});
    return;
  }
  found->second->end(signed_tombstone, tombstone.reason());
}

// Not now: a call of the session may be under way.
void Shard::forget_later(const SessionId& id) {
  boost::asio::post(executor, [this, id, relay = relay_] {
    const auto alive = relay.lock();
    if (!alive) return;
    const auto found = sessions_.find(id);
    if (found == sessions_.end() || !found->second->may_go()) return;
    sessions_.erase(found);
    session_count_ = sessions_.size();
  });
}

void Shard::send_notice() {
  const auto notice = services.notice();
  if (!notice) return;
  const auto frame = notice_frame(*notice);
  for (const auto& [id, session] : sessions_) session->send_notice(frame);
}

void Shard::session_closed_leg(bool moved) {
  if (!moving_) return;
  ++(moved ? moving_->moved : moving_->lost);
}

// ---- Recording ----

recording::Batch& Shard::batch() {
  if (!std::exchange(submit_posted_, true))
    boost::asio::post(executor, [this, relay = relay_] {
      if (const auto alive = relay.lock()) submit();
    });
  return batch_;
}

// Growing anew each time would cost more than what is written: the memory of batches that are
// durable comes back.
void Shard::keep_spare(std::string records) {
  constexpr std::size_t kSparesMax = 4;
  constexpr std::size_t kSpareBytesMax = 4 << 20;
  const bool worth = records.capacity() > 16 * 1024 && records.capacity() <= kSpareBytesMax;
  if (worth && spares_.size() < kSparesMax) spares_.push_back(std::move(records));
}

recording::Batch Shard::take_batch() {
  auto full = std::exchange(batch_, {});
  if (!spares_.empty()) {
    batch_.records = std::move(spares_.back());
    batch_.records.clear();
    spares_.pop_back();
  }
  return full;
}

void Shard::submit() {
  submit_posted_ = false;
  if (batch_.empty() || recorder == nullptr) return;
  recorder->submit(take_batch(), [this, relay = relay_](recording::Batch done) {
    const auto reached = relay.lock();
    if (!reached) return;
    boost::asio::post(executor, [this, relay, done = std::move(done)]() mutable {
      const auto alive = relay.lock();
      if (!alive) return;
      const auto notes = std::move(done.notes);
      keep_spare(std::move(done.records));
      std::vector<std::uint32_t> touched;
      for (const auto& note : notes) {
        const auto found = streams_.find(note.stream);
        if (found == streams_.end()) continue;
        found->second->on_durable(note);
        if (touched.empty() || touched.back() != note.stream) touched.push_back(note.stream);
      }
      for (const auto stream : touched)
        if (const auto found = streams_.find(stream); found != streams_.end())
          found->second->after_durable();
    });
  });
}

void Shard::watch_stream(std::uint32_t stream, Session& session) {
  streams_[stream] = &session;
}
void Shard::unwatch_stream(std::uint32_t stream) {
  streams_.erase(stream);
}

void Shard::recover(const SessionId& id) {
  const auto give = [this, relay = relay_, id](std::unique_ptr<pb::RecorderSnapshot> snapshot) {
    const auto reached = relay.lock();
    if (!reached) return;
    const std::shared_ptr<pb::RecorderSnapshot> found = std::move(snapshot);
    boost::asio::post(executor, [this, relay, id, found] {
      const auto alive = relay.lock();
      if (!alive) return;
      const auto session = sessions_.find(id);
      if (session != sessions_.end()) session->second->on_recovered(*found);
    });
  };
  if (recorder != nullptr)
    recorder->recover(id, give);
  else
    give(std::make_unique<pb::RecorderSnapshot>());
}

// ---- State ----

void Shard::snapshot(RelaySnapshot& out) const {
  for (const auto& [id, session] : sessions_) out.sessions.push_back(session->row());
}

Farewell::Farewell(Shard& shard, std::uint64_t id, net::Executor e,
                   std::unique_ptr<net::Transport> transport)
    : WatchedLink(std::move(e), std::move(transport), {}), shard_(shard), id_(id) {}

void Farewell::on_link_closed(const Error&) {
  shard_.forget_farewell(id_);
}

void Shard::refuse(std::unique_ptr<net::Transport> transport, const Error& why,
                   std::uint32_t retry_after_ms) {
  const auto id = ++last_id_;
  auto& farewell = farewells_[id];
  farewell = std::make_unique<Farewell>(*this, id, executor, std::move(transport));
  farewell->say_and_close(refuse_frame(why, retry_after_ms));
  farewell->start();
}

void Shard::shutdown(std::function<void()> done) {
  stopping_ = true;
  ++move_run_;
  scope_.cancel();
  sessions_.clear();
  session_count_ = 0;
  agents_.clear();
  old_agents_.clear();
  farewells_.clear();
  bridge_.reset();
  submit();
  boost::asio::co_spawn(executor, finish(std::move(done)), [](const std::exception_ptr& failed) {
    if (failed) std::rethrow_exception(failed);
  });
}

// Outside the scope, because it waits for the scope.
net::Task<void> Shard::finish(std::function<void()> done) {
  co_await scope_.join();
  done();
}

}  // namespace everspan::relay
