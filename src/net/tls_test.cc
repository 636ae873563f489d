#include "net/tls.h"

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <cstdlib>
#include <thread>

#include "net/frame_link.h"
#include "net/socket.h"
#include "net/testing_certificates.h"
#include "net/testing_run.h"

namespace everspan::net {
namespace {

using testing::make_certificate;
using testing::run_task;
using testing::run_until;
using testing::soon;
using testing::TestCertificate;

using TransportResult = Result<std::unique_ptr<Transport>>;

struct Site {
  TestCertificate root = make_certificate("Test root");
  TestCertificate leaf = make_certificate("site", &root, "DNS:site.test,IP:127.0.0.1");
  std::uint64_t records_per_key = kRecordsPerKey;

  [[nodiscard]] TlsServerOptions server_options() const {
    return {.certificate_chain_pem = leaf.pem() + root.pem(),
            .private_key_pem = leaf.key.pem(),
            .alpn = {"everspan/1", "http/1.1"},
            .records_per_key = records_per_key};
  }
};

struct Ends {
  TransportResult client = fail("none", "not run");
  TransportResult server = fail("none", "not run");
};

Task<void> accept_into(const TlsContext& context, int listener, TransportResult& out) {
  auto tcp = co_await accept_tcp(listener);
  out = co_await tls_accept(context, std::move(*tcp), soon());
}
Task<void> connect_into(const TlsContext& context, Address to, std::string name,
                        TransportResult& out) {
  out = co_await tls_connect(context, to, std::move(name), soon());
}

Ends shake(asio::io_context& loop, const TlsServerOptions& server, const TlsClientOptions& client,
           const std::string& name = "site.test") {
  Ends ends;
  const auto listener = listen_tcp({"127.0.0.1", 0});
  const auto server_context = TlsContext::server(server);
  const auto client_context = TlsContext::client(client);
  if (!listener || !server_context || !client_context) {
    ADD_FAILURE() << "the test could not be set up";
    return ends;
  }
  TaskScope scope(loop.get_executor());
  scope.spawn("server", accept_into(*server_context, listener->get(), ends.server));
  scope.spawn("client",
              connect_into(*client_context, local_address(listener->get()), name, ends.client));
  EXPECT_TRUE(run_until(loop, [&] { return scope.running() == 0; }));
  return ends;
}

// The same tests for each record layer: options take it from the environment.
class Tls : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { setenv("EVERSPAN_TLS_RECORDS", GetParam(), 1); }
  void TearDown() override { unsetenv("EVERSPAN_TLS_RECORDS"); }
};
INSTANTIATE_TEST_SUITE_P(Records, Tls, ::testing::Values("own", "own-openssl", "openssl"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

TlsClientOptions trusting(const Site& site) {
  return {.ca_pem = site.root.pem()};
}

TEST_P(Tls, ShakesHandsAndBothEndsExportTheSame) {
  asio::io_context loop;
  const Site site;
  auto options = trusting(site);
  options.alpn = "everspan/1";
  const Ends ends = shake(loop, site.server_options(), options);
  ASSERT_TRUE(ends.client) << ends.client.error().text();
  ASSERT_TRUE(ends.server) << ends.server.error().text();
  EXPECT_EQ((*ends.client)->alpn(), "everspan/1");
  EXPECT_EQ((*ends.server)->alpn(), "everspan/1");
  const std::string label(wire::kExporterLabel);
  const std::string key = (*ends.client)->exporter(label, 32);
  EXPECT_EQ(key.size(), 32U);
  EXPECT_EQ(key, (*ends.server)->exporter(label, 32));
  EXPECT_NE(key, (*ends.server)->exporter("EXPORTER-other", 32));
}

TEST_P(Tls, ChecksTheNameWhetherHostOrAddress) {
  asio::io_context loop;
  const Site site;
  EXPECT_TRUE(shake(loop, site.server_options(), trusting(site), "127.0.0.1").client);
  for (const std::string wrong : {"other.test", "127.0.0.2"}) {
    const Ends ends = shake(loop, site.server_options(), trusting(site), wrong);
    ASSERT_FALSE(ends.client) << wrong;
    EXPECT_EQ(ends.client.error().code, "tls_certificate");
    EXPECT_FALSE(ends.server);
  }
}

TEST_P(Tls, RefusesACertificateOfAnotherRoot) {
  asio::io_context loop;
  const Site site;
  const TestCertificate other = make_certificate("Test root");  // The same name, another key.
  const Ends ends = shake(loop, site.server_options(), {.ca_pem = other.pem()});
  ASSERT_FALSE(ends.client);
  EXPECT_EQ(ends.client.error().code, "tls_certificate");
}

// Who is there is proved by a signature over the exporter, so that must differ for each connection.
TEST_P(Tls, AClientThatProvesByTheExporterTakesAnyCertificateAndNoOtherProtocol) {
  asio::io_context loop;
  const Site site;
  TlsClientOptions options{.alpn = "everspan/1"};
  options.proved_by_exporter = true;
  std::vector<std::string> exported;
  for (const char* name : {"site.test", "elsewhere.test", "192.0.2.9"}) {
    const auto ends = shake(loop, site.server_options(), options, name);
    ASSERT_TRUE(ends.client && ends.server) << name;
    exported.push_back((*ends.client)->exporter("EXPORTER-x", 32));
    EXPECT_EQ(exported.back().size(), 32U);
    EXPECT_EQ(exported.back(), (*ends.server)->exporter("EXPORTER-x", 32));
  }
  EXPECT_NE(exported[0], exported[1]);
  EXPECT_NE(exported[1], exported[2]);
  auto alone = site.server_options();
  alone.certificate_chain_pem = site.root.pem();
  alone.private_key_pem = site.root.key.pem();
  EXPECT_TRUE(shake(loop, alone, options).client) << "self-signed";
  options.alpn = "other/1";
  EXPECT_FALSE(shake(loop, site.server_options(), options).client);
}

TEST_P(Tls, APinnedRootIsTrustedAndHandedOut) {
  asio::io_context loop;
  const Site site;
  const Ends ends = shake(loop, site.server_options(), {.ca_sha256 = site.root.sha256_hex()});
  ASSERT_TRUE(ends.client) << ends.client.error().text();
  EXPECT_EQ(peer_root_pem(**ends.client), site.root.pem());
  EXPECT_EQ(peer_root_pem(**ends.server), "");
}

TEST_P(Tls, APinDoesNotReplaceTheCheckOfNameAndChain) {
  asio::io_context loop;
  const Site site;
  const Site attacker;
  const std::string pin = site.root.sha256_hex();
  EXPECT_FALSE(shake(loop, site.server_options(), {.ca_sha256 = pin}, "other.test").client);
  EXPECT_FALSE(shake(loop, attacker.server_options(), {.ca_sha256 = pin}).client);
  // The right root beside a leaf that it never signed.
  auto forged = attacker.server_options();
  forged.certificate_chain_pem = attacker.leaf.pem() + site.root.pem();
  const Ends ends = shake(loop, forged, {.ca_sha256 = pin});
  ASSERT_FALSE(ends.client);
  EXPECT_EQ(ends.client.error().code, "tls_certificate");
}

TEST_P(Tls, AProtocolThatTheServerDoesNotSpeakIsRefused) {
  asio::io_context loop;
  const Site site;
  auto options = trusting(site);
  options.alpn = "everspan/9";
  EXPECT_FALSE(shake(loop, site.server_options(), options).client);
}

void tls12_client(int fd) {
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                            SSL_CTX_free);
  SSL_CTX_set_max_proto_version(context.get(), TLS1_2_VERSION);
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), SSL_free);
  SSL_set_fd(ssl.get(), fd);
  EXPECT_NE(SSL_connect(ssl.get()), 1);
}

