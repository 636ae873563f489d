#include "http/client.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "http/testing_server.h"

namespace everspan::http {
namespace {

using net::testing::make_certificate;
using net::testing::TestCertificate;

// Serves `file` with ranges at /file, and what it was told elsewhere.
struct Files {
  std::string file = std::string(300'000, 'f');
  bool resumes = true;
  std::vector<std::string> ranges;

  Response answer(const Request& request) {
    Response response;
    response.content_type = "application/octet-stream";
    if (request.path == "/file") {
      const std::string range = request.header("range");
      ranges.push_back(range);
      const std::size_t from = range.empty() ? 0 : std::stoul(range.substr(6));
      if (resumes && from > 0) {
        response.status = from < file.size() ? 206 : 416;
        response.body = from < file.size() ? file.substr(from) : "";
      } else {
        response.body = file;
      }
    } else if (request.path == "/echo") {
      response.body = request.method + ":" + request.header("x-test") + ":" + request.body;
      response.headers.emplace_back("X-Answer", "yes");
    } else {
      response.status = 404;
      response.body = "nothing here";
    }
    return response;
  }
};

class HttpClient : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/everspan-http-XXXXXX";
    folder_ = mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string url(const std::string& path) const { return "https://" + server_.address() + path; }
  Client client() const {
    ClientOptions options;
    options.ca_pem = root_.pem();
    return Client(std::move(options));
  }
  std::string read_back(const std::string& path) const {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  TestCertificate root_ = make_certificate("root");
  TestCertificate leaf_ = make_certificate("leaf", &root_, "IP:127.0.0.1");
  std::string folder_;
  Files files_;
  testing::TestServer server_{root_, leaf_,
                              [this](const Request& request) { return files_.answer(request); }};
};

TEST_F(HttpClient, SendsARequestAndGetsTheAnswerWhateverItsStatus) {
  Client http = client();
  ClientRequest request;
  request.method = "PUT";
  request.url = url("/echo");
  request.headers = {{"X-Test", "one"}};
  request.body = "body";
  const auto answer = http.request(request);
  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body, "PUT:one:body");
  EXPECT_EQ(answer->headers.at("x-answer"), "yes");
  ClientRequest missing;
  missing.url = url("/missing");
  const auto none = http.request(missing);
  ASSERT_TRUE(none);
  EXPECT_EQ(none->status, 404);
}

TEST_F(HttpClient, RefusesACertificateThatItsCaDidNotSign) {
  ClientOptions options;
  options.ca_pem = make_certificate("root").pem();
  Client http(std::move(options));
  ClientRequest request;
  request.url = url("/echo");
  const auto answer = http.request(request);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "tls_certificate");
}

TEST_F(HttpClient, StopsAnAnswerThatIsTooLong) {
  Client http = client();
  ClientRequest request;
  request.url = url("/file");
  request.answer_bytes_max = 1000;
  const auto answer = http.request(request);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "too_large");
}

TEST_F(HttpClient, PlainHttpAndOtherSchemesAreRefused) {
  Client http = client();
  for (const std::string bad :
       {"http://127.0.0.1:1/", "http://example.org/", "file:///etc/passwd", "ftp://127.0.0.1/"}) {
    ClientRequest request;
    request.url = bad;
    const auto answer = http.request(request);
    ASSERT_FALSE(answer) << bad;
    EXPECT_EQ(answer.error().code, "bad_address") << bad;
  }
}

TEST_F(HttpClient, SaysWhenNobodyListens) {
  net::Address nobody;
  {
    const auto listener = net::listen_tcp({"127.0.0.1", 0});
    ASSERT_TRUE(listener);
    nobody = net::local_address(listener->get());
  }
  Client http = client();
  ClientRequest request;
  request.url = "https://" + nobody.text() + "/";
  const auto answer = http.request(request);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "unreachable");
}

TEST_F(HttpClient, ADownloadGoesOnWhereItStopped) {
  for (std::size_t i = 0; i < files_.file.size(); i++)
    files_.file[i] = static_cast<char>(i * 31 % 251);
  Client http = client();
  DownloadRequest request;
  request.url = url("/file");
  request.path = folder_ + "/package";
  request.bytes_max = files_.file.size();
  request.progress = [](std::uint64_t got, std::uint64_t) { return got < 50'000; };
  const auto stopped = http.download(request);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, "cancelled");
  const std::size_t kept = std::filesystem::file_size(request.path);
  EXPECT_GE(kept, 50'000U);
  request.progress = nullptr;
  const auto whole = http.download(request);
  ASSERT_TRUE(whole) << whole.error().text();
  EXPECT_TRUE(read_back(request.path) == files_.file);
  if (kept < files_.file.size()) {
    EXPECT_EQ(files_.ranges.back(), "bytes=" + std::to_string(kept) + "-");
  }
}

TEST_F(HttpClient, AServerThatDoesNotResumeSendsAllAndAMissingFileChangesNothing) {
  files_.resumes = false;
  Client http = client();
  DownloadRequest request;
  request.url = url("/file");
  request.path = folder_ + "/package";
  request.bytes_max = files_.file.size();
  std::ofstream(request.path) << "old part";
  const auto whole = http.download(request);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->status, 200);
  EXPECT_TRUE(read_back(request.path) == files_.file);
  request.url = url("/missing");
  const auto none = http.download(request);
  ASSERT_TRUE(none);
  EXPECT_EQ(none->status, 404);
  EXPECT_EQ(none->body, "nothing here");
  EXPECT_TRUE(read_back(request.path) == files_.file);
}

TEST_F(HttpClient, ADownloadOverItsLimitIsStopped) {
  Client http = client();
  DownloadRequest request;
  request.url = url("/file");
  request.path = folder_ + "/package";
  request.bytes_max = 1000;
  const auto answer = http.download(request);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "too_large");
  EXPECT_LE(std::filesystem::file_size(request.path), 1000U);
}

TEST_F(HttpClient, AFirstContactFindsTheRootByItsDigestOnly) {
  const auto root =
      fetch_pinned_root(server_.address(), root_.sha256_hex(), std::chrono::seconds(10));
  ASSERT_TRUE(root) << root.error().text();
  EXPECT_EQ(*root, root_.pem());
  EXPECT_FALSE(
      fetch_pinned_root(server_.address(), std::string(64, '0'), std::chrono::seconds(10)));
}

}  // namespace
}  // namespace everspan::http
