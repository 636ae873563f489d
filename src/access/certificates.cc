#include "access/certificates.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <memory>

#include "common/bytes.h"
#include "common/crypto.h"

namespace everspan::access {
namespace {

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Memory = std::unique_ptr<BIO, Deleter<BIO_free>>;

constexpr std::int64_t kDaySeconds = 86'400;
constexpr std::int64_t kAuthorityDays = 3652;
constexpr std::int64_t kServerDays = 825;
constexpr std::int64_t kBackdateSeconds = 3600;  // For clients whose clocks are slow.

std::unexpected<Error> openssl_failed(const char* what) {
  std::array<char, 200> text{};
  ERR_error_string_n(ERR_get_error(), text.data(), text.size());
  ERR_clear_error();
  return fail("bad_certificate", std::string(what) + ": " + text.data());
}

Memory memory_of(const std::string& pem) {
  return Memory(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}
std::string text_of(BIO* memory) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory, &data);
  return {data, static_cast<std::size_t>(size)};
}

Result<Certificate> read_certificate(const std::string& pem) {
  Certificate certificate(PEM_read_bio_X509(memory_of(pem).get(), nullptr, nullptr, nullptr));
  if (!certificate) return openssl_failed("The certificate cannot be read");
  return certificate;
}
Result<Key> read_key(const std::string& pem) {
  Key key(PEM_read_bio_PrivateKey(memory_of(pem).get(), nullptr, nullptr, nullptr));
  if (!key) return openssl_failed("The private key cannot be read");
  return key;
}

bool add_extension(X509* to, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, to, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_nconf_nid(nullptr, &context, nid, value.c_str());
  if (extension == nullptr) return false;
  const bool added = X509_add_ext(to, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

bool set_random_serial(X509* certificate) {
  std::string raw = random_bytes(16);
  raw[0] =
      static_cast<char>((static_cast<unsigned char>(raw[0]) & 0x7fU) | 0x01U);  // Positive, not 0.
  BIGNUM* number = BN_bin2bn(reinterpret_cast<const unsigned char*>(raw.data()),
                             static_cast<int>(raw.size()), nullptr);
  if (number == nullptr) return false;
  const bool set = BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(number);
  return set;
}

// Version 3, serial, times, key and subject; the caller adds issuer and extensions, then signs.
Result<Certificate> begin_certificate(EVP_PKEY* key, const std::string& common_name,
                                      std::int64_t from_s, std::int64_t to_s) {
  Certificate made(X509_new());
  if (!made || X509_set_version(made.get(), X509_VERSION_3) != 1 || !set_random_serial(made.get()))
    return openssl_failed("A certificate cannot be made");
  const bool times = ASN1_TIME_set(X509_getm_notBefore(made.get()), from_s) != nullptr &&
                     ASN1_TIME_set(X509_getm_notAfter(made.get()), to_s) != nullptr;
  X509_NAME* subject = X509_get_subject_name(made.get());
  const bool named =
      X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>("Everspan"), -1, -1,
                                 0) == 1 &&
      X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(common_name.data()),
                                 static_cast<int>(common_name.size()), -1, 0) == 1;
  if (!times || !named || X509_set_pubkey(made.get(), key) != 1)
    return openssl_failed("A certificate cannot be made");
  return made;
}

Result<KeyAndCertificate> to_pem(X509* certificate, EVP_PKEY* key) {
  const Memory certificate_text(BIO_new(BIO_s_mem()));
  const Memory key_text(BIO_new(BIO_s_secmem()));
  if (!certificate_text || !key_text ||
      PEM_write_bio_X509(certificate_text.get(), certificate) != 1 ||
      PEM_write_bio_PKCS8PrivateKey(key_text.get(), key, nullptr, nullptr, 0, nullptr, nullptr) !=
          1)
    return openssl_failed("A certificate cannot be written");
  return KeyAndCertificate{text_of(certificate_text.get()), text_of(key_text.get())};
}

bool is_ip(const std::string& name) {
  std::array<unsigned char, 16> raw{};
  return inet_pton(AF_INET, name.c_str(), raw.data()) == 1 ||
         inet_pton(AF_INET6, name.c_str(), raw.data()) == 1;
}

// "DNS:a,IP:b": the names go into OpenSSL's little language, so every byte is checked first.
Result<std::string> alternative_names(const std::vector<std::string>& names) {
  if (names.empty() || names.size() > 64)
    return fail("bad_name", "A certificate needs 1 to 64 names");
  std::string text;
  for (const std::string& name : names) {
    const bool ip = is_ip(name);
    const bool dns = !name.empty() && name.size() <= 253 && std::ranges::all_of(name, [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '-' || c == '.';
    });
    if (!ip && !dns)
      return fail("bad_name", "\"" + printable(name, 80) + "\" is no DNS name and no IP address");
    text += (text.empty() ? "" : ",") + std::string(ip ? "IP:" : "DNS:") + name;
  }
  return text;
}

Result<std::int64_t> seconds_of(const ASN1_TIME* time) {
  std::tm fields{};
  if (ASN1_TIME_to_tm(time, &fields) != 1) return openssl_failed("A certificate's time");
  return static_cast<std::int64_t>(timegm(&fields));
}

}  // namespace

