#include "net/detail/aead.h"

#include <array>
#include <vector>

#include "net/detail/aead_makers.h"

namespace everspan::net {
namespace {

// A library that gives other bytes than OpenSSL (a wrong build, an emulated processor) is not used.
bool agrees_with_openssl() {
  const auto fast = detail::make_ipsec_mb_aead();
  if (!fast) return false;
  const auto reference = detail::make_openssl_aead();
  TrafficKey key;
  for (std::size_t i = 0; i < key.key.size(); ++i) key.key[i] = static_cast<std::uint8_t>(i * 7);
  for (const TlsSuite suite : {TlsSuite::aes_128_gcm_sha256, TlsSuite::aes_256_gcm_sha384}) {
    fast->use_key(suite, key, 1);
    reference->use_key(suite, key, 1);
    for (const std::size_t size : {0U, 1U, 15U, 16U, 63U, 300U, 5000U}) {
      const std::vector<std::uint8_t> content(size, 0x5a);
      const std::array<std::uint8_t, 5> header{23, 3, 3, 1, 2};
      std::array<std::uint8_t, 12> nonce{};
      nonce[3] = static_cast<std::uint8_t>(size);
      std::vector<std::uint8_t> one(size + 1 + kTagBytes);
      std::vector<std::uint8_t> other(size + 1 + kTagBytes);
      fast->seal(nonce, header, content, 23, one.data());
      reference->seal(nonce, header, content, 23, other.data());
      if (one != other) return false;
      std::vector<std::uint8_t> opened(size + 1);
      if (!fast->open(nonce, header, one, opened.data()) || opened.back() != 23) return false;
      opened.pop_back();
      if (opened != content) return false;
      one[size / 2] ^= 1;
      opened.resize(size + 1);
      if (fast->open(nonce, header, one, opened.data())) return false;
    }
  }
  return true;
}

std::unique_ptr<Aead> make(AeadMaker maker) {
  if (maker == AeadMaker::best && has_fast_aead()) return detail::make_ipsec_mb_aead();
  return detail::make_openssl_aead();
}

}  // namespace

bool has_fast_aead() {
  static const bool agrees = agrees_with_openssl();
  return agrees;
}

Aead& thread_aead(AeadMaker maker, bool sealing) {
  thread_local std::array<std::unique_ptr<Aead>, 4> ciphers;
  auto& cipher = ciphers[(maker == AeadMaker::best ? 0 : 2) + (sealing ? 1 : 0)];
  if (!cipher) cipher = make(maker);
  return *cipher;
}

}  // namespace everspan::net
