#include "load_session.h"

#include "proto/link.pb.h"
#include "relay/legs/leg_dialer.h"

namespace everspan::bench {
namespace {

constexpr std::uint32_t kChannel = 1;
constexpr Duration kDialMax = std::chrono::milliseconds(4500);  // As the product's ends.
constexpr std::size_t kBulkWriteBytes = 16 * 1024;

relay_end::SessionOptions session_options(const console::GrantedSession& session,
                                          relay_end::Side side) {
  relay_end::SessionOptions options{.side = side, .session_id = session.session_id};
  options.limits.strict = session.strict;
  options.orders.candidates = session.candidates;
  options.ttl = session.ttl;
  fill_random(reinterpret_cast<std::uint8_t*>(&options.seed), sizeof options.seed);
  return options;
}

}  // namespace

LoadEnd::LoadEnd(EndParts parts, const console::GrantedSession& session, relay_end::Side side,
                 Flow& out, Flow& in, bool bulk)
    : parts_(parts),
      side_(side),
      session_id_(session.session_id),
      signed_grant_(session.signed_grant),
      out_(out),
      in_(in),
      bulk_(bulk),
      tasks_(parts.executor),
      driver_(parts.executor, session_options(session, side), *this, *this) {
  driver_.start();
  if (side_ == relay_end::Side::agent) return;
  (void)driver_.session().add_channel(kChannel, net::now());
  pb::SessionControl message;
  message.mutable_open()->set_channel(kChannel);
  message.mutable_open()->set_kind("exec");
  driver_.session().send_control(message, net::now());
  driver_.pump();
}

LoadEnd::~LoadEnd() = default;

void LoadEnd::begin() {
  open_ = true;
  if (bulk_) send_owed();
}

void LoadEnd::on_control(const std::string& bytes) {
  pb::SessionControl message;
  if (!message.ParseFromString(bytes)) return;
  if (side_ == relay_end::Side::agent && message.has_open()) {
    (void)driver_.session().add_channel(message.open().channel(), net::now());
    pb::SessionControl answer;
    answer.mutable_opened()->set_channel(message.open().channel());
    driver_.session().send_control(answer, net::now());
    begin();
  } else if (side_ == relay_end::Side::console && message.has_opened()) {
    begin();
  }
}

void LoadEnd::send_message() {
  if (!sending_ || !open_ || ended_) return;
  out_.message_began(net::now());
  send_owed();
  driver_.pump();
}

// Writes what there is room for; on_writable() goes on.
void LoadEnd::send_owed() {
  auto& session = driver_.session();
  while (!ended_ && session.has_channel(kChannel)) {
    const std::size_t want = bulk_ ? (sending_ ? kBulkWriteBytes : 0) : out_.owed();
    if (want == 0) return;
    const auto bytes = out_.next(want);
    const std::size_t took = session.write(kChannel, bytes, net::now());
    out_.wrote(took);
    if (took < bytes.size()) return;
  }
}

void LoadEnd::on_writable(std::uint32_t) {
  send_owed();
}

void LoadEnd::on_readable(std::uint32_t channel) {
  auto& session = driver_.session();
  if (channel != kChannel || !session.has_channel(kChannel)) return;
  for (auto bytes = session.readable(kChannel); !bytes.empty();
       bytes = session.readable(kChannel)) {
    in_.received(bytes, net::now());
    session.consume(kChannel, bytes.size(), net::now());
  }
}

void LoadEnd::on_leg(bool) {}

void LoadEnd::on_channel_gone(std::uint32_t, const std::string& code, const std::string& message) {
  parts_.counters.last_problem = "channel gone: " + code + " " + message;
  open_ = false;
}

void LoadEnd::on_ended(const std::string& code, const std::string& message) {
  ended_ = true;
  ++parts_.counters.ended;
  if (sending_) parts_.counters.last_problem = "session ended: " + code + " " + message;
}

void LoadEnd::request_end() {
  if (ended_) return;
  driver_.session().request_end("load done", net::now());
  driver_.pump();
}

void LoadEnd::dial(const relay_end::Dial& dial) {
  tasks_.spawn("leg", open_leg(dial));
}

net::Task<void> LoadEnd::open_leg(relay_end::Dial dial) {
  relay_legs::LegIdentity identity;
  identity.session_id = session_id_;
  identity.signed_grant = signed_grant_;
  identity.side = side_;
  const Instant deadline = net::now() + kDialMax;
  auto leg = co_await relay_legs::open_leg(parts_.tls, parts_.key, identity, dial, deadline);
  auto& counters = parts_.counters;
  if (!leg) {
    if (leg.error().code == "cancelled") co_return;
    ++counters.failed_dials;
    counters.last_problem = "dial: " + leg.error().text();
    driver_.dial_failed(dial.generation);
    co_return;
  }
  if (dial.reason == relay_end::DialReason::planned) {
    if (counters.moves++ == 0) counters.first_move = net::now();
    counters.last_move = net::now();
  } else if (dial.reason == relay_end::DialReason::lost) {
    ++counters.losses;
  }
  driver_.adopt(dial.generation, std::move(leg->transport), std::move(leg->early));
}

net::Task<void> LoadEnd::close() {
  tasks_.cancel();
  co_await tasks_.join();
}

}  // namespace everspan::bench
