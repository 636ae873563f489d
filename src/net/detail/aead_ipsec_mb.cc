// AES-GCM of Intel's ipsec-mb, two to three times as fast as OpenSSL 3.0's (it uses VAES on 64-byte
// registers).
#include "net/detail/aead_makers.h"

#if defined(EVERSPAN_IPSEC_MB)
#define NO_COMPAT_IMB_API_053  // Old names that clash with OpenSSL's.
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>

#include <cstring>

// The functions themselves, not by way of IMB_MGR: its tables would link every cipher of the
// library for every processor, 13 MB in each program instead of 1.6. agrees_with_openssl() in
// aead.cc proves them before they are used.
extern "C" {
#define EVERSPAN_GCM(bits)                                                                         \
  void aes_keyexp_##bits##_enc_avx512(const void*, void*);                                         \
  void aes_gcm_precomp_##bits##_vaes_avx512(gcm_key_data*);                                        \
  void aes_gcm_init_##bits##_vaes_avx512(const gcm_key_data*, gcm_context_data*, const uint8_t*,   \
                                         const uint8_t*, uint64_t);                                \
  void aes_gcm_enc_##bits##_vaes_avx512(const gcm_key_data*, gcm_context_data*, uint8_t*,          \
                                        const uint8_t*, uint64_t, const uint8_t*, const uint8_t*,  \
                                        uint64_t, uint8_t*, uint64_t);                             \
  void aes_gcm_dec_##bits##_vaes_avx512(const gcm_key_data*, gcm_context_data*, uint8_t*,          \
                                        const uint8_t*, uint64_t, const uint8_t*, const uint8_t*,  \
                                        uint64_t, uint8_t*, uint64_t);                             \
  void aes_gcm_enc_##bits##_update_vaes_avx512(const gcm_key_data*, gcm_context_data*, uint8_t*,   \
                                               const uint8_t*, uint64_t);                          \
  void aes_gcm_enc_##bits##_finalize_vaes_avx512(const gcm_key_data*, gcm_context_data*, uint8_t*, \
                                                 uint64_t);
EVERSPAN_GCM(128)
EVERSPAN_GCM(256)
#undef EVERSPAN_GCM
}

namespace everspan::net::detail {
namespace {

struct Functions {
  void (*expand)(const void* key, void* expanded);
  aes_gcm_precomp_t prepare;
  aes_gcm_init_t begin;
  aes_gcm_enc_dec_t seal;
  aes_gcm_enc_dec_t open;
  aes_gcm_enc_dec_update_t update;
  aes_gcm_enc_dec_finalize_t finish;
};
constexpr Functions kShort{aes_keyexp_128_enc_avx512,           aes_gcm_precomp_128_vaes_avx512,
                           aes_gcm_init_128_vaes_avx512,        aes_gcm_enc_128_vaes_avx512,
                           aes_gcm_dec_128_vaes_avx512,         aes_gcm_enc_128_update_vaes_avx512,
                           aes_gcm_enc_128_finalize_vaes_avx512};
constexpr Functions kLong{aes_keyexp_256_enc_avx512,           aes_gcm_precomp_256_vaes_avx512,
                          aes_gcm_init_256_vaes_avx512,        aes_gcm_enc_256_vaes_avx512,
                          aes_gcm_dec_256_vaes_avx512,         aes_gcm_enc_256_update_vaes_avx512,
                          aes_gcm_enc_256_finalize_vaes_avx512};

bool processor_has_it() {
  return __builtin_cpu_supports("vaes") && __builtin_cpu_supports("vpclmulqdq") &&
         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("bmi2");
}

// Up to here a copy behind which the type byte can be put costs less than a second pass.
constexpr std::size_t kCopiedBytes = 1024;

class IpsecMbAead final : public Aead {
 public:
  IpsecMbAead() = default;
  IpsecMbAead(const IpsecMbAead&) = delete;
  IpsecMbAead& operator=(const IpsecMbAead&) = delete;
  ~IpsecMbAead() override {
    OPENSSL_cleanse(&key_, sizeof key_);
    OPENSSL_cleanse(&context_, sizeof context_);
  }

  void use_key(TlsSuite suite, const TrafficKey& key, std::uint64_t id) override {
    if (id == id_) return;
    id_ = id;
    functions_ = suite == TlsSuite::aes_256_gcm_sha384 ? &kLong : &kShort;
    functions_->expand(key.key.data(), key_.expanded_keys);  // The first thing in it.
    functions_->prepare(&key_);
  }

  void seal(std::span<const std::uint8_t, 12> nonce, std::span<const std::uint8_t> header,
            std::span<const std::uint8_t> content, std::uint8_t type, std::uint8_t* out) override {
    const std::size_t size = content.size();
    std::uint8_t* tag = out + size + 1;
    if (size <= kCopiedBytes) {
      if (size > 0) std::memmove(out, content.data(), size);
      out[size] = type;
      functions_->seal(&key_, &context_, out, out, size + 1, nonce.data(), header.data(),
                       header.size(), tag, kTagBytes);
      return;
    }
    functions_->begin(&key_, &context_, nonce.data(), header.data(), header.size());
    functions_->update(&key_, &context_, out, content.data(), size);
    functions_->update(&key_, &context_, out + size, &type, 1);
    functions_->finish(&key_, &context_, tag, kTagBytes);
  }

  bool open(std::span<const std::uint8_t, 12> nonce, std::span<const std::uint8_t> header,
            std::span<const std::uint8_t> sealed, std::uint8_t* out) override {
    const std::size_t inner = sealed.size() - kTagBytes;
    std::uint8_t tag[kTagBytes];
    functions_->open(&key_, &context_, out, sealed.data(), inner, nonce.data(), header.data(),
                     header.size(), tag, kTagBytes);
    if (CRYPTO_memcmp(tag, sealed.data() + inner, kTagBytes) == 0) return true;
    OPENSSL_cleanse(out, inner);
    return false;
  }

 private:
  alignas(64) gcm_key_data key_{};  // The functions use aligned stores.
  alignas(64) gcm_context_data context_{};
  std::uint64_t id_ = 0;
  const Functions* functions_ = &kLong;
};

}  // namespace

std::unique_ptr<Aead> make_ipsec_mb_aead() {
  if (!processor_has_it()) return nullptr;
  return std::make_unique<IpsecMbAead>();
}

}  // namespace everspan::net::detail

#else

namespace everspan::net::detail {

std::unique_ptr<Aead> make_ipsec_mb_aead() {
  return nullptr;
}

}  // namespace everspan::net::detail

#endif
