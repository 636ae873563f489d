// TLS 1.3 contexts and handshakes (RFC 8446). One server context for all connections; it can be
// given a new certificate while in use.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/time.h"
#include "net/async.h"
#include "net/transport.h"

namespace everspan::net {

// AES-GCM's limit for one key is 2^24.5 records (RFC 8446 part 5.5); we change keys well before.
inline constexpr std::uint64_t kRecordsPerKey = 1ULL << 23;

// Who seals and opens records once OpenSSL has shaken hands.
enum class TlsRecordLayer : std::uint8_t {
  own,          // Ours (detail/tls_records.h) over ipsec-mb, or over OpenSSL's AES where the
                // processor lacks what that needs. Suites other than AES-GCM: as `openssl`.
  own_openssl,  // Ours, over OpenSSL's AES always.
  openssl,      // OpenSSL's: the reference.
};
// What the environment says: EVERSPAN_TLS_RECORDS=own (default), own-openssl or openssl.
[[nodiscard]] TlsRecordLayer default_record_layer();

struct TlsServerOptions {
  std::string certificate_chain_pem;  // Leaf first, root last (enrolment pins the root).
  std::string private_key_pem;
  std::vector<std::string> alpn;  // In order of preference; a client that offers none: allowed.
  std::uint64_t records_per_key = kRecordsPerKey;
  TlsRecordLayer records = default_record_layer();
};
struct TlsClientOptions {
  std::string ca_pem;     // Trusted roots; or
  std::string ca_sha256;  // hex SHA-256 of the DER of a root that the server must send; or
                          // `proved_by_exporter`
  std::string alpn;       // Required if not empty.
  std::uint64_t records_per_key = kRecordsPerKey;
  TlsRecordLayer records = default_record_layer();
  // Any certificate: the caller proves who is there by a signature over the exporter, and hands no
  // byte to it before.
  bool proved_by_exporter = false;
};

class TlsContext {
 public:
  static Result<TlsContext> server(const TlsServerOptions& options);
  static Result<TlsContext> client(const TlsClientOptions& options);
  // New connections get the new certificate; those that are open keep theirs. Any thread. On an
  // error the old certificate stays.
  Result<void> replace_certificate(const TlsServerOptions& options);
  TlsContext(TlsContext&&) noexcept;
  TlsContext& operator=(TlsContext&&) noexcept;
  ~TlsContext();

  struct State;
  [[nodiscard]] const State& state() const { return *state_; }

 private:
  explicit TlsContext(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

// The descriptor is a connected TCP socket; TCP_NODELAY is set. Codes: tls_handshake,
// tls_certificate, timeout, cut.
[[nodiscard]] Task<Result<std::unique_ptr<Transport>>> tls_accept(const TlsContext& context, Fd tcp,
                                                                  Instant deadline);
// Connects, then shakes hands; the certificate must name `server_name` (name or IP address).
[[nodiscard]] Task<Result<std::unique_ptr<Transport>>> tls_connect(const TlsContext& context,
                                                                   Address to,
                                                                   std::string server_name,
                                                                   Instant deadline);
// Root certificate (PEM) that the server of a context with `ca_sha256` sent and that matched.
[[nodiscard]] std::string peer_root_pem(const Transport& tls);

}  // namespace everspan::net
