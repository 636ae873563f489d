#include "node/live_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "access/core/grant.h"
#include "common/log.h"
#include "proto/handover.pb.h"
#include "site/sessions.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

constexpr auto kSnapshotWithin = 2s;
// The other process of this machine answers within a millisecond; a person who asks for a list does
// not wait for one that does not.
constexpr auto kPeerSnapshotWithin = 250ms;

std::string_view side_name(relay::Side side) {
  return side == relay::Side::console ? "console" : "agent";
}
std::string_view event_name(relay::SessionEventKind kind) {
  switch (kind) {
    case relay::SessionEventKind::attached:
      return "session.attached";
    case relay::SessionEventKind::lost:
      return "session.leg_lost";
    case relay::SessionEventKind::moved:
      return "session.moved";
    case relay::SessionEventKind::ended:
      return "session.ended";
    case relay::SessionEventKind::refused:
      return "session.refused";
  }
  return "session.event";
}

// Words from elsewhere go into the journal only after they were made plain: its detail is JSON.
std::string plain_words(std::string_view words) {
  std::string plain;
  for (const char c : printable(words))
    if (c != '"' && c != '\\') plain += c;
  return plain;
}

}  // namespace

LiveNode::LiveNode(Parts parts) : parts_(std::move(parts)), tasks_(parts_.control) {}
LiveNode::~LiveNode() = default;

void LiveNode::set_site(site::Context* context, const SigningKey* grant_key,
                        EndpointId probe_endpoint, std::string probe_key) {
  context_ = context;
  grant_signer_ = grant_key;
  probe_endpoint_ = probe_endpoint;
  probe_key_ = std::move(probe_key);
}

SiteId LiveNode::site_id() const {
  return parts_.view.site().id;
}

std::optional<std::string> LiveNode::grant_key(std::string_view key_id) const {
  return parts_.view.grant_key(key_id);
}

std::optional<std::string> LiveNode::endpoint_key(const EndpointId& id) const {
  if (id == probe_endpoint_) return probe_key_;
  return parts_.view.endpoint_key(id);
}

std::optional<std::string> LiveNode::ended(const SessionId& session) const {
  return parts_.view.ended(session);
}

void LiveNode::request_end(const SessionId& session, std::string reason) {
  begin_end(session, std::move(reason), {});
}

void LiveNode::end_revoked(const SessionId& session, const std::string& person,
                           std::string reason) {
  begin_end(session, std::move(reason), person);
}

void LiveNode::begin_end(const SessionId& session, std::string reason, std::string revoked_of) {
  auto begin = [this, session, reason = std::move(reason), revoked_of = std::move(revoked_of)] {
    if (!ending_.insert(session).second) return;  // Asked already; the tombstone is on its way.
    tasks_.spawn("end-session", end_now(session, reason, revoked_of));
  };
  net::asio::post(parts_.control, std::move(begin));
}

// `revoked_of`: the person who may have it no more; empty: it ends for another reason.
net::Task<> LiveNode::end_now(SessionId session, std::string reason, std::string revoked_of) {
  site::Sessions sessions(*context_);
  site::SessionEnd asked{session, reason, 0, 0};
  site::WriteOptions options{random_id<RequestId>(), std::nullopt};
  Result<site::EndedSession> ended = co_await sessions.end(std::move(asked), std::move(options));
  ending_.erase(session);
  if (ended) {
    relay_->end_session(session, ended->signed_tombstone);
    if (!revoked_of.empty() && !ended->was_ended) {
      store::JournalEntry entry;
      entry.who = "node";
      entry.what = "session.revoked";
      entry.subject = session.hex();
      entry.at = net::wall_now();
      entry.detail = fmt::format(R"({{"person":"{}","reason":"{}"}})", plain_words(revoked_of),
                                 plain_words(reason));
      parts_.journal.append(std::move(entry));
    }
    co_return;
  }
  if (ended.error().code == "not_found") {
    // A probe session: it was never opened by a person, so no record of it is kept.
    const access::TombstoneClaims claims{site_id(), session, reason, net::wall_now()};
    relay_->end_session(session, access::sign_tombstone(claims, *grant_signer_));
    co_return;
  }
  // Not ended: the end asks again on its next leg or heartbeat.
  log_warning("session.end_failed", {{"session", session.hex()}, {"why", ended.error().text()}});
}