Result<KeyAndCertificate> make_authority(const std::string& site_name, WallTime now) {
  const Key key(EVP_EC_gen("P-256"));
  if (!key) return openssl_failed("A key cannot be made");
  const std::int64_t now_s = now.unix_ms / 1000;
  auto made = begin_certificate(key.get(), site_name.substr(0, 48) + " authority",
                                now_s - kBackdateSeconds, now_s + kAuthorityDays * kDaySeconds);
  if (!made) return fail(made);
  X509* certificate = made->get();
  const bool good =
      X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) == 1 &&
      add_extension(certificate, certificate, NID_basic_constraints,
                    "critical,CA:TRUE,pathlen:0") &&
      add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign") &&
      add_extension(certificate, certificate, NID_subject_key_identifier, "hash") &&
      X509_sign(certificate, key.get(), EVP_sha256()) > 0;
  if (!good) return openssl_failed("The authority cannot be made");
  return to_pem(certificate, key.get());
}

Result<KeyAndCertificate> issue_certificate(const KeyAndCertificate& authority,
                                            const std::vector<std::string>& names, WallTime now) {
  const auto alternatives = alternative_names(names);
  if (!alternatives) return fail(alternatives);
  const auto issuer = read_certificate(authority.certificate_pem);
  if (!issuer) return fail(issuer);
  const auto issuer_key = read_key(authority.key_pem);
  if (!issuer_key) return fail(issuer_key);
  const auto issuer_end = seconds_of(X509_get0_notAfter(issuer->get()));
  if (!issuer_end) return fail(issuer_end);

  const Key key(EVP_EC_gen("P-256"));
  if (!key) return openssl_failed("A key cannot be made");
  const std::int64_t now_s = now.unix_ms / 1000;
  auto made = begin_certificate(key.get(), names.front().substr(0, 64), now_s - kBackdateSeconds,
                                std::min(now_s + kServerDays * kDaySeconds, *issuer_end));
  if (!made) return fail(made);
  X509* certificate = made->get();
  X509* ca = issuer->get();
  const bool good = X509_set_issuer_name(certificate, X509_get_subject_name(ca)) == 1 &&
                    add_extension(certificate, ca, NID_basic_constraints, "critical,CA:FALSE") &&
                    add_extension(certificate, ca, NID_key_usage, "critical,digitalSignature") &&
                    add_extension(certificate, ca, NID_ext_key_usage, "serverAuth") &&
                    add_extension(certificate, ca, NID_subject_key_identifier, "hash") &&
                    add_extension(certificate, ca, NID_authority_key_identifier, "keyid:always") &&
                    add_extension(certificate, ca, NID_subject_alt_name, *alternatives) &&
                    X509_sign(certificate, issuer_key->get(), EVP_sha256()) > 0;
  if (!good) return openssl_failed("The certificate cannot be made");
  return to_pem(certificate, key.get());
}

Result<std::string> certificate_sha256(const std::string& pem) {
  const auto certificate = read_certificate(pem);
  if (!certificate) return fail(certificate);
  std::array<unsigned char, 32> digest{};
  unsigned size = digest.size();
  if (X509_digest(certificate->get(), EVP_sha256(), digest.data(), &size) != 1)
    return openssl_failed("A certificate cannot be hashed");
  return to_hex(digest);
}

Result<WallTime> certificate_not_after(const std::string& pem) {
  const auto certificate = read_certificate(pem);
  if (!certificate) return fail(certificate);
  const auto end = seconds_of(X509_get0_notAfter(certificate->get()));
  if (!end) return fail(end);
  return WallTime{*end * 1000};
}

Result<void> check_certificate(const std::string& certificate_pem, const std::string& key_pem,
                               const std::string& authority_pem, const std::string& name,
                               WallTime now) {
  const auto leaf = read_certificate(certificate_pem);
  if (!leaf) return fail(leaf);
  const auto authority = read_certificate(authority_pem);
  if (!authority) return fail(authority);
  const auto key = read_key(key_pem);
  if (!key) return fail(key);
  if (X509_check_private_key(leaf->get(), key->get()) != 1)
    return openssl_failed("The private key is not the certificate's");

  const std::unique_ptr<X509_STORE, Deleter<X509_STORE_free>> trusted(X509_STORE_new());
  const std::unique_ptr<X509_STORE_CTX, Deleter<X509_STORE_CTX_free>> context(X509_STORE_CTX_new());
  if (!trusted || !context || X509_STORE_add_cert(trusted.get(), authority->get()) != 1 ||
      X509_STORE_CTX_init(context.get(), trusted.get(), leaf->get(), nullptr) != 1)
    return openssl_failed("The certificate cannot be checked");
  X509_VERIFY_PARAM* rules = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_time(rules, now.unix_ms / 1000);
  X509_STORE_CTX_set_purpose(context.get(), X509_PURPOSE_SSL_SERVER);
  const bool named = is_ip(name)
                         ? X509_VERIFY_PARAM_set1_ip_asc(rules, name.c_str()) == 1
                         : X509_VERIFY_PARAM_set1_host(rules, name.data(), name.size()) == 1;
  if (!named) return openssl_failed("The name cannot be checked");
  if (X509_verify_cert(context.get()) == 1) return {};
  return fail("bad_certificate",
              std::string("The certificate was refused: ") +
                  X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get())));
}

}  // namespace everspan::access
