#include "agent/splice.h"

#include "net/frame_link.h"
#include "net/socket.h"

namespace everspan::agent {
namespace {

constexpr std::size_t kCopyBytes = 64 * 1024;
constexpr Duration kStuckMax = std::chrono::minutes(2);  // A taker that takes nothing for so long.

// No buffer is held while waiting: most legs are idle.
net::Task<void> copy(net::Transport& from, net::Transport& to, net::Wakeup& over) {
  for (;;) {
    if (!from.has_buffered()) {
      const bool ready = co_await net::wait_readable(from.fd(), Instant::max());
      if (!ready) break;
    }
    auto bytes = co_await net::read_some(from, kCopyBytes, Instant::max());
    if (!bytes || bytes->empty()) break;
    const Instant deadline = net::now() + kStuckMax;
    const auto written = co_await net::write_all(to, std::move(*bytes), deadline);
    if (!written) break;
  }
  over.notify();
}

}  // namespace

net::Task<void> splice(std::unique_ptr<net::Transport> a, std::unique_ptr<net::Transport> b,
                       std::string early) {
  const auto executor = co_await net::asio::this_coro::executor;
  if (!early.empty()) {
    const Instant deadline = net::now() + kStuckMax;
    const auto written = co_await net::write_all(*b, std::move(early), deadline);
    if (!written) co_return;
  }
  net::TaskScope both(executor);
  net::Wakeup over(executor);
  both.spawn("copy", copy(*a, *b, over));
  both.spawn("copy", copy(*b, *a, over));
  std::ignore = co_await over.wait_until(Instant::max());
  both.cancel();
  co_await both.join();
  a->close();
  b->close();
}

}  // namespace everspan::agent
