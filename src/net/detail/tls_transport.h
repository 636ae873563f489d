// One TLS connection over a non-blocking descriptor.
#pragma once
#include <memory>
#include <string>

#include "net/detail/record_transport.h"
#include "net/detail/tls_secrets.h"
#include "net/detail/tls_state.h"
#include "net/transport.h"

namespace everspan::net::detail {

// What the BIO saw of the socket since the last read or write began. `fd` < 0: closed.
struct TlsSocket {
  Fd fd;
  bool drained = false;  // The last recv() returned less than it asked for: no need to ask again.
  bool eof = false;
  int errno_value = 0;
  bool collects =
      false;  // What comes at once is kept in `early`, and OpenSSL gets what it asks for.
  std::string early;
  std::string* gathered = nullptr;  // Set: what is written is added here, and sent by send_records.
  std::string unsent;               // Records that the socket did not take yet; they go first.
};

class TlsTransport final : public Transport {
 public:
  // Server side, or client side for `server_name`.
  static Result<std::unique_ptr<TlsTransport>> make(
      std::shared_ptr<const TlsContext::State> context, Fd tcp, const std::string& server_name);
  ~TlsTransport() override;

  // One step: done, want_read, want_write, failed.
  IoState handshake();

  IoResult read(std::span<std::uint8_t> into) override;
  IoResult write(std::span<const iovec> pieces) override;
  [[nodiscard]] bool has_buffered() const override;
  bool send_close() override;
  void close() override;
  [[nodiscard]] int fd() const override { return socket_.fd.get(); }
  [[nodiscard]] const Error& error() const override { return error_; }
  [[nodiscard]] std::string alpn() const override;
  [[nodiscard]] std::string exporter(std::string_view label, std::size_t size) const override;
  [[nodiscard]] Address peer() const override { return peer_; }
  [[nodiscard]] Address local() const override { return local_; }

  [[nodiscard]] const std::string& root_pem() const { return root_pem_; }
  int verify_pinned_root(X509_STORE_CTX* store);

  // After the handshake: whether our own record layer can go on from here, and then all that it
  // needs. Nothing is left here but an empty shell.
  [[nodiscard]] bool may_take_over() const;
  [[nodiscard]] RecordTransport::Parts give_over();
  void take_secret(std::string_view keylog_line) { take_keylog_line(keylog_line, secrets_); }
  void ticket_sent() { ++tickets_sent_; }

 private:
  TlsTransport(std::shared_ptr<const TlsContext::State> context, Fd tcp);
  [[nodiscard]] bool own_records() const { return context_->records != TlsRecordLayer::openssl; }
  void begin_operation();
  IoState state_after(int returned);
  IoState state_after_write(int returned);
  IoState broken(Error error);
  Error handshake_error() const;
  bool change_key_if_due();
  IoState send_records(std::string_view records);

  std::shared_ptr<const TlsContext::State> context_;
  TlsSocket socket_;
  Address peer_;
  Address local_;
  Owned<SSL> ssl_;
  Error error_;
  std::string root_pem_;
  TlsSecrets secrets_;  // While the handshake goes on.
  std::uint64_t tickets_sent_ = 0;
  std::size_t retry_bytes_ = 0;  // A record of this many bytes waits inside OpenSSL.
  // As many bytes lie encrypted in socket_.unsent but were not yet said to have moved: so the owner
  // comes again with them, as Transport::write() demands.
  std::size_t held_bytes_ = 0;
  std::uint64_t records_written_ = 0;
  bool more_to_read_ = true;  // Until a read had to wait: the handshake may have read ahead.
  bool established_ = false;
  bool broken_ = false;
  bool write_broken_ = false;
  bool close_sent_ = false;
};

// For SSL_CTX_set_keylog_callback and SSL_set_msg_callback.
void keep_secret(const SSL* ssl, const char* line);
void count_tickets(int written, int version, int content_type, const void* message,
                   std::size_t size, SSL* ssl, void* transport);

// For SSL_CTX_set_cert_verify_callback.
int verify_pinned_root(X509_STORE_CTX* store, void* unused);
int accept_any_certificate(X509_STORE_CTX* store, void* unused);

}  // namespace everspan::net::detail
