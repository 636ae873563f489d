#include "api/api.h"

#include "api/detail/dispatch.h"

namespace everspan::api {
namespace {

net::Task<http::Response> openapi(http::Request, http::PathValues) {
  http::Response response;
  response.body = std::string(openapi_document());
  co_return response;
}

constexpr const char* kOpenApiPath = "/api/v1/openapi.json";

}  // namespace

struct Api::Impl {
  explicit Impl(Services services) : state(std::move(services)) {
    for (const auto table : all_routes()) {
      for (const Route& route : table) {
        State* shared = &state;
        const Route* chosen = &route;
        router.add(std::string(route.method), route.pattern,
                   [shared, chosen](http::Request request, http::PathValues path) {
                     return dispatch(*shared, *chosen, std::move(request), std::move(path));
                   });
      }
    }
    router.add("GET", kOpenApiPath, openapi);
  }
  State state;
  http::Router router;
};

Api::Api(Services services) : impl_(std::make_unique<Impl>(std::move(services))) {}
Api::~Api() = default;

net::Task<http::Response> Api::handle(http::Request request) {
  auto response = co_await net::asio::co_spawn(impl_->state.services.work,
                                               impl_->router.route(std::move(request)),
                                               net::asio::use_awaitable);
  co_return response;
}

std::size_t Api::body_bytes_max(const http::Request& head) const {
  if (impl_->router.match(head).empty()) return 0;
  return head.header("authorization").empty() ? kOpenBodyBytesMax : kBodyBytesMax;
}

std::vector<Api::RouteName> Api::routes() {
  std::vector<RouteName> names{{"GET", kOpenApiPath}};
  for (const auto table : all_routes())
    for (const Route& route : table)
      names.push_back({std::string(route.method), std::string(route.pattern)});
  return names;
}

}  // namespace everspan::api
