// The one user of Beast: its parser, fed by hand. Its streams and serialisers are not used.
#include "http/server.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cctype>
#include <optional>

#include "common/bytes.h"
#include "http/detail/response_bytes.h"
#include "net/frame_link.h"
#include "net/socket.h"

namespace everspan::http {
namespace {

namespace beast = boost::beast::http;
using Parser = beast::request_parser<beast::string_body>;

constexpr std::size_t kReadBytes = 16 * 1024;

enum class Step { request, end, refuse };

// What reading one request came to. `refuse`: answer `error` and close.
struct Outcome {
  Step step = Step::end;
  Request request;
  bool keep_alive = false;
  int status = 400;
  Error error;
};

Outcome refuse(int status, std::string code, std::string message) {
  Outcome out;
  out.step = Step::refuse;
  out.status = status;
  out.error = Error{std::move(code), std::move(message), {}, {}};
  return out;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

Outcome refuse_parse(const boost::system::error_code& error) {
  if (error == beast::error::header_limit) {
    return refuse(431, "too_large", "The request's headers are too long");
  }
  if (error == beast::error::body_limit) {
    return refuse(413, "too_large", "The request's body is too long");
  }
  return refuse(400, "bad_request", "This is no HTTP/1.1 request: " + error.message());
}

// Copies the head into our own words and checks what Beast leaves open.
std::optional<Outcome> take_head(const Parser& parser, Request& out) {
  const auto& message = parser.get();
  out.method = std::string(message.method_string());
  out.target = std::string(message.target());
  const std::string_view target = out.target;
  const std::size_t question = target.find('?');
  auto segments = split_path(target.substr(0, question));
  auto query = split_query(question == std::string_view::npos ? std::string_view{}
                                                              : target.substr(question + 1));
  if (!segments) return refuse(400, segments.error().code, segments.error().message);
  if (!query) return refuse(400, query.error().code, query.error().message);
  for (const std::string& segment : *segments) out.path += "/" + segment;
  if (out.path.empty()) out.path = "/";
  out.segments = std::move(*segments);
  out.query = std::move(*query);
  for (const auto& field : message) {
    std::string& value = out.headers[lower(std::string_view(field.name_string()))];
    if (!value.empty()) value += ", ";
    value += std::string_view(field.value());
  }
  if (message.version() != 11) return refuse(400, "bad_request", "Only HTTP/1.1 is spoken here");
  if (message.count(beast::field::host) != 1) {
    return refuse(400, "bad_request", "A request names its host, once");
  }
  return std::nullopt;
}

struct Connection {
  std::unique_ptr<net::Transport> transport;
  std::string unread;
  Handler& handler;
  Limits limits;
};

// Feeds what is there; true when the parser wants more bytes. Beast's header_limit counts the whole
// head, so what a peer can make us keep is bounded.
bool feed(Parser& parser, std::string& unread, boost::system::error_code& error) {
  while (!unread.empty() && !parser.is_done()) {
    const std::size_t used = parser.put(boost::asio::buffer(unread), error);
    unread.erase(0, used);
    if (error == beast::error::need_more) {
      error = {};
      return true;
    }
    if (error || used == 0) return false;
    if (parser.is_header_done() && !parser.is_done() && !parser.eager()) return false;
  }
  return !parser.is_done();
}

net::Task<bool> more_bytes(Connection& connection, Instant deadline) {
  const auto more = co_await net::read_some(*connection.transport, kReadBytes, deadline);
  if (!more || more->empty()) co_return false;
  connection.unread += *more;
  co_return true;
}

net::Task<Outcome> read_body(Connection& connection, Parser& parser, Request head) {
  Outcome out;
  boost::system::error_code error;
  const Instant deadline = net::now() + connection.limits.body;
  parser.eager(true);
  if (lower(head.header("expect")) == "100-continue" && !parser.is_done()) {
    const auto told =
        co_await net::write_all(*connection.transport, "HTTP/1.1 100 Continue\r\n\r\n", deadline);
    if (!told) co_return out;
  }
  for (;;) {
    const bool wants_more = feed(parser, connection.unread, error);
    if (error) co_return refuse_parse(error);
    if (!wants_more) break;
    const bool came = co_await more_bytes(connection, deadline);
    if (came) continue;
    if (net::now() >= deadline) co_return refuse(408, "timeout", "The request came too slowly");
    co_return out;
  }
  out.step = Step::request;
  out.keep_alive = parser.get().keep_alive();
  out.request = std::move(head);
  out.request.body = std::move(parser.get().body());
  co_return out;
}

net::Task<Outcome> read_request(Connection& connection) {
  const Limits& limits = connection.limits;
  Parser parser;
  parser.header_limit(static_cast<std::uint32_t>(limits.header_bytes));
  parser.eager(false);
  boost::system::error_code error;
  Instant deadline = net::now() + (connection.unread.empty() ? limits.idle : limits.head);
  for (;;) {
    // Empty lines before a request are allowed (RFC 9112 part 2.2), and cost nothing.
    while (!parser.got_some() && connection.unread.starts_with("\r\n"))
      connection.unread.erase(0, 2);
    const bool had_bytes = !connection.unread.empty();
    if (had_bytes) feed(parser, connection.unread, error);
    if (error) co_return refuse_parse(error);
    if (parser.is_header_done()) break;
    const bool first = connection.unread.empty() && !parser.got_some();
    const bool came = co_await more_bytes(connection, deadline);
    if (first && came) deadline = net::now() + limits.head;
    if (came) continue;
    if (!first && net::now() >= deadline) {
      co_return refuse(408, "timeout", "The request came too slowly");
    }
    co_return Outcome{};
  }
  Request head;
  head.peer = connection.transport->peer();
  head.local = connection.transport->local();
  auto refused = take_head(parser, head);
  if (refused) co_return std::move(*refused);
  const std::size_t body_max = connection.handler.body_bytes_max(head);
  if (parser.content_length().value_or(0) > body_max) {
    co_return refuse(413, "too_large", "The request's body is too long");
  }
  parser.body_limit(body_max);
  auto out = co_await read_body(connection, parser, std::move(head));
  co_return out;
}

net::Task<bool> answer(Connection& connection, Response response, bool keep_alive, bool is_head) {
  std::string bytes = detail::response_bytes(response, keep_alive, is_head);
  const Instant deadline = net::now() + connection.limits.write;
  const auto written = co_await net::write_all(*connection.transport, std::move(bytes), deadline);
  co_return written.has_value();
}

// Reads away what a refused peer still sends, so that it gets to our answer. Ends with the peer's
// end, or at the limits: a peer that floods gets its reset.
net::Task<void> linger(Connection& connection) {
  const Instant deadline = net::now() + connection.limits.linger;
  connection.transport->send_close();  // Where TLS can say it: nothing comes behind the answer.
  connection.unread.clear();
  for (std::size_t seen = 0; seen < connection.limits.linger_bytes;) {
    const auto more = co_await net::read_some(*connection.transport, kReadBytes, deadline);
    if (!more || more->empty()) co_return;
    seen += more->size();
  }
}

}  // namespace

net::Task<void> serve_http(std::unique_ptr<net::Transport> transport, std::string early,
                           Handler& handler, Limits limits, const Drain& drain) {
  Connection connection{std::move(transport), std::move(early), handler, limits};
  for (int served = 1;; served++) {
    auto outcome = co_await read_request(connection);
    if (outcome.step == Step::end) break;
    if (outcome.step == Step::refuse) {
      auto refusal = error_response(outcome.status, outcome.error);
      const bool told = co_await answer(connection, std::move(refusal), false, false);
      if (told) co_await linger(connection);
      break;
    }
    const bool is_head = outcome.request.method == "HEAD";
    auto response = co_await handler.handle(std::move(outcome.request));
    const bool stay = outcome.keep_alive && served < limits.requests_max && !drain.requested;
    const bool written = co_await answer(connection, std::move(response), stay, is_head);
    if (!written || !stay) break;
  }
  connection.transport->close();
}

}  // namespace everspan::http
