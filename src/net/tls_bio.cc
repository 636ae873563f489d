#include "net/detail/tls_bio.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "common/check.h"

namespace everspan::net::detail {
namespace {

constexpr std::size_t kCollectBytes = 16 * 1024;  // A flight of a handshake is smaller.

// OpenSSL's own socket BIO writes with write(2), which raises SIGPIPE on a broken connection.
int bio_write(BIO* bio, const char* data, std::size_t size, std::size_t* written) {
  auto& socket = *static_cast<TlsSocket*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  *written = 0;
  if (socket.gathered != nullptr) {
    socket.gathered->append(data, size);
    *written = size;
    return 1;
  }
  if (!socket.unsent.empty()) {  // An answer to a key change must not overtake these.
    BIO_set_retry_write(bio);
    return 0;
  }
  ssize_t sent = -1;
  do {
    sent = send(socket.fd.get(), data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) {
    *written = static_cast<std::size_t>(sent);
    return 1;
  }
  if (errno == EAGAIN || errno == EWOULDBLOCK) {
    BIO_set_retry_write(bio);
  } else {
    socket.errno_value = errno;
  }
  return 0;
}

int bio_read(BIO* bio, char* data, std::size_t size, std::size_t* got) {
  auto& socket = *static_cast<TlsSocket*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  *got = 0;
  const auto serve_early = [&] {
    *got = std::min(size, socket.early.size());
    std::memcpy(data, socket.early.data(), *got);
    socket.early.erase(0, *got);
    return 1;
  };
  if (!socket.early.empty()) return serve_early();
  if (socket.drained) {
    BIO_set_retry_read(bio);
    return 0;
  }
  std::array<char, kCollectBytes> collected;
  char* const into = socket.collects ? collected.data() : data;
  const std::size_t room = socket.collects ? collected.size() : size;
  ssize_t received = -1;
  do {
    received = recv(socket.fd.get(), into, room, MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  if (received > 0) {
    socket.drained = static_cast<std::size_t>(received) < room;
    if (socket.collects) {
      socket.early.assign(into, static_cast<std::size_t>(received));
      return serve_early();
    }
    *got = static_cast<std::size_t>(received);
    return 1;
  }
  if (received == 0) {
    socket.eof = true;
  } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
    BIO_set_retry_read(bio);
  } else {
    socket.errno_value = errno;
  }
  return 0;
}

long bio_control(BIO* bio, int command, long, void*) {
  const auto& socket = *static_cast<const TlsSocket*>(BIO_get_data(bio));
  if (command == BIO_CTRL_EOF) return socket.eof ? 1 : 0;
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO_METHOD* make_method() {
  BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "everspan socket");
  check(method != nullptr && BIO_meth_set_write_ex(method, bio_write) == 1 &&
            BIO_meth_set_read_ex(method, bio_read) == 1 &&
            BIO_meth_set_ctrl(method, bio_control) == 1,
        "OpenSSL makes a BIO method");
  return method;
}

}  // namespace

BIO* make_socket_bio(TlsSocket& socket) {
  static BIO_METHOD* const method = make_method();
  BIO* bio = BIO_new(method);
  if (bio == nullptr) return nullptr;
  BIO_set_data(bio, &socket);
  BIO_set_init(bio, 1);
  return bio;
}

}  // namespace everspan::net::detail
