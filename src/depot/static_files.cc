#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "depot/server.h"
#include "update/core/manifest.h"
#include "update/files.h"
#include "update/limits.h"

namespace everspan::depot {
namespace {

struct Range {
  std::uint64_t first = 0;
  std::uint64_t last = 0;  // Inclusive.
};
enum class RangeState : std::uint8_t { none, one, impossible };

bool read_number(std::string_view text, std::uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

// "bytes=10-", "bytes=10-20", "bytes=-5"; anything else is ignored, as RFC 9110 allows.
RangeState parse_range(std::string_view text, std::uint64_t size, Range& out) {
  if (!text.starts_with("bytes=") || text.contains(',')) return RangeState::none;
  text.remove_prefix(6);
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return RangeState::none;
  const std::string_view left = text.substr(0, dash);
  const std::string_view right = text.substr(dash + 1);
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  if (left.empty()) {
    if (!read_number(right, last)) return RangeState::none;
    if (last == 0 || size == 0) return RangeState::impossible;
    out = {size - std::min(last, size), size - 1};
    return RangeState::one;
  }
  if (!read_number(left, first)) return RangeState::none;
  if (right.empty()) {
    last = UINT64_MAX;
  } else if (!read_number(right, last) || last < first) {
    return RangeState::none;
  }
  if (first >= size) return RangeState::impossible;
  out = {first, std::min(last, size - 1)};
  return RangeState::one;
}

Result<std::string> read_piece(int fd, std::uint64_t first, std::uint64_t bytes) {
  std::string out(bytes, '\0');
  std::size_t have = 0;
  while (have < out.size()) {
    const ssize_t got =
        ::pread(fd, out.data() + have, out.size() - have, static_cast<off_t>(first + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return update::fail_file("Cannot read a file", errno);
    if (got == 0) return fail("io", "A file became shorter while it was read");
    have += static_cast<std::size_t>(got);
  }
  return out;
}

}  // namespace

net::Task<http::Response> StaticFiles::handle(http::Request request) {
  co_return answer(request);
}

http::Response StaticFiles::answer(const http::Request& request) const {
  if (request.method != "GET" && request.method != "HEAD")
    return http::error_response(405,
                                {"method_not_allowed", "Only GET and HEAD are served", "", ""});
  std::string path;
  for (const std::string& segment : request.segments) path += (path.empty() ? "" : "/") + segment;
  const Error missing{"not_found", "There is no such file", "", ""};
  if (!update::is_safe_path(path) || request.segments.size() > 2)
    return http::error_response(404, missing);
  const auto fd = update::open_read(repository_ + "/" + path);
  if (!fd) return http::error_response(404, missing);
  const auto size = update::file_size(fd->get());
  if (!size || *size > update::kPackageBytesMax)
    return http::error_response(500, {"io", "The file cannot be read", "", ""});

  http::Response response;
  response.content_type = path.ends_with(".json") ? "application/json" : "application/octet-stream";
  response.headers.emplace_back("Accept-Ranges", "bytes");
  Range range{0, *size == 0 ? 0 : *size - 1};
  const RangeState state = parse_range(request.header("range"), *size, range);
  if (state == RangeState::impossible) {
    auto refused =
        http::error_response(416, {"bad_range", "The range lies outside of the file", "", ""});
    refused.headers.emplace_back("Content-Range", "bytes */" + std::to_string(*size));
    return refused;
  }
  if (state == RangeState::one) {
    response.status = 206;
    response.headers.emplace_back("Content-Range", "bytes " + std::to_string(range.first) + "-" +
                                                       std::to_string(range.last) + "/" +
                                                       std::to_string(*size));
  }
  auto body = read_piece(fd->get(), range.first, *size == 0 ? 0 : range.last - range.first + 1);
  if (!body) return http::error_response(500, body.error());
  response.body = std::move(*body);
  return response;
}

}  // namespace everspan::depot
