// HTTPS requests that block, over libcurl: for the CLI and the update client. TLS 1.3 with a CA of
// our own; no proxy, no redirect, no cookie, no file of the machine is read. Errors: unreachable,
// cut (broke in the middle), timeout, tls_certificate, tls_handshake, too_large, cancelled, io,
// bad_address, bad_request. An answer with any status is no error.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/result.h"

namespace everspan::http {

struct ClientOptions {
  std::string ca_pem;  // Trusted roots; without it only plain http to loopback works.
  bool plain_http_on_loopback = false;  // http://127.x.y.z and http://[::1] only. For tests.
  std::chrono::milliseconds connect_timeout{5000};
  std::chrono::milliseconds timeout{30000};        // Of a whole request().
  std::chrono::milliseconds stall_timeout{30000};  // A download without a byte for so long ends.
  std::string user_agent = "everspan";
};

struct ClientRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;  // Sent if not empty, or for POST and PUT.
  std::size_t answer_bytes_max = 8 * 1024 * 1024;
};

struct ClientResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // Names in lower case.
  std::string body;
};

struct DownloadRequest {
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string path;             // Appended to if it exists: the rest is asked for by range.
  std::uint64_t bytes_max = 0;  // Of the whole file. Required.
  // Bytes so far, bytes expected (0: unknown). False stops with code `cancelled`; what came is
  // kept.
  std::function<bool(std::uint64_t, std::uint64_t)> progress;
};

// Not thread-safe; keeps its connection open between calls.
class Client {
 public:
  explicit Client(ClientOptions options);
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();

  [[nodiscard]] Result<ClientResponse> request(const ClientRequest& request);
  // Status 200, 206, or 416 when the file was whole already. Else the file is untouched and the
  // answer's first 64 KiB are in `body`. The bytes are fsynced. The caller checks the digest.
  [[nodiscard]] Result<ClientResponse> download(const DownloadRequest& request);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The root certificate (PEM) that https://HOST:PORT sends and whose DER has this SHA-256 (hex),
// with chain and name checked against it: the first contact with a site.
[[nodiscard]] Result<std::string> fetch_pinned_root(const std::string& host_and_port,
                                                    const std::string& ca_sha256,
                                                    std::chrono::milliseconds timeout);

}  // namespace everspan::http
