// One call of the API on its way: what a route is, what its handler gets, and what it answers.
#pragma once
#include <array>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "access/core/scopes.h"
#include "access/core/throttle.h"
#include "api/api.h"
#include "api/detail/json.h"
#include "api/detail/local_logins.h"
#include "common/ids.h"
#include "common/time.h"
#include "http/message.h"
#include "http/router.h"
#include "site/accounts.h"
#include "site/context.h"
#include "site/endpoints.h"
#include "site/sessions.h"
#include "site/settings.h"

namespace everspan::api {

// What all handlers share. Any thread of `work`.
struct State {
  explicit State(Services given)
      : services(std::move(given)),
        accounts(services.site),
        endpoints(services.site),
        sessions(services.site),
        settings(services.site) {}

  Services services;
  site::Accounts accounts;
  site::Endpoints endpoints;
  site::Sessions sessions;
  site::Settings settings;
  LocalLogins local_logins;

  std::mutex throttles;  // Guards the two below; held for a look-up, never across a wait.
  access::LoginThrottle logins;
  access::ThrottleTable enrolments{{.free_attempts = 20}};  // Refused ones, by address.
};

struct Call {
  http::Request request;
  http::PathValues path;
  json::object body;
  access::Identity who;  // Of routes that need a token.
  std::string person;    // "site/alice"; the address where there is no token.
  std::string address;   // Host of the peer.
  RequestId request_id;  // Of the Idempotency-Key, bound to caller, method and path; or random.
  std::optional<Revision> if_match;

  [[nodiscard]] site::WriteOptions write() const { return {request_id, if_match}; }
  [[nodiscard]] const std::string& value(const std::string& name) const { return path.at(name); }
};

struct Answer {
  json::object body;
  std::optional<Revision> etag;
  int status = 200;
  // For the journal, of routes that have an audit word.
  std::string who;  // When it is not the caller: who has just logged in.
  std::string subject;
  json::object detail;
  bool repeated = false;    // The request had run before: journalled then.
  bool journalled = false;  // By the service that did it.
};

using RouteFunction = net::Task<Result<Answer>> (*)(State&, Call);

enum class Needs : std::uint8_t { nothing, any_area, site, appliance };

struct Route {
  std::string_view method;
  std::string_view pattern;
  Needs needs = Needs::site;
  std::string_view scope;  // Empty: the area is enough.
  RouteFunction run = nullptr;
  std::string_view audit;  // Journal word; empty: the call changes nothing.
  // The answer waits until the journal line is on the disk. Off where the record itself keeps who
  // wrote it and when.
  bool audit_durable = true;
};

// The tables, one per file of routes.
[[nodiscard]] std::span<const Route> login_routes();
[[nodiscard]] std::span<const Route> node_routes();
[[nodiscard]] std::span<const Route> endpoint_routes();
[[nodiscard]] std::span<const Route> session_routes();
[[nodiscard]] std::span<const Route> setting_routes();
[[nodiscard]] std::span<const Route> history_routes();
[[nodiscard]] std::span<const Route> upgrade_routes();
[[nodiscard]] std::span<const Route> user_routes();
[[nodiscard]] std::span<const Route> failover_routes();
[[nodiscard]] inline std::array<std::span<const Route>, 9> all_routes() {
  return {login_routes(),   node_routes(),    endpoint_routes(), session_routes(), setting_routes(),
          history_routes(), upgrade_routes(), user_routes(),     failover_routes()};
}

// One line for the journal: on its way (a failure is logged by the journal), or kept (the answer
// waits until it is on the disk).
void journal_soon(State& state, std::string who, std::string what, std::string subject,
                  json::object detail);
[[nodiscard]] net::Task<Result<void>> journal_kept(State& state, std::string who, std::string what,
                                                   std::string subject, json::object detail);

// A write's answer: what outcome_json gives, ETag and `repeated` set.
[[nodiscard]] Answer write_answer(const store::Outcome& outcome);

// A mark in `Error::kept` is for people; the seconds of a wait travel here.
[[nodiscard]] std::unexpected<Error> slow_down(const char* what, Duration wait);
[[nodiscard]] int retry_after_s(const Error& error);

}  // namespace everspan::api