relay::OrdersInfo LiveNode::orders() const {
  relay::OrdersInfo orders;
  orders.candidates = parts_.candidates();
  orders.redial_after_ms = 0;
  orders.redial_spread_ms = 200;
  return orders;
}

std::optional<relay::NoticeInfo> LiveNode::notice() const {
  auto text = parts_.view.console_notice();
  if (!text) return std::nullopt;
  return relay::NoticeInfo{.text = std::move(*text)};
}

void LiveNode::journal(const relay::SessionEvent& event) {
  store::JournalEntry entry;
  entry.who = event.person.empty() ? "node" : event.person;
  entry.what = std::string(event_name(event.kind));
  entry.subject = event.session.hex();
  entry.at = net::wall_now();
  entry.detail =
      fmt::format(R"({{"side":"{}","generation":{},"endpoint":"{}","address":"{}","detail":"{}"}})",
                  side_name(event.side), event.generation, event.endpoint.hex(),
                  plain_words(event.address), plain_words(event.detail));
  parts_.journal.append(std::move(entry));
}

void LiveNode::agent_presence(const relay::AgentInfo& agent, bool online) {
  log_info(online ? "agent.online" : "agent.offline",
           {{"endpoint", agent.endpoint.hex()}, {"release", agent.release}});
}

void LiveNode::open_refused(const SessionId& session, const Error& why) {
  log_warning("session.open_refused", {{"session", session.hex()}, {"why", why.text()}});
  request_end(session, "refused by the endpoint: " + why.message.substr(0, 120));
}

bool LiveNode::agent_online(const EndpointId& endpoint) {
  return relay_->agent_online(endpoint);
}

Result<void> LiveNode::open_session(const EndpointId& endpoint, const std::string& signed_grant) {
  if (relay_->open_session(endpoint, signed_grant)) return {};
  return fail("endpoint_offline", "The endpoint's agent is not connected", "No session was opened",
              "Check that everspan-agent runs there, then try again");
}

void LiveNode::end_session(const SessionId& session, const std::string& signed_tombstone) {
  relay_->end_session(session, signed_tombstone);
}

void LiveNode::close_endpoint(const EndpointId& endpoint) {
  relay_->close_endpoint(endpoint, "removed");
}

net::Task<relay::RelaySnapshot> LiveNode::local_snapshot() {
  struct Shared {
    explicit Shared(net::Executor executor) : wakeup(executor) {}
    relay::RelaySnapshot snapshot;
    net::Wakeup wakeup;
  };
  const net::Executor executor = co_await net::asio::this_coro::executor;
  const auto shared = std::make_shared<Shared>(executor);
  auto done = [shared, executor](relay::RelaySnapshot snapshot) {
    auto give = [shared, snapshot = std::move(snapshot)]() mutable {
      shared->snapshot = std::move(snapshot);
      shared->wakeup.notify();
    };
    net::asio::post(executor, std::move(give));
  };
  relay_->snapshot(std::move(done));
  co_await shared->wakeup.wait_until(net::now() + kSnapshotWithin);
  co_return std::move(shared->snapshot);
}

net::Task<std::unique_ptr<pb::SnapshotReply>> LiveNode::peer_snapshot() {
  if (peer_ == nullptr) co_return nullptr;
  co_return co_await peer_->snapshot(net::now() + kPeerSnapshotWithin);
}

net::Task<Result<api::LiveSnapshot>> LiveNode::snapshot() {
  api::LiveSnapshot out;
  const std::unique_ptr<pb::SnapshotReply> here =
      co_await net::asio::co_spawn(parts_.control, node_part(), net::asio::use_awaitable);
  add_part(*here, parts_.node, out);
  if (!parts_.other_node) co_return std::move(out);
  const Result<std::unique_ptr<pb::SnapshotReply>> there =
      co_await net::asio::co_spawn(parts_.control, parts_.other_node(), net::asio::use_awaitable);
  out.whole = there.has_value();
  if (there && *there != nullptr) add_part(**there, parts_.other_id(), out);
  co_return std::move(out);
}

