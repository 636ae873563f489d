// Foreign bytes as paths, queries and whole connections. A connection always ends, its answers are
// whole, and nothing is handed on that is not in form.
#include <sys/socket.h>

#include <cstdlib>
#include <string>

#include "http/message.h"
#include "http/server.h"
#include "net/async.h"
#include "net/fd.h"

namespace {

using namespace everspan;
using namespace everspan::http;

class Judge : public Handler {
 public:
  net::Task<Response> handle(Request request) override {
    for (const char c : request.path)
      if (static_cast<unsigned char>(c) < 0x20) std::abort();
    for (const auto& segment : request.segments)
      if (segment == "..") std::abort();
    if (request.body.size() > kBodyMax) std::abort();
    Response response;
    response.body = request.body;
    response.headers.emplace_back("X-Echo", request.header("x-echo"));
    co_return response;
  }
  [[nodiscard]] std::size_t body_bytes_max(const Request&) const override { return kBodyMax; }
  static constexpr std::size_t kBodyMax = 2000;
};

void check_text(std::string_view text) {
  if (const auto segments = split_path(text))
    for (const auto& segment : *segments)
      if (segment == "..") std::abort();
  (void)split_query(text).has_value();
  const auto back = percent_decode(percent_encode(text), false);  // Control bytes are refused.
  if (back && *back != text) std::abort();
}

// `early` is what a TLS handshake may already have read of it.
void serve(std::string_view bytes, std::size_t early) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
  const net::Fd client(ends[1]);
  auto server = net::plain_transport(net::Fd(ends[0]));
  const std::string_view rest = bytes.substr(early);
  if (!rest.empty() && send(client.get(), rest.data(), rest.size(), MSG_NOSIGNAL) < 0) std::abort();
  shutdown(client.get(), SHUT_WR);
  net::asio::io_context loop(1);
  net::TaskScope scope(loop.get_executor());
  Judge judge;
  Drain drain;
  scope.spawn("serve", serve_http(std::move(server), std::string(bytes.substr(0, early)), judge,
                                  Limits{.header_bytes = 4096}, drain));
  // Nothing is left to wait for when all has been sent: a connection that stays hangs here.
  std::string answers;
  char buffer[4096];
  while (scope.running() > 0) {
    loop.restart();
    loop.poll();
    for (ssize_t got = 0; (got = recv(client.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0;)
      answers.append(buffer, static_cast<std::size_t>(got));
  }
  if (!answers.empty() && !answers.starts_with("HTTP/1.1 ")) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check_text(bytes);
  if (size > 0 && size < 8192) serve(bytes.substr(1), std::min<std::size_t>(data[0], size - 1));
  return 0;
}
