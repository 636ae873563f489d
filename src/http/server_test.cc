#include "http/server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "http/router.h"
#include "net/frame_link.h"
#include "net/testing_run.h"

namespace everspan::http {
namespace {

using net::testing::run_until;

struct Echo : Handler {
  std::vector<Request> seen;
  std::size_t body_max = kBodyBytesMax;
  std::string extra_value;

  net::Task<Response> handle(Request request) override {
    Response response;
    response.body = request.method + " " + request.path + " " + request.body;
    if (!extra_value.empty()) response.headers.emplace_back("X-Extra", extra_value);
    seen.push_back(std::move(request));
    co_return response;
  }
  std::size_t body_bytes_max(const Request&) const override { return body_max; }
};

// Serves over one end of a socket pair; the test writes bytes to the other.
class HttpServer : public ::testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    server_ = net::plain_transport(net::Fd(ends[0]));
    client_ = net::plain_transport(net::Fd(ends[1]));
    limits_.linger = std::chrono::milliseconds(20);
  }
  void TearDown() override {
    scope_.cancel();
    EXPECT_TRUE(run_until(loop_, [&] { return scope_.running() == 0; }));
  }
  void serve(std::string early = {}) {
    scope_.spawn("serve", serve_http(std::move(server_), std::move(early), echo_, limits_, drain_));
  }
  void send(std::string_view bytes) {
    const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    ASSERT_EQ(client_->write({&piece, 1}).bytes, bytes.size());
  }
  // Reads until `count` answers are there, or the end.
  std::string answers(int count) {
    std::string out;
    bool ended = false;
    EXPECT_TRUE(run_until(loop_, [&] {
      std::uint8_t buffer[4096];
      const net::IoResult got = client_->read(buffer);
      if (got.state == net::IoState::done) out += as_text({buffer, got.bytes});
      ended = got.state == net::IoState::eof || got.state == net::IoState::failed;
      int found = 0;
      for (std::size_t at = 0; (at = out.find("HTTP/1.1 ", at)) != std::string::npos; at++) found++;
      return ended || found >= count;
    }));
    ended_ = ended;
    return out;
  }
  bool ends_now() {
    answers(1000);
    return ended_;
  }

  net::asio::io_context loop_;
  net::TaskScope scope_{loop_.get_executor()};
  std::unique_ptr<net::Transport> server_;
  std::unique_ptr<net::Transport> client_;
  Echo echo_;
  Limits limits_;
  Drain drain_;
  bool ended_ = false;
};

TEST_F(HttpServer, AnswersARequestWithItsPartsTakenApart) {
  serve();
  send(
      "PUT /api/v1/endpoints/a%20b?state=live&x=1+2 HTTP/1.1\r\nHost: site\r\nX-One: 1\r\n"
      "x-one: 2\r\nContent-Length: 5\r\n\r\nhello");
  const std::string answer = answers(1);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_TRUE(answer.ends_with("PUT /api/v1/endpoints/a b hello"));
  for (const char* header :
       {"Strict-Transport-Security: max-age=", "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store", "Content-Length: 31"}) {
    EXPECT_NE(answer.find(header), std::string::npos) << header;
  }
  ASSERT_EQ(echo_.seen.size(), 1U);
  EXPECT_EQ(echo_.seen[0].segments, (std::vector<std::string>{"api", "v1", "endpoints", "a b"}));
  EXPECT_EQ(echo_.seen[0].query_value("state"), "live");
  EXPECT_EQ(echo_.seen[0].query_value("x"), "1 2");
  EXPECT_EQ(echo_.seen[0].header("x-one"), "1, 2");
}

TEST_F(HttpServer, RequestsInOneWriteAreAnsweredInOrderAndAChunkedBodyIsPutTogether) {
  serve("GET /early HTTP/1.1\r\nHost: s\r\n\r\n");
  send(
      "POST /a HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
      "GET /b HTTP/1.1\r\nHost: s\r\n\r\n");
  const std::string all = answers(3);
  const std::size_t early = all.find("GET /early");
  const std::size_t a = all.find("POST /a abcde");
  const std::size_t b = all.find("GET /b");
  EXPECT_LT(early, a);
  EXPECT_LT(a, b);
  EXPECT_NE(b, std::string::npos);
}

