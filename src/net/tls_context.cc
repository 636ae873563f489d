#include <openssl/err.h>
#include <openssl/pem.h>

#include <algorithm>
#include <cctype>

#include "common/bytes.h"
#include "net/detail/tls_state.h"
#include "net/detail/tls_transport.h"

namespace everspan::net {
namespace detail {

std::string openssl_error() {
  char text[256] = "unknown";
  const unsigned long code = ERR_peek_last_error();
  if (code != 0) {
    const char* reason = ERR_reason_error_string(code);
    if (reason != nullptr) {
      snprintf(text, sizeof text, "%s", reason);
    } else {
      ERR_error_string_n(code, text, sizeof text);
    }
  }
  ERR_clear_error();
  return text;
}

std::vector<Owned<X509>> read_certificates(const std::string& pem) {
  std::vector<Owned<X509>> out;
  const Owned<BIO> text(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  while (text) {
    Owned<X509> certificate(PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr));
    if (!certificate) break;
    out.push_back(std::move(certificate));
  }
  ERR_clear_error();  // The end of the text is an error to OpenSSL.
  return out;
}

std::string certificate_pem(X509* certificate) {
  const Owned<BIO> text(BIO_new(BIO_s_mem()));
  if (!text || PEM_write_bio_X509(text.get(), certificate) != 1) return {};
  char* data = nullptr;
  const long size = BIO_get_mem_data(text.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

}  // namespace detail

namespace {

constexpr long kReadAheadBytes = 64 * 1024;

Result<Owned<SSL_CTX>> make_context(bool is_server, TlsRecordLayer records) {
  ERR_clear_error();
  Owned<SSL_CTX> context(SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method()));
  if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_max_proto_version(context.get(), TLS1_3_VERSION) != 1 ||
      SSL_CTX_set1_groups_list(context.get(), "X25519:P-256") != 1) {
    return fail("tls_setup", "TLS could not be set up: " + detail::openssl_error());
  }
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_ENABLE_PARTIAL_WRITE);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  if (records != TlsRecordLayer::openssl)
    SSL_CTX_set_keylog_callback(context.get(), detail::keep_secret);
  SSL_CTX_set_read_ahead(context.get(), 1);
  SSL_CTX_set_default_read_buffer_len(context.get(), kReadAheadBytes);
  return context;
}

Result<std::string> alpn_wire(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) {
    if (name.empty() || name.size() > 255) return fail("tls_setup", "A protocol name is too long");
    out += static_cast<char>(name.size());
    out += name;
  }
  return out;
}

// A client that offers protocols, none of them ours, is told so.
int choose_alpn(SSL*, const unsigned char** out, unsigned char* out_size,
                const unsigned char* offered, unsigned int offered_size, void* argument) {
  const auto& ours = static_cast<const TlsContext::State*>(argument)->alpn_wire;
  unsigned char* chosen = nullptr;
  const int found =
      SSL_select_next_proto(&chosen, out_size, reinterpret_cast<const unsigned char*>(ours.data()),
                            static_cast<unsigned>(ours.size()), offered, offered_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

Result<void> use_certificate(SSL_CTX* context, const TlsServerOptions& options) {
  auto chain = detail::read_certificates(options.certificate_chain_pem);
  const Owned<BIO> key_text(BIO_new_mem_buf(options.private_key_pem.data(),
                                            static_cast<int>(options.private_key_pem.size())));
  const Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(key_text.get(), nullptr, nullptr, nullptr));
  if (chain.empty() || !key) {
    return fail("tls_setup",
                "The certificate or its key cannot be read: " + detail::openssl_error());
  }
  if (SSL_CTX_use_certificate(context, chain[0].get()) != 1 ||
      SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    return fail("tls_setup", "The certificate and its key do not fit: " + detail::openssl_error());
  }
  for (std::size_t i = 1; i < chain.size(); i++) {
    if (SSL_CTX_add1_chain_cert(context, chain[i].get()) != 1) {
      return fail("tls_setup",
                  "A certificate of the chain is unusable: " + detail::openssl_error());
    }
  }
  return {};
}

Result<Owned<SSL_CTX>> make_server_context(const TlsServerOptions& options,
                                           TlsContext::State* state) {
  auto context = make_context(true, state->records);
  if (!context) return fail(context);
  const auto used = use_certificate(context->get(), options);
  if (!used) return fail(used);
  SSL_CTX_set_session_cache_mode(context->get(), SSL_SESS_CACHE_OFF);  // Tickets keep the state.
  SSL_CTX_set_num_tickets(context->get(), 1);
  SSL_CTX_set_alpn_select_cb(context->get(), state->alpn_wire.empty() ? nullptr : choose_alpn,
                             state);
  return context;
}

Result<void> trust(SSL_CTX* context, const std::string& ca_pem) {
  const auto roots = detail::read_certificates(ca_pem);
  if (roots.empty()) return fail("tls_setup", "The CA file has no certificate");
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  for (const auto& root : roots) {
    if (X509_STORE_add_cert(store, root.get()) != 1) {
      return fail("tls_setup", "A CA certificate is unusable: " + detail::openssl_error());
    }
  }
  return {};
}

}  // namespace

TlsContext::TlsContext(std::shared_ptr<State> state) : state_(std::move(state)) {}
TlsContext::TlsContext(TlsContext&&) noexcept = default;
TlsContext& TlsContext::operator=(TlsContext&&) noexcept = default;
TlsContext::~TlsContext() = default;

Result<TlsContext> TlsContext::server(const TlsServerOptions& options) {
  auto state = std::make_shared<State>();
  state->is_server = true;
  state->records_per_key = options.records_per_key;
  state->records = options.records;
  auto names = alpn_wire(options.alpn);
  if (!names) return fail(names);
  state->alpn_wire = std::move(*names);
  auto context = make_server_context(options, state.get());
  if (!context) return fail(context);
  state->set_ssl_context(std::move(*context));
  return TlsContext(std::move(state));
}

Result<void> TlsContext::replace_certificate(const TlsServerOptions& options) {
  if (!state_->is_server) return fail("tls_setup", "Only a server's certificate can be replaced");
  auto context = make_server_context(options, state_.get());
  if (!context) return fail(context);
  state_->set_ssl_context(std::move(*context));
  return {};
}

Result<TlsContext> TlsContext::client(const TlsClientOptions& options) {
  auto state = std::make_shared<State>();
  state->records_per_key = options.records_per_key;
  state->records = options.records;
  state->alpn = options.alpn;
  if (!options.alpn.empty()) {
    auto name = alpn_wire({options.alpn});
    if (!name) return fail(name);
    state->alpn_wire = std::move(*name);
  }
  auto context = make_context(false, options.records);
  if (!context) return fail(context);
  SSL_CTX_set_verify(context->get(), SSL_VERIFY_PEER, nullptr);
  if (options.proved_by_exporter) {
    SSL_CTX_set_cert_verify_callback(context->get(), detail::accept_any_certificate, nullptr);
  } else if (!options.ca_pem.empty()) {
    const auto trusted = trust(context->get(), options.ca_pem);
    if (!trusted) return fail(trusted);
  } else {
    const auto digest = from_hex(options.ca_sha256);
    if (!digest || digest->size() != 32) {
      return fail("tls_setup", "A client needs the site's CA, or the SHA-256 of its root in hex");
    }
    state->ca_sha256 = to_hex(as_bytes(*digest));
    SSL_CTX_set_cert_verify_callback(context->get(), detail::verify_pinned_root, nullptr);
  }
  state->set_ssl_context(std::move(*context));
  return TlsContext(std::move(state));
}

}  // namespace everspan::net
