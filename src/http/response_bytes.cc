#include "http/detail/response_bytes.h"

#include <algorithm>

#include "common/bytes.h"
#include "common/log.h"

namespace everspan::http::detail {
namespace {

bool is_clean(std::string_view text) {
  return std::ranges::none_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
  });
}

void add(std::string& out, std::string_view name, std::string_view value) {
  if (name.empty() || !is_clean(name) || !is_clean(value)) {
    log_error("http.bad_header", {{"name", printable(name)}});
    return;
  }
  out.append(name).append(": ").append(value).append("\r\n");
}

}  // namespace

std::string response_bytes(const Response& response, bool keep_alive, bool without_body) {
  std::string out = "HTTP/1.1 " + std::to_string(response.status) + " " +
                    std::string(reason_phrase(response.status)) + "\r\n";
  const bool has_no_body = response.status == 204 || response.status == 304;
  if (!has_no_body) {
    add(out, "Content-Type", response.content_type);
    add(out, "Content-Length", std::to_string(response.body.size()));
  }
  // A year, as RFC 6797 part 5 allows: this site speaks nothing but TLS.
  add(out, "Strict-Transport-Security", "max-age=31536000");
  add(out, "X-Content-Type-Options", "nosniff");
  const bool has_cache_rule = std::ranges::any_of(
      response.headers, [](const auto& header) { return header.first == "Cache-Control"; });
  if (!has_cache_rule) add(out, "Cache-Control", "no-store");
  if (!keep_alive) add(out, "Connection", "close");
  for (const auto& [name, value] : response.headers) add(out, name, value);
  out += "\r\n";
  if (!without_body && !has_no_body) out += response.body;
  return out;
}

}  // namespace everspan::http::detail