TEST_P(Tls, ATls12ClientIsRefused) {
  asio::io_context loop;
  const Site site;
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  std::thread client(tls12_client, ends[0]);
  const auto context = TlsContext::server(site.server_options());
  ASSERT_TRUE(context);
  const auto server = run_task(loop, tls_accept(*context, Fd(ends[1]), soon()));
  client.join();
  ::close(ends[0]);
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().code, "tls_handshake");
}

TEST_P(Tls, AnOrderlyCloseIsAnEndAndACutIsAFailure) {
  asio::io_context loop;
  const Site site;
  for (const bool orderly : {true, false}) {
    Ends ends = shake(loop, site.server_options(), trusting(site));
    ASSERT_TRUE(ends.client && ends.server);
    ASSERT_TRUE(run_task(loop, write_all(**ends.client, "last words", soon())));
    if (orderly) {
      (*ends.client)->close();
    } else {
      // An end of the TCP stream alone, as an attacker who cuts the line could make.
      ::shutdown((*ends.client)->fd(), SHUT_WR);
    }
    const auto words = run_task(loop, read_some(**ends.server, 100, soon()));
    ASSERT_TRUE(words);
    EXPECT_EQ(*words, "last words");
    const auto end = run_task(loop, read_some(**ends.server, 100, soon()));
    if (orderly) {
      ASSERT_TRUE(end) << end.error().text();
      EXPECT_EQ(*end, "");
    } else {
      ASSERT_FALSE(end);
      EXPECT_EQ(end.error().code, "cut");
    }
  }
}

