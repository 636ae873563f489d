// HOST:PORT as people write it, and as the kernel takes it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "common/result.h"

namespace everspan::net {

struct Address {
  std::string host;  // Name, IPv4, or IPv6 without brackets.
  std::uint16_t port = 0;
  auto operator<=>(const Address&) const = default;
  [[nodiscard]] std::string text() const;  // [::1]:443 for IPv6.
  static Result<Address> parse(std::string_view host_and_port);
};

[[nodiscard]] bool is_loopback(const Address& address);  // 127/8 or ::1, by number only.

}  // namespace everspan::net
