// Our record layer against OpenSSL's own in the other role: key changes asked for in both
// directions, session tickets, every size, half-closed ends.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <cstdlib>
#include <thread>

#include "net/detail/record_transport.h"
#include "net/frame_link.h"
#include "net/socket.h"
#include "net/testing_certificates.h"
#include "net/testing_run.h"
#include "net/tls.h"

namespace everspan::net {
namespace {

using testing::make_certificate;
using testing::run_task;
using testing::soon;

struct FreeSsl {
  void operator()(SSL* p) const { SSL_free(p); }
  void operator()(SSL_CTX* p) const { SSL_CTX_free(p); }
};

// A blocking peer on OpenSSL alone, in a thread: sends back what comes, and after each message does
// what `between` says.
class Peer {
 public:
  Peer(bool is_server, const char* suite, const testing::TestCertificate& leaf)
      : context_(SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method())),
        is_server_(is_server) {
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(context_.get(), suite);
    if (!is_server) return;
    SSL_CTX_use_certificate(context_.get(), leaf.x509.get());
    SSL_CTX_use_PrivateKey(context_.get(), leaf.key.key.get());
  }
  ~Peer() {
    if (thread_.joinable()) thread_.join();
    if (fd_ >= 0) ::close(fd_);
  }

  void start(int fd) {
    fd_ = fd;
    thread_ = std::thread([this] { run(); });
  }
  void join() { thread_.join(); }
  std::string exported;
  bool shut = false;
  int update = SSL_KEY_UPDATE_REQUESTED;

 private:
  void run() {
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_fd(ssl_.get(), fd_);
    ASSERT_EQ(is_server_ ? SSL_accept(ssl_.get()) : SSL_connect(ssl_.get()), 1);
    exported.resize(32);
    SSL_export_keying_material(ssl_.get(), reinterpret_cast<unsigned char*>(exported.data()), 32,
                               "EXPORTER-x", 10, nullptr, 0, 0);
    std::string buffer(40'000, '\0');
    for (;;) {
      const int got = SSL_read(ssl_.get(), buffer.data(), static_cast<int>(buffer.size()));
      if (got <= 0) {
        shut = SSL_get_error(ssl_.get(), got) == SSL_ERROR_ZERO_RETURN;
        SSL_shutdown(ssl_.get());
        return;
      }
      ASSERT_EQ(SSL_write(ssl_.get(), buffer.data(), got), got);
      ASSERT_EQ(SSL_key_update(ssl_.get(), update), 1);
    }
  }

  std::unique_ptr<SSL_CTX, FreeSsl> context_;
  std::unique_ptr<SSL, FreeSsl> ssl_;
  bool is_server_;
  int fd_ = -1;
  std::thread thread_;
};

struct Case {
  bool we_serve;
  const char* suite;
  const char* records;
};
class TlsPeer : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { setenv("EVERSPAN_TLS_RECORDS", GetParam().records, 1); }
  void TearDown() override { unsetenv("EVERSPAN_TLS_RECORDS"); }

  Result<std::unique_ptr<Transport>> ours(asio::io_context& loop, Peer& peer) {
    if (GetParam().we_serve) {
      int ends[2];
      EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
      const auto context = TlsContext::server({.certificate_chain_pem = leaf_.pem() + root_.pem(),
                                               .private_key_pem = leaf_.key.pem(),
                                               .records_per_key = 3});
      peer.start(ends[0]);
      return run_task(loop, tls_accept(*context, Fd(ends[1]), soon()));
    }
    const auto listener = listen_tcp({"127.0.0.1", 0});
    const auto context = TlsContext::client({.ca_pem = root_.pem(), .records_per_key = 3});
    fcntl(listener->get(), F_SETFL, fcntl(listener->get(), F_GETFL) & ~O_NONBLOCK);
    std::thread accepting([&] {
      const int fd = ::accept(listener->get(), nullptr, nullptr);
      peer.start(fd);
    });
    auto made =
        run_task(loop, tls_connect(*context, local_address(listener->get()), "site.test", soon()));
    accepting.join();
    return made;
  }

  testing::TestCertificate root_ = make_certificate("Test root");
  testing::TestCertificate leaf_ = make_certificate("site", &root_, "DNS:site.test");
};

INSTANTIATE_TEST_SUITE_P(Roles, TlsPeer,
                         ::testing::Values(Case{true, "TLS_AES_256_GCM_SHA384", "own"},
                                           Case{false, "TLS_AES_256_GCM_SHA384", "own"},
                                           Case{true, "TLS_AES_128_GCM_SHA256", "own"},
                                           Case{false, "TLS_AES_128_GCM_SHA256", "own"},
                                           Case{true, "TLS_AES_128_GCM_SHA256", "own-openssl"},
                                           Case{false, "TLS_AES_256_GCM_SHA384", "own-openssl"},
                                           Case{true, "TLS_CHACHA20_POLY1305_SHA256", "own"},
                                           Case{false, "TLS_CHACHA20_POLY1305_SHA256", "own"},
                                           Case{true, "TLS_AES_256_GCM_SHA384", "openssl"},
                                           Case{false, "TLS_AES_256_GCM_SHA384", "openssl"}));

TEST_P(TlsPeer, TalksAcrossKeyChangesOfBothAndClosesInOrder) {
  asio::io_context loop;
  Peer peer(!GetParam().we_serve, GetParam().suite, leaf_);
  auto made = ours(loop, peer);
  ASSERT_TRUE(made) << made.error().text();
  Transport& transport = **made;
  const bool own = dynamic_cast<detail::RecordTransport*>(&transport) != nullptr;
  const bool gcm = std::string_view(GetParam().suite).starts_with("TLS_AES");
  EXPECT_EQ(own, gcm && std::string_view(GetParam().records) != "openssl");
  for (const std::size_t size :
       {1U, 15U, 16U, 1000U, 1024U, 1025U, 16'383U, 16'384U, 16'385U, 100'000U, 3U}) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + size);
    ASSERT_TRUE(run_task(loop, write_all(transport, text, soon())));
    std::string got;
    while (got.size() < size) {
      // A small buffer now and then: records that do not fit are kept.
      const auto more = run_task(loop, read_some(transport, size % 2 == 0 ? 300 : 70'000, soon()));
      ASSERT_TRUE(more) << more.error().text();
      ASSERT_FALSE(more->empty());
      got += *more;
    }
    EXPECT_EQ(got, text) << size;
  }
  const std::string exported = transport.exporter("EXPORTER-x", 32);
  EXPECT_TRUE(transport.send_close());
  const auto end = run_task(loop, read_some(transport, 100, soon()));
  ASSERT_TRUE(end) << end.error().text();
  EXPECT_EQ(*end, "") << "the peer's closing word";
  peer.join();
  EXPECT_TRUE(peer.shut);
  EXPECT_EQ(peer.exported, exported);
}

}  // namespace
}  // namespace everspan::net
