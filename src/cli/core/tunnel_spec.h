// "[LISTEN:]HOST:PORT" of `everspan tunnel`. LISTEN is PORT or HOST:PORT; IPv6 stands in brackets.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "common/result.h"

namespace everspan::cli {

struct TunnelSpec {
  std::string listen;  // HOST:PORT; loopback and any port when it was not given.
  std::string host;
  std::uint16_t port = 0;
  bool operator==(const TunnelSpec&) const = default;
};

[[nodiscard]] Result<TunnelSpec> parse_tunnel_spec(std::string_view text);

}  // namespace everspan::cli
