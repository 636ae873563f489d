// What a TlsContext holds, and the owners of OpenSSL's objects.
#pragma once
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "net/tls.h"

namespace everspan::net {

struct OpensslFree {
  void operator()(SSL_CTX* p) const { SSL_CTX_free(p); }
  void operator()(SSL* p) const { SSL_free(p); }
  void operator()(BIO* p) const { BIO_free_all(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
};
template <class T>
using Owned = std::unique_ptr<T, OpensslFree>;

struct TlsContext::State : std::enable_shared_from_this<TlsContext::State> {
  bool is_server = false;
  std::uint64_t records_per_key = kRecordsPerKey;
  TlsRecordLayer records = TlsRecordLayer::openssl;
  std::string alpn_wire;  // Length-prefixed names (RFC 7301), the server's in its order.
  std::string alpn;       // The client's one.
  std::string ca_sha256;  // Lower-case hex; the client's pin.

  [[nodiscard]] Owned<SSL_CTX> ssl_context() const {
    const std::lock_guard lock(mutex_);
    SSL_CTX_up_ref(context_.get());
    return Owned<SSL_CTX>(context_.get());
  }
  void set_ssl_context(Owned<SSL_CTX> context) {
    const std::lock_guard lock(mutex_);
    context_ = std::move(context);
  }

 private:
  mutable std::mutex mutex_;
  Owned<SSL_CTX> context_;
};

namespace detail {

// The newest message of OpenSSL's error queue of this thread, and empties the queue.
std::string openssl_error();
std::vector<Owned<X509>> read_certificates(const std::string& pem);
std::string certificate_pem(X509* certificate);

}  // namespace detail
}  // namespace everspan::net
