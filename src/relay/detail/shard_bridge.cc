// A shard's side of the bridge to the other site process, and moving everything there.
#include <utility>

#include "common/log.h"
#include "net/io_threads.h"
#include "relay/detail/messages.h"
#include "relay/detail/shard.h"

namespace everspan::relay {

void Shard::bridge_message(std::string_view key, const pb::BridgeMessage& message) {
  if (!bridge_) return;
  append_bridge_message(bridge_out_, key, message);
  flush_bridge();
}

void Shard::bridge_frame(std::string_view session, Side side, std::string_view frame) {
  if (!bridge_) return;
  append_bridge_frame(bridge_out_, session, side, frame);
  flush_bridge();
}

// Once a wakeup: what all sessions forwarded leaves together.
void Shard::flush_bridge() {
  if (std::exchange(bridge_flush_posted_, true)) return;
  boost::asio::post(executor, [this, relay = relay_] {
    const auto alive = relay.lock();
    if (!alive) return;
    bridge_flush_posted_ = false;
    if (bridge_ && !bridge_out_.empty()) bridge_->send(std::exchange(bridge_out_, {}));
    bridge_out_.clear();
  });
}

void Shard::on_bridge_up(std::shared_ptr<Bridge> bridge) {
  if (stopping_) return;
  if (bridge_) on_bridge_down();
  bridge_ = std::move(bridge);
  bridge_high_ = false;
  for (const auto& [endpoint, link] : agents_) send_presence(link->info, true);
  for (const auto& [id, session] : sessions_) session->on_bridge(true);
}

void Shard::on_bridge_down() {
  bridge_.reset();
  bridge_out_.clear();
  bridge_high_ = false;
  for (const auto& [id, session] : sessions_) session->on_bridge(false);
}

void Shard::on_bridge_pressure(bool high) {
  bridge_high_ = high;
  for (const auto& [id, session] : sessions_) session->on_bridge_pressure();
}

void Shard::on_bridge_records(const std::string& records) {
  std::string_view rest = records;
  while (!rest.empty() && bridge_) {
    std::size_t size = 0;
    const auto record = parse_bridge(rest, size);
    if (!record || !*record) return;  // Whole when they came here.
    const auto& [kind, key, body] = **record;
    if (kind == BridgeKind::message) {
      on_bridge_message(key, body);
    } else if (const auto session = SessionId::from_raw(key)) {
      Side side{};
      const auto found = sessions_.find(*session);
      if (found != sessions_.end() && !body.empty() &&
          read_side(static_cast<std::uint8_t>(body[0]), side))
        found->second->on_bridge_frame(side, body.substr(1));
    }
    rest.remove_prefix(size);
  }
}

void Shard::on_bridge_message(std::string_view key, std::string_view body) {
  pb::BridgeMessage message;
  if (!message.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    log_warning("bridge.bad_message");
    return;
  }
  const auto relay = relay_.lock();
  if (message.has_presence()) {
    const auto& said = message.presence();
    const auto endpoint = EndpointId::from_raw(said.endpoint_id());
    if (!endpoint || !relay) return;
    AgentInfo info{*endpoint,       said.name(), said.platform(), said.release(), said.address(),
                   said.since_ms(), true};
    return relay->agent_at_peer(info, said.online());
  }
  if (message.has_open_session()) {
    const auto endpoint = EndpointId::from_raw(message.open_session().endpoint_id());
    if (endpoint && agents_.contains(*endpoint))
      open_session(*endpoint, message.open_session().grant());
    return;
  }
  if (message.has_open_refused()) {
    const auto& said = message.open_refused();
    if (const auto session = SessionId::from_raw(said.session_id()))
      services.open_refused(*session, {said.code(), said.message(), {}, said.next()});
    return;
  }
  const auto id = SessionId::from_raw(key);
  if (!id) return;
  if (message.has_ended()) return end_session(*id, message.ended().tombstone(), true);
  const auto found = sessions_.find(*id);
  if (found != sessions_.end()) return found->second->on_bridge_message(message);
  if (!message.has_leg_attached()) return;
  pb::BridgeMessage unknown;
  unknown.mutable_session_state()->set_session_id(id->raw());
  unknown.mutable_session_state()->set_query(message.leg_attached().query());
  bridge_message(key, unknown);
}

void Shard::send_presence(const AgentInfo& agent, bool online) {
  if (!bridge_) return;
  pb::BridgeMessage message;
  auto& said = *message.mutable_presence();
  said.set_endpoint_id(agent.endpoint.raw());
  said.set_online(online);
  said.set_name(agent.name);
  said.set_platform(agent.platform);
  said.set_release(agent.release);
  said.set_address(agent.address);
  said.set_since_ms(agent.since_ms);
  bridge_message(agent.endpoint.raw(), message);
}

// ---- Moving ----

bool Shard::moves(const Movable& what) const {
  return !moves_only_ || moves_only_(what);
}

std::size_t Shard::count_left() const {
  std::size_t left = 0;
  for (const auto& [endpoint, link] : agents_) left += moves({endpoint, {}}) ? 1U : 0U;
  for (const auto& [id, session] : sessions_)
    if (moves({session->claims().endpoint, id})) left += session->legs().size();
  return left;
}

void Shard::migrate(Pace pace, std::shared_ptr<MoveCounters> counters) {
  if (stopping_) return;
  moving_ = std::move(counters);
  moves_only_ = pace.only;
  moving_->left = count_left();
  forget_moves();
  pace_.emplace(static_cast<double>(std::max(1U, pace.per_second)) / shards_);
  scope_.spawn("relay.move", move(std::move(pace), moving_, ++move_run_));
}

void Shard::stop_migrating() {
  ++move_run_;
  moving_.reset();
  forget_moves();
  pace_.reset();
}

// Those of an earlier run, whose ends may still come.
void Shard::forget_moves() {
  for (const auto& [endpoint, link] : agents_) link->under_way = false;
  for (const auto& [id, session] : sessions_)
    for (const auto& [leg_id, leg] : session->legs()) leg->under_way = false;
}

// One link that was not asked lately. Standing links first: new sessions come by them.
bool Shard::move_one(Instant now, const std::string& frame, Duration ask_again) {
  const auto due = [&](const std::optional<Instant>& asked) {
    return !asked || now - *asked >= ask_again;
  };
  for (const auto& [endpoint, link] : agents_) {
    if (!due(link->asked_at) || !moves({endpoint, {}})) continue;
    move_asked(*link, now);
    link->send(frame);
    return true;
  }
  for (const auto& [id, session] : sessions_) {
    if (!moves({session->claims().endpoint, id})) continue;
    for (const auto& [leg_id, leg] : session->legs())
      if (!leg->closing() && due(leg->asked_at) && session->migrate(leg_id, frame, now))
        return true;
  }
  return false;
}

net::Task<void> Shard::move(Pace pace, std::shared_ptr<MoveCounters> counters, std::uint64_t run) {
  constexpr Duration kStep = std::chrono::milliseconds(2);
  constexpr Duration kCountEvery = std::chrono::milliseconds(20);
  Instant count_at{};
  while (run == move_run_ && !stopping_) {
    const auto relay = relay_.lock();
    if (!relay) co_return;
    const bool slow = relay->threads.loop_delay() > pace.slow_above;
    std::string frame;
    while (pace_->may_ask(net::now(), slow)) {
      if (frame.empty()) {
        pb::LinkMessage message;
        write_candidates(orders(), *message.mutable_migrate());
        message.mutable_migrate()->set_reason(pace.reason);
        frame = control_frame(message);
      }
      if (!move_one(net::now(), frame, pace.ask_again)) break;
    }
    if (const auto now = net::now(); now >= count_at) {
      counters->left = count_left();
      count_at = now + kCountEvery;
    }
    const bool go_on = co_await net::sleep_for(kStep);
    if (!go_on) co_return;
  }
}

}  // namespace everspan::relay
