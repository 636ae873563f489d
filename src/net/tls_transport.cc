#include "net/detail/tls_transport.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "net/detail/drain.h"
#include "net/detail/gather.h"
#include "net/detail/tls_bio.h"
#include "net/socket.h"

namespace everspan::net::detail {
namespace {

constexpr std::size_t kRecordBytes = SSL3_RT_MAX_PLAIN_LENGTH;
constexpr std::size_t kGatheredBytes = 128 * 1024;  // Of one send().

// All connections of a thread gather into this one, one after another.
std::string& shared_records() {
  thread_local std::string records;
  records.clear();
  records.reserve(kGatheredBytes + 2 * SSL3_RT_MAX_PACKET_SIZE);
  return records;
}

Error cut_error(const TlsSocket& socket) {
  if (socket.errno_value != 0) {
    return fail_errno("cut", "The connection broke", socket.errno_value).error();
  }
  return {"cut", "The connection ended without a closing word", {}, {}};
}

}  // namespace

TlsTransport::TlsTransport(std::shared_ptr<const TlsContext::State> context, Fd tcp)
    : context_(std::move(context)),
      socket_{.fd = std::move(tcp)},
      peer_(peer_address(socket_.fd.get())),
      local_(local_address(socket_.fd.get())) {}

TlsTransport::~TlsTransport() {
  close();
}

Result<std::unique_ptr<TlsTransport>> TlsTransport::make(
    std::shared_ptr<const TlsContext::State> context, Fd tcp, const std::string& server_name) {
  std::unique_ptr<TlsTransport> out(new TlsTransport(std::move(context), std::move(tcp)));
  const int fd = out->fd();
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    return fail_errno("cut", "Not a socket that can be used", errno);
  }
  const int on = 1;  // Fails on the Unix sockets of tests, where there is no delay to turn off.
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);

  ERR_clear_error();
  out->socket_.collects = out->own_records();
  const Owned<SSL_CTX> context_now = out->context_->ssl_context();
  out->ssl_.reset(SSL_new(context_now.get()));
  BIO* bio = out->ssl_ ? make_socket_bio(out->socket_) : nullptr;
  if (bio == nullptr) return fail("tls_setup", "TLS could not be set up: " + openssl_error());
  SSL* ssl = out->ssl_.get();
  SSL_set_bio(ssl, bio, bio);
  SSL_set_app_data(ssl, reinterpret_cast<char*>(out.get()));
  if (out->own_records()) {
    // So that OpenSSL takes no byte that comes behind the handshake.
    SSL_set_read_ahead(ssl, 0);
    SSL_set_msg_callback(ssl, count_tickets);
    SSL_set_msg_callback_arg(ssl, out.get());
  }
  if (out->context_->is_server) {
    SSL_set_accept_state(ssl);
    return out;
  }
  SSL_set_connect_state(ssl);
  X509_VERIFY_PARAM* expected = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  const bool is_ip = X509_VERIFY_PARAM_set1_ip_asc(expected, server_name.c_str()) == 1;
  const std::string& alpn = out->context_->alpn_wire;
  const bool named =
      !server_name.empty() && (is_ip || (SSL_set1_host(ssl, server_name.c_str()) == 1 &&
                                         SSL_set_tlsext_host_name(ssl, server_name.c_str()) == 1));
  if (!named || (!alpn.empty() &&
                 SSL_set_alpn_protos(ssl, reinterpret_cast<const unsigned char*>(alpn.data()),
                                     static_cast<unsigned>(alpn.size())) != 0)) {
    return fail("tls_setup", "The server's name cannot be used: " + openssl_error());
  }
  return out;
}

void TlsTransport::begin_operation() {
  ERR_clear_error();  // Old errors of this thread would be taken for ours (SSL_get_error(3)).
  socket_.drained = false;
}

IoState TlsTransport::broken(Error error) {
  if (error_.code.empty()) error_ = std::move(error);
  broken_ = true;
  ERR_clear_error();
  return IoState::failed;
}

IoState TlsTransport::state_after(int returned) {
  switch (SSL_get_error(ssl_.get(), returned)) {
    case SSL_ERROR_WANT_READ:
      return IoState::want_read;
    case SSL_ERROR_WANT_WRITE:
      return IoState::want_write;
    case SSL_ERROR_ZERO_RETURN:
      return IoState::eof;
    default:
      if (socket_.eof || socket_.errno_value != 0) return broken(cut_error(socket_));
      return broken({"tls", "The peer broke the TLS protocol: " + openssl_error(), {}, {}});
  }
}

IoState TlsTransport::state_after_write(int returned) {
  const bool socket_failed = socket_.errno_value != 0;
  if (!socket_failed) {
    const IoState state = state_after(returned);
    return state == IoState::eof ? IoState::failed : state;
  }
  // The peer's last words may still be unread: only writing is over.
  if (error_.code.empty()) error_ = cut_error(socket_);
  socket_.errno_value = 0;
  write_broken_ = true;
  ERR_clear_error();
  return IoState::failed;
}

Error TlsTransport::handshake_error() const {
  const long verified = SSL_get_verify_result(ssl_.get());
  if (!context_->is_server && verified != X509_V_OK) {
    return {"tls_certificate",
            std::string("The certificate of ") + peer_.text() +
                " is not trusted: " + X509_verify_cert_error_string(verified),
            {},
            "Check the address and the CA that you use"};
  }
  // A peer that refuses us sends an alert and closes: the alert says more than the closing.
  const unsigned long code = ERR_peek_last_error();
  const bool plain_end = code == 0 || ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
  if (plain_end && (socket_.eof || socket_.errno_value != 0)) return cut_error(socket_);
  return {"tls_handshake",
          "No secure connection with " + peer_.text() + ": " + openssl_error(),
          {},
          {}};
}

