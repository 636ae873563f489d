// Bytes, versions, signatures: what everything above leans on.
#include <gtest/gtest.h>

#include "common/bytes.h"
#include "common/crypto.h"
#include "common/ids.h"
#include "common/time.h"
#include "common/version.h"

namespace everspan {
namespace {

TEST(Bytes, Base64UrlGoesThereAndBackAndRefusesStrayBits) {
  for (std::size_t size = 0; size < 70; ++size) {
    const std::string raw = random_bytes(size);
    const auto back = from_base64url(to_base64url(as_bytes(raw)));
    ASSERT_TRUE(back) << size;
    EXPECT_EQ(*back, raw);
  }
  EXPECT_FALSE(from_base64url("A"));
  EXPECT_FALSE(from_base64url("AB"));  // 'B' leaves four bits that are not zero.
  EXPECT_FALSE(from_base64url("AA=="));
}

TEST(Bytes, HexRefusesOddAndForeignDigits) {
  EXPECT_FALSE(from_hex("abc"));
  EXPECT_FALSE(from_hex("0g"));
  EXPECT_EQ(*from_hex("00Ff"), std::string("\x00\xff", 2));
}

TEST(Version, OrdersByNumberNotByText) {
  EXPECT_LT(*Version::parse("0.9.0"), *Version::parse("0.10.0"));
  EXPECT_LT(*Version::parse("1.0.0-rc1"), *Version::parse("1.0.0"));
  for (const char* bad : {"", "1", "1.2", "1.2.", "1.2.3-", "1.2.3 ", "a.b.c", "1.2.3.4", "-1.2.3"})
    EXPECT_FALSE(Version::parse(bad)) << bad;
}

TEST(Crypto, SignatureHoldsForItsMessageOnly) {
  const SigningKey key = SigningKey::generate();
  std::string signature = key.sign("hello");
  EXPECT_TRUE(verify_signature(key.public_key(), "hello", signature));
  EXPECT_FALSE(verify_signature(key.public_key(), "hello!", signature));
  EXPECT_FALSE(verify_signature(SigningKey::generate().public_key(), "hello", signature));
  signature[5] = static_cast<char>(signature[5] ^ 1);
  EXPECT_FALSE(verify_signature(key.public_key(), "hello", signature));
  EXPECT_FALSE(verify_signature("short", "hello", signature));
}

TEST(Crypto, StreamedHashEqualsWholeHash) {
  Sha256Stream stream;
  stream.add(as_bytes("ab"));
  const Sha256Stream fork = stream;
  stream.add(as_bytes("c"));
  EXPECT_EQ(stream.digest(), sha256("abc"));
  EXPECT_EQ(fork.digest(), sha256("ab"));
}

TEST(Ids, RoundTripAndRefuseWrongLength) {
  const auto id = random_id<SessionId>();
  EXPECT_EQ(*SessionId::from_hex(id.hex()), id);
  EXPECT_FALSE(SessionId::from_hex("abcd"));
}

TEST(Time, IsoForm) {
  EXPECT_EQ(to_iso8601({0}), "1970-01-01T00:00:00.000Z");
}

}  // namespace
}  // namespace everspan
