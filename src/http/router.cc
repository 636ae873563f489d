#include "http/router.h"

#include "common/bytes.h"
#include "common/check.h"

namespace everspan::http {
namespace {

bool is_name(const std::string& segment) {
  return segment.starts_with('{') && segment.ends_with('}');
}

std::string name_of(const std::string& segment) {
  return segment.substr(1, segment.size() - 2);
}

}  // namespace

void Router::add(std::string method, std::string_view pattern, RouteHandler handler) {
  for (Route& route : routes_) {
    if (route.pattern != pattern) continue;
    check(route.by_method.emplace(std::move(method), std::move(handler)).second,
          "a method and pattern have one handler");
    return;
  }
  Route route;
  route.pattern = pattern;
  const auto segments = split_path(pattern);
  check(segments.has_value(), "a route's pattern is a path");
  route.segments = *segments;
  route.by_method.emplace(std::move(method), std::move(handler));
  routes_.push_back(std::move(route));
}

Router::Match Router::find(const std::vector<std::string>& segments) const {
  Match best;
  for (const Route& route : routes_) {
    if (route.segments.size() != segments.size()) continue;
    PathValues values;
    bool fits = true;
    for (std::size_t i = 0; i < segments.size() && fits; i++) {
      if (is_name(route.segments[i])) {
        values[name_of(route.segments[i])] = segments[i];
      } else {
        fits = route.segments[i] == segments[i];
      }
    }
    if (!fits) continue;
    if (best.route == nullptr || values.size() < best.values.size()) {
      best = Match{&route, std::move(values)};
    }
  }
  return best;
}

std::string Router::match(const Request& request) const {
  const Match match = find(request.segments);
  return match.route == nullptr ? std::string{} : match.route->pattern;
}

net::Task<Response> Router::route(Request request) const {
  Match match = find(request.segments);
  if (match.route == nullptr) {
    co_return error_response(
        404, {"not_found", "There is nothing at " + printable(request.path), {}, {}});
  }
  const auto& by_method = match.route->by_method;
  auto chosen = by_method.find(request.method);
  if (chosen == by_method.end() && request.method == "HEAD") chosen = by_method.find("GET");
  if (chosen == by_method.end()) {
    Response refused = error_response(
        405, {"method_not_allowed", printable(request.method) + " cannot be done here", {}, {}});
    std::string allowed;
    for (const auto& [method, unused] : by_method)
      allowed += (allowed.empty() ? "" : ", ") + method;
    refused.headers.emplace_back("Allow", std::move(allowed));
    co_return refused;
  }
  auto response = co_await chosen->second(std::move(request), std::move(match.values));
  co_return response;
}

}  // namespace everspan::http
