#include "net/message_socket.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "common/check.h"
#include "net/detail/unix_path.h"

namespace everspan::net {
namespace {

constexpr int kSendBufferBytes = 1024 * 1024;  // Eight of the longest messages.

// Best effort: without it a message near the limit needs an emptier queue, no more.
void enlarge(int socket) {
  setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes, sizeof kSendBufferBytes);
}

struct FdSpace {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMessageFdsMax * sizeof(int))> bytes{};
};

std::vector<Fd> take_fds(msghdr& header) {
  std::vector<Fd> out;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; i++) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      out.emplace_back(fd);
    }
  }
  return out;
}

// Code would_block: nothing is there yet.
Result<Message> receive_now(int socket) {
  thread_local std::array<char, kMessageBytesMax> buffer;
  FdSpace space;
  iovec piece{buffer.data(), buffer.size()};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = space.bytes.data();
  header.msg_controllen = space.bytes.size();
  ssize_t size = -1;
  do {
    size = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return fail("would_block", "Nothing to read yet");
    return fail_errno("cut", "Reading a message", errno);
  }
  Message message;
  message.fds = take_fds(header);  // Before any refusal: they are ours to close now.
  if ((header.msg_flags & MSG_TRUNC) != 0) return fail("too_long", "A message is too long");
  if ((header.msg_flags & MSG_CTRUNC) != 0)
    return fail("too_long", "A message has too many descriptors");
  if (size == 0) return fail("closed", "The other process closed the socket");
  message.bytes.assign(buffer.data(), static_cast<std::size_t>(size));
  return message;
}

Result<void> check_limits(const Message& message) {
  // An empty message cannot be told from the end.
  if (message.bytes.empty()) return fail("too_short", "A message must not be empty");
  if (message.bytes.size() > kMessageBytesMax) return fail("too_long", "A message is too long");
  if (message.fds.size() > kMessageFdsMax) {
    return fail("too_long", "A message has too many descriptors");
  }
  return {};
}

}  // namespace

Result<std::pair<MessageSocket, MessageSocket>> MessageSocket::pair() {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail_errno("no_socket", "Making a pair of sockets", errno);
  }
  for (const int end : ends) enlarge(end);
  return std::pair(MessageSocket(Fd(ends[0])), MessageSocket(Fd(ends[1])));
}

Result<Fd> MessageSocket::listen(const std::string& path) {
  return detail::listen_unix_socket(path, SOCK_SEQPACKET);
}

Task<Result<MessageSocket>> MessageSocket::accept(int listener) {
  auto socket = co_await detail::accept_socket(listener);
  if (!socket) co_return fail(socket);
  enlarge(socket->get());
  co_return MessageSocket(std::move(*socket));
}

Task<Result<MessageSocket>> MessageSocket::connect(std::string path, Instant deadline) {
  auto socket = co_await detail::connect_unix_socket(std::move(path), SOCK_SEQPACKET, deadline);
  if (!socket) co_return fail(socket);
  enlarge(socket->get());
  co_return MessageSocket(std::move(*socket));
}

Task<Result<Message>> MessageSocket::receive(Instant deadline) {
  for (;;) {
    auto message = net::receive_now(fd());
    if (message || message.error().code != "would_block") co_return message;
    const bool ready = co_await wait_readable(fd(), deadline);
    if (ready) continue;
    if (now() >= deadline) co_return fail("timeout", "No message came in time");
    co_return fail("cancelled", "Waiting for a message was cancelled");
  }
}

Result<Message> MessageSocket::receive_now() {
  return net::receive_now(fd());
}

Result<void> MessageSocket::send_now(const Message& message) {
  const auto fits = check_limits(message);
  if (!fits) return fail(fits);
  FdSpace space;
  iovec piece{const_cast<char*>(message.bytes.data()), message.bytes.size()};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  if (!message.fds.empty()) {
    header.msg_control = space.bytes.data();
    header.msg_controllen = CMSG_SPACE(message.fds.size() * sizeof(int));
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(message.fds.size() * sizeof(int));
    for (std::size_t i = 0; i < message.fds.size(); i++) {
      const int fd = message.fds[i].get();
      std::memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof fd);
    }
  }
  ssize_t size = -1;
  do {
    size = sendmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (size < 0 && errno == EINTR);
  if (size >= 0) return {};
  if (errno == EAGAIN || errno == EWOULDBLOCK) return fail("would_block", "The socket is full");
  return fail_errno("cut", "Sending a message", errno);
}

Task<Result<void>> MessageSocket::send(Message message, Instant deadline) {
  for (;;) {
    auto sent = send_now(message);
    if (sent || sent.error().code != "would_block") co_return sent;
    const bool ready = co_await wait_writable(fd(), deadline);
    if (ready) continue;
    if (now() >= deadline) co_return fail("timeout", "The message could not be sent in time");
    co_return fail("cancelled", "Sending a message was cancelled");
  }
}

}  // namespace everspan::net
