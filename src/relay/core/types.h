// Words of the relay's core.
#pragma once
#include <cstdint>

namespace everspan::relay {

enum class Side : std::uint8_t { console = 1, agent = 2 };  // As pb::Side.
[[nodiscard]] constexpr Side other(Side side) {
  return side == Side::console ? Side::agent : Side::console;
}
[[nodiscard]] constexpr unsigned index(Side side) {
  return side == Side::console ? 0 : 1;
}

enum class AttachReason : std::uint8_t { first = 0, planned = 1, lost = 2 };  // As pb::Attach.

}  // namespace everspan::relay
