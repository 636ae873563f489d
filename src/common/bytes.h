// Views of bytes, and bytes as text. Foreign text is checked, never trusted.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/result.h"

namespace everspan {

using Bytes = std::span<const std::uint8_t>;

[[nodiscard]] inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
[[nodiscard]] inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
[[nodiscard]] inline std::string to_string(Bytes bytes) {
  return std::string(as_text(bytes));
}

[[nodiscard]] std::string to_hex(Bytes bytes);
[[nodiscard]] Result<std::string> from_hex(std::string_view text);  // Lower or upper case.
[[nodiscard]] std::string to_base64url(Bytes bytes);                // No padding (RFC 4648 part 5).
[[nodiscard]] Result<std::string> from_base64url(std::string_view text);

// Big-endian numbers, as on every wire of ours.
void put_u16(std::string& out, std::uint16_t value);
void put_u32(std::string& out, std::uint32_t value);
void put_u64(std::string& out, std::uint64_t value);
[[nodiscard]] std::uint16_t get_u16(const std::uint8_t* at);
[[nodiscard]] std::uint32_t get_u32(const std::uint8_t* at);
[[nodiscard]] std::uint64_t get_u64(const std::uint8_t* at);

// Printable ASCII for logs and terminals; everything else as \xNN. Cut at `bytes_max`.
[[nodiscard]] std::string printable(std::string_view foreign, std::size_t bytes_max = 200);

}  // namespace everspan