TEST_F(HttpServer, ARequestCutAnywhereIsWholeInTheEnd) {
  serve();
  const std::string request = "POST /a HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\n\r\nxyz";
  for (const char c : request) {
    send(std::string_view(&c, 1));
    loop_.restart();
    loop_.poll();
  }
  EXPECT_NE(answers(1).find("POST /a xyz"), std::string::npos);
}

TEST_F(HttpServer, TheConnectionStaysUnlessTheClientOrADrainEndsIt) {
  serve();
  send("GET /1 HTTP/1.1\r\nHost: s\r\n\r\n");
  EXPECT_EQ(answers(1).find("Connection: close"), std::string::npos);
  drain_.requested = true;
  send("GET /2 HTTP/1.1\r\nHost: s\r\n\r\n");
  const std::string last = answers(2);
  EXPECT_NE(last.find("GET /2"), std::string::npos);
  EXPECT_NE(last.find("Connection: close"), std::string::npos);
  EXPECT_TRUE(ended_ || ends_now());
}

TEST_F(HttpServer, ABodyOverTheHandlersLimitIsRefusedBeforeItIsRead) {
  echo_.body_max = 10;
  serve();
  send("POST /a HTTP/1.1\r\nHost: s\r\nContent-Length: 11\r\n\r\n");
  EXPECT_NE(answers(1000).find("413 "), std::string::npos);
  EXPECT_TRUE(echo_.seen.empty());
}

TEST_F(HttpServer, AChunkedBodyCannotPassTheLimitEither) {
  echo_.body_max = 10;
  serve();
  send("POST /a HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n" +
       std::string(32, 'x') + "\r\n0\r\n\r\n");
  EXPECT_NE(answers(1000).find("413 "), std::string::npos);
  EXPECT_TRUE(echo_.seen.empty());
}

// As a client does that sends its whole body before it reads.
TEST_F(HttpServer, AClientThatIsStillSendingGetsTheRefusal) {
  constexpr std::size_t kBody = 3 * 1024 * 1024;
  echo_.body_max = 10;
  limits_.linger = std::chrono::seconds(20);
  serve();
  send("POST /a HTTP/1.1\r\nHost: s\r\nContent-Length: " + std::to_string(kBody) + "\r\n\r\n");
  const std::string piece(64 * 1024, 'x');
  std::size_t sent = 0;
  EXPECT_TRUE(run_until(loop_, [&] {
    const iovec rest{const_cast<char*>(piece.data()), std::min(piece.size(), kBody - sent)};
    const net::IoResult wrote = client_->write({&rest, 1});
    EXPECT_NE(wrote.state, net::IoState::failed) << client_->error().text();
    if (wrote.state == net::IoState::done) sent += wrote.bytes;
    return sent == kBody || wrote.state == net::IoState::failed;
  }));
  const std::string answer = answers(1);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 413 ")) << answer;
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  EXPECT_EQ(scope_.running(), 1U) << "it waits for the client's end";
  client_->close();
  EXPECT_TRUE(run_until(loop_, [&] { return scope_.running() == 0; }));
}

TEST_F(HttpServer, ARefusedClientThatNeverEndsIsCutAtTheLimits) {
  echo_.body_max = 10;
  limits_.linger = std::chrono::seconds(60);
  limits_.linger_bytes = 100'000;
  serve();
  send("POST /a HTTP/1.1\r\nHost: s\r\nContent-Length: 99999999\r\n\r\n");
  const std::string piece(16 * 1024, 'x');
  bool cut = false;
  EXPECT_TRUE(run_until(loop_, [&] {
    const iovec bytes{const_cast<char*>(piece.data()), piece.size()};
    cut = client_->write({&bytes, 1}).state == net::IoState::failed;
    return cut;
  }));
  EXPECT_TRUE(cut);
}

TEST_F(HttpServer, AHeadOverTheLimitIsRefused) {
  serve();
  send("GET / HTTP/1.1\r\nHost: s\r\nX: " + std::string(kHeaderBytesMax, 'x') + "\r\n\r\n");
  EXPECT_NE(answers(1000).find("431 "), std::string::npos);
}

