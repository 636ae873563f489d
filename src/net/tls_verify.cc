// Trust by the SHA-256 of a root that the server sends: for the first contact with a site.
#include <openssl/x509_vfy.h>

#include "common/bytes.h"
#include "common/crypto.h"
#include "net/detail/tls_transport.h"

namespace everspan::net::detail {
namespace {

std::string der_sha256(X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  if (size <= 0) return {};
  const std::string digest = to_hex(sha256(Bytes(der, static_cast<std::size_t>(size))));
  OPENSSL_free(der);
  return digest;
}

}  // namespace

int TlsTransport::verify_pinned_root(X509_STORE_CTX* store) {
  STACK_OF(X509)* sent = X509_STORE_CTX_get0_untrusted(store);
  X509* root = nullptr;
  for (int i = 0; i < sk_X509_num(sent) && root == nullptr; i++) {
    X509* candidate = sk_X509_value(sent, i);
    if (der_sha256(candidate) == context_->ca_sha256) root = candidate;
  }
  if (root == nullptr) {
    X509_STORE_CTX_set_error(store, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN);
    return 0;
  }
  STACK_OF(X509)* trusted = sk_X509_new_null();
  if (trusted == nullptr || sk_X509_push(trusted, root) == 0) {
    sk_X509_free(trusted);
    X509_STORE_CTX_set_error(store, X509_V_ERR_OUT_OF_MEM);
    return 0;
  }
  // The chain, its times, purposes and the server's name are checked as ever; only what is trusted
  // comes from the pin.
  X509_STORE_CTX_set0_trusted_stack(store, trusted);
  const int verified = X509_verify_cert(store);
  if (verified == 1) root_pem_ = certificate_pem(root);
  sk_X509_free(trusted);
  return verified == 1 ? 1 : 0;
}

int verify_pinned_root(X509_STORE_CTX* store, void*) {
  auto* ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  return reinterpret_cast<TlsTransport*>(SSL_get_app_data(ssl))->verify_pinned_root(store);
}

// TlsClientOptions::proved_by_exporter.
int accept_any_certificate(X509_STORE_CTX* store, void*) {
  X509_STORE_CTX_set_error(store, X509_V_OK);
  return 1;
}

}  // namespace everspan::net::detail
