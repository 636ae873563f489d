// The JSON endpoints of docs/api.md as one HTTP handler. Knows who asks, what he may do, and which
// record or service answers; never who writes or where a session runs.
//
// Every handler runs on `work` (threads that may block on SQLite), never on an io thread that
// carries sessions. Every mutating call is journalled with who and from where; refused log-ins and
// enrolments too. Input is strict: unknown keys, wrong types and bodies above kBodyBytesMax are
// refused before anything happens.
//
// All references outlive the Api, and the Api outlives every request.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/services.h"
#include "common/time.h"
#include "http/server.h"
#include "net/async.h"

namespace everspan::access {
class PasswordWorkers;
}
namespace everspan::store {
class Journal;
}
namespace everspan::site {
struct Context;
}

namespace everspan::api {

inline constexpr std::size_t kBodyBytesMax = 64 * 1024;      // Far above any call of ours.
inline constexpr std::size_t kOpenBodyBytesMax = 16 * 1024;  // Without a token (CONTRACT).

struct Services {
  site::Context& site;
  access::PasswordWorkers& passwords;
  store::Journal& journal;
  LiveService& live;
  NodeService& node;
  UpgradeService& upgrade;
  UpdateService& updates;
  FailoverService& failover;
  std::string recordings_folder;
  net::Executor work;
  std::function<Instant()> monotonic;  // For the throttles.
};

class Api : public http::Handler {
 public:
  explicit Api(Services services);
  ~Api() override;
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;

  // May be awaited on any executor; the work is done on `work`.
  [[nodiscard]] net::Task<http::Response> handle(http::Request request) override;
  [[nodiscard]] std::size_t body_bytes_max(const http::Request& head) const override;

  struct RouteName {
    std::string method;
    std::string pattern;
  };
  [[nodiscard]] static std::vector<RouteName> routes();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// openapi.json, as built in.
[[nodiscard]] std::string_view openapi_document();

}  // namespace everspan::api