net::Task<std::unique_ptr<pb::SnapshotReply>> LiveNode::node_part() {
  const relay::RelaySnapshot local = co_await local_snapshot();
  auto part = std::make_unique<pb::SnapshotReply>();
  fill_reply(local, *part);
  const std::unique_ptr<pb::SnapshotReply> other = co_await peer_snapshot();
  if (other != nullptr) part->mutable_clients()->MergeFrom(other->clients());
  co_return part;
}

void LiveNode::fill_reply(const relay::RelaySnapshot& snapshot, pb::SnapshotReply& reply) const {
  for (const relay::AgentInfo& agent : snapshot.agents) {
    if (agent.at_peer_process) continue;
    pb::ClientSnapshot& row = *reply.add_clients();
    row.set_kind("agent");
    row.set_name(parts_.view.endpoint_name(agent.endpoint).value_or(agent.name));
    row.set_endpoint_id(agent.endpoint.raw());
    row.set_address(agent.address);
    row.set_release(agent.release);
    row.set_since_ms(agent.since_ms);
  }
  for (const relay::SessionInfoRow& session : snapshot.sessions) {
    const auto add_leg = [&](const relay::LegInfo& leg, const char* kind) {
      if (!leg.here) return;
      pb::ClientSnapshot& row = *reply.add_clients();
      row.set_kind(session.endpoint == probe_endpoint_ ? "probe" : kind);
      row.set_name(session.session.hex());
      row.set_person(session.person);
      row.set_endpoint_id(session.endpoint.raw());
      row.set_session_id(session.session.raw());
      row.set_address(leg.address);
      row.set_release(leg.release);
      row.set_since_ms(leg.since_ms);
      row.set_generation(leg.generation);
      row.set_bytes_c2a(session.bytes_c2a);
      row.set_bytes_a2c(session.bytes_a2c);
    };
    add_leg(session.console, "console");
    add_leg(session.agent, "agent-leg");
  }
}

void LiveNode::add_part(const pb::SnapshotReply& from, const NodeId& node,
                        api::LiveSnapshot& to) const {
  std::map<SessionId, std::size_t> known;
  for (std::size_t i = 0; i < to.sessions.size(); ++i) known[to.sessions[i].id] = i;
  for (const pb::ClientSnapshot& row : from.clients()) {
    const Result<EndpointId> endpoint =
        EndpointId::from_raw(row.endpoint_id().empty() ? row.endpoint() : row.endpoint_id());
    if (!endpoint) continue;  // From a release that says it otherwise: not shown, not fatal.
    const std::string endpoint_name =
        *endpoint == probe_endpoint_
            ? std::string("(probe)")
            : parts_.view.endpoint_name(*endpoint).value_or(endpoint->hex());
    if (row.session_id().empty())
      to.agents.push_back({*endpoint, row.release(), row.address(), {row.since_ms()}});
    if (row.kind() != "agent-leg") {
      to.clients.push_back({row.kind(),
                            row.kind() == "agent" ? endpoint_name : row.name(),
                            row.person(),
                            endpoint_name,
                            to_hex(as_bytes(row.session_id())),
                            row.address(),
                            row.release(),
                            node.hex(),
                            {row.since_ms()},
                            row.generation()});
    }
    const Result<SessionId> session = SessionId::from_raw(row.session_id());
    if (!session) continue;
    const auto [at, fresh] = known.try_emplace(*session, to.sessions.size());
    if (fresh) to.sessions.push_back({*session});
    api::LiveSession& live = to.sessions[at->second];
    (row.kind() == "agent-leg" ? live.agent : live.console) = true;
    live.bytes_c2a = std::max(live.bytes_c2a, row.bytes_c2a());
    live.bytes_a2c = std::max(live.bytes_a2c, row.bytes_a2c());
  }
}

net::Task<> LiveNode::join() {
  tasks_.cancel();
  co_await tasks_.join();
}

}  // namespace everspan::node
