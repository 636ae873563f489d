// Certificates for tests, made fresh with OpenSSL (P-256, valid for an hour). Tests only.
#pragma once
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

#include "common/check.h"
#include "common/crypto.h"

namespace everspan::net::testing {

struct TestKey {
  std::shared_ptr<EVP_PKEY> key{EVP_EC_gen("P-256"), EVP_PKEY_free};

  [[nodiscard]] std::string pem() const {
    std::unique_ptr<BIO, decltype(&BIO_free_all)> text(BIO_new(BIO_s_mem()), BIO_free_all);
    check(
        PEM_write_bio_PrivateKey(text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1,
        "a test key is written");
    char* data = nullptr;
    const long size = BIO_get_mem_data(text.get(), &data);
    return {data, static_cast<std::size_t>(size)};
  }
};

struct TestCertificate {
  TestKey key;
  std::shared_ptr<X509> x509;

  [[nodiscard]] std::string pem() const {
    std::unique_ptr<BIO, decltype(&BIO_free_all)> text(BIO_new(BIO_s_mem()), BIO_free_all);
    check(PEM_write_bio_X509(text.get(), x509.get()) == 1, "a test certificate is written");
    char* data = nullptr;
    const long size = BIO_get_mem_data(text.get(), &data);
    return {data, static_cast<std::size_t>(size)};
  }
  [[nodiscard]] std::string sha256_hex() const {
    unsigned char* der = nullptr;
    const int size = i2d_X509(x509.get(), &der);
    check(size > 0, "a test certificate is encoded");
    std::string out = to_hex(sha256(Bytes(der, static_cast<std::size_t>(size))));
    OPENSSL_free(der);
    return out;
  }
};

inline void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()), X509_EXTENSION_free);
  check(extension && X509_add_ext(certificate, extension.get(), -1) == 1, "a test extension");
}

// `issuer` null: self-signed root. `alternative_names` as OpenSSL writes them:
// "DNS:a,IP:127.0.0.1".
inline TestCertificate make_certificate(const std::string& common_name,
                                        const TestCertificate* issuer = nullptr,
                                        const std::string& alternative_names = {}) {
  TestCertificate out;
  out.x509.reset(X509_new(), X509_free);
  X509* x = out.x509.get();
  X509_set_version(x, 2);
  std::uint8_t serial[8];
  fill_random(serial, sizeof serial);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), get_u64(serial) >> 1);
  X509_gmtime_adj(X509_getm_notBefore(x), -3600);
  X509_gmtime_adj(X509_getm_notAfter(x), 3600);
  X509_set_pubkey(x, out.key.key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1,
                             0);
  X509* signer = issuer == nullptr ? x : issuer->x509.get();
  X509_set_issuer_name(x, X509_get_subject_name(signer));
  if (issuer == nullptr) {
    add_extension(x, signer, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(x, signer, NID_key_usage, "critical,keyCertSign");
  } else {
    add_extension(x, signer, NID_basic_constraints, "critical,CA:FALSE");
    if (!alternative_names.empty()) {
      add_extension(x, signer, NID_subject_alt_name, alternative_names);
    }
  }
  EVP_PKEY* with = issuer == nullptr ? out.key.key.get() : issuer->key.key.get();
  check(X509_sign(x, with, EVP_sha256()) > 0, "a test certificate is signed");
  return out;
}

}  // namespace everspan::net::testing
