#include "node/acceptor.h"

#include "common/log.h"
#include "net/socket.h"
#include "proto/frame.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

// Out of descriptors or memory: wait a little for some to come back, rather than spin.
constexpr auto kAcceptPause = 20ms;

}  // namespace

Acceptor::Acceptor(net::Executor control, net::IoThreads& threads, Sink& sink)
    : control_(control), threads_(threads), sink_(sink), room_(control) {
  for (unsigned i = 0; i < threads.count(); ++i)
    handshakes_.push_back(std::make_unique<net::TaskScope>(threads.executor(i)));
}

Acceptor::~Acceptor() = default;

void Acceptor::set_context(std::shared_ptr<const net::TlsContext> context) {
  context_ = std::move(context);
}

void Acceptor::start(const std::vector<int>& listeners) {
  loops_ = std::make_unique<net::TaskScope>(control_);
  accepting_ = true;
  for (const int listener : listeners) loops_->spawn("accept", accept_loop(listener));
}

net::Task<> Acceptor::stop() {
  if (!accepting_) co_return;
  accepting_ = false;
  loops_->cancel();
  co_await loops_->join();
}

bool Acceptor::room_for(const std::string& address) const {
  const auto found = per_address_.find(address);
  return found == per_address_.end() || found->second < kHandshakesPerAddressMax;
}

net::Task<> Acceptor::accept_loop(int listener) {
  while (accepting_) {
    if (total_ >= kHandshakesMax) {
      co_await room_.wait_until(Instant::max());
      continue;
    }
    Result<net::Fd> socket = co_await net::accept_tcp(listener);
    if (!socket) {
      if (socket.error().code == "cancelled") co_return;
      log_warning("accept.failed", {{"why", socket.error().text()}});
      const bool waited = co_await net::sleep_for(kAcceptPause);
      if (!waited) co_return;
      continue;
    }
    const net::Address peer = net::peer_address(socket->get());
    if (!net::is_loopback(peer) && !room_for(peer.host)) {
      log_info("accept.over_budget", {{"address", peer.host}});
      continue;  // Closed: this address holds its share of handshakes already.
    }
    ++total_;
    ++per_address_[peer.host];
    const unsigned thread = next_thread_++ % threads_.count();
    // A named local first: the lambda owns the socket until the thread takes it.
    auto shared = std::make_shared<net::Fd>(std::move(*socket));
    auto spawn = [this, shared, address = peer.host, thread] {
      handshakes_[thread]->spawn("handshake", handshake(std::move(*shared), address, thread));
    };
    net::asio::post(threads_.executor(thread), std::move(spawn));
  }
}

net::Task<> Acceptor::handshake(net::Fd socket, std::string address, unsigned thread) {
  const std::shared_ptr<const net::TlsContext> context = context_;
  Result<std::unique_ptr<net::Transport>> tls =
      co_await net::tls_accept(*context, std::move(socket), net::now() + kHandshakeWithin);
  auto done = [this, address] { ended(address); };
  net::asio::post(control_, std::move(done));
  if (!tls) {
    log_debug("tls.refused", {{"address", address}, {"why", tls.error().text()}});
    co_return;
  }
  if ((*tls)->alpn() == wire::kAlpn) {
    sink_.take_link(std::move(*tls), thread);
  } else {
    sink_.take_http(std::move(*tls));
  }
}

void Acceptor::ended(const std::string& address) {
  --total_;
  const auto found = per_address_.find(address);
  if (found != per_address_.end() && --found->second == 0) per_address_.erase(found);
  room_.notify();
}

}  // namespace everspan::node
