// Foreign records: raw ones, and ones under the right key with any type and content, so that what
// lies behind the tag check is reached too. Nothing may be given that was not sealed as data.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "net/detail/tls_records.h"

namespace {

using namespace everspan::net;

TlsSecrets secrets() {
  const std::vector<std::uint8_t> bytes(32, 7);
  TlsSecrets out{TlsSuite::aes_128_gcm_sha256, TlsSecret(bytes), TlsSecret(bytes),
                 TlsSecret(bytes)};
  return out;
}

struct Sealer {
  TrafficKey key;
  std::uint64_t sequence = 0;

  Sealer() { derive_key(TlsSuite::aes_128_gcm_sha256, secrets().client, key); }
  void add(std::uint8_t type, std::span<const std::uint8_t> content,
           std::vector<std::uint8_t>& out) {
    const std::size_t sealed = content.size() + 1 + kTagBytes;
    const std::size_t at = out.size();
    out.resize(at + kRecordHeaderBytes + sealed);
    const std::uint8_t header[] = {23, 3, 3, static_cast<std::uint8_t>(sealed >> 8),
                                   static_cast<std::uint8_t>(sealed)};
    std::memcpy(out.data() + at, header, sizeof header);
    auto nonce = key.iv;
    for (int i = 0; i < 8; ++i) nonce[11 - i] ^= static_cast<std::uint8_t>(sequence >> (8 * i));
    ++sequence;
    Aead& aead = thread_aead(AeadMaker::openssl, true);
    aead.use_key(TlsSuite::aes_128_gcm_sha256, key, 1ULL << 63);
    aead.seal(nonce, {out.data() + at, kRecordHeaderBytes}, content, type,
              out.data() + at + kRecordHeaderBytes);
  }
};

}  // namespace

// First byte: whether this end is the server, and where the stream is cut. Then chunks of a type
// byte, a length byte and content; type 0: the bytes go in as they are.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const bool is_server = (data[0] & 1) != 0;
  const std::size_t step = 1 + (data[0] >> 1) * 8;
  TlsRecords records(secrets(), {is_server, AeadMaker::openssl, 1 << 20, 0});
  Sealer sealer;
  std::vector<std::uint8_t> stream;
  std::vector<std::uint8_t> expected;
  for (std::size_t at = 1; at + 2 <= size;) {
    const std::uint8_t type = data[at];
    const std::size_t length = std::min<std::size_t>(data[at + 1], size - at - 2);
    const std::span<const std::uint8_t> content(data + at + 2, length);
    if (type == 0) {
      stream.insert(stream.end(), content.begin(), content.end());
    } else {
      sealer.add(type, content, stream);
      if (type == 23) expected.insert(expected.end(), content.begin(), content.end());
    }
    at += 2 + length;
  }
  std::vector<std::uint8_t> got;
  std::vector<std::uint8_t> into(kSealedRecordMax);
  std::size_t used = 0;
  for (std::size_t end = std::min(step, stream.size());;
       end = std::min(end + step, stream.size())) {
    const auto opened = records.open({stream.data() + used, end - used}, into);
    if (opened.bytes > into.size() || opened.used > end - used) std::abort();
    got.insert(got.end(), into.begin(), into.begin() + static_cast<std::ptrdiff_t>(opened.bytes));
    used += opened.used;
    if (opened.stop == TlsRecords::Stop::failed && records.error().code != "tls") std::abort();
    const bool over =
        opened.stop == TlsRecords::Stop::failed || opened.stop == TlsRecords::Stop::closed;
    if (over || end == stream.size()) break;
  }
  if (got.size() > expected.size() || !std::equal(got.begin(), got.end(), expected.begin()))
    std::abort();
  return 0;
}
