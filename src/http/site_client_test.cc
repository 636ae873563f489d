// Two nodes of a site, as real servers: who is asked, and who is not.
#include "http/site_client.h"

#include <gtest/gtest.h>

#include <mutex>

#include "http/testing_server.h"

namespace everspan::http {
namespace {

using net::testing::make_certificate;
using net::testing::TestCertificate;
using testing::TestServer;

class HttpSiteClient : public ::testing::Test {
 protected:
  // What one node was asked, and what it answers.
  struct Node {
    std::mutex mutex;
    std::vector<std::string> keys;  // Idempotency keys.
    int status = 200;
    std::string body = "{}";
    int answers_before = 0;  // So many answers are `before`.
    Response before;
    std::unique_ptr<TestServer> server;

    Response answer(const Request& request) {
      const std::scoped_lock lock(mutex);
      keys.push_back(request.header("idempotency-key"));
      if (answers_before > 0) {
        --answers_before;
        return before;
      }
      Response out;
      out.status = status;
      out.body = body;
      return out;
    }
    std::size_t asked() {
      const std::scoped_lock lock(mutex);
      return keys.size();
    }
  };

  void SetUp() override {
    for (Node* each : {&a_, &b_}) start(*each);
  }
  void start(Node& node) {
    node.server = std::make_unique<TestServer>(
        root_, leaf_, [&node](const Request& request) { return node.answer(request); });
  }
  static std::string not_primary(const std::string& address) {
    return R"({"error":{"code":"not_primary","message":"m","kept":"","next":"","address":")" +
           address + "\"}}";
  }
  static std::string nobody() {
    const auto listener = net::listen_tcp({"127.0.0.1", 0});
    EXPECT_TRUE(listener);
    return net::local_address(listener->get()).text();
  }
  SiteClient client(std::vector<std::string> nodes) {
    SiteClient::Options options;
    options.client.ca_pem = root_.pem();
    options.nodes = std::move(nodes);
    options.retry_for = std::chrono::seconds(3);
    options.notice = [this](const std::string& text) { said_.push_back(text); };
    return SiteClient(std::move(options));
  }
  static SiteRequest write() {
    SiteRequest out;
    out.request.method = "POST";
    out.request.url = "/api/v1/x";
    out.request.headers = {{"Idempotency-Key", "k"}};
    return out;
  }

  TestCertificate root_ = make_certificate("root");
  TestCertificate leaf_ = make_certificate("leaf", &root_, "IP:127.0.0.1");
  Node a_, b_;
  std::vector<std::string> said_;
};

TEST_F(HttpSiteClient, FollowsToThePrimaryOnceWithTheSameKeyAndSaysSo) {
  a_.status = 409;
  a_.body = not_primary(b_.server->address());
  SiteClient site = client({a_.server->address()});
  const auto answer = site.ask(write());
  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(a_.keys, std::vector<std::string>{"k"});
  EXPECT_EQ(b_.keys, std::vector<std::string>{"k"});
  EXPECT_EQ(site.node(), b_.server->address());
  ASSERT_EQ(said_.size(), 1U);
  EXPECT_NE(said_[0].find("is not the primary"), std::string::npos);
  // From then on it is asked first.
  EXPECT_TRUE(site.ask(write()));
  EXPECT_EQ(a_.asked(), 1U);
}

TEST_F(HttpSiteClient, NodesThatPointAtEachOtherEndWithTheSecondOnesWord) {
  a_.status = b_.status = 409;
  a_.body = not_primary(b_.server->address());
  b_.body = not_primary(a_.server->address());
  SiteClient::Options options;
  options.client.ca_pem = root_.pem();
  options.nodes = {a_.server->address()};
  options.retry_for = std::chrono::milliseconds(0);
  SiteClient site(std::move(options));
  const auto answer = site.ask(write());
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 409);
  EXPECT_EQ(primary_in(*answer), a_.server->address());
  EXPECT_EQ(a_.asked(), 1U);
  EXPECT_EQ(b_.asked(), 1U);
}

TEST_F(HttpSiteClient, WhatIsMeantForOneNodeGoesToNoOther) {
  a_.status = 409;
  a_.body = not_primary(b_.server->address());
  SiteRequest request = write();
  request.this_node = true;
  SiteClient site = client({a_.server->address(), b_.server->address()});
  const auto answer = site.ask(request);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 409);
  EXPECT_EQ(a_.asked(), 1U);
  SiteClient away = client({nobody(), b_.server->address()});
  const auto none = away.ask(request);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, "unreachable");
  EXPECT_EQ(b_.asked(), 0U);
}

TEST_F(HttpSiteClient, AnotherKnownNodeIsAskedWhenTheFirstIsAway) {
  SiteClient site = client({nobody(), b_.server->address()});
  const auto answer = site.ask(write());
  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_EQ(b_.asked(), 1U);
  EXPECT_EQ(said_.size(), 1U);
  EXPECT_TRUE(site.ask(write()));
  EXPECT_EQ(said_.size(), 1U) << "the one that answered is asked first";
}

TEST_F(HttpSiteClient, ABackupWhosePrimaryIsAwaySaysWhatToDo) {
  const std::string gone = nobody();
  b_.status = 409;
  b_.body = not_primary(gone);
  SiteClient site = client({gone, b_.server->address()});
  const auto answer = site.ask(write());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "unreachable");
  SiteClient alone = client({b_.server->address()});
  const auto none = alone.ask(write());
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, "unreachable");
  EXPECT_NE(none.error().next.find("become-primary --even-if-unreachable"), std::string::npos);
  EXPECT_NE(none.error().message.find(gone), std::string::npos);
}

TEST_F(HttpSiteClient, ANodeThatHandsOverIsAskedAgainUnlessItsNoIsTheAnswer) {
  a_.before.status = 503;
  a_.before.body = R"({"error":{"code":"unavailable"}})";
  a_.answers_before = 2;
  SiteClient site = client({a_.server->address(), b_.server->address()});
  const auto answer = site.ask(write());
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(a_.asked(), 3U);
  a_.answers_before = 1;
  SiteRequest once = write();
  once.repeat = false;
  const auto first = site.ask(once);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->status, 503);
  EXPECT_EQ(b_.asked(), 0U);
}

TEST_F(HttpSiteClient, AnUntrustedCertificateAtTheNamedNodeEndsIt) {
  const TestCertificate other = make_certificate("other");
  const TestCertificate leaf = make_certificate("leaf", &other, "IP:127.0.0.1");
  Node impostor;
  impostor.server = std::make_unique<TestServer>(
      other, leaf, [&](const Request& request) { return impostor.answer(request); });
  SiteClient site = client({impostor.server->address(), b_.server->address()});
  const auto answer = site.ask(write());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "tls_certificate");
  EXPECT_EQ(b_.asked(), 0U);
  // And nobody is followed to one.
  a_.status = 409;
  a_.body = not_primary(impostor.server->address());
  SiteClient followed = client({a_.server->address()});
  EXPECT_FALSE(followed.ask(write()));
  EXPECT_EQ(impostor.asked(), 0U);
}

TEST_F(HttpSiteClient, AnAddressThatIsNoneIsNotFollowed) {
  a_.status = 409;
  a_.body = not_primary("evil host/path");
  SiteRequest request = write();
  request.repeat = false;
  SiteClient site = client({a_.server->address()});
  const auto answer = site.ask(request);
  ASSERT_TRUE(answer);
  EXPECT_EQ(primary_in(*answer), "");
}

}  // namespace
}  // namespace everspan::http
