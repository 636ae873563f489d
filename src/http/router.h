// Method and path pattern to handler: "/api/v1/endpoints/{name}". A plain table, made at start.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"
#include "net/async.h"

namespace everspan::http {

using PathValues = std::map<std::string, std::string>;  // {"name", "laptop 1"}
using RouteHandler = std::function<net::Task<Response>(Request, PathValues)>;

class Router {
 public:
  // `pattern`: segments, each literal or {name}. A pattern given twice for one method is a bug
  // (checked). A literal segment is preferred to a {name}.
  void add(std::string method, std::string_view pattern, RouteHandler handler);

  // 404 not_found; 405 method_not_allowed with `Allow`. HEAD is served by GET's handler, OPTIONS
  // not.
  [[nodiscard]] net::Task<Response> route(Request request) const;
  // The pattern that would serve it, or empty: for body limits and counters.
  [[nodiscard]] std::string match(const Request& request) const;

 private:
  struct Route {
    std::string pattern;
    std::vector<std::string> segments;
    std::map<std::string, RouteHandler> by_method;
  };
  struct Match {
    const Route* route = nullptr;
    PathValues values;
  };
  [[nodiscard]] Match find(const std::vector<std::string>& segments) const;
  std::vector<Route> routes_;
};

}  // namespace everspan::http
