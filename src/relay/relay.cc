#include "relay/relay.h"

#include <utility>

#include "common/check.h"
#include "common/ids.h"
#include "common/log.h"
#include "net/io_threads.h"
#include "relay/detail/shard.h"

namespace everspan::relay {

Shard& Relay::State::shard_of(std::string_view id16) const {
  // Ids are random: a byte is a hash. The last one, because the first eight hash maps elsewhere.
  const auto at = static_cast<std::uint8_t>(id16.empty() ? 0 : id16.back());
  return *shards[at % shards.size()];
}

void Relay::State::post(Shard& shard, std::function<void(Shard&)> work) {
  // Weak: work that a stopped loop never runs must not keep the relay.
  boost::asio::post(shard.executor, [self = weak_from_this(), &shard, work = std::move(work)] {
    if (const auto alive = self.lock()) work(shard);
  });
}

void Relay::State::agent_here(const AgentInfo& info, bool online) {
  bool was = false;
  bool is = false;
  {
    const std::lock_guard lock(mutex);
    auto& entry = agents[info.endpoint];
    was = entry.here || entry.at_peer;
    entry.here = online;
    if (online) entry.info = info;
    is = entry.here || entry.at_peer;
    if (!is) agents.erase(info.endpoint);
  }
  if (online || was != is) services.agent_presence(info, is);
}

void Relay::State::agent_at_peer(const AgentInfo& info, bool online) {
  bool was = false;
  bool is = false;
  {
    const std::lock_guard lock(mutex);
    auto& entry = agents[info.endpoint];
    was = entry.here || entry.at_peer;
    entry.at_peer = online;
    if (online && !entry.here) entry.info = info;
    is = entry.here || entry.at_peer;
    if (!is) agents.erase(info.endpoint);
  }
  if (was != is) services.agent_presence(info, is);
}

void Relay::State::peer_agents_gone() {
  std::vector<AgentInfo> gone;
  {
    const std::lock_guard lock(mutex);
    for (auto it = agents.begin(); it != agents.end();) {
      it->second.at_peer = false;
      if (it->second.here) {
        ++it;
        continue;
      }
      gone.push_back(it->second.info);
      it = agents.erase(it);
    }
  }
  for (const auto& info : gone) services.agent_presence(info, false);
}

bool Relay::State::is_agent_at_peer(const EndpointId& endpoint) const {
  const std::lock_guard lock(mutex);
  const auto found = agents.find(endpoint);
  return found != agents.end() && found->second.at_peer;
}

Relay::Relay(net::IoThreads& threads, Services& services, recording::Recorder* recorder,
             RelayOptions options)
    : state_(std::make_shared<State>(threads, services, recorder, options)) {
  for (unsigned i = 0; i < threads.count(); ++i) {
    auto& shard = state_->shards.emplace_back(std::make_unique<Shard>(
        state_, i, threads.count(), threads.executor(i), services, recorder, options));
    state_->post(*shard, [](Shard& started) { started.start(); });
  }
}

Relay::~Relay() = default;

void Relay::serve(std::unique_ptr<net::Transport> connection, std::string early, unsigned thread) {
  auto shared = std::make_shared<std::pair<std::unique_ptr<net::Transport>, std::string>>(
      std::move(connection), std::move(early));
  state_->post(*state_->shards[thread % state_->shards.size()], [shared](Shard& shard) {
    shard.serve(std::move(shared->first), std::move(shared->second));
  });
}

// ---- The other process ----

void Relay::take_node_links(NodeLinkTaker taker) {
  const std::lock_guard lock(state_->mutex);
  state_->node_links = taker ? std::make_shared<NodeLinkTaker>(std::move(taker)) : nullptr;
}

void Relay::set_peer(net::Fd stream, std::function<void()> gone) {
  drop_peer();
  const std::weak_ptr<State> weak = state_;
  // Which bridge an event is of: one that was replaced says nothing any more.
  auto mine = std::make_shared<std::weak_ptr<Bridge>>();
  const auto current = [weak, mine]() -> std::shared_ptr<State> {
    auto state = weak.lock();
    if (!state) return nullptr;
    const std::lock_guard lock(state->mutex);
    return state->bridge && state->bridge == mine->lock() ? state : nullptr;
  };
  Bridge::Events events;
  events.on_records = [current](const std::string& records) {
    const auto state = current();
    if (!state) return;
    std::map<Shard*, std::string> by_shard;
    std::string_view rest = records;
    while (!rest.empty()) {
      std::size_t size = 0;
      const auto record = parse_bridge(rest, size);
      check(record && record->has_value(), "a bridge hands on whole records");
      by_shard[&state->shard_of((*record)->key)].append(rest.substr(0, size));
      rest.remove_prefix(size);
    }
    for (auto& [shard, part] : by_shard)
      state->post(*shard, [part = std::move(part)](Shard& s) { s.on_bridge_records(part); });
  };
  events.on_pressure = [current](bool high) {
    if (const auto state = current())
      for (const auto& shard : state->shards)
        state->post(*shard, [high](Shard& s) { s.on_bridge_pressure(high); });
  };
  events.on_closed = [current, gone = std::move(gone)](const Error& why) {
    const auto state = current();
    if (!state) return;
    log_info("bridge.closed", {{"why", why.code}});
    {
      const std::lock_guard lock(state->mutex);
      state->bridge.reset();
    }
    for (const auto& shard : state->shards)
      state->post(*shard, [](Shard& s) { s.on_bridge_down(); });
    state->peer_agents_gone();
    if (gone) gone();
  };
  auto bridge = std::make_shared<Bridge>(state_->threads.executor(0), std::move(stream),
                                         std::move(events), state_->services.node_id().raw());
  *mine = bridge;
  {
    const std::lock_guard lock(state_->mutex);
    state_->bridge = bridge;
  }
  for (const auto& shard : state_->shards)
    state_->post(*shard, [bridge](Shard& s) { s.on_bridge_up(bridge); });
  bridge->start();
}

void Relay::drop_peer() {
  std::shared_ptr<Bridge> old;
  {
    const std::lock_guard lock(state_->mutex);
    old.swap(state_->bridge);
  }
  if (!old) return;
  old->close();
  for (const auto& shard : state_->shards)
    state_->post(*shard, [](Shard& s) { s.on_bridge_down(); });
  state_->peer_agents_gone();
}

void Relay::drain(bool on) {
  state_->draining = on;
}

// ---- Sessions ----

bool Relay::open_session(const EndpointId& endpoint, const std::string& signed_grant) {
  if (!agent_online(endpoint)) return false;
  state_->post(state_->shard_of(endpoint.raw()), [endpoint, signed_grant](Shard& shard) {
    shard.open_session(endpoint, signed_grant);
  });
  return true;
}

void Relay::end_session(const SessionId& session, const std::string& signed_tombstone) {
  state_->post(state_->shard_of(session.raw()), [session, signed_tombstone](Shard& shard) {
    shard.end_session(session, signed_tombstone, false);
  });
}

void Relay::close_endpoint(const EndpointId& endpoint, const std::string& code) {
  for (const auto& shard : state_->shards)
    state_->post(*shard, [endpoint, code](Shard& s) { s.close_endpoint(endpoint, code); });
}

void Relay::broadcast_notice() {
  for (const auto& shard : state_->shards) state_->post(*shard, [](Shard& s) { s.send_notice(); });
}

std::size_t Relay::session_count() const {
  std::size_t count = 0;
  for (const auto& shard : state_->shards) count += shard->session_count();
  return count;
}

std::size_t Relay::agent_count() const {
  const std::lock_guard lock(state_->mutex);
  return state_->agents.size();
}

bool Relay::agent_online(const EndpointId& endpoint) const {
  const std::lock_guard lock(state_->mutex);
  return state_->agents.contains(endpoint);
}

namespace {

// One shard after another: each adds its part on its own thread.
void gather(const std::shared_ptr<Relay::State>& state, std::size_t i,
            const std::shared_ptr<RelaySnapshot>& out, std::function<void(RelaySnapshot)> done) {
  if (i == state->shards.size()) return done(std::move(*out));
  const std::weak_ptr<Relay::State> weak = state;
  state->post(*state->shards[i], [weak, i, out, done = std::move(done)](Shard& shard) {
    shard.snapshot(*out);
    if (const auto alive = weak.lock()) gather(alive, i + 1, out, done);
  });
}

}  // namespace

void Relay::snapshot(std::function<void(RelaySnapshot)> done) {
  auto out = std::make_shared<RelaySnapshot>();
  {
    const std::lock_guard lock(state_->mutex);
    for (const auto& [endpoint, entry] : state_->agents) {
      out->agents.push_back(entry.info);
      out->agents.back().at_peer_process = !entry.here;
    }
  }
  gather(state_, 0, out, std::move(done));
}

// ---- Moving ----

namespace {

struct MoveRun {
  std::vector<std::shared_ptr<MoveCounters>> parts;
  std::function<void(MoveProgress)> progress;
  std::uint64_t run = 0;
  MoveProgress last;
};

// Four times a second on the first thread, until nothing is left or another run began.
void report(const std::shared_ptr<Relay::State>& of, const std::shared_ptr<MoveRun>& run,
            const std::shared_ptr<net::Timer>& timer) {
  timer->expires_after(std::chrono::milliseconds(250));
  const std::weak_ptr<Relay::State> weak = of;
  timer->async_wait([weak, run, timer](boost::system::error_code error) {
    const auto state = weak.lock();
    if (error || !state) return;
    {
      const std::lock_guard lock(state->mutex);
      if (state->move_run != run->run) return;
    }
    MoveProgress sum;
    for (const auto& part : run->parts) {
      sum.moved += part->moved;
      sum.lost += part->lost;
      sum.left += part->left;
    }
    sum.legs_total = sum.moved + sum.lost + sum.left;
    if (run->progress) run->progress(sum);
    if (sum.left > 0) return report(state, run, timer);
    for (const auto& shard : state->shards)
      state->post(*shard, [](Shard& s) { s.stop_migrating(); });
  });
}

}  // namespace

void Relay::migrate_all(Pace pace, std::function<void(MoveProgress)> progress) {
  auto run = std::make_shared<MoveRun>();
  run->progress = std::move(progress);
  {
    const std::lock_guard lock(state_->mutex);
    run->run = ++state_->move_run;
  }
  for (const auto& shard : state_->shards) {
    auto part = std::make_shared<MoveCounters>();
    part->left = 1;  // Until the shard has counted.
    run->parts.push_back(part);
    state_->post(*shard, [pace, part](Shard& s) { s.migrate(pace, part); });
  }
  report(state_, run, std::make_shared<net::Timer>(state_->threads.executor(0)));
}

void Relay::stop_migrating() {
  {
    const std::lock_guard lock(state_->mutex);
    ++state_->move_run;
  }
  for (const auto& shard : state_->shards)
    state_->post(*shard, [](Shard& s) { s.stop_migrating(); });
}

void Relay::shutdown(std::function<void()> done) {
  stop_migrating();
  drop_peer();
  auto left = std::make_shared<std::atomic<std::size_t>>(state_->shards.size());
  for (const auto& shard : state_->shards)
    state_->post(*shard, [left, done](Shard& s) {
      s.shutdown([left, done] {
        if (--*left == 0) done();
      });
    });
}

}  // namespace everspan::relay
