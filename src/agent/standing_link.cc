#include "agent/standing_link.h"

#include <sys/utsname.h>

#include "common/version.h"
#include "proto/link.pb.h"
#include "relay/legs/leg_dialer.h"

namespace everspan::agent {
namespace {

using namespace std::string_view_literals;
constexpr Duration kSoftCloseMax = std::chrono::seconds(5);

std::string register_frame(const Identity& identity, const SigningKey& key,
                           const std::string& exporter,
                           const std::vector<std::string>& live_sessions) {
  pb::LinkMessage message;
  auto& out = *message.mutable_register_();
  out.set_endpoint_id(identity.site.endpoint_id);
  out.set_endpoint_key(key.public_key());
  out.set_proof(
      key.sign(std::string("everspan register 1\0"sv) + exporter + identity.site.endpoint_id));
  out.set_name(identity.name);
  utsname system{};
  out.set_platform(uname(&system) == 0 ? std::string("linux-") + system.machine : "linux");
  out.set_release(std::string(program_version()));
  for (const auto& id : live_sessions) out.add_live_sessions(id);
  const std::string bytes = message.SerializeAsString();
  std::string frame;
  wire::append_frame(frame, wire::Control{bytes});
  return frame;
}

}  // namespace

net::Task<Result<std::shared_ptr<StandingLink>>> StandingLink::open(
    net::Executor executor, Owner& owner, const Identity& identity, const SigningKey& key,
    const net::TlsContext& tls, std::vector<std::string> live_sessions, relay_end::Candidate to,
    Instant deadline) {
  auto link = co_await relay_legs::open_link(tls, to, relay_legs::LinkKind::agent, deadline);
  if (!link) co_return fail(link);
  if (link->site_id != identity.site.site_id)
    co_return fail("other_site", "This address is another site's");
  std::string frame = register_frame(identity, key, link->exporter, live_sessions);
  const auto written = co_await net::write_all(*link->transport, std::move(frame), deadline);
  if (!written) co_return fail(written);
  const auto answer =
      co_await net::read_control(*link->transport, link->early, wire::kHelloBytesMax, deadline);
  if (!answer) co_return fail(answer);
  pb::LinkMessage message;
  if (!message.ParseFromString(*answer)) co_return fail("bad_frame", "A malformed answer");
  if (message.has_refuse())
    co_return fail(printable(message.refuse().code(), 40), printable(message.refuse().message()),
                   "", printable(message.refuse().next()));
  if (!message.has_registered()) co_return fail("bad_frame", "The node did not register us");
  owner.on_orders(message.registered().orders());
  co_return std::make_shared<StandingLink>(executor, owner, std::move(link->transport),
                                           std::move(link->early));
}

StandingLink::StandingLink(net::Executor executor, Owner& owner,
                           std::unique_ptr<net::Transport> transport, std::string early)
    : owner_(owner),
      heard_at_(net::now()),
      link_(executor, std::move(transport), *this, std::move(early)) {}

void StandingLink::close_softly() {
  link_.close_after_flush(kSoftCloseMax);
}

void StandingLink::ping() {
  link_.send(wire::Ping{++pings_});
}

void StandingLink::refuse(const std::string& session_id, const Error& why) {
  pb::LinkMessage message;
  auto& out = *message.mutable_open_refused();
  out.set_session_id(session_id);
  out.mutable_refuse()->set_code(why.code);
  out.mutable_refuse()->set_message(why.message);
  out.mutable_refuse()->set_next(why.next);
  const std::string bytes = message.SerializeAsString();
  link_.send(wire::Control{bytes});
}

void StandingLink::on_frame(const wire::Frame& frame, std::string_view) {
  heard_at_ = net::now();
  if (const auto* ping = std::get_if<wire::Ping>(&frame)) {
    link_.send(wire::Pong{ping->token});
    return;
  }
  const auto* control = std::get_if<wire::Control>(&frame);
  pb::LinkMessage message;
  if (control == nullptr || !message.ParseFromString(std::string(control->message))) return;
  if (message.has_orders())
    owner_.on_orders(message.orders());
  else if (message.has_migrate())
    owner_.on_migrate(*this, message.migrate());
  else if (message.has_open_session())
    owner_.on_open_session(message.open_session().grant().SerializeAsString());
}

}  // namespace everspan::agent
