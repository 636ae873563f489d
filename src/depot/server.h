// Serves the repository as static files over HTTPS: GET and HEAD, single byte ranges, nothing else.
// Read-only: it opens only names that a repository has, below its folder, and follows no link.
//
// Without a certificate the depot makes an authority of its own (DIR/tls, keys 0600), whose
// certificate is DIR/ca.pem. Plain HTTP is possible on a loopback address only.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "common/result.h"
#include "http/server.h"
#include "net/address.h"
#include "net/async.h"

namespace everspan::depot {

struct ServeOptions {
  std::string dir;
  net::Address listen;
  std::string certificate_path;  // PEM, with the chain; empty: own authority.
  std::string key_path;
  bool plain_http = false;
};

// Files of one repository; thread-safe.
class StaticFiles : public http::Handler {
 public:
  explicit StaticFiles(std::string repository) : repository_(std::move(repository)) {}
  net::Task<http::Response> handle(http::Request request) override;
  [[nodiscard]] std::size_t body_bytes_max(const http::Request&) const override { return 0; }

 private:
  [[nodiscard]] http::Response answer(const http::Request& request) const;
  std::string repository_;
};

struct Served {
  net::Address address;  // With the port that was chosen, if 0 was asked for.
  std::string url;
  std::string ca_path;  // Empty with a given certificate or plain HTTP.
};
// Serves until SIGINT or SIGTERM. `ready` is called once it listens.
[[nodiscard]] Result<void> serve(const ServeOptions& options,
                                 const std::function<void(const Served&)>& ready);

}  // namespace everspan::depot
