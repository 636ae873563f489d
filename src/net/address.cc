#include "net/address.h"

#include <arpa/inet.h>

#include <charconv>

#include "common/bytes.h"

namespace everspan::net {
namespace {

constexpr std::size_t kHostBytesMax =
    253;  // RFC 1035 part 2.3.4, without the dots of the wire form

bool is_host_character(char c, bool bracketed) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  if (c == '.' || c == '-' || c == '_') return true;
  return bracketed && (c == ':' || c == '%');
}

std::unexpected<Error> bad(std::string_view text) {
  return fail("bad_address", "\"" + printable(text) + "\" is not an address", "",
              "Write HOST:PORT, and [HOST]:PORT for IPv6");
}

}  // namespace

std::string Address::text() const {
  const bool brackets = host.find(':') != std::string::npos;
  return (brackets ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Address> Address::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad(text);
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  const bool bracketed = host.starts_with('[');
  if (bracketed) {
    if (!host.ends_with(']')) return bad(text);
    host = host.substr(1, host.size() - 2);
  }
  if (host.empty() || host.size() > kHostBytesMax) return bad(text);
  for (const char c : host) {
    if (!is_host_character(c, bracketed)) return bad(text);
  }
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), port);
  if (digits.empty() || error != std::errc{} || end != digits.end()) return bad(text);
  return Address{std::string(host), port};
}

bool is_loopback(const Address& address) {
  in_addr four{};
  if (inet_pton(AF_INET, address.host.c_str(), &four) == 1) {
    return (ntohl(four.s_addr) >> 24) == 127;
  }
  in6_addr six{};
  if (inet_pton(AF_INET6, address.host.c_str(), &six) != 1) return false;
  if (IN6_IS_ADDR_V4MAPPED(&six)) return six.s6_addr[12] == 127;
  return IN6_IS_ADDR_LOOPBACK(&six);
}

}  // namespace everspan::net
