#include <gtest/gtest.h>

#include <boost/asio/use_future.hpp>
#include <future>
#include <vector>

#include "access/certificates.h"
#include "access/passwords.h"
#include "net/async.h"

namespace everspan::access {
namespace {

constexpr WallTime kNow{1'800'000'000'000};

// Runs one task to its end on a loop of its own.
template <class T>
T run(net::Task<T> task) {
  net::asio::io_context loop;
  auto result = net::asio::co_spawn(loop, std::move(task), net::asio::use_future);
  loop.run();
  return result.get();
}

TEST(Passwords, OnlyTheRightOneIsTaken) {
  PasswordWorkers workers;
  const auto hash = run(workers.hash("correct horse"));
  ASSERT_TRUE(hash);
  EXPECT_TRUE(hash->starts_with("$argon2id$")) << *hash;
  EXPECT_TRUE(run(workers.verify(*hash, "correct horse")).value());
  EXPECT_FALSE(run(workers.verify(*hash, "correct horsf")).value());
  EXPECT_FALSE(run(workers.verify(*hash, "")).value());
}

TEST(Passwords, AnUnknownAccountIsRefusedWhateverIsGiven) {
  PasswordWorkers workers;
  EXPECT_FALSE(run(workers.verify("", "anything")).value());
  EXPECT_FALSE(run(workers.verify("", "")).value());
  EXPECT_FALSE(run(workers.verify("not a hash", "not a hash")).value());
}

TEST(Passwords, TwoHashesOfOnePasswordDiffer) {
  EXPECT_NE(hash_password("same").value(), hash_password("same").value());
}

net::Task<> count_refused(PasswordWorkers& workers, int& refused) {
  const auto answer = co_await workers.verify("", "x");
  if (!answer && answer.error().code == "slow_down") ++refused;
}

TEST(Passwords, TheQueueIsBounded) {
  PasswordWorkers workers(2);
  net::asio::io_context loop;
  std::vector<std::future<void>> done;
  int refused = 0;
  for (std::size_t i = 0; i < kPasswordQueueMax + 5; ++i)
    done.push_back(
        net::asio::co_spawn(loop, count_refused(workers, refused), net::asio::use_future));
  loop.run();
  for (auto& each : done) each.get();
  EXPECT_EQ(refused, 5);
}

struct Certificates : testing::Test {
  KeyAndCertificate authority = make_authority("Example", kNow).value();
  KeyAndCertificate server =
      issue_certificate(authority, {"support.example", "192.0.2.1", "2001:db8::1"}, kNow).value();

  std::string code(const std::string& name, WallTime at = kNow) {
    const auto good = check_certificate(server.certificate_pem, server.key_pem,
                                        authority.certificate_pem, name, at);
    return good ? "" : good.error().code;
  }
};

TEST_F(Certificates, AreAcceptedForTheirNamesAndAddresses) {
  EXPECT_EQ(code("support.example"), "");
  EXPECT_EQ(code("192.0.2.1"), "");
  EXPECT_EQ(code("2001:db8::1"), "");
  EXPECT_EQ(code("other.example"), "bad_certificate");
  EXPECT_EQ(code("192.0.2.2"), "bad_certificate");
}

TEST_F(Certificates, HoldInTheirTimeOnly) {
  const auto day = std::chrono::hours(24);
  EXPECT_EQ(code("192.0.2.1", kNow.after(824 * day)), "");
  EXPECT_EQ(code("192.0.2.1", kNow.after(826 * day)), "bad_certificate");
  EXPECT_EQ(code("192.0.2.1", kNow.after(-1 * day)), "bad_certificate");
  EXPECT_EQ(certificate_not_after(authority.certificate_pem)->unix_ms,
            kNow.after(3652 * day).unix_ms);
}

TEST_F(Certificates, ALateServerCertificateEndsWithItsAuthority) {
  const WallTime late = kNow.after(std::chrono::hours(24 * 3600));
  const auto made = issue_certificate(authority, {"a.example"}, late);
  ASSERT_TRUE(made);
  EXPECT_EQ(certificate_not_after(made->certificate_pem)->unix_ms,
            certificate_not_after(authority.certificate_pem)->unix_ms);
}

TEST_F(Certificates, AnotherAuthorityOrAnotherKeyIsRefused) {
  const KeyAndCertificate other = make_authority("Example", kNow).value();
  EXPECT_FALSE(check_certificate(server.certificate_pem, server.key_pem, other.certificate_pem,
                                 "192.0.2.1", kNow));
  EXPECT_FALSE(check_certificate(server.certificate_pem, other.key_pem, authority.certificate_pem,
                                 "192.0.2.1", kNow));
  EXPECT_NE(certificate_sha256(other.certificate_pem).value(),
            certificate_sha256(authority.certificate_pem).value());
}

TEST_F(Certificates, NamesThatWouldReachOpensslsLanguageAreRefused) {
  for (const char* bad : {"", "a,DNS:b", "a b", "email:x", "a\nb", "*.example"})
    EXPECT_FALSE(issue_certificate(authority, {bad}, kNow)) << bad;
  EXPECT_FALSE(issue_certificate(authority, {}, kNow));
}

}  // namespace
}  // namespace everspan::access
