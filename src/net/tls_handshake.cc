#include "net/detail/tls_transport.h"
#include "net/socket.h"
#include "net/tls.h"

namespace everspan::net {
namespace {

using StatePointer = std::shared_ptr<const TlsContext::State>;
using Made = Result<std::unique_ptr<Transport>>;

// OpenSSL's part ends with the handshake where our own record layer can go on.
std::unique_ptr<Transport> established(std::unique_ptr<detail::TlsTransport> tls) {
  if (!tls->may_take_over()) return tls;
  return std::make_unique<detail::RecordTransport>(tls->give_over());
}

Task<Made> shake_hands(StatePointer context, Fd tcp, std::string server_name, Instant deadline) {
  auto made = detail::TlsTransport::make(std::move(context), std::move(tcp), server_name);
  if (!made) co_return fail(made);
  detail::TlsTransport& tls = **made;
  for (;;) {
    const IoState state = tls.handshake();
    if (state == IoState::done) co_return established(std::move(*made));
    bool ready = false;
    if (state == IoState::want_read) {
      ready = co_await wait_readable(tls.fd(), deadline);
    } else if (state == IoState::want_write) {
      ready = co_await wait_writable(tls.fd(), deadline);
    } else {
      co_return std::unexpected(tls.error());
    }
    if (ready) continue;
    if (now() >= deadline) {
      co_return fail("timeout", "No secure connection with " + tls.peer().text() + " in time");
    }
    co_return fail("cancelled", "Connecting with " + tls.peer().text() + " was cancelled");
  }
}

Task<Made> connect_and_shake_hands(StatePointer context, Address to, std::string server_name,
                                   Instant deadline) {
  auto tcp = co_await connect_tcp(std::move(to), deadline);
  if (!tcp) co_return fail(tcp);
  auto made =
      co_await shake_hands(std::move(context), std::move(*tcp), std::move(server_name), deadline);
  co_return made;
}

}  // namespace

// Not coroutines themselves, so that `context` need not outlive the call.
Task<Made> tls_accept(const TlsContext& context, Fd tcp, Instant deadline) {
  return shake_hands(context.state().shared_from_this(), std::move(tcp), {}, deadline);
}

Task<Made> tls_connect(const TlsContext& context, Address to, std::string server_name,
                       Instant deadline) {
  return connect_and_shake_hands(context.state().shared_from_this(), std::move(to),
                                 std::move(server_name), deadline);
}

std::string peer_root_pem(const Transport& tls) {
  if (const auto* records = dynamic_cast<const detail::RecordTransport*>(&tls))
    return records->root_pem();
  const auto* ours = dynamic_cast<const detail::TlsTransport*>(&tls);
  return ours == nullptr ? std::string{} : ours->root_pem();
}

}  // namespace everspan::net
