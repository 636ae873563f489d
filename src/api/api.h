// The JSON endpoints of docs/api.md over http's router. Knows who asks, what he may do, and which
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

#include "api/services.h"
#include "common/time.h"
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
namespace everspan::http {
class Router;
}

namespace everspan::api {

inline constexpr std::size_t kBodyBytesMax = 64 * 1024;  // Far above any call of ours.

struct Services {
  site::Context& site;
  access::PasswordWorkers& passwords;
  store::Journal& journal;
  LiveService& live;
  NodeService& node;
  UpgradeService& upgrade;
  UpdateService& updates;
  std::string recordings_folder;
  net::Executor work;
  std::function<Instant()> monotonic;  // For the log-in throttle.
};

class Api {
 public:
  explicit Api(Services services);
  ~Api();
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;

  // Every path of docs/api.md, GET /api/v1/openapi.json among them.
  void add_routes(http::Router& router);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// proto/api/openapi.json, as built in.
[[nodiscard]] std::string_view openapi_document();

}  // namespace everspan::api
