// From an accepted connection to a leg or a standing link: greeting, limits, checks.
#include <utility>

#include "access/core/attach_proof.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/version.h"
#include "relay/detail/messages.h"
#include "relay/detail/shard.h"

namespace everspan::relay {
namespace {

std::string hello_reply(const Services& services, std::uint32_t spoken, const Error* refused) {
  pb::LinkMessage message;
  auto& reply = *message.mutable_hello_reply();
  reply.set_wire(spoken);
  reply.set_release(std::string(program_version()));
  reply.set_node_id(services.node_id().raw());
  reply.set_site_id(services.site_id().raw());
  if (refused != nullptr) write_refuse(*refused, 0, *reply.mutable_refuse());
  return control_frame(message);
}

Result<void> check_hello(const pb::LinkMessage& message, bool takes_nodes) {
  if (!message.has_hello()) return fail("bad_hello", "The link does not begin with a Hello");
  const auto& hello = message.hello();
  const bool is_peer = hello.kind() == pb::Hello::KIND_PEER && takes_nodes;
  if (hello.kind() != pb::Hello::KIND_AGENT && hello.kind() != pb::Hello::KIND_LEG && !is_peer)
    return fail("bad_hello", "This node does not know such a link");
  if (!wire::common_version(hello.wire_min(), hello.wire_max()))
    return fail("wire_range",
                "This node runs release " + std::string(program_version()) +
                    ", which does not speak the protocol of release " +
                    printable(hello.release(), 40),
                {}, "Install a release between the two first");
  return {};
}

// Counts a connection that is not authenticated yet.
class OpeningSlot {
 public:
  OpeningSlot(std::atomic<std::size_t>& count, std::size_t most)
      : count_(count), granted_(++count <= most) {}
  OpeningSlot(const OpeningSlot&) = delete;
  OpeningSlot& operator=(const OpeningSlot&) = delete;
  ~OpeningSlot() { --count_; }
  [[nodiscard]] bool granted() const { return granted_; }