TEST_P(Tls, WritingToAPeerThatIsGoneFailsAndKillsNobody) {
  asio::io_context loop;
  const Site site;
  Ends ends = shake(loop, site.server_options(), trusting(site));
  ASSERT_TRUE(ends.client && ends.server);
  (*ends.client)->close();
  const std::string block(1'000'000, 'x');
  Result<void> written;
  for (int i = 0; i < 20 && written; i++) {
    written = run_task(loop, write_all(**ends.server, block, soon()));
  }
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, "cut");
}

TEST_P(Tls, GatheredPiecesArriveInOrderAcrossKeyChanges) {
  asio::io_context loop;
  Site site;
  site.records_per_key = 3;
  Ends ends = shake(loop, site.server_options(), trusting(site));
  ASSERT_TRUE(ends.client && ends.server);
  std::string expected;
  std::string got;
  for (int round = 0; round < 200; round++) {
    const std::string a(static_cast<std::size_t>(round), 'a');
    const std::string b(static_cast<std::size_t>(round) * 97, static_cast<char>('b' + round % 20));
    const iovec pieces[] = {{const_cast<char*>(a.data()), a.size()},
                            {nullptr, 0},
                            {const_cast<char*>(b.data()), b.size()},
                            {const_cast<char*>("end"), 3}};
    const IoResult result = (*ends.server)->write(pieces);
    ASSERT_EQ(result.state, IoState::done);
    ASSERT_EQ(result.bytes, a.size() + b.size() + 3);
    expected += a + b + "end";
    while (got.size() < expected.size()) {
      const auto more = run_task(loop, read_some(**ends.client, 64 * 1024, soon()));
      ASSERT_TRUE(more) << more.error().text();
      ASSERT_FALSE(more->empty());
      got += *more;
    }
  }
  EXPECT_EQ(got, expected);
}

TEST_P(Tls, ACertificateCanBeReplacedWhileInUse) {
  asio::io_context loop;
  const Site before;
  const Site after;
  auto server = TlsContext::server(before.server_options());
  const auto client = TlsContext::client(trusting(after));
  const auto listener = listen_tcp({"127.0.0.1", 0});
  ASSERT_TRUE(server && client && listener);
  auto broken = after.server_options();
  broken.private_key_pem = before.leaf.key.pem();
  EXPECT_FALSE(server->replace_certificate(broken));
  for (const bool replaced : {false, true}) {
    if (replaced) {
      ASSERT_TRUE(server->replace_certificate(after.server_options()));
    }
    Ends ends;
    TaskScope scope(loop.get_executor());
    scope.spawn("server", accept_into(*server, listener->get(), ends.server));
    scope.spawn("client",
                connect_into(*client, local_address(listener->get()), "site.test", ends.client));
    ASSERT_TRUE(run_until(loop, [&] { return scope.running() == 0; }));
    EXPECT_EQ(ends.client.has_value(), replaced);
  }
}

TEST_P(Tls, AClientWithoutTrustIsNotMade) {
  EXPECT_FALSE(TlsContext::client({}));
  EXPECT_FALSE(TlsContext::client({.ca_sha256 = "abcd"}));
  EXPECT_FALSE(TlsContext::client({.ca_pem = "no certificate"}));
}

TEST_P(Tls, AHandshakeThatDoesNotGoOnEndsAtItsDeadline) {
  asio::io_context loop;
  const Site site;
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const auto context = TlsContext::server(site.server_options());
  ASSERT_TRUE(context);
  const auto server =
      run_task(loop, tls_accept(*context, Fd(ends[1]), now() + std::chrono::milliseconds(10)));
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().code, "timeout");
  ::close(ends[0]);
}

}  // namespace
}  // namespace everspan::net
