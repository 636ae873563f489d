#include "net/detail/tls_secrets.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cstring>

#include "common/bytes.h"
#include "common/check.h"

namespace everspan::net {
namespace {

const EVP_MD* digest_of(TlsSuite suite) {
  return suite == TlsSuite::aes_128_gcm_sha256 ? EVP_sha256() : EVP_sha384();
}

using Block = std::array<std::uint8_t, 48>;

Block hash_of(TlsSuite suite, std::string_view text) {
  Block out{};
  check(EVP_Digest(text.data(), text.size(), out.data(), nullptr, digest_of(suite), nullptr) == 1,
        "OpenSSL hashes");
  return out;
}

}  // namespace

TlsSecret::TlsSecret(std::span<const std::uint8_t> bytes)
    : size_(static_cast<std::uint8_t>(bytes.size())) {
  check(bytes.size() <= bytes_.size(), "a secret is no longer than a hash");
  std::ranges::copy(bytes, bytes_.begin());
}
TlsSecret::TlsSecret(TlsSecret&& other) noexcept : bytes_(other.bytes_), size_(other.size_) {
  OPENSSL_cleanse(other.bytes_.data(), other.bytes_.size());
  other.size_ = 0;
}
TlsSecret& TlsSecret::operator=(TlsSecret&& other) noexcept {
  if (this == &other) return *this;
  bytes_ = other.bytes_;
  size_ = other.size_;
  OPENSSL_cleanse(other.bytes_.data(), other.bytes_.size());
  other.size_ = 0;
  return *this;
}
TlsSecret::~TlsSecret() {
  OPENSSL_cleanse(bytes_.data(), bytes_.size());
}
TrafficKey::~TrafficKey() {
  OPENSSL_cleanse(key.data(), key.size());
  OPENSSL_cleanse(iv.data(), iv.size());
}

void expand_label(TlsSuite suite, std::span<const std::uint8_t> secret, std::string_view label,
                  std::span<const std::uint8_t> context, std::span<std::uint8_t> out) {
  check(label.size() <= 249 && context.size() <= 255, "a label fits its field");
  const std::size_t hash = hash_bytes(suite);
  check(out.size() <= 255 * hash, "HKDF gives so much");
  std::string info;
  info += static_cast<char>(out.size() >> 8);
  info += static_cast<char>(out.size() & 0xff);
  info += static_cast<char>(6 + label.size());
  info += "tls13 ";
  info += label;
  info += static_cast<char>(context.size());
  info += as_text(context);
  Block block{};
  std::string input;
  std::size_t done = 0;
  for (int i = 1; done < out.size(); ++i) {
    input.assign(reinterpret_cast<const char*>(block.data()), i == 1 ? 0 : hash);
    input += info;
    input += static_cast<char>(i);
    unsigned size = 0;
    check(HMAC(digest_of(suite), secret.data(), static_cast<int>(secret.size()),
               reinterpret_cast<const unsigned char*>(input.data()), input.size(), block.data(),
               &size) != nullptr &&
              size == hash,
          "OpenSSL computes an HMAC");
    const std::size_t part = std::min(hash, out.size() - done);
    std::memcpy(out.data() + done, block.data(), part);
    done += part;
  }
  OPENSSL_cleanse(block.data(), block.size());
  OPENSSL_cleanse(input.data(), input.size());
}

void derive_key(TlsSuite suite, const TlsSecret& traffic, TrafficKey& out) {
  expand_label(suite, traffic.bytes(), "key", {}, std::span(out.key).first(key_bytes(suite)));
  expand_label(suite, traffic.bytes(), "iv", {}, out.iv);
}

TlsSecret next_generation(TlsSuite suite, const TlsSecret& traffic) {
  Block next{};
  const std::span<std::uint8_t> out(next.data(), hash_bytes(suite));
  expand_label(suite, traffic.bytes(), "traffic upd", {}, out);
  TlsSecret secret(out);
  OPENSSL_cleanse(next.data(), next.size());
  return secret;
}

std::string tls_exporter(TlsSuite suite, const TlsSecret& exporter, std::string_view label,
                         std::size_t size) {
  const std::size_t hash = hash_bytes(suite);
  const Block empty = hash_of(suite, {});
  Block derived{};
  expand_label(suite, exporter.bytes(), label, std::span(empty).first(hash),
               std::span(derived).first(hash));
  std::string out(size, '\0');
  expand_label(suite, std::span(derived).first(hash), "exporter", std::span(empty).first(hash),
               {reinterpret_cast<std::uint8_t*>(out.data()), out.size()});
  OPENSSL_cleanse(derived.data(), derived.size());
  return out;
}

void take_keylog_line(std::string_view line, TlsSecrets& out) {
  const auto first = line.find(' ');
  const auto second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos) return;
  const std::string_view label = line.substr(0, first);
  TlsSecret* secret = nullptr;
  if (label == "CLIENT_TRAFFIC_SECRET_0") secret = &out.client;
  if (label == "SERVER_TRAFFIC_SECRET_0") secret = &out.server;
  if (label == "EXPORTER_SECRET") secret = &out.exporter;
  if (secret == nullptr) return;
  auto bytes = from_hex(line.substr(second + 1));
  if (!bytes || bytes->size() > 48) return;
  *secret = TlsSecret(as_bytes(*bytes));
  OPENSSL_cleanse(bytes->data(), bytes->size());
}

}  // namespace everspan::net
