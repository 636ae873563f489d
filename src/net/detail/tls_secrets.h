// The secrets of one TLS 1.3 connection after its handshake, and what is derived from them (RFC
// 8446 parts 7.1 to 7.5). Pure. Secrets are zeroed when they go; nothing here is ever logged.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace everspan::net {

// The cipher suites that our own record layer speaks.
enum class TlsSuite : std::uint8_t {
  aes_128_gcm_sha256,  // 0x1301
  aes_256_gcm_sha384,  // 0x1302
};
[[nodiscard]] constexpr std::size_t key_bytes(TlsSuite suite) {
  return suite == TlsSuite::aes_128_gcm_sha256 ? 16 : 32;
}
[[nodiscard]] constexpr std::size_t hash_bytes(TlsSuite suite) {
  return suite == TlsSuite::aes_128_gcm_sha256 ? 32 : 48;
}

// Up to 48 bytes that are zeroed when they are given up.
class TlsSecret {
 public:
  TlsSecret() = default;
  explicit TlsSecret(std::span<const std::uint8_t> bytes);
  TlsSecret(TlsSecret&& other) noexcept;
  TlsSecret& operator=(TlsSecret&& other) noexcept;
  TlsSecret(const TlsSecret&) = delete;
  TlsSecret& operator=(const TlsSecret&) = delete;
  ~TlsSecret();
  [[nodiscard]] std::span<const std::uint8_t> bytes() const { return {bytes_.data(), size_}; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

 private:
  std::array<std::uint8_t, 48> bytes_{};
  std::uint8_t size_ = 0;
};

// Of a finished handshake.
struct TlsSecrets {
  TlsSuite suite = TlsSuite::aes_256_gcm_sha384;
  TlsSecret client;  // client_application_traffic_secret_0
  TlsSecret server;
  TlsSecret exporter;
};

struct TrafficKey {
  std::array<std::uint8_t, 32> key{};
  std::array<std::uint8_t, 12> iv{};
  TrafficKey() = default;
  TrafficKey(const TrafficKey&) = delete;
  TrafficKey& operator=(const TrafficKey&) = delete;
  ~TrafficKey();
};

// HKDF-Expand-Label. `out` may be longer than a hash.
void expand_label(TlsSuite suite, std::span<const std::uint8_t> secret, std::string_view label,
                  std::span<const std::uint8_t> context, std::span<std::uint8_t> out);
void derive_key(TlsSuite suite, const TlsSecret& traffic, TrafficKey& out);
[[nodiscard]] TlsSecret next_generation(TlsSuite suite, const TlsSecret& traffic);
// TLS-Exporter with an empty context.
[[nodiscard]] std::string tls_exporter(TlsSuite suite, const TlsSecret& exporter,
                                       std::string_view label, std::size_t size);

// One line of a key log ("LABEL <client random hex> <secret hex>"): kept if it is one of ours.
void take_keylog_line(std::string_view line, TlsSecrets& out);

}  // namespace everspan::net
