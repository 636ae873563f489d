#include "net/detail/tls_records.h"

#include <gtest/gtest.h>

#include <vector>

#include "common/bytes.h"

namespace everspan::net {
namespace {

using Buffer = std::vector<std::uint8_t>;

std::string bytes_of(std::string_view hex) {
  std::string digits;
  for (const char c : hex)
    if (c != ' ' && c != '\n') digits += c;
  return from_hex(digits).value();
}
TlsSecret secret_of(std::string_view hex) {
  return TlsSecret(as_bytes(bytes_of(hex)));
}
TlsSecret filled(TlsSuite suite, std::uint8_t byte) {
  return TlsSecret(Buffer(hash_bytes(suite), byte));
}
TlsSecrets made_up(TlsSuite suite) {
  return {suite, filled(suite, 1), filled(suite, 2), filled(suite, 3)};
}

// RFC 8448 part 3, "Simple 1-RTT Handshake" (TLS_AES_128_GCM_SHA256).
constexpr std::string_view kClientSecret =
    "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
constexpr std::string_view kServerSecret =
    "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";
constexpr std::string_view kExporterSecret =
    "fe22f881176eda18eb8f44529e6792c50c9a3f89452f68d8ae311b4309d3cf50";
constexpr std::string_view kClientData =
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e"
    "2"
    "b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";
constexpr std::string_view kServerData =
    "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59"
    "a"
    "8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d";
constexpr std::string_view kClientClose = "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3";
constexpr std::string_view kServerClose = "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9";

Buffer fifty_bytes() {
  Buffer out;
  for (std::uint8_t i = 0; i < 50; ++i) out.push_back(i);
  return out;
}
TlsSecrets rfc8448() {
  return {TlsSuite::aes_128_gcm_sha256, secret_of(kClientSecret), secret_of(kServerSecret),
          secret_of(kExporterSecret)};
}

class TlsRecordsOf : public ::testing::TestWithParam<AeadMaker> {
 protected:
  TlsRecords records(TlsSecrets secrets, bool is_server, std::uint64_t per_key = 1 << 20,
                     std::uint64_t sealed = 0) {
    return {std::move(secrets), {is_server, GetParam(), per_key, sealed}};
  }
  static std::string seal(TlsRecords& from, std::string_view text) {
    Buffer out(TlsRecords::room_for(text.size()));
    return std::string(as_text({out.data(), from.seal_data(as_bytes(text), out.data())}));
  }
  // Everything that `sealed` opens to, in one call.
  static std::pair<std::string, TlsRecords::Stop> open(TlsRecords& to, std::string_view sealed) {
    Buffer into(sealed.size() + 1);
    const auto opened = to.open(as_bytes(sealed), into);
    return {std::string(as_text({into.data(), opened.bytes})), opened.stop};
  }
};
INSTANTIATE_TEST_SUITE_P(Makers, TlsRecordsOf,
                         ::testing::Values(AeadMaker::best, AeadMaker::openssl));

TEST_P(TlsRecordsOf, SealsAsInRfc8448) {
  auto client = records(rfc8448(), false);
  // The server has sent its ticket with number 0.
  auto server = records(rfc8448(), true, 1 << 20, 1);
  const Buffer data = fifty_bytes();
  EXPECT_EQ(to_hex(as_bytes(seal(client, as_text(data)))), kClientData);
  EXPECT_EQ(to_hex(as_bytes(seal(server, as_text(data)))), kServerData);
  Buffer out(TlsRecords::kAlertRoom);
  EXPECT_EQ(to_hex({out.data(), client.seal_close(out.data())}), kClientClose);
  EXPECT_EQ(to_hex({out.data(), server.seal_close(out.data())}), kServerClose);
}

TEST_P(TlsRecordsOf, OpensWhatRfc8448Sends) {
  auto server = records(rfc8448(), true);
  const auto [text, stop] = open(server, bytes_of(kClientData) + bytes_of(kClientClose));
  EXPECT_EQ(text, as_text(fifty_bytes()));
  EXPECT_EQ(stop, TlsRecords::Stop::closed);
}

TEST_P(TlsRecordsOf, DerivesTheKeysOfRfc8448) {
  TrafficKey key;
  derive_key(TlsSuite::aes_128_gcm_sha256, secret_of(kServerSecret), key);
  EXPECT_EQ(to_hex(std::span(key.key).first(16)), "9f02283b6c9c07efc26bb9f2ac92e356");
  EXPECT_EQ(to_hex(key.iv), "cf782b88dd83549aadf1e984");
}

TEST_P(TlsRecordsOf, GivesEverySizeBackForBothSuites) {
  for (const TlsSuite suite : {TlsSuite::aes_128_gcm_sha256, TlsSuite::aes_256_gcm_sha384}) {
    auto client = records(made_up(suite), false);
    auto server = records(made_up(suite), true);
    for (const std::size_t size : {1U, 2U, 100U, 1023U, 1024U, 1025U, 4096U, 16383U, 16384U}) {
      const std::string text(size, static_cast<char>('a' + size % 20));
      const auto [got, stop] = open(server, seal(client, text));
      EXPECT_EQ(got, text) << size;
      EXPECT_EQ(stop, TlsRecords::Stop::need_more);
    }
  }
}

TEST_P(TlsRecordsOf, EveryChangedBitEndsItAndGivesNothing) {
  for (std::size_t bit = 0; bit < 8 * (kRecordHeaderBytes + 3 + 1 + kTagBytes); ++bit) {
    auto client = records(made_up(TlsSuite::aes_256_gcm_sha384), false);
    auto server = records(made_up(TlsSuite::aes_256_gcm_sha384), true);
    std::string sealed = seal(client, "abc");
    sealed[bit / 8] = static_cast<char>(sealed[bit / 8] ^ 1 << bit % 8);
    Buffer into(1000, 0xee);
    const auto opened = server.open(as_bytes(sealed), into);
    EXPECT_EQ(opened.bytes, 0U);
    EXPECT_EQ(as_text(into).find("abc"), std::string_view::npos);
    const bool longer = opened.stop == TlsRecords::Stop::need_more;  // The length grew.
    if (longer) continue;
    EXPECT_EQ(opened.stop, TlsRecords::Stop::failed) << bit;
    EXPECT_EQ(server.error().code, "tls");
    Buffer alert(TlsRecords::kAlertRoom);
    EXPECT_GT(server.seal_error(alert.data()), 0U);
    EXPECT_EQ(server.seal_error(alert.data()), 0U) << "said once";
    EXPECT_EQ(open(server, seal(client, "later")).second, TlsRecords::Stop::failed);
  }
}

TEST_P(TlsRecordsOf, ARecordTwiceOrOutOfOrderIsRefused) {
  auto client = records(made_up(TlsSuite::aes_256_gcm_sha384), false);
  const std::string one = seal(client, "one");
  const std::string two = seal(client, "two");
  auto first = records(made_up(TlsSuite::aes_256_gcm_sha384), true);
  EXPECT_EQ(open(first, one + one).first, "one");
  auto second = records(made_up(TlsSuite::aes_256_gcm_sha384), true);
  EXPECT_EQ(open(second, two).second, TlsRecords::Stop::failed);
}

TEST_P(TlsRecordsOf, KeysChangeInTimeAndOnRequest) {
  auto client = records(made_up(TlsSuite::aes_256_gcm_sha384), false, 3);
  auto server = records(made_up(TlsSuite::aes_256_gcm_sha384), true, 1000);
  std::string sealed;
  for (int i = 0; i < 10; ++i) sealed += seal(client, "x");
  EXPECT_EQ(open(server, sealed).first, "xxxxxxxxxx");
  EXPECT_FALSE(server.update_due()) << "the client did not ask for ours";
}

TEST_P(TlsRecordsOf, StopsWhereThereIsNoRoomAndGoesOn) {
  auto client = records(made_up(TlsSuite::aes_256_gcm_sha384), false);
  auto server = records(made_up(TlsSuite::aes_256_gcm_sha384), true);
  const std::string sealed = seal(client, std::string(100, 'a')) + seal(client, "b");
  Buffer small(100);
  const auto first = server.open(as_bytes(sealed), small);
  EXPECT_EQ(first.stop, TlsRecords::Stop::need_room);
  EXPECT_EQ(first.used + first.bytes, 0U);
  Buffer fits(101);
  const auto second = server.open(as_bytes(sealed), fits);
  EXPECT_EQ(second.bytes, 100U);
  EXPECT_EQ(second.stop, TlsRecords::Stop::need_room);
  const auto third = server.open(as_bytes(sealed).subspan(second.used), fits);
  EXPECT_EQ(third.bytes, 1U);
}

TEST_P(TlsRecordsOf, PlainTextAndBadLengthsAreRefused) {
  for (const auto* hex :
       {"1503030002020a", "140303000101", "1603030005", "1703034101", "1703030010"}) {
    auto server = records(made_up(TlsSuite::aes_256_gcm_sha384), true);
    EXPECT_EQ(open(server, bytes_of(hex)).second, TlsRecords::Stop::failed) << hex;
  }
  auto server = records(made_up(TlsSuite::aes_256_gcm_sha384), true);
  EXPECT_EQ(open(server, bytes_of("1703034100")).second, TlsRecords::Stop::need_more);
}

TEST(TlsKeylog, TakesTheThreeSecretsOnly) {
  TlsSecrets secrets;
  const std::string hex(96, 'a');
  const std::string random(64, '0');
  take_keylog_line("CLIENT_HANDSHAKE_TRAFFIC_SECRET " + random + " " + hex, secrets);
  EXPECT_TRUE(secrets.client.empty() && secrets.server.empty() && secrets.exporter.empty());
  take_keylog_line("CLIENT_TRAFFIC_SECRET_0 " + random + " " + hex, secrets);
  take_keylog_line("SERVER_TRAFFIC_SECRET_0 " + random + " " + hex, secrets);
  take_keylog_line("EXPORTER_SECRET " + random + " " + hex, secrets);
  EXPECT_EQ(to_hex(secrets.exporter.bytes()), hex);
  EXPECT_FALSE(secrets.client.empty() || secrets.server.empty());
  take_keylog_line("EXPORTER_SECRET", secrets);
  take_keylog_line("EXPORTER_SECRET x y", secrets);
  EXPECT_EQ(to_hex(secrets.exporter.bytes()), hex);
}

}  // namespace
}  // namespace everspan::net
