#include "net/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <memory>

namespace everspan::net {
namespace {

using Descriptor = asio::posix::stream_descriptor;

// Far enough to mean "no deadline" to a timer, near enough not to overflow its sums.
constexpr Duration kFarAway = std::chrono::hours(24 * 365);

struct Waiting {
  explicit Waiting(const Executor& executor) : descriptor(executor), timer(executor) {}
  Descriptor descriptor;
  Timer timer;
};

Task<bool> wait_ready(int fd, Descriptor::wait_type what, Instant deadline) {
  const bool stop = co_await is_cancelled();
  if (stop) co_return false;
  const auto executor = co_await asio::this_coro::executor;
  const auto waiting = std::make_shared<Waiting>(executor);
  // A duplicate, because one loop takes each number once and another coroutine may wait on `fd`
  // too.
  Fd copy(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  boost::system::error_code error;
  if (!copy) co_return false;
  waiting->descriptor.assign(copy.get(), error);
  if (error)
    co_return error == boost::system::errc::operation_not_permitted;  // A file: always ready.
  std::ignore = copy.release();

  if (deadline < now() + kFarAway) {
    waiting->timer.expires_at(TimerClock::time_point{deadline.time_since_epoch()});
    waiting->timer.async_wait([weak = std::weak_ptr(waiting)](boost::system::error_code cancelled) {
      const auto still = weak.lock();
      if (!cancelled && still) still->descriptor.cancel(cancelled);
    });
  }
  co_await waiting->descriptor.async_wait(what, asio::redirect_error(asio::use_awaitable, error));
  co_return !error;
}

Address to_address(const sockaddr_storage& from) {
  char text[INET6_ADDRSTRLEN] = {};
  if (from.ss_family == AF_INET) {
    const auto& four = reinterpret_cast<const sockaddr_in&>(from);
    inet_ntop(AF_INET, &four.sin_addr, text, sizeof text);
    return {text, ntohs(four.sin_port)};
  }
  if (from.ss_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(from);
    inet_ntop(AF_INET6, &six.sin6_addr, text, sizeof text);
    return {text, ntohs(six.sin6_port)};
  }
  return {};
}

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using AddressList = std::unique_ptr<addrinfo, FreeAddresses>;

AddressList look_up(const Address& address, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  if (getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &list) != 0) {
    return nullptr;
  }
  return AddressList(list);
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

std::vector<SocketAddress> to_vector(const addrinfo* list) {
  std::vector<SocketAddress> out;
  for (; list != nullptr; list = list->ai_next) {
    SocketAddress address;
    address.size = list->ai_addrlen;
    std::memcpy(&address.storage, list->ai_addr, list->ai_addrlen);
    out.push_back(address);
  }
  return out;
}

// Names go to Asio's resolver thread, so that a slow DNS server does not hold up the loop.
Task<Result<std::vector<SocketAddress>>> resolve(Address to, Instant deadline) {
  if (const AddressList numeric = look_up(to, AI_NUMERICHOST)) co_return to_vector(numeric.get());
  const auto executor = co_await asio::this_coro::executor;
  const auto resolver = std::make_shared<asio::ip::tcp::resolver>(executor);
  Timer timer(executor);
  timer.expires_at(TimerClock::time_point{deadline.time_since_epoch()});
  timer.async_wait([weak = std::weak_ptr(resolver)](boost::system::error_code cancelled) {
    const auto still = weak.lock();
    if (!cancelled && still) still->cancel();
  });
  boost::system::error_code error;
  const auto found = co_await resolver->async_resolve(
      to.host, std::to_string(to.port), asio::ip::tcp::resolver::numeric_service,
      asio::redirect_error(asio::use_awaitable, error));
  if (error && now() >= deadline)
    co_return fail("timeout", "Looking up " + to.host + " took too long");
  if (error) co_return fail("unreachable", to.host + " was not found: " + error.message());
  std::vector<SocketAddress> out;
  for (const auto& entry : found) {
    const auto endpoint = entry.endpoint();
    SocketAddress address;
    address.size = static_cast<socklen_t>(endpoint.size());
    std::memcpy(&address.storage, endpoint.data(), endpoint.size());
    out.push_back(address);
  }
  co_return out;
}

Task<Result<Fd>> connect_one(SocketAddress to, std::string name, Instant deadline) {
  Fd socket(::socket(to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) co_return fail_errno("unreachable", "No socket", errno);
  const auto* address = reinterpret_cast<const sockaddr*>(&to.storage);
  if (::connect(socket.get(), address, to.size) == 0) co_return socket;
  if (errno != EINPROGRESS) co_return fail_errno("unreachable", "Connecting to " + name, errno);
  const bool writable = co_await wait_writable(socket.get(), deadline);
  if (!writable) {
    const bool stopped = co_await is_cancelled();
    if (stopped) co_return fail("cancelled", "Connecting to " + name + " was cancelled");
    co_return fail("timeout", name + " did not answer in time");
  }
  int failure = 0;
  socklen_t size = sizeof failure;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &failure, &size) != 0) failure = errno;
  if (failure != 0) co_return fail_errno("unreachable", "Connecting to " + name, failure);
  co_return socket;
}

}  // namespace

Task<bool> wait_readable(int fd, Instant deadline) {
  return wait_ready(fd, Descriptor::wait_read, deadline);
}
Task<bool> wait_writable(int fd, Instant deadline) {
  return wait_ready(fd, Descriptor::wait_write, deadline);
}

Result<Fd> listen_tcp(const Address& at, int backlog) {
  const AddressList list = look_up(at, AI_PASSIVE);
  if (!list) return fail("bad_address", at.text() + " cannot be listened on");
  Fd socket(::socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("listen", "No socket", errno);
  const int on = 1;
  if (setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(socket.get(), list->ai_addr, list->ai_addrlen) != 0 ||
      listen(socket.get(), backlog) != 0) {
    return fail_errno("listen", "Listening on " + at.text(), errno);
  }
  return socket;
}

namespace detail {

Task<Result<Fd>> accept_socket(int listener) {
  for (;;) {
    const bool stop = co_await is_cancelled();
    if (stop) co_return fail("cancelled", "Accepting was cancelled");
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) co_return Fd(fd);
    // A connection that its peer gave up while it waited is no reason to stop (accept(2)).
    if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) co_return fail_errno("accept", "Accepting", errno);
    const bool ready = co_await wait_readable(listener, Instant::max());
    if (!ready) co_return fail("cancelled", "Accepting was cancelled");
  }
}

}  // namespace detail

Task<Result<Fd>> accept_tcp(int listener) {
  return detail::accept_socket(listener);
}

Task<Result<Fd>> connect_tcp(Address to, Instant deadline) {
  const auto found = co_await resolve(to, deadline);
  if (!found) co_return fail(found);
  Result<Fd> last = fail("unreachable", to.host + " has no address");
  for (std::size_t i = 0; i < found->size(); i++) {
    // A silent address leaves time for the others.
    const Duration share = (deadline - now()) / static_cast<std::int64_t>(found->size() - i);
    last = co_await connect_one((*found)[i], to.text(), now() + share);
    if (last || last.error().code == "cancelled") break;
  }
  co_return last;
}

Address local_address(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  return to_address(address);
}

Address peer_address(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  return to_address(address);
}

}  // namespace everspan::net
