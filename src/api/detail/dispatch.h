// From a request to its handler and back: who asks, may he, is the body in form, how an error
// looks.
#pragma once
#include "api/detail/route.h"

namespace everspan::api {

[[nodiscard]] net::Task<http::Response> dispatch(State& state, const Route& route,
                                                 http::Request request, http::PathValues path);

}  // namespace everspan::api
