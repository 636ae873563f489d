// Hashing, signing, randomness and constant-time compares over OpenSSL's libcrypto: the one home of
// its primitives (TLS is net/'s). Ed25519 (RFC 8032) signs grants, attaches, metadata, tombstones.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/bytes.h"
#include "common/ids.h"
#include "common/result.h"

namespace everspan {

using Sha256 = std::array<std::uint8_t, 32>;

[[nodiscard]] Sha256 sha256(Bytes data);
[[nodiscard]] inline Sha256 sha256(std::string_view data) {
  return sha256(as_bytes(data));
}
[[nodiscard]] std::string sha256_hex(std::string_view data);

// 32 bytes (RFC 2104).
[[nodiscard]] std::string hmac_sha256(std::string_view key, std::string_view message);

// SHA-256 over pieces. Copyable: a copy goes on from the same point (rolling hashes).
class Sha256Stream {
 public:
  Sha256Stream();
  Sha256Stream(const Sha256Stream& other);
  Sha256Stream& operator=(const Sha256Stream& other);
  Sha256Stream(Sha256Stream&&) noexcept;
  Sha256Stream& operator=(Sha256Stream&&) noexcept;
  ~Sha256Stream();
  void add(Bytes data);
  [[nodiscard]] Sha256 digest() const;  // Of all so far; more may be added after.

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The private half never leaves the object but through seed(); wipes itself.
class SigningKey {
 public:
  static SigningKey generate();
  static Result<SigningKey> from_seed(std::string_view seed32);
  SigningKey(SigningKey&&) noexcept;
  SigningKey& operator=(SigningKey&&) noexcept;
  ~SigningKey();

  [[nodiscard]] std::string public_key() const;            // 32 bytes.
  [[nodiscard]] std::string seed() const;                  // 32 bytes, secret.
  [[nodiscard]] std::string sign(std::string_view) const;  // 64 bytes.

 private:
  SigningKey();
  struct State;
  std::unique_ptr<State> state_;
};

// False for any malformed key or signature too.
[[nodiscard]] bool verify_signature(std::string_view public_key32, std::string_view message,
                                    std::string_view signature64);

void fill_random(std::uint8_t* out, std::size_t size);  // Ends the process if the system has none.
[[nodiscard]] std::string random_bytes(std::size_t size);
template <class IdType>
[[nodiscard]] IdType random_id() {
  IdType id;
  fill_random(id.bytes.data(), id.bytes.size());
  return id;
}

// Time depends on the lengths only.
[[nodiscard]] bool equal_constant_time(std::string_view a, std::string_view b);
void wipe(std::string& secret);

}  // namespace everspan
