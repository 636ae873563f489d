#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <cstring>
#include <memory>

#include "common/check.h"
#include "net/detail/aead_makers.h"

namespace everspan::net::detail {
namespace {

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* p) const { EVP_CIPHER_CTX_free(p); }
};

class OpensslAead final : public Aead {
 public:
  OpensslAead() {
    for (auto& context : contexts_) {
      context.reset(EVP_CIPHER_CTX_new());
      check(context != nullptr, "OpenSSL makes a cipher context");
    }
  }

  void use_key(TlsSuite suite, const TrafficKey& key, std::uint64_t id) override {
    if (id == id_) return;
    id_ = id;
    const EVP_CIPHER* cipher =
        suite == TlsSuite::aes_128_gcm_sha256 ? EVP_aes_128_gcm() : EVP_aes_256_gcm();
    check(EVP_EncryptInit_ex(contexts_[0].get(), cipher, nullptr, key.key.data(), nullptr) == 1 &&
              EVP_DecryptInit_ex(contexts_[1].get(), cipher, nullptr, key.key.data(), nullptr) == 1,
          "OpenSSL takes an AES-GCM key");
  }

  void seal(std::span<const std::uint8_t, 12> nonce, std::span<const std::uint8_t> header,
            std::span<const std::uint8_t> content, std::uint8_t type, std::uint8_t* out) override {
    EVP_CIPHER_CTX* context = contexts_[0].get();
    int size = 0;
    bool good = EVP_EncryptInit_ex(context, nullptr, nullptr, nullptr, nonce.data()) == 1 &&
                EVP_EncryptUpdate(context, nullptr, &size, header.data(),
                                  static_cast<int>(header.size())) == 1;
    if (!content.empty())
      good = good && EVP_EncryptUpdate(context, out, &size, content.data(),
                                       static_cast<int>(content.size())) == 1;
    std::uint8_t* end = out + content.size();
    good = good && EVP_EncryptUpdate(context, end, &size, &type, 1) == 1 &&
           EVP_EncryptFinal_ex(context, end + 1, &size) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes, end + 1) == 1;
    check(good, "OpenSSL seals a record");
  }

  bool open(std::span<const std::uint8_t, 12> nonce, std::span<const std::uint8_t> header,
            std::span<const std::uint8_t> sealed, std::uint8_t* out) override {
    EVP_CIPHER_CTX* context = contexts_[1].get();
    const std::size_t inner = sealed.size() - kTagBytes;
    int size = 0;
    auto* tag = const_cast<std::uint8_t*>(sealed.data() + inner);
    const bool good =
        EVP_DecryptInit_ex(context, nullptr, nullptr, nullptr, nonce.data()) == 1 &&
        EVP_DecryptUpdate(context, nullptr, &size, header.data(),
                          static_cast<int>(header.size())) == 1 &&
        EVP_DecryptUpdate(context, out, &size, sealed.data(), static_cast<int>(inner)) == 1 &&
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag) == 1;
    std::uint8_t none[kTagBytes];
    if (good && EVP_DecryptFinal_ex(context, none, &size) == 1) return true;
    OPENSSL_cleanse(out, inner);
    return false;
  }

 private:
  std::unique_ptr<EVP_CIPHER_CTX, FreeContext> contexts_[2];  // Sealing, opening.
  std::uint64_t id_ = 0;
};

}  // namespace

std::unique_ptr<Aead> make_openssl_aead() {
  return std::make_unique<OpensslAead>();
}

}  // namespace everspan::net::detail