IoState TlsTransport::handshake() {
  begin_operation();
  const int returned = SSL_do_handshake(ssl_.get());
  if (returned == 1) {
    established_ = true;
    if (!context_->is_server && !context_->alpn.empty() && alpn() != context_->alpn) {
      return broken({"tls_handshake", peer_.text() + " does not speak " + context_->alpn, {}, {}});
    }
    if (own_records() && !may_take_over()) {
      socket_.collects = false;
      SSL_set_read_ahead(ssl_.get(), 1);
    }
    return IoState::done;
  }
  const int reason = SSL_get_error(ssl_.get(), returned);
  if (reason == SSL_ERROR_WANT_READ) return IoState::want_read;
  if (reason == SSL_ERROR_WANT_WRITE) return IoState::want_write;
  return broken(handshake_error());
}

IoResult TlsTransport::read(std::span<std::uint8_t> into) {
  if (into.empty()) return {IoState::done, 0};
  if (broken_ || !socket_.fd) return {IoState::failed, 0};
  begin_operation();
  std::size_t filled = 0;
  more_to_read_ = true;
  // One SSL_read gives one record at most; a full buffer saves wakeups.
  while (filled < into.size()) {
    std::size_t got = 0;
    const int returned = SSL_read_ex(ssl_.get(), into.data() + filled, into.size() - filled, &got);
    if (returned != 1) {
      // An end or error behind good bytes stays, and the next call returns it.
      const IoState state = state_after(returned);
      more_to_read_ = state != IoState::want_read;
      if (filled > 0) break;
      return {state, 0};
    }
    filled += got;
  }
  ERR_clear_error();
  return {IoState::done, filled};
}

bool TlsTransport::change_key_if_due() {
  if (records_written_ < context_->records_per_key) return true;
  records_written_ = 0;
  return SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1;
}

// want_write: the rest lies in socket_.unsent. A broken socket ends writing only.
IoState TlsTransport::send_records(std::string_view records) {
  while (!records.empty()) {
    const ssize_t sent =
        send(socket_.fd.get(), records.data(), records.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      records.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      break;
    } else if (errno != EINTR) {
      socket_.errno_value = errno;
      return state_after_write(-1);
    }
  }
  std::string rest(records);
  socket_.unsent = std::move(rest);  // Nothing is kept of an empty one.
  return socket_.unsent.empty() ? IoState::done : IoState::want_write;
}

// Encrypts as many records as make one send() worth its while. If the socket does not take them
// all, the last one's bytes are not said to have moved: the owner offers them again when it can
// write.
IoResult TlsTransport::write(std::span<const iovec> pieces) {
  const std::size_t size = total_size(pieces);
  if (size == 0) return {IoState::done, 0};
  if (broken_ || write_broken_ || close_sent_ || !socket_.fd) return {IoState::failed, 0};
  begin_operation();
  if (!socket_.unsent.empty()) {
    const std::string unsent = std::move(socket_.unsent);
    socket_.unsent.clear();
    const IoState state = send_records(unsent);
    if (state != IoState::done) return {state, 0};
  }
  std::size_t moved = std::exchange(held_bytes_, 0);
  std::string& records = shared_records();
  socket_.gathered = &records;
  std::size_t last = 0;
  IoState state = IoState::done;
  while (moved < size && records.size() < kGatheredBytes) {
    // A record that waits in OpenSSL must be offered again in the same length.
    const std::size_t limit = retry_bytes_ > 0 ? retry_bytes_ : kRecordBytes;
    const auto record = gather(pieces, moved, limit);
    if (retry_bytes_ == 0 && !change_key_if_due()) {
      state = broken({"tls", "Changing keys failed: " + openssl_error(), {}, {}});
      break;
    }
    std::size_t written = 0;
    const int returned = SSL_write_ex(ssl_.get(), record.data(), record.size(), &written);
    if (returned != 1) {
      state = state_after_write(returned);
      if (state != IoState::failed) retry_bytes_ = record.size();
      break;
    }
    retry_bytes_ = 0;
    records_written_++;
    last = written;
    moved += written;
  }
  socket_.gathered = nullptr;
  const IoState sent = send_records(records);
  if (sent == IoState::failed || broken_) return {IoState::failed, 0};
  if (sent == IoState::want_write && last > 0) {
    held_bytes_ = last;
    moved -= last;
  }
  if (moved > 0) return {IoState::done, moved};
  return {sent == IoState::done ? state : sent, 0};
}

bool TlsTransport::has_buffered() const {
  return more_to_read_;
}

bool TlsTransport::send_close() {
  if (close_sent_) return true;
  // Behind half a record a close_notify would be garbage.
  if (!established_ || broken_ || write_broken_ || !socket_.fd || retry_bytes_ > 0 ||
      !socket_.unsent.empty())
    return false;
  begin_operation();
  close_sent_ = SSL_shutdown(ssl_.get()) >= 0;
  ERR_clear_error();
  return close_sent_;
}

void TlsTransport::close() {
  if (!socket_.fd) return;
  send_close();
  drain_before_close(socket_.fd.get());
  socket_.fd.reset();
  if (error_.code.empty()) error_ = Error{"closed", "The connection was closed here", {}, {}};
}

std::string TlsTransport::alpn() const {
  const unsigned char* name = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::string TlsTransport::exporter(std::string_view label, std::size_t size) const {
  std::string out(size, '\0');
  ERR_clear_error();
  const int exported =
      SSL_export_keying_material(ssl_.get(), reinterpret_cast<unsigned char*>(out.data()), size,
                                 label.data(), label.size(), nullptr, 0, 0);
  ERR_clear_error();
  return established_ && exported == 1 ? out : std::string{};
}

}  // namespace everspan::net::detail
