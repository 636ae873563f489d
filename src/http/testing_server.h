// An HTTPS server of a test, in a thread of its own, on 127.0.0.1 at a port of its own. Tests only.
#pragma once
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "http/server.h"
#include "net/io_threads.h"
#include "net/socket.h"
#include "net/testing_certificates.h"
#include "net/testing_run.h"
#include "net/tls.h"

namespace everspan::http::testing {

class TestServer : public Handler {
 public:
  using Answer = std::function<Response(const Request&)>;

  // `leaf` signed by `root`, for IP:127.0.0.1.
  TestServer(const net::testing::TestCertificate& root, const net::testing::TestCertificate& leaf,
             Answer answer)
      : answer_(std::move(answer)) {
    auto context = net::TlsContext::server({.certificate_chain_pem = leaf.pem() + root.pem(),
                                            .private_key_pem = leaf.key.pem(),
                                            .alpn = {"everspan/1", "http/1.1"}});
    auto listener = net::listen_tcp({"127.0.0.1", 0});
    if (!context || !listener) std::abort();
    address_ = net::local_address(listener->get());
    context_.emplace(std::move(*context));
    listener_ = std::move(*listener);
    net::asio::post(threads_.executor(0), [this] {
      scope_.emplace(threads_.executor(0));
      scope_->spawn("accept", accept_loop());
    });
  }
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;
  ~TestServer() override {
    std::atomic<bool> done = false;
    net::asio::post(threads_.executor(0), [&] { stop(done); });
    const Instant limit = net::testing::soon();
    while (!done && net::now() < limit) std::this_thread::yield();
    EXPECT_TRUE(done);
  }

  [[nodiscard]] std::string address() const { return address_.text(); }

  // Handler
  net::Task<Response> handle(Request request) override {
    Response response = answer_(request);
    co_return response;
  }
  [[nodiscard]] std::size_t body_bytes_max(const Request&) const override { return 64 * 1024; }

 private:
  void stop(std::atomic<bool>& done) {
    scope_->cancel();
    if (scope_->running() > 0) {
      net::asio::post(threads_.executor(0), [this, &done] { stop(done); });
      return;
    }
    scope_.reset();
    done = true;
  }
  net::Task<void> accept_loop() {
    for (;;) {
      auto tcp = co_await net::accept_tcp(listener_.get());
      if (!tcp) co_return;
      scope_->spawn("connection", serve(std::move(*tcp)));
    }
  }
  net::Task<void> serve(net::Fd tcp) {
    auto transport = co_await net::tls_accept(*context_, std::move(tcp), net::testing::soon());
    if (!transport) co_return;
    const Limits limits;
    std::string early;
    co_await serve_http(std::move(*transport), std::move(early), *this, limits, drain_);
  }

  Answer answer_;
  net::Address address_;
  std::optional<net::TlsContext> context_;
  net::Fd listener_;
  Drain drain_;
  net::IoThreads threads_{1};
  std::optional<net::TaskScope> scope_;
};

}  // namespace everspan::http::testing
