#include "common/crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "common/check.h"

namespace everspan {

Sha256 sha256(Bytes data) {
  Sha256 out{};
  unsigned size = 0;
  check(EVP_Digest(data.data(), data.size(), out.data(), &size, EVP_sha256(), nullptr) == 1,
        "SHA-256 works");
  return out;
}

std::string sha256_hex(std::string_view data) {
  return to_hex(sha256(data));
}

std::string hmac_sha256(std::string_view key, std::string_view message) {
  Sha256 out{};
  unsigned size = out.size();
  const auto* made = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                          as_bytes(message).data(), message.size(), out.data(), &size);
  check(made != nullptr && size == out.size(), "HMAC-SHA256 works");
  return to_string(out);
}

struct Sha256Stream::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  State() { check(EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1, "SHA-256 works"); }
  State(const State& other) { check(EVP_MD_CTX_copy_ex(context, other.context) == 1, "copies"); }
  State& operator=(const State&) = delete;
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256Stream::Sha256Stream() : state_(std::make_unique<State>()) {}
Sha256Stream::Sha256Stream(const Sha256Stream& other)
    : state_(std::make_unique<State>(*other.state_)) {}
Sha256Stream& Sha256Stream::operator=(const Sha256Stream& other) {
  if (this != &other) state_ = std::make_unique<State>(*other.state_);
  return *this;
}
Sha256Stream::Sha256Stream(Sha256Stream&&) noexcept = default;
Sha256Stream& Sha256Stream::operator=(Sha256Stream&&) noexcept = default;
Sha256Stream::~Sha256Stream() = default;

void Sha256Stream::add(Bytes data) {
  check(EVP_DigestUpdate(state_->context, data.data(), data.size()) == 1, "SHA-256 works");
}

Sha256 Sha256Stream::digest() const {
  const State copy(*state_);
  Sha256 out{};
  check(EVP_DigestFinal_ex(copy.context, out.data(), nullptr) == 1, "SHA-256 works");
  return out;
}

struct SigningKey::State {
  EVP_PKEY* key = nullptr;
  ~State() { EVP_PKEY_free(key); }
};

SigningKey::SigningKey() : state_(std::make_unique<State>()) {}
SigningKey::SigningKey(SigningKey&&) noexcept = default;
SigningKey& SigningKey::operator=(SigningKey&&) noexcept = default;
SigningKey::~SigningKey() = default;

SigningKey SigningKey::generate() {
  std::string seed = random_bytes(32);
  Result<SigningKey> key = from_seed(seed);
  wipe(seed);
  check(key.has_value(), "every 32 bytes are an Ed25519 seed");
  return std::move(*key);
}

Result<SigningKey> SigningKey::from_seed(std::string_view seed32) {
  if (seed32.size() != 32) return fail("bad_key", "An Ed25519 seed is 32 bytes");
  SigningKey out;
  out.state_->key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, as_bytes(seed32).data(),
                                                 seed32.size());
  if (out.state_->key == nullptr) return fail("bad_key", "OpenSSL refused the Ed25519 seed");
  return out;
}

std::string SigningKey::public_key() const {
  std::array<std::uint8_t, 32> raw{};
  std::size_t size = raw.size();
  check(EVP_PKEY_get_raw_public_key(state_->key, raw.data(), &size) == 1, "Ed25519 public key");
  return to_string(Bytes(raw.data(), size));
}

std::string SigningKey::seed() const {
  std::array<std::uint8_t, 32> raw{};
  std::size_t size = raw.size();
  check(EVP_PKEY_get_raw_private_key(state_->key, raw.data(), &size) == 1, "Ed25519 seed");
  std::string out = to_string(Bytes(raw.data(), size));
  OPENSSL_cleanse(raw.data(), raw.size());
  return out;
}

std::string SigningKey::sign(std::string_view message) const {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  std::array<std::uint8_t, 64> signature{};
  std::size_t size = signature.size();
  const bool ok = EVP_DigestSignInit(context, nullptr, nullptr, nullptr, state_->key) == 1 &&
                  EVP_DigestSign(context, signature.data(), &size, as_bytes(message).data(),
                                 message.size()) == 1;
  EVP_MD_CTX_free(context);
  check(ok, "Ed25519 signs");
  return to_string(Bytes(signature.data(), size));
}

bool verify_signature(std::string_view public_key32, std::string_view message,
                      std::string_view signature64) {
  if (public_key32.size() != 32 || signature64.size() != 64) return false;
  EVP_PKEY* key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr,
                                              as_bytes(public_key32).data(), public_key32.size());
  if (key == nullptr) return false;
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  const bool ok = EVP_DigestVerifyInit(context, nullptr, nullptr, nullptr, key) == 1 &&
                  EVP_DigestVerify(context, as_bytes(signature64).data(), signature64.size(),
                                   as_bytes(message).data(), message.size()) == 1;
  EVP_MD_CTX_free(context);
  EVP_PKEY_free(key);
  return ok;
}

void fill_random(std::uint8_t* out, std::size_t size) {
  check(RAND_bytes(out, static_cast<int>(size)) == 1, "the system has randomness");
}

std::string random_bytes(std::size_t size) {
  std::string out(size, '\0');
  fill_random(reinterpret_cast<std::uint8_t*>(out.data()), size);
  return out;
}

bool equal_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void wipe(std::string& secret) {
  OPENSSL_cleanse(secret.data(), secret.size());
  secret.clear();
}

}  // namespace everspan
