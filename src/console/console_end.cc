#include "console/console_end.h"

#include "relay/legs/leg_dialer.h"

namespace everspan::console {
namespace {

constexpr Duration kDialMax = std::chrono::milliseconds(4500);  // Below LegKeeper::kAttachMax.
constexpr Duration kLastBytesMax = std::chrono::seconds(2);

relay_end::SessionOptions session_options(const GrantedSession& session,
                                          std::uint64_t generation_used) {
  relay_end::SessionOptions options{.side = relay_end::Side::console,
                                    .session_id = session.session_id};
  options.limits.strict = session.strict;
  options.orders.candidates = session.candidates;
  options.ttl = session.ttl;
  options.generation_used = generation_used;
  fill_random(reinterpret_cast<std::uint8_t*>(&options.seed), sizeof options.seed);
  return options;
}

}  // namespace

ConsoleEnd::ConsoleEnd(net::Executor executor, GrantedSession session, SigningKey key,
                       net::TlsContext tls, std::uint64_t generation_used,
                       relay_legs::EndDriver::Application& application)
    : executor_(executor),
      session_(std::move(session)),
      key_(std::move(key)),
      tls_(std::move(tls)),
      tasks_(executor),
      driver_(std::make_unique<relay_legs::EndDriver>(
          executor, session_options(session_, generation_used), *this, application)) {}

ConsoleEnd::~ConsoleEnd() = default;

void ConsoleEnd::dial(const relay_end::Dial& dial) {
  tasks_.spawn("leg", open(dial));
}

net::Task<void> ConsoleEnd::open(relay_end::Dial dial) {
  relay_legs::LegIdentity identity;
  identity.session_id = session_.session_id;
  identity.signed_grant = session_.signed_grant;
  identity.side = relay_end::Side::console;
  const Instant deadline = net::now() + kDialMax;
  auto leg = co_await relay_legs::open_leg(tls_, key_, identity, dial, deadline);
  if (leg) {
    driver_->adopt(dial.generation, std::move(leg->transport), std::move(leg->early));
    co_return;
  }
  last_problem_ = leg.error().text();
  if (leg.error().code == "cancelled") co_return;
  driver_->dial_failed(dial.generation);
}

net::Task<void> ConsoleEnd::stop() {
  const Instant until = net::now() + kLastBytesMax;
  while (driver_->unsent_bytes() > 0 && net::now() < until)
    std::ignore = co_await net::sleep_for(std::chrono::milliseconds(2));
  tasks_.cancel();
  co_await tasks_.join();
}

}  // namespace everspan::console
