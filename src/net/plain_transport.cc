#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "net/detail/drain.h"
#include "net/socket.h"
#include "net/transport.h"

namespace everspan::net {
namespace {

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(Fd socket)
      : socket_(std::move(socket)),
        peer_(peer_address(socket_.get())),
        local_(local_address(socket_.get())) {
    const int flags = fcntl(socket_.get(), F_GETFL);
    if (flags < 0 || fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
      error_ = fail_errno("cut", "Not a socket that can be used", errno).error();
      socket_.reset();
    }
  }
  ~PlainTransport() override { close(); }

  IoResult read(std::span<std::uint8_t> into) override {
    if (into.empty()) return {IoState::done, 0};
    if (!socket_) return {IoState::failed, 0};
    ssize_t size = -1;
    do {
      size = recv(socket_.get(), into.data(), into.size(), MSG_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    if (size > 0) return {IoState::done, static_cast<std::size_t>(size)};
    if (size == 0) return {IoState::eof, 0};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {IoState::want_read, 0};
    error_ = fail_errno("cut", "The connection broke", errno).error();
    return {IoState::failed, 0};
  }

  IoResult write(std::span<const iovec> pieces) override {
    if (pieces.empty()) return {IoState::done, 0};
    if (!socket_) return {IoState::failed, 0};
    msghdr header{};
    header.msg_iov = const_cast<iovec*>(pieces.data());
    header.msg_iovlen = std::min<std::size_t>(pieces.size(), IOV_MAX);
    ssize_t size = -1;
    do {
      size = sendmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (size < 0 && errno == EINTR);
    if (size >= 0) return {IoState::done, static_cast<std::size_t>(size)};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {IoState::want_write, 0};
    error_ = fail_errno("cut", "The connection broke", errno).error();
    return {IoState::failed, 0};
  }

  bool has_buffered() const override { return false; }
  void close() override {
    if (!socket_) return;
    detail::drain_before_close(socket_.get());
    error_ = Error{"closed", "The connection was closed here", {}, {}};
    socket_.reset();
  }
  int fd() const override { return socket_.get(); }
  const Error& error() const override { return error_; }
  Address peer() const override { return peer_; }
  Address local() const override { return local_; }

 private:
  Fd socket_;
  Address peer_;
  Address local_;
  Error error_;
};

}  // namespace

std::unique_ptr<Transport> plain_transport(Fd socket) {
  return std::make_unique<PlainTransport>(std::move(socket));
}

}  // namespace everspan::net
