#include "cli/core/tunnel_spec.h"

#include <charconv>
#include <vector>

#include "cli/core/text.h"

namespace everspan::cli {
namespace {

std::unexpected<Error> bad(std::string_view text) {
  return fail("usage", "\"" + harmless(text) + "\" is no tunnel", "",
              "Write [LISTEN:]HOST:PORT, as 8080:intranet:80 or 127.0.0.1:8080:intranet:80");
}

// Splits at colons outside of brackets.
std::vector<std::string> parts_of(std::string_view text) {
  std::vector<std::string> out(1);
  bool bracketed = false;
  for (const char c : text) {
    if (c == '[') bracketed = true;
    if (c == ']') bracketed = false;
    if (c == ':' && !bracketed) {
      out.emplace_back();
    } else {
      out.back() += c;
    }
  }
  return out;
}

bool to_port(const std::string& text, std::uint16_t& port) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  return !text.empty() && error == std::errc{} && stop == end;
}

std::string without_brackets(const std::string& host) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    return host.substr(1, host.size() - 2);
  }
  return host;
}

}  // namespace

Result<TunnelSpec> parse_tunnel_spec(std::string_view text) {
  const std::vector<std::string> parts = parts_of(text);
  if (parts.size() < 2 || parts.size() > 4) return bad(text);
  TunnelSpec out;
  const std::string& host = parts[parts.size() - 2];
  if (!to_port(parts.back(), out.port) || out.port == 0 || host.empty()) return bad(text);
  out.host = without_brackets(host);
  std::uint16_t listen_port = 0;
  if (parts.size() > 2 && !to_port(parts[parts.size() - 3], listen_port)) return bad(text);
  const std::string listen_host = parts.size() == 4 ? parts[0] : "127.0.0.1";
  if (listen_host.empty()) return bad(text);
  out.listen = listen_host + ":" + std::to_string(listen_port);
  return out;
}

}  // namespace everspan::cli