 private:
  std::atomic<std::size_t>& count_;
  bool granted_;
};

}  // namespace

void Shard::serve(std::unique_ptr<net::Transport> transport, std::string early) {
  if (stopping_) return;
  scope_.spawn("relay.open", open(std::move(transport), std::move(early)));
}

net::Task<void> Shard::open(std::unique_ptr<net::Transport> transport, std::string early) {
  const auto relay = relay_.lock();
  if (!relay) co_return;
  const OpeningSlot slot(relay->openings, options.opening_max);
  if (!slot.granted()) co_return;  // Nothing is known about it: just closed.
  const auto deadline = net::now() + options.opening_deadline;
  Opened opened;
  opened.transport = std::move(transport);
  opened.early = std::move(early);
  auto& link = *opened.transport;

  const auto hello_bytes =
      co_await net::read_control(link, opened.early, wire::kHelloBytesMax, deadline);
  if (!hello_bytes) co_return;
  pb::LinkMessage hello;
  if (!hello.ParseFromString(*hello_bytes)) co_return;
  const auto node_links = relay->node_link_taker();
  const auto fits = check_hello(hello, node_links != nullptr);
  const auto& greeting = hello.hello();
  opened.wire =
      wire::common_version(greeting.wire_min(), greeting.wire_max()).value_or(wire::kWireMax);
  auto reply = hello_reply(services, opened.wire, fits ? nullptr : &fits.error());
  const auto replied = co_await net::write_all(link, std::move(reply), deadline);
  if (!replied || !fits) co_return;
  opened.release = printable(hello.hello().release(), 40);
  if (greeting.kind() == pb::Hello::KIND_PEER) {
    (*node_links)(std::move(opened.transport), std::move(opened.early), index);
    co_return;
  }

  const auto bytes = co_await net::read_control(link, opened.early, wire::kHelloBytesMax, deadline);
  if (!bytes || stopping_) co_return;
  if (!opened.message.ParseFromString(*bytes)) co_return;
  opened.exporter = link.exporter(wire::kExporterLabel, access::kExporterBytes);
  const bool is_leg = hello.hello().kind() == pb::Hello::KIND_LEG && opened.message.has_attach();
  const bool is_agent =
      hello.hello().kind() == pb::Hello::KIND_AGENT && opened.message.has_register_();
  if (!is_leg && !is_agent)
    co_return refuse(std::move(opened.transport),
                     {"bad_hello", "Neither an attach nor a registration came", {}, {}});
  std::string key;
  if (is_leg) {
    pb::Grant grant;
    if (grant.ParseFromString(opened.message.attach().grant().grant())) key = grant.session_id();
  } else {
    key = opened.message.register_().endpoint_id();
  }
  if (key.size() != 16)
    co_return refuse(std::move(opened.transport),
                     {"bad_grant", "The grant names no session", {}, {}});
  const auto shared = std::make_shared<Opened>(std::move(opened));
  relay->post(relay->shard_of(key), [shared](Shard& shard) { shard.take(std::move(*shared)); });
}

void Shard::take(Opened opened) {
  if (stopping_) return;
  const auto relay = relay_.lock();
  if (relay && relay->draining)
    return refuse(std::move(opened.transport),
                  {"retry_later", "Another process of this node takes over", {}, "Dial again"}, 20);
  if (opened.message.has_attach())
    attach(std::move(opened));
  else
    register_agent(std::move(opened));
}

// ---- Legs ----

Result<access::GrantClaims> Shard::check_attach(const Opened& opened, Side& side) const {
  const auto& attach = opened.message.attach();
  if (!read_side(static_cast<std::uint32_t>(attach.side()), side) || attach.generation() == 0)
    return fail("bad_attach", "The attach names no side or no generation");
  const auto key = services.grant_key(attach.grant().key_id());
  if (!key) return fail("bad_grant", "The grant was not signed by this site");
  auto claims = access::verify_grant(attach.grant(), services.site_id(), *key);
  if (!claims) return fail(claims);
  std::string end_key = claims->console_key;
  if (side == Side::agent) {
    const auto enrolled = services.endpoint_key(claims->endpoint);
    if (!enrolled) return fail("not_enrolled", "This endpoint is not enrolled, or was removed");
    end_key = *enrolled;
  }
  access::AttachClaim claim;
  claim.session = claims->session;
  claim.side = static_cast<access::AttachSide>(side);
  claim.generation = attach.generation();
  const auto proved = access::verify_attach(end_key, opened.exporter, claim, attach.proof());
  if (!proved) return fail(proved);
  if (claims->recording == access::kRecordingStrict && recorder == nullptr)
    return fail("no_recorder", "This session must be recorded, and this node cannot record");
  return claims;
}

// For whoever comes after the end: its reason, as those who were there were told it.
Error Shard::why_ended(const SessionId& session) const {
  Error why{"ended", "This session has ended", {}, {}};
  pb::SignedTombstone tombstone;
  pb::Tombstone end;
  const auto stored = services.ended(session);
  if (stored && tombstone.ParseFromString(*stored) && end.ParseFromString(tombstone.tombstone()) &&
      !end.reason().empty())
    why.message = end.reason();
  return why;
}

void Shard::attach(Opened opened) {
  Side side{};
  const auto claims = check_attach(opened, side);
  const auto journal_refused = [&](const SessionId& session, const EndpointId& endpoint,
                                   const std::string& person, const Error& why) {
    SessionEvent event;
    event.kind = SessionEventKind::refused;
    event.session = session;
    event.endpoint = endpoint;
    event.person = person;
    event.side = side;
    event.generation = opened.message.attach().generation();
    event.address = opened.transport->peer().text();
    event.detail = why.code;
    services.journal(event);
  };
  if (!claims) {
    journal_refused({}, {}, {}, claims.error());
    return refuse(std::move(opened.transport), claims.error());
  }
  if (services.ended(claims->session)) {
    const Error why = why_ended(claims->session);
    journal_refused(claims->session, claims->endpoint, claims->person, why);
    return refuse(std::move(opened.transport), why);
  }
  const auto& request = opened.message.attach();
  Leg::Origin origin;
  origin.side = side;
  origin.generation = request.generation();
  origin.release = opened.release;
  origin.wire = opened.wire;
  if (request.reason() == pb::Attach::REASON_PLANNED) origin.reason = AttachReason::planned;
  if (request.reason() == pb::Attach::REASON_LOST) origin.reason = AttachReason::lost;

  const auto found = sessions_.find(claims->session);
  const auto in_time = access::check_grant_time(*claims, net::wall_now());
  origin.grant_in_time = in_time.has_value();
  if (!in_time && found == sessions_.end() && origin.reason == AttachReason::first) {
    journal_refused(claims->session, claims->endpoint, claims->person, in_time.error());
    return refuse(std::move(opened.transport), in_time.error());
  }
  if (found != sessions_.end() && (found->second->claims().endpoint != claims->endpoint ||
                                   found->second->claims().console_key != claims->console_key)) {
    const Error why{"bad_grant", "The session was opened with another grant", {}, {}};
    journal_refused(claims->session, claims->endpoint, claims->person, why);
    return refuse(std::move(opened.transport), why);
  }
  auto& session = sessions_[claims->session];
  if (!session) {
    const auto digest = sha256(request.grant().grant());
    session =
        std::make_unique<Session>(*this, claims->session, *claims, std::string(as_text(digest)));
    session_count_ = sessions_.size();
  }
  session->attach(std::move(origin), std::move(opened.transport), std::move(opened.early));
}

// ---- Agents ----

void Shard::register_agent(Opened opened) {
  const auto& request = opened.message.register_();
  const auto endpoint = EndpointId::from_raw(request.endpoint_id());
  if (!endpoint) return refuse(std::move(opened.transport), endpoint.error());
  const auto enrolled = services.endpoint_key(*endpoint);
  if (!enrolled || *enrolled != request.endpoint_key())
    return refuse(std::move(opened.transport), {"not_enrolled",
                                                "This endpoint is not enrolled, or was removed",
                                                {},
                                                "Enrol it with a new token"});
  const auto proved =
      access::verify_register(*enrolled, opened.exporter, *endpoint, request.proof());
  if (!proved) return refuse(std::move(opened.transport), proved.error());

  auto link = std::make_unique<AgentLink>(*this, executor, std::move(opened.transport),
                                          std::move(opened.early));
  link->info.endpoint = *endpoint;
  link->info.name = printable(request.name(), 100);
  link->info.platform = printable(request.platform(), 100);
  link->info.release = printable(request.release(), 40);
  link->info.address = link->address();
  link->info.since_ms = net::wall_now().unix_ms;
  auto& slot = agents_[*endpoint];
  if (slot) {
    move_ended(*slot, false);
    slot->say_and_close(
        refuse_frame({"superseded", "A newer link of this agent is in use", {}, {}}));
    old_agents_.push_back(std::move(slot));
  }
  slot = std::move(link);
  pb::LinkMessage reply;
  write_orders(orders(), *reply.mutable_registered()->mutable_orders());
  slot->send(control_frame(reply));
  tell_ended_sessions(*slot, request);
  slot->start();
  if (const auto relay = relay_.lock()) relay->agent_here(slot->info, true);
  send_presence(slot->info, true);
}

// What ended while the agent was away: its hosts need not wait for their time to live.
void Shard::tell_ended_sessions(AgentLink& link, const pb::AgentRegister& request) {
  constexpr int kLiveSessionsMax = 256;
  for (int i = 0; i < request.live_sessions_size() && i < kLiveSessionsMax; ++i) {
    const auto session = SessionId::from_raw(request.live_sessions(i));
    if (!session) continue;
    const auto tombstone = services.ended(*session);
    pb::LinkMessage message;
    if (tombstone && message.mutable_ended()->ParseFromString(*tombstone))
      link.send(control_frame(message));
  }
}

void AgentLink::on_link_frame(const wire::Frame& frame, std::string_view) {
  shard_.agent_frame(*this, frame);
}
void AgentLink::on_link_closed(const Error& why) {
  shard_.agent_closed(*this, why);
}

void Shard::agent_frame(AgentLink& link, const wire::Frame& frame) {
  const auto* control = std::get_if<wire::Control>(&frame);
  if (control == nullptr) return;
  pb::LinkMessage message;
  if (!message.ParseFromArray(control->message.data(), static_cast<int>(control->message.size())))
    return;
  if (!message.has_open_refused()) return;
  const auto& refused = message.open_refused();
  const auto session = SessionId::from_raw(refused.session_id());
  if (!session) return;
  const Error why{printable(refused.refuse().code(), 60),
                  printable(refused.refuse().message()),
                  {},
                  printable(refused.refuse().next())};
  services.open_refused(*session, why);
  pb::BridgeMessage tell;
  tell.mutable_open_refused()->set_session_id(refused.session_id());
  tell.mutable_open_refused()->set_code(why.code);
  tell.mutable_open_refused()->set_message(why.message);
  tell.mutable_open_refused()->set_next(why.next);
  bridge_message(link.info.endpoint.raw(), tell);
}

void Shard::agent_closed(AgentLink& link, const Error&) {
  if (std::erase_if(old_agents_, [&](const auto& old) { return old.get() == &link; }) > 0) return;
  const auto found = agents_.find(link.info.endpoint);
  if (found == agents_.end() || found->second.get() != &link) return;
  const auto info = link.info;
  const auto relay = relay_.lock();
  const bool elsewhere = relay && relay->is_agent_at_peer(info.endpoint);
  if (link.asked_at && moving_) ++(elsewhere ? moving_->moved : moving_->lost);
  move_ended(link, elsewhere);
  agents_.erase(found);
  if (relay) relay->agent_here(info, false);
  send_presence(info, false);
}

void Shard::open_session(const EndpointId& endpoint, const std::string& signed_grant) {
  pb::LinkMessage message;
  if (!message.mutable_open_session()->mutable_grant()->ParseFromString(signed_grant)) {
    log_error("session.bad_grant", {{"endpoint", endpoint.hex()}});
    return;
  }
  const auto found = agents_.find(endpoint);
  if (found != agents_.end()) return found->second->send(control_frame(message));
  const auto relay = relay_.lock();
  if (bridge_ && relay && relay->is_agent_at_peer(endpoint)) {
    pb::BridgeMessage ask;
    ask.mutable_open_session()->set_endpoint_id(endpoint.raw());
    ask.mutable_open_session()->set_grant(signed_grant);
    return bridge_message(endpoint.raw(), ask);
  }
  pb::Grant grant;
  if (!grant.ParseFromString(message.open_session().grant().grant())) return;
  if (const auto session = SessionId::from_raw(grant.session_id()))
    services.open_refused(
        *session,
        {"endpoint_offline", "The agent has just lost its link", {}, "Try again in a moment"});
}

void Shard::close_endpoint(const EndpointId& endpoint, const std::string& code) {
  const auto found = agents_.find(endpoint);
  if (found != agents_.end())
    found->second->say_and_close(refuse_frame({code, "This endpoint was removed", {}, {}}));
  for (const auto& [id, session] : sessions_)
    if (session->claims().endpoint == endpoint) services.request_end(id, "endpoint removed");
}

}  // namespace everspan::relay
