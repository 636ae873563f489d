// AES-GCM for TLS 1.3 records: the record's content and its type byte in, sealed bytes and tag out.
// Two makers: Intel's ipsec-mb where the processor has VAES and AVX-512, else OpenSSL. A cipher is
// one thread's; expanded keys live in it and not in each connection, so that an idle connection
// costs nothing but its 44 bytes of key and IV.
#pragma once
#include <cstdint>
#include <span>

#include "net/detail/tls_secrets.h"

namespace everspan::net {

inline constexpr std::size_t kTagBytes = 16;

class Aead {
 public:
  virtual ~Aead() = default;
  // Before seal() or open(). `id` names the key, process-wide and for ever: a key that is in place
  // is not expanded again.
  virtual void use_key(TlsSuite suite, const TrafficKey& key, std::uint64_t id) = 0;
  // Writes content.size() + 1 + kTagBytes to `out`, which may begin where `content` does.
  virtual void seal(std::span<const std::uint8_t, 12> nonce, std::span<const std::uint8_t> header,
                    std::span<const std::uint8_t> content, std::uint8_t type,
                    std::uint8_t* out) = 0;
  // Writes sealed.size() - kTagBytes to `out`. False: not authentic, and `out` holds zeros.
  [[nodiscard]] virtual bool open(std::span<const std::uint8_t, 12> nonce,
                                  std::span<const std::uint8_t> header,
                                  std::span<const std::uint8_t> sealed, std::uint8_t* out) = 0;
};

enum class AeadMaker : std::uint8_t { best, openssl };

// Of this thread; `sealing` and opening have one each, so that the two directions of a relay do not
// push out each other's key.
[[nodiscard]] Aead& thread_aead(AeadMaker maker, bool sealing);
// Whether `best` is ipsec-mb here: the processor has what it needs and gives OpenSSL's results.
[[nodiscard]] bool has_fast_aead();

}  // namespace everspan::net