class BadRequest : public HttpServer, public ::testing::WithParamInterface<const char*> {};

TEST_P(BadRequest, IsRefusedAndTheConnectionEnds) {
  serve();
  send(GetParam());
  EXPECT_NE(answers(1000).find("400 Bad Request"), std::string::npos);
  EXPECT_TRUE(ended_);
  EXPECT_TRUE(echo_.seen.empty());
}

INSTANTIATE_TEST_SUITE_P(
    All, BadRequest,
    ::testing::Values(
        "hello\r\n\r\n", "GET /../etc HTTP/1.1\r\nHost: s\r\n\r\n",
        "GET /a%2 HTTP/1.1\r\nHost: s\r\n\r\n", "GET /a%00 HTTP/1.1\r\nHost: s\r\n\r\n",
        "GET http://s/ HTTP/1.1\r\nHost: s\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.0\r\nHost: s\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"));

TEST_F(HttpServer, ASlowHeadIsRefusedAtItsDeadline) {
  limits_.head = std::chrono::milliseconds(20);
  serve();
  send("GET / HT");
  EXPECT_NE(answers(1000).find("408 "), std::string::npos);
}

TEST_F(HttpServer, AnIdleConnectionEndsWithoutAWord) {
  limits_.idle = std::chrono::milliseconds(10);
  serve();
  EXPECT_EQ(answers(1000), "");
  EXPECT_TRUE(ended_);
}

TEST_F(HttpServer, AHeaderWithALineBreakCannotBeginAnotherAnswer) {
  echo_.extra_value = "x\r\nX-Evil: 1";
  serve();
  send("GET / HTTP/1.1\r\nHost: s\r\n\r\n");
  EXPECT_EQ(answers(1).find("X-Evil"), std::string::npos);
}

TEST_F(HttpServer, HeadGetsTheLengthAndNoBody) {
  serve();
  send("HEAD /x HTTP/1.1\r\nHost: s\r\n\r\n");
  const std::string answer = answers(1);
  EXPECT_NE(answer.find("Content-Length: 8"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

net::Task<Response> say(std::string what, PathValues values) {
  Response response;
  response.body = std::move(what);
  for (const auto& [name, value] : values) response.body += " " + name + "=" + value;
  co_return response;
}

Request request_for(const std::string& method, const std::string& path) {
  Request request;
  request.method = method;
  request.path = path;
  request.segments = *split_path(path);
  return request;
}

TEST(Router, PrefersLiteralsAndSaysWhatIsMissing) {
  net::asio::io_context loop;
  Router router;
  const auto handler = [](const char* name) {
    return [name](Request, PathValues values) { return say(name, std::move(values)); };
  };
  router.add("GET", "/sessions/{id}", handler("one"));
  router.add("DELETE", "/sessions/{id}", handler("end"));
  router.add("GET", "/sessions/all", handler("all"));
  const auto ask = [&](const char* method, const char* path) {
    return net::testing::run_task(loop, router.route(request_for(method, path)));
  };
  EXPECT_EQ(ask("GET", "/sessions/17").body, "one id=17");
  EXPECT_EQ(ask("HEAD", "/sessions/17").body, "one id=17");
  EXPECT_EQ(ask("DELETE", "/sessions/17").body, "end id=17");
  EXPECT_EQ(ask("GET", "/sessions/all").body, "all");
  EXPECT_EQ(ask("GET", "/sessions").status, 404);
  EXPECT_EQ(ask("GET", "/sessions/1/2").status, 404);
  const Response refused = ask("POST", "/sessions/17");
  EXPECT_EQ(refused.status, 405);
  ASSERT_EQ(refused.headers.size(), 1U);
  EXPECT_EQ(refused.headers[0].second, "DELETE, GET");
  EXPECT_EQ(router.match(request_for("GET", "/sessions/9")), "/sessions/{id}");
  EXPECT_EQ(router.match(request_for("GET", "/x")), "");
}

TEST(Percent, EncodingIsUndoneByDecoding) {
  std::string all;
  for (int c = 0x20; c < 0x7f; c++) all += static_cast<char>(c);
  all += "\xc3\xa4";
  const auto back = percent_decode(percent_encode(all), false);
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, all);
}

}  // namespace
}  // namespace everspan::http
