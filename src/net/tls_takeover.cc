// From OpenSSL's handshake to our own record layer: the secrets, and where the records' numbers
// stand.
#include <openssl/ssl.h>

#include <cstdlib>
#include <optional>
#include <string_view>

#include "net/detail/tls_transport.h"

namespace everspan::net {
namespace {

std::optional<TlsSuite> suite_of(const SSL* ssl) {
  const SSL_CIPHER* cipher = SSL_get_current_cipher(ssl);
  switch (cipher == nullptr ? 0 : SSL_CIPHER_get_protocol_id(cipher)) {
    case 0x1301:
      return TlsSuite::aes_128_gcm_sha256;
    case 0x1302:
      return TlsSuite::aes_256_gcm_sha384;
    default:
      return std::nullopt;
  }
}

}  // namespace

TlsRecordLayer default_record_layer() {
  const char* text = std::getenv("EVERSPAN_TLS_RECORDS");
  const std::string_view word = text == nullptr ? "" : text;
  if (word == "openssl") return TlsRecordLayer::openssl;
  if (word == "own-openssl") return TlsRecordLayer::own_openssl;
  return TlsRecordLayer::own;
}

namespace detail {

// OpenSSL calls this with each secret as it is derived. Nothing is written anywhere: the line is
// taken apart and kept until the handshake is done.
void keep_secret(const SSL* ssl, const char* line) {
  auto* transport = reinterpret_cast<TlsTransport*>(SSL_get_app_data(ssl));
  if (transport != nullptr) transport->take_secret(line);
}

// Session tickets are sealed by OpenSSL with the first key of our data: their numbers are used.
void count_tickets(int written, int, int content_type, const void* message, std::size_t size, SSL*,
                   void* transport) {
  const auto* bytes = static_cast<const unsigned char*>(message);
  if (written == 0 || content_type != SSL3_RT_HANDSHAKE || size < 4) return;
  if (bytes[0] == SSL3_MT_NEWSESSION_TICKET) static_cast<TlsTransport*>(transport)->ticket_sent();
}

bool TlsTransport::may_take_over() const {
  if (!own_records() || !established_ || broken_ || SSL_has_pending(ssl_.get()) != 0) return false;
  const auto suite = suite_of(ssl_.get());
  return suite && secrets_.client.bytes().size() == hash_bytes(*suite) &&
         secrets_.server.bytes().size() == hash_bytes(*suite) &&
         secrets_.exporter.bytes().size() == hash_bytes(*suite);
}

RecordTransport::Parts TlsTransport::give_over() {
  RecordTransport::Parts parts;
  parts.alpn = alpn();
  parts.peer = peer_;
  parts.local = local_;
  parts.root_pem = root_pem_;
  parts.early = std::move(socket_.early);
  parts.secrets = std::move(secrets_);
  parts.secrets.suite = *suite_of(ssl_.get());
  parts.options.is_server = context_->is_server;
  parts.options.maker =
      context_->records == TlsRecordLayer::own ? AeadMaker::best : AeadMaker::openssl;
  parts.options.records_per_key = context_->records_per_key;
  parts.options.records_sealed = tickets_sent_;
  parts.fd = std::move(socket_.fd);
  ssl_.reset();
  return parts;
}

}  // namespace detail
}  // namespace everspan::net
