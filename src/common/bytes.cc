#include "common/bytes.h"

#include <array>

namespace everspan {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";
constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string to_hex(Bytes bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const std::uint8_t b : bytes) {
    out += kHex[b >> 4];
    out += kHex[b & 15];
  }
  return out;
}

Result<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return fail("bad_hex", "Hex digits come in pairs");
  std::string out;
  out.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = hex_digit(text[i]);
    const int low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0) return fail("bad_hex", "Not a hex digit");
    out += static_cast<char>(high << 4 | low);
  }
  return out;
}

std::string to_base64url(Bytes bytes) {
  std::string out;
  std::uint32_t bits = 0;
  int held = 0;
  for (const std::uint8_t b : bytes) {
    bits = bits << 8 | b;
    held += 8;
    while (held >= 6) {
      held -= 6;
      out += kBase64[bits >> held & 63];
    }
  }
  if (held > 0) out += kBase64[bits << (6 - held) & 63];
  return out;
}

Result<std::string> from_base64url(std::string_view text) {
  std::string out;
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const std::size_t at = kBase64.find(c);
    if (at == std::string_view::npos) return fail("bad_base64", "Not a base64url digit");
    bits = bits << 6 | static_cast<std::uint32_t>(at);
    held += 6;
    if (held >= 8) {
      held -= 8;
      out += static_cast<char>(bits >> held & 255);
    }
  }
  if (held >= 6 || (bits & ((1U << held) - 1)) != 0)
    return fail("bad_base64", "The base64url text is cut or has stray bits at its end");
  return out;
}

void put_u16(std::string& out, std::uint16_t value) {
  out += static_cast<char>(value >> 8);
  out += static_cast<char>(value & 255);
}
void put_u32(std::string& out, std::uint32_t value) {
  put_u16(out, static_cast<std::uint16_t>(value >> 16));
  put_u16(out, static_cast<std::uint16_t>(value & 65535));
}
void put_u64(std::string& out, std::uint64_t value) {
  put_u32(out, static_cast<std::uint32_t>(value >> 32));
  put_u32(out, static_cast<std::uint32_t>(value & 0xffffffffU));
}
std::uint16_t get_u16(const std::uint8_t* at) {
  return static_cast<std::uint16_t>(at[0] << 8 | at[1]);
}
std::uint32_t get_u32(const std::uint8_t* at) {
  return static_cast<std::uint32_t>(get_u16(at)) << 16 | get_u16(at + 2);
}
std::uint64_t get_u64(const std::uint8_t* at) {
  return static_cast<std::uint64_t>(get_u32(at)) << 32 | get_u32(at + 4);
}

std::string printable(std::string_view foreign, std::size_t bytes_max) {
  std::string out;
  for (const char c : foreign.substr(0, bytes_max)) {
    if (c >= 0x20 && c < 0x7f) {
      out += c;
    } else {
      out += "\\x";
      out += kHex[static_cast<std::uint8_t>(c) >> 4];
      out += kHex[static_cast<std::uint8_t>(c) & 15];
    }
  }
  if (foreign.size() > bytes_max) out += "...";
  return out;
}

}  // namespace everspan
