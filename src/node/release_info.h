// What this release says about itself (update/release_info.h), for its package and for people.
#pragma once
#include <string_view>

namespace everspan::node {

[[nodiscard]] std::string_view release_info_json();

}  // namespace everspan::node
