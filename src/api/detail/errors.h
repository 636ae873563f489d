// Which HTTP status an error's code has (docs/api.md).
#pragma once
#include <string_view>

namespace everspan::api {

// 500 for a code that is not a caller's doing.
[[nodiscard]] int status_of(std::string_view code);

}  // namespace everspan::api
